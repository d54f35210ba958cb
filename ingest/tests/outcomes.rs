//! `wait=counted`, with a port that says what it is told to say.

use crate::rig::{FakeLog, Mode, Server, eventually};
use futures::future::BoxFuture;
use ingest::{Known, Outcomes, TooManyWait, Waiting};
use schemas::receipt::Receipt;
use schemas::{Offset, Outcome, Partition, Reason};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

type Places = BTreeMap<Partition, Vec<Offset>>;

/// What the port says of the n-th place it is asked for, by partition and offset.
type Says = fn(usize) -> Option<Outcome>;

struct Port {
    log: Arc<FakeLog>,
    says: Says,
    reflected: bool,
    full: AtomicBool,
    /// Records on the log when a request began to wait.
    at_begin: Mutex<Vec<u64>>,
    /// What was asked.
    asked: Arc<Mutex<Vec<(Places, Receipt, Duration)>>>,
    ended: Arc<AtomicUsize>,
}

impl Port {
    fn new(log: &Arc<FakeLog>, reflected: bool, says: Says) -> Arc<Self> {
        Arc::new(Self {
            log: Arc::clone(log),
            says,
            reflected,
            full: AtomicBool::new(false),
            at_begin: Mutex::default(),
            asked: Arc::default(),
            ended: Arc::default(),
        })
    }
}

impl Outcomes for Port {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Waiting>, TooManyWait>> {
        self.at_begin.lock().unwrap().push(self.log.len());
        let waits = Waits {
            says: self.says,
            reflected: self.reflected,
            asked: Arc::clone(&self.asked),
            ended: Ended(Arc::clone(&self.ended)),
        };
        let full = self.full.load(Ordering::SeqCst);
        Box::pin(async move {
            match full {
                true => Err(TooManyWait),
                false => Ok(Box::new(waits) as Box<dyn Waiting>),
            }
        })
    }
}

struct Waits {
    says: Says,
    reflected: bool,
    asked: Arc<Mutex<Vec<(Places, Receipt, Duration)>>>,
    ended: Ended,
}

struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Waiting for Waits {
    fn known(
        self: Box<Self>,
        places: Places,
        receipt: Receipt,
        deadline: Instant,
    ) -> BoxFuture<'static, Known> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.asked.lock().unwrap().push((places.clone(), receipt, left));
        let all = places
            .into_iter()
            .flat_map(|(partition, offsets)| offsets.into_iter().map(move |offset| (partition, offset)));
        let said = all.enumerate().filter_map(|(number, place)| {
            let outcome = (self.says)(number)?;
            Some((place, (outcome, "what is wrong".to_owned())))
        });
        let known = Known {
            reflected: self.reflected,
            became: said.collect(),
        };
        let ended = self.ended;
        Box::pin(async move {
            if !known.reflected {
                tokio::time::sleep_until(deadline).await;
            }
            drop(ended);
            known
        })
    }
}

/// Rows of one partition, so that their order on the log is that of the file; the third is not valid.
fn rows(count: usize) -> String {
    let mut text = "user_id,event_type,idempotency_key\n".to_owned();
    let keys = (0..).map(|number| format!("k{number}"));
    let keys = keys.filter(|key| schemas::key::partition(key.as_bytes(), crate::rig::PARTITIONS).0 == 2);
    for (number, key) in keys.take(count).enumerate() {
        let user = if number == 2 { "" } else { "u" };
        text.push_str(&format!("{user},view,{key}\n"));
    }
    text
}

const CSV: &str = "content-type: text/csv\r\n";
const JSON: &str = "content-type: application/json\r\n";
const ONE: &str = r#"{"user_id":"u","event_type":"view","idempotency_key":"k"}"#;
const COUNTED: Says = |_| Some(Outcome::Counted);

