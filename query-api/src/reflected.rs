//! What a view reflects, and the `as_of` of answers that are made from it.
//!
//! A view whose progress is missing where the log has events was never made, or was emptied: it is told apart from one that
//! has counted nothing, since zeros that are only missing rows are a wrong answer. Progress is looked at again behind the
//! rows, so that a table that is emptied between the two is found too.

use crate::QueryApi;
use crate::reads::CALL_DEADLINE;
use crate::waiting::After;
use schemas::row::{Progress, View};
use schemas::{Day, Offset, Partition, Timestamp};
use serde::Serialize;
use service::http::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// How old what is known of the log's end may be for `lag_records`.
pub(crate) const ENDS_AGE: Duration = Duration::from_millis(200);
/// Seconds until a view may be there that was not.
const NOT_READY_RETRY_S: u32 = 1;

/// What is answered where a view does not hold what the log has.
pub(crate) const NOT_READY: &str = "view_not_ready";

/// Progress by source partition.
pub(crate) type ByPartition = BTreeMap<Partition, Progress>;
/// Next offsets at the end of each partition of the log.
pub(crate) type LogEnd = Arc<BTreeMap<Partition, Offset>>;

/// What an answer reflects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AsOf {
    /// Next offset by source partition: all before it is in the answer.
    #[schema(value_type = BTreeMap<String, u64>)]
    offsets: BTreeMap<u32, u64>,
    /// When the log took the newest of these records; none if there are none.
    #[schema(required = true, format = DateTime)]
    newest_accepted_at: Option<String>,
    /// Records on the log that are not reflected yet, at most; none if the log does not say where it ends.
    #[schema(required = true)]
    lag_records: Option<u64>,
}

/// What one view reflects.
#[derive(Debug)]
pub(crate) struct Reflected {
    /// Its progress, without partitions that the generation does not have.
    pub(crate) progress: ByPartition,
    /// Where the log ended then, if it said so.
    pub(crate) ends: Option<LogEnd>,
}

impl QueryApi {
    /// The source partitions there are.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.generation.partitions).map(Partition)
    }

    /// One look at a view's progress.
    pub(crate) async fn progress(&self, view: View) -> Result<ByPartition, Problem> {
        let mut progress = self.read(CALL_DEADLINE, self.store.progress(view)).await?;
        progress.retain(|partition, _| partition.0 < self.generation.partitions);
        Ok(progress)
    }

    /// What `view` reflects, behind `after` if it is given; the log's end is at most `ends_age` old.
    ///
    /// Errors: 503 `not_yet`, 503 `view_not_ready`, and those of receipts and of the store.
    pub(crate) async fn reflected(
        &self,
        view: View,
        after: Option<&After>,
        ends_age: Duration,
    ) -> Result<Reflected, Problem> {
        let progress = match after {
            Some(after) => self.progress_behind(view, after).await?,
            None => self.progress(view).await?,
        };
        let ends = self.ends.ends(ends_age).await;
        for partition in self.partitions().filter(|p| !progress.contains_key(p)) {
            let end = match &ends {
                Ok(ends) => ends.get(&partition).copied().unwrap_or_default(),
                // Without progress and without the log nobody knows whether there is anything.
                Err(cause) => return Err(self.log_away(cause)),
            };
            if end > Offset(0) {
                return Err(not_ready(view, partition));
            }
        }
        Ok(Reflected {
            progress,
            ends: ends.ok(),
        })
    }

    /// Looks at progress once more, behind the rows: what was there must still be there.
    ///
    /// Errors: 503 `view_not_ready`.
    pub(crate) async fn confirm(&self, view: View, reflected: &Reflected) -> Result<(), Problem> {
        let now = self.progress(view).await?;
        match lost(&reflected.progress, &now) {
            Some(partition) => Err(not_ready(view, partition)),
            None => Ok(()),
        }
    }

    /// The `as_of` of what is reflected.
    pub(crate) fn as_of(&self, reflected: &Reflected) -> AsOf {
        let next = |partition| reflected.progress.get(&partition).map_or(0, |row| row.next.0);
        let newest_ms = reflected.progress.values().map(|row| row.max_append_ms).max();
        let lag_records = reflected.ends.as_ref().map(|ends| {
            ends.iter()
                .map(|(partition, end)| end.0.saturating_sub(next(*partition)))
                .fold(0, u64::saturating_add)
        });
        AsOf {
            offsets: self
                .partitions()
                .map(|partition| (partition.0, next(partition)))
                .collect(),
            newest_accepted_at: newest_ms
                .filter(|ms| *ms > 0)
                .map(|ms| Timestamp::from_millis(ms).rfc3339()),
            lag_records,
        }
    }
}

impl Reflected {
    /// First and last UTC day with a counted event, over all partitions and tenants.
    pub(crate) fn days(&self) -> Option<(Day, Day)> {
        let spans = self.progress.values().filter_map(|row| row.days);
        spans.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }

    /// The part of `days` in which there may be events.
    pub(crate) fn within(&self, days: Option<(Day, Day)>) -> Option<(Day, Day)> {
        let ((first, last), (from, to)) = (self.days()?, days?);
        let (first, last) = (first.max(from), last.min(to));
        (first <= last).then_some((first, last))
    }
}

/// A partition of which the view holds less than it did, or not what it did.
fn lost(before: &ByPartition, now: &ByPartition) -> Option<Partition> {
    let mut partitions = before.iter();
    let lost = partitions.find(|(partition, before)| {
        let holds = |now: &Progress| now.birth == before.birth && now.next >= before.next;
        !now.get(partition).is_some_and(holds)
    });
    lost.map(|(partition, _)| *partition)
}

fn not_ready(view: View, partition: Partition) -> Problem {
    Problem::unavailable(NOT_READY, "The view is not ready", NOT_READY_RETRY_S)
        .detail("the log has events that this view does not hold yet; it is being made from the log")
        .with("view", view.name())
        .with("partition", partition.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_emptied_between_two_looks_is_found() {
        let row = |next, birth: u8| Progress {
            next: Offset(next),
            birth: uuid::Uuid::from_bytes([birth; 16]),
            ..Progress::default()
        };
        let of = |rows: [Progress; 2]| -> ByPartition { (0..).map(Partition).zip(rows).collect() };
        let before = of([row(10, 1), row(20, 1)]);
        assert_eq!(lost(&before, &before), None);
        assert_eq!(lost(&before, &of([row(10, 1), row(21, 1)])), None);
        assert_eq!(lost(&before, &of([row(10, 1), row(19, 1)])), Some(Partition(1)));
        assert_eq!(lost(&before, &of([row(10, 2), row(20, 1)])), Some(Partition(0)));
        assert_eq!(lost(&before, &ByPartition::new()), Some(Partition(0)));
    }
}
