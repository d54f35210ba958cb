//! `POST /v1/events?wait=counted`: the answer comes when every view reflects the events, and says what became of each of them.
//!
//! Nothing of such a request is appended before all of it was read, so that one that is too large is refused whole. The events
//! are durable whatever becomes of the waiting: where the time is over first the answer says what is known then.

use crate::Ingest;
use crate::appends::Row;
use crate::events::busy;
use crate::head::Head;
use futures::future::BoxFuture;
use schemas::receipt::Receipt;
use schemas::{Offset, Outcome, Partition};
use serde::Serialize;
use service::http::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Events of a request that waits. What is kept of each, and looked for on the chains, is bounded by it.
pub(crate) const EVENTS: u64 = 10_000;
/// Bytes of their records, which are held until the last of them was read.
pub(crate) const BYTES: usize = 8 * 1024 * 1024;
/// How long is waited where the request does not say.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Knows what becomes of records. Ingest itself knows neither the chains nor the views.
pub trait Outcomes: Send + Sync {
    /// Begins, before anything is appended. Takes some seconds at most.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Waiting>, TooManyWait>>;
}

/// One request that will wait.
pub trait Waiting: Send {
    /// What became of the records at these places, all before `receipt`, once every view reflects them; at `deadline` what is known
    /// then.
    fn known(
        self: Box<Self>,
        places: BTreeMap<Partition, Vec<Offset>>,
        receipt: Receipt,
        deadline: Instant,
    ) -> BoxFuture<'static, Known>;
}

/// As many requests wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyWait;

/// What is known of some records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether every view reflects them.
    pub reflected: bool,
    /// What became of each, where that is known, and what is wrong with it.
    pub became: BTreeMap<(Partition, Offset), (Outcome, String)>,
}

/// Where outcomes come from, and how long a request may wait.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) outcomes: Arc<dyn Outcomes>,
    pub(crate) limit: Duration,
}

/// A request that waits.
pub(crate) struct Wait {
    waiting: Box<dyn Waiting>,
    timeout: Duration,
}

impl Wait {
    /// Begins to wait, if the head asks for that.
    pub(crate) async fn begin(ingest: &Ingest, head: &Head) -> Result<Option<Self>, Problem> {
        let Some(asked) = &head.wait else {
            return Ok(None);
        };
        let Some(source) = &ingest.outcomes else {
            return Err(
                Problem::bad_request("wait_not_available", "This server cannot wait for outcomes")
                    .detail("it knows no view store: set store.nodes, or send without wait=counted"),
            );
        };
        let timeout = asked.timeout.unwrap_or(TIMEOUT).min(source.limit);
        let waiting = source.outcomes.begin().await.map_err(|TooManyWait| {
            let title = "Too many requests wait for outcomes";
            Problem::unavailable("too_many_waiters", title, ingest.limits.retry_after_s)
                .detail("nothing of this request was recorded; send it again, or without wait=counted")
        })?;
        Ok(Some(Self { waiting, timeout }))
    }

    /// Waits for what became of the rows.
    pub(crate) async fn counted(
        self,
        ingest: &Ingest,
        rows: &BTreeMap<Partition, Vec<Row>>,
        accepted: u64,
        receipt: &Receipt,
    ) -> Counted {
        let places = rows.iter().map(|(partition, rows)| {
            let offsets = rows.iter().map(|row| row.offset).collect();
            (*partition, offsets)
        });
        let known = match accepted {
            0 => Known {
                reflected: true,
                ..Known::default()
            },
            _ => {
                let deadline = Instant::now() + self.timeout;
                let known = self.waiting.known(places.collect(), receipt.clone(), deadline);
                known.await
            }
        };
        let counted = Counted::new(known, rows, accepted);
        let end = if counted.counted { "counted" } else { "time_over" };
        ingest.metrics.waited.get(&[end]).inc();
        counted
    }
}

/// What became of the events of a request, for its answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Whether all outcomes are known, and every view reflects them.
    pub(crate) counted: bool,
    pub(crate) outcomes: Sums,
    /// Rows that were not plainly counted, in order.
    pub(crate) rows: Vec<RowOutcome>,
}

/// How many events had each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Outcomes)]
pub(crate) struct Sums {
    counted: u64,
    duplicate: u64,
    reversed: u64,
    dead_lettered: u64,
    #[serde(skip_serializing_if = "is_zero")]
    unknown: u64,
}

// Serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What became of a row that was accepted, where it was not counted.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RowOutcome {
    pub(crate) row: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<String>,
}

impl Counted {
    fn new(mut known: Known, rows: &BTreeMap<Partition, Vec<Row>>, accepted: u64) -> Self {
        let mut sums = Sums::default();
        let mut listed = Vec::new();
        for (partition, rows) in rows {
            for row in rows {
                let Some((outcome, detail)) = known.became.remove(&(*partition, row.offset)) else {
                    continue;
                };
                let mut told = RowOutcome {
                    row: row.number,
                    outcome: "",
                    code: None,
                    message: None,
                    dead_letter: None,
                };
                (*match outcome {
                    Outcome::Counted => {
                        sums.counted += 1;
                        continue;
                    }
                    Outcome::Duplicate => {
                        told.outcome = "duplicate";
                        &mut sums.duplicate
                    }
                    Outcome::Reversed => {
                        told.outcome = "reversed";
                        &mut sums.reversed
                    }
                    Outcome::DeadLettered(reason) => {
                        told.outcome = "dead_lettered";
                        told.code = Some(reason.word());
                        told.message = Some(detail);
                        told.dead_letter = Some(format!("{partition}-{}", row.offset));
                        &mut sums.dead_lettered
                    }
                    // Final is the outcome of a copy, which this request does not know.
                    Outcome::Rerouted | Outcome::Held | Outcome::Repeated | Outcome::Noted => continue,
                }) += 1;
                listed.push(told);
            }
        }
        let told = sums.counted + sums.duplicate + sums.reversed + sums.dead_lettered;
        sums.unknown = accepted.saturating_sub(told);
        listed.sort_by_key(|row| row.row);
        Self {
            counted: known.reflected && sums.unknown == 0,
            outcomes: sums,
            rows: listed,
        }
    }
}

/// What is answered where more is sent than can be waited for. Nothing was appended.
pub(crate) fn too_much() -> Problem {
    let title = "The request is too large to wait for its outcomes";
    Problem::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, "wait_too_large", title)
        .detail(format!(
            "a request with wait=counted has at most {EVENTS} events and {BYTES} bytes of records; nothing of this one was \
             recorded: send less at a time, or without wait=counted"
        ))
        .with("limit_events", EVENTS)
        .with("limit_bytes", BYTES)
}

/// What is answered where there is no room to hold such a request.
pub(crate) fn no_room(ingest: &Ingest) -> Problem {
    busy(ingest).detail("nothing of this request was recorded")
}
