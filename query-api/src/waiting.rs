//! Receipts: what they are checked against, and waiting until the views reflect them.

use crate::QueryApi;
use crate::params::{Params, invalid};
use crate::reflected::{ByPartition, ENDS_AGE, LogEnd};
use crate::watch::WaitEnd;
use schemas::receipt::Receipt;
use schemas::row::View;
use schemas::{Offset, Partition};
use serde_json::{Value, json};
use service::http::{Problem, RETRY_AFTER_S};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Longest list of partitions in a problem document.
const LISTED_PARTITIONS: usize = 64;

/// An answer is wanted that reflects a receipt.
#[derive(Debug)]
pub(crate) struct After {
    /// The receipt, of this log and of partitions that there are.
    pub(crate) receipt: Receipt,
    /// How long to wait for it.
    pub(crate) wait: Duration,
}

impl QueryApi {
    /// Reads `after` and `wait`. Without `wait` nobody waits: the answer reflects the receipt or is an error.
    pub(crate) fn after(&self, params: &Params) -> Result<Option<After>, Problem> {
        let wait = params.duration("wait")?;
        let Some(text) = params.one("after")? else {
            return match wait {
                None => Ok(None),
                Some(_) => Err(invalid("wait", "needs a receipt in after")),
            };
        };
        let receipt = self.receipt(text)?;
        Ok(Some(After {
            receipt,
            wait: self.bounded(wait),
        }))
    }

    /// A time to wait, at most `query.wait_limit_ms`; none is no time.
    pub(crate) fn bounded(&self, wait: Option<Duration>) -> Duration {
        let limit = Duration::from_millis(self.limits.wait_limit_ms);
        wait.unwrap_or_default().min(limit)
    }

    /// Reads a receipt.
    ///
    /// Errors: 400 `receipt_invalid`, 400 `receipt_of_another_log`.
    pub(crate) fn receipt(&self, text: &str) -> Result<Receipt, Problem> {
        let no_receipt = || Problem::bad_request("receipt_invalid", "This is not a receipt");
        let receipt: Receipt = text.parse().map_err(|_| no_receipt())?;
        if receipt.topic_id != self.generation.events_id {
            return Err(
                Problem::bad_request("receipt_of_another_log", "The receipt is of another log")
                    .detail("the events that it stands for were taken by a log that is not this one"),
            );
        }
        let last = receipt.next.keys().next_back();
        match last {
            Some(last) if last.0 >= self.generation.partitions => Err(no_receipt()),
            _ => Ok(receipt),
        }
    }

    /// Checks that what a receipt names is on the log. If the log does not say where it ends, time will tell.
    ///
    /// Errors: 400 `receipt_beyond_end`.
    pub(crate) async fn check_end(&self, receipt: &Receipt) -> Result<(), Problem> {
        // What is known may be older than the receipt, so only a look from now on can refuse it.
        for age in [ENDS_AGE, Duration::ZERO] {
            let is_there = |ends: LogEnd| covers(receipt, |p| ends.get(&p).copied());
            if self.ends.ends(age).await.map_or(true, is_there) {
                return Ok(());
            }
        }
        Err(
            Problem::bad_request("receipt_beyond_end", "The receipt is beyond the log's end")
                .detail("the log does not hold what this receipt stands for, so it will never be counted"),
        )
    }

    /// The progress of `view`, once it reflects the receipt.
    ///
    /// Errors: 503 `not_yet`; those of [`QueryApi::check_end`] and of the store.
    pub(crate) async fn progress_behind(&self, view: View, after: &After) -> Result<ByPartition, Problem> {
        let deadline = Instant::now() + after.wait;
        let receipt = &after.receipt;
        let mut progress = self.progress(view).await?;
        if covered(receipt, &progress) {
            return Ok(progress);
        }
        self.check_end(receipt).await?;
        // The poller only says when a look is worth it: what it saw may be gone again, with its table.
        while !after.wait.is_zero() {
            let seen = |seen: &crate::watch::Seen| seen.get(&view).is_some_and(|rows| covered(receipt, rows));
            let end = self.progress.wait(&[view], deadline, seen).await;
            if end == WaitEnd::TooMany {
                return Err(too_many());
            }
            progress = self.progress(view).await?;
            if covered(receipt, &progress) {
                return Ok(progress);
            }
            if end != WaitEnd::Seen || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let next = |p: &Partition| progress.get(p).map(|row| row.next).unwrap_or_default();
        let projected = receipt.next.keys().map(|p| (*p, next(p))).collect();
        Err(
            Problem::unavailable("not_yet", "The receipt is not reflected yet", RETRY_AFTER_S)
                .detail("ask again, or wait longer with wait=")
                .with("partitions", partitions(receipt, &projected, LISTED_PARTITIONS)),
        )
    }
}

/// Whether progress is at or behind all that a receipt names.
pub(crate) fn covered(receipt: &Receipt, progress: &ByPartition) -> bool {
    covers(receipt, |p| progress.get(&p).map(|row| row.next))
}

fn covers(receipt: &Receipt, reached: impl Fn(Partition) -> Option<Offset>) -> bool {
    let mut named = receipt.next.iter();
    named.all(|(partition, next)| reached(*partition).unwrap_or_default() >= *next)
}

/// How far each partition of a receipt is.
pub(crate) fn partitions(receipt: &Receipt, projected: &BTreeMap<Partition, Offset>, limit: usize) -> Value {
    let lines = receipt.next.iter().take(limit).map(|(partition, next)| {
        let projected = projected.get(partition).copied().unwrap_or_default();
        json!({"partition": partition.0, "next_offset": next.0, "projected": projected.0})
    });
    lines.collect()
}

/// 503 `too_many_waiters`.
pub(crate) fn too_many() -> Problem {
    Problem::unavailable(
        "too_many_waiters",
        "Too many requests wait for a receipt",
        RETRY_AFTER_S,
    )
    .detail("ask again, or without wait=")
}
