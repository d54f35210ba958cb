//! Canaries: records that count for nothing and go all the way of an event, so that somebody notices when that way is long or broken while
//! nobody sends anything.
//!
//! Every few seconds one is appended to each partition; it was seen once the progress of the days' view has passed it. One that was
//! acknowledged and is not seen in time is lost, which no number of ours may ever be. One that the log does not acknowledge is refused.

use crate::ProgressWatch;
use log::batch::Kind;
use log::{Appender, Chunk};
use prometheus::{Histogram, IntCounter};
use schemas::row::View;
use schemas::{Offset, Partition};
use service::metrics::{Error, Family, Label, Registry, SECONDS};
use service::shutdown::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// The key and the value of one: nobody reads them.
const CANARY: &[u8] = b"canary";

/// What sends them.
pub struct Canaries {
    /// Takes them.
    pub appender: Arc<dyn Appender>,
    /// Says how far the views are.
    pub progress: ProgressWatch,
    /// Partitions of the log.
    pub partitions: u32,
    /// From one to the next of a partition.
    pub interval: Duration,
    /// After so long one is lost.
    pub patience: Duration,
    /// What is counted of them.
    pub metrics: CanaryMetrics,
}

/// What is counted of canaries.
pub struct CanaryMetrics {
    sent: Family<IntCounter>,
    seen: Family<IntCounter>,
    lost: Family<IntCounter>,
    refused: Family<IntCounter>,
    latency: Family<Histogram>,
}

impl CanaryMetrics {
    /// Makes the metrics `tidemark_canary_...`. Once per registry.
    ///
    /// # Errors
    /// If they are made already.
    pub fn new(registry: &Registry, partitions: u32) -> Result<Self, Error> {
        let each = [Label::new(
            "partition",
            (0..partitions).map(|number| number.to_string()),
        )];
        let counters =
            |name: &str, help: &str| registry.counters(&format!("tidemark_canary_{name}_total"), help, &each);
        Ok(Self {
            sent: counters("sent", "Canaries that the log acknowledged.")?,
            seen: counters("seen", "Canaries that the views have passed.")?,
            lost: counters(
                "lost",
                "Canaries that were acknowledged and not in the views within query.canary_patience_ms.",
            )?,
            refused: counters("refused", "Canaries that the log did not acknowledge.")?,
            latency: registry.histograms(
                "tidemark_canary_latency_seconds",
                "From the wish to append a canary until the views have passed it.",
                &SECONDS,
                &each,
            )?,
        })
    }
}

impl Canaries {
    /// Sends them until `shutdown`. Needs a tokio runtime.
    pub fn start(self, shutdown: &Shutdown) {
        let canaries = Arc::new(self);
        for partition in (0..canaries.partitions).map(Partition) {
            let (canaries, shutdown) = (Arc::clone(&canaries), shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = canaries.send_all(partition) => {}
                    () = shutdown.begun() => {}
                }
            });
        }
    }

    async fn send_all(&self, partition: Partition) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut was_refused = false;
        loop {
            ticks.tick().await;
            let sent = Instant::now();
            let mut chunk = Chunk::new(partition);
            chunk.set_kind(Kind::Canary);
            chunk.push(CANARY, CANARY);
            let appended = self.appender.append(chunk).await;
            match (&appended, was_refused) {
                (Err(error), false) => tracing::warn!(%partition, %error, "the log takes no canary"),
                (Ok(_), true) => tracing::info!(%partition, "the log takes canaries again"),
                _ => {}
            }
            was_refused = appended.is_err();
            match appended {
                Ok(appended) => self.wait(partition, appended.next, sent).await,
                // Nothing was accepted, so nothing can be lost.
                Err(_) => self.metrics.refused.get(&[&partition.to_string()]).inc(),
            }
        }
    }

    async fn wait(&self, partition: Partition, next: Offset, sent: Instant) {
        let label = partition.to_string();
        self.metrics.sent.get(&[&label]).inc();
        let mut seen = self.progress.seen();
        let passed = seen.wait_for(|seen| {
            let progress = seen.get(&View::Days).and_then(|view| view.get(&partition));
            progress.is_some_and(|progress| progress.next >= next)
        });
        match tokio::time::timeout_at(sent + self.patience, passed).await {
            Ok(Ok(_)) => {
                self.metrics.seen.get(&[&label]).inc();
                let latency = self.metrics.latency.get(&[&label]);
                latency.observe(sent.elapsed().as_secs_f64());
            }
            Ok(Err(_)) => {}
            Err(_) => {
                self.metrics.lost.get(&[&label]).inc();
                let patience_ms = self.patience.as_millis() as u64;
                tracing::error!(%partition, next = next.0, patience_ms, "a canary was acknowledged and is not in the views in time");
            }
        }
    }
}