#[tokio::test]
async fn the_answer_says_of_each_row_what_became_of_it() {
    let log = FakeLog::new(Mode::Record);
    let port = Port::new(&log, true, |number| {
        Some(match number {
            1 => Outcome::Duplicate,
            // The row behind the invalid one.
            2 => Outcome::DeadLettered(Reason::KeyConflict),
            3 => Outcome::Reversed,
            _ => Outcome::Counted,
        })
    });
    let server = Server::with_outcomes(log, port.clone()).await;
    let answer = server.post_with("/v1/events?wait=counted", CSV, rows(8)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (&answer.body["accepted"], &answer.body["invalid"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(answer.body["counted"], json!(true));
    let sums = json!({"counted": 4, "duplicate": 1, "reversed": 1, "dead_lettered": 1});
    assert_eq!(answer.body["outcomes"], sums);
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert_eq!(results[0], json!({"row": 3, "outcome": "duplicate"}));
    assert_eq!(
        (&results[1]["row"], &results[1]["outcome"]),
        (&json!(4), &json!("invalid"))
    );
    let letter = json!({
        "row": 5,
        "outcome": "dead_lettered",
        "code": "key_conflict",
        "message": "what is wrong",
        "dead_letter": "2-2",
    });
    assert_eq!(results[2], letter);
    assert_eq!(results[3], json!({"row": 6, "outcome": "reversed"}));
    let asked = port.asked.lock().unwrap();
    let (places, receipt, left) = asked.first().unwrap();
    assert_eq!(places[&Partition(2)], (0..7).map(Offset).collect::<Vec<_>>());
    assert_eq!(*receipt, answer.receipt());
    // Five seconds by default, two at most here.
    assert!(
        *left <= Duration::from_secs(2) && *left > Duration::from_millis(1_500),
        "{left:?}"
    );
    assert_eq!(
        *port.at_begin.lock().unwrap(),
        [0],
        "it begins before anything is appended"
    );
    assert_eq!(
        server.metric("tidemark_ingest_waited_requests_total{end=\"counted\"}"),
        1.0
    );
}

#[tokio::test]
async fn when_the_time_is_over_the_answer_says_what_is_known_and_nothing_is_lost() {
    let log = FakeLog::new(Mode::Record);
    let port = Port::new(&log, false, |number| (number == 1).then_some(Outcome::Duplicate));
    let server = Server::with_outcomes(log, port).await;
    let answer = server
        .post_with("/v1/events?wait=counted&timeout=50ms", CSV, rows(4))
        .await;
    assert_eq!((answer.status, &answer.body["counted"]), (200, &json!(false)));
    let sums = json!({"counted": 0, "duplicate": 1, "reversed": 0, "dead_lettered": 0, "unknown": 2});
    assert_eq!(answer.body["outcomes"], sums);
    assert_eq!(server.log.len(), 3);
    let answer = server
        .post_with("/v1/events?wait=counted&timeout=50", JSON, ONE)
        .await;
    assert_eq!((answer.status, &answer.body["counted"]), (202, &json!(false)));
    assert_eq!(server.log.len(), 4);
    assert_eq!(
        server.metric("tidemark_ingest_waited_requests_total{end=\"time_over\"}"),
        2.0
    );
}

#[tokio::test]
async fn what_no_one_knows_of_is_not_counted_though_every_view_reflects_it() {
    let log = FakeLog::new(Mode::Record);
    let port = Port::new(&log, true, |number| (number != 1).then_some(Outcome::Counted));
    let server = Server::with_outcomes(log, port).await;
    let answer = server.post_with("/v1/events?wait=counted", CSV, rows(4)).await;
    assert_eq!(answer.body["counted"], json!(false));
    assert_eq!(
        (
            &answer.body["outcomes"]["counted"],
            &answer.body["outcomes"]["unknown"]
        ),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn a_single_event_is_a_200_when_it_is_counted() {
    let log = FakeLog::new(Mode::Record);
    let port = Port::new(&log, true, |_| {
        Some(Outcome::DeadLettered(Reason::ReversalUnmatched))
    });
    let server = Server::with_outcomes(log, port).await;
    let answer = server.post_with("/v1/events?wait=counted", JSON, ONE).await;
    assert_eq!((answer.status, &answer.body["counted"]), (200, &json!(true)));
    assert_eq!(answer.body["results"][0]["code"], json!("reversal_unmatched"));
    assert_eq!(answer.body["idempotency_key"], json!("k"));
    // An event that is not valid is no matter of waiting.
    let answer = server.post_with("/v1/events?wait=counted", JSON, "{}").await;
    assert_eq!((answer.status, answer.problem()), (400, "invalid_event"));
    assert_eq!(server.log.len(), 1);
    // Without the parameter the answer is what it was.
    let answer = server.post_with("/v1/events", JSON, ONE).await;
    assert_eq!((answer.status, answer.body.get("counted")), (202, None));
}

#[tokio::test]
async fn a_list_of_outcomes_is_bounded_and_says_what_it_leaves_out() {
    let log = FakeLog::new(Mode::Record);
    let port = Port::new(&log, true, |_| Some(Outcome::Duplicate));
    let server = Server::with_outcomes(log, port).await;
    let answer = server.post_with("/v1/events?wait=counted", CSV, rows(10)).await;
    let results = answer.body["results"].as_array().unwrap();
    let listed: Vec<u64> = results
        .iter()
        .map(|result| result["row"].as_u64().unwrap())
        .collect();
    assert_eq!(listed, [2, 3, 4, 5, 6]);
    assert_eq!(answer.body["results_left_out"], json!(5));
    assert_eq!(answer.body["outcomes"]["duplicate"], json!(9));
}

#[tokio::test]
async fn what_is_too_large_or_broken_to_wait_for_is_refused_whole() {
    let log = FakeLog::new(Mode::Record);
    let port = Port::new(&log, true, COUNTED);
    let server = Server::with_outcomes(log, port.clone()).await;
    let answer = server
        .post_with("/v1/events?wait=counted", CSV, rows(10_002))
        .await;
    assert_eq!((answer.status, answer.problem()), (413, "wait_too_large"));
    assert_eq!(answer.body["limit_events"], json!(10_000));
    assert_eq!((&answer.body["accepted"], server.log.len()), (&json!(0), 0));
    // Few events of many bytes.
    let mut large = "user_id,event_type,page\n".to_owned();
    (0..200).for_each(|_| large.push_str(&format!("u,view,{}\n", "x".repeat(16_000))));
    let large = large.repeat(4);
    let answer = server.post_with("/v1/events?wait=counted", CSV, large).await;
    assert_eq!(
        (answer.status, answer.problem(), server.log.len()),
        (413, "wait_too_large", 0)
    );
    // One that breaks off behind many good ones.
    let mut broken = format!("[{}", format!("{ONE},").repeat(5_000));
    broken.push_str("oops");
    let answer = server.post_with("/v1/events?wait=counted", JSON, broken).await;
    assert_eq!(
        (answer.status, answer.problem(), server.log.len()),
        (400, "json_invalid", 0)
    );
    // As many as may.
    let answer = server
        .post_with("/v1/events?wait=counted", CSV, rows(10_001))
        .await;
    assert_eq!(
        (answer.status, &answer.body["outcomes"]["counted"]),
        (200, &json!(10_000))
    );
    let ended = || port.ended.load(Ordering::SeqCst);
    eventually("those who were refused wait no more", || ended() == 4).await;
}

#[tokio::test]
async fn where_nobody_knows_outcomes_or_too_many_wait_nothing_is_recorded() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let answer = server.post_with("/v1/events?wait=counted", JSON, ONE).await;
    assert_eq!((answer.status, answer.problem()), (400, "wait_not_available"));
    assert_eq!(server.log.len(), 0);
    let log = FakeLog::new(Mode::Record);
    let port = Port::new(&log, true, COUNTED);
    port.full.store(true, Ordering::SeqCst);
    let server = Server::with_outcomes(log, port).await;
    let answer = server.post_with("/v1/events?wait=counted", JSON, ONE).await;
    assert_eq!((answer.status, answer.problem()), (503, "too_many_waiters"));
    assert!(answer.head.contains("retry-after:"));
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn a_log_that_is_away_is_told_and_not_waited_for() {
    let log = FakeLog::new(Mode::FailAfter(0));
    let port = Port::new(&log, true, COUNTED);
    let server = Server::with_outcomes(log, port.clone()).await;
    let answer = server.post_with("/v1/events?wait=counted", JSON, ONE).await;
    assert_eq!((answer.status, answer.problem()), (503, "log_unavailable"));
    assert!(port.asked.lock().unwrap().is_empty());
}
