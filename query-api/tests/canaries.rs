//! Canaries: what is counted of them when the views pass them, when they do not, and when the log is away.

use crate::fixture::{Fixture, PARTITIONS};
use query_api::{Canaries, CanaryMetrics, Metrics, ProgressWatch};
use schemas::row::View;
use service::metrics::Registry;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Canaries of a fixture, and the registry that counts them.
fn start(fixture: &Fixture, patience: Duration) -> Registry {
    let registry = Registry::new().unwrap();
    let metrics = Metrics::new(&registry).unwrap();
    let canaries = Canaries {
        appender: fixture.log.clone(),
        progress: ProgressWatch::start(fixture.store.clone(), metrics, fixture.shutdown.clone()),
        partitions: PARTITIONS,
        interval: Duration::from_millis(20),
        patience,
        metrics: CanaryMetrics::new(&registry, PARTITIONS).unwrap(),
    };
    canaries.start(&fixture.shutdown);
    registry
}

fn value(registry: &Registry, series: &str) -> u64 {
    let text = registry.render();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("no {series}"))
        .trim()
        .parse()
        .unwrap()
}

async fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_canary_is_seen_once_the_views_have_passed_it_and_lost_when_they_do_not() {
    let fixture = Fixture::new().await;
    let registry = start(&fixture, Duration::from_millis(100));
    let lost = |partition| {
        value(
            &registry,
            &format!("tidemark_canary_lost_total{{partition=\"{partition}\"}}"),
        )
    };
    let seen = |partition| {
        value(
            &registry,
            &format!("tidemark_canary_seen_total{{partition=\"{partition}\"}}"),
        )
    };
    // Nothing projects yet.
    until(|| lost(0) > 0 && lost(1) > 0).await;
    assert_eq!((seen(0), seen(1)), (0, 0));
    // From now on partition 0 is far ahead, and partition 1 stands still.
    fixture.reflect(View::Days, 0, 1_000_000, None).await;
    until(|| seen(0) > 2).await;
    let before = lost(0);
    until(|| lost(1) > 3).await;
    assert!(
        lost(0) <= before + 1 && seen(1) == 0,
        "those of one partition tell nothing of the other"
    );
    let latencies = value(
        &registry,
        "tidemark_canary_latency_seconds_count{partition=\"0\"}",
    );
    assert_eq!(latencies, seen(0));
    fixture.shutdown.begin();
}

#[tokio::test]
async fn while_the_log_is_away_canaries_are_refused_and_none_is_sent_or_lost() {
    let fixture = Fixture::new().await;
    fixture.log.set_away(true);
    let registry = start(&fixture, Duration::from_millis(10));
    let count = |what: &str| {
        let series = format!("tidemark_canary_{what}_total{{partition=\"0\"}}");
        value(&registry, &series)
    };
    until(|| count("refused") > 2).await;
    assert_eq!(["sent", "seen", "lost"].map(count), [0; 3]);
    fixture.log.set_away(false);
    until(|| count("sent") > 0).await;
    let refused = count("refused");
    until(|| count("sent") > 2).await;
    assert_eq!(count("refused"), refused);
    fixture.shutdown.begin();
}
