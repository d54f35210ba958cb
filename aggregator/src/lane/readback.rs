//! What the lane reads of the chain: its own batches, another's, and at first everything.

use super::held::{Phase, Waiting};
use super::{Ended, Lane};
use crate::follow;
use crate::source::ReadBack;
use log::{ChainEvent, LogError, LogReader};
use schemas::{Offset, Partition};
use std::time::{Duration, Instant};

/// Age at which a batch that was sent and not read back is in doubt.
const DOUBT: Duration = Duration::from_secs(3);

impl Lane {
    /// Reads what came on the chains.
    pub(super) fn read_back(&mut self, timeout: Duration) -> Result<(), Ended> {
        let events = follow::poll(self.parts.chain.as_mut(), &self.settings.name, timeout)?;
        let mut lost = Vec::new();
        for event in &events {
            match event {
                ChainEvent::Part {
                    partition,
                    offset,
                    bytes,
                } => {
                    let Some(held) = self.held.get_mut(partition) else {
                        continue;
                    };
                    if lost.contains(partition) {
                        continue;
                    }
                    let superseded = held.source.chain.superseded;
                    let is_restoring = held.is_restoring();
                    match held.source.offer(*offset, bytes).map_err(Ended::from)? {
                        ReadBack::Lost => lost.push(*partition),
                        ReadBack::Done(_) => self.tools.metrics.read_back(*partition),
                        ReadBack::Followed | ReadBack::Nothing => {}
                    }
                    held.end_traced();
                    // What is on the chain since long ago is found at each restore, and is no news.
                    if !is_restoring {
                        self.tools
                            .metrics
                            .superseded(*partition, held.source.chain.superseded - superseded);
                    }
                }
                ChainEvent::Reached(place) => {
                    if let Some(held) = self.held.get_mut(&place.partition) {
                        held.source.chain.reached(place.next);
                    }
                }
            }
        }
        self.doubt(&mut lost);
        if !lost.is_empty() {
            tracing::warn!(lane = self.settings.name, partitions = ?lost, "a batch is off the chain: folding again");
            self.begin_again(&lost)?;
        }
        Ok(())
    }

    /// Finds batches whose commit was said to be done but that never show.
    fn doubt(&mut self, lost: &mut Vec<Partition>) {
        for (partition, held) in &mut self.held {
            let Some(id) = held.source.oldest_in_flight() else {
                held.waiting = None;
                continue;
            };
            let waiting = match held.waiting.take() {
                Some(waiting) if waiting.id == id => waiting,
                _ => Waiting {
                    id,
                    since: Instant::now(),
                    mark: None,
                },
            };
            let waiting = held.waiting.insert(waiting);
            match waiting.mark {
                None if waiting.since.elapsed() >= DOUBT => {
                    waiting.mark = self.parts.chain.mark(*partition).ok()
                }
                Some(mark) if held.source.chain.changelog >= mark && !lost.contains(partition) => {
                    lost.push(*partition)
                }
                _ => {}
            }
        }
    }

    /// Drops what is held of these partitions and reads them from the chain again.
    pub(super) fn begin_again(&mut self, partitions: &[Partition]) -> Result<(), Ended> {
        for partition in partitions {
            self.tools.metrics.restarted(*partition);
            self.parts.member.pause(*partition)?;
            self.hold(*partition);
        }
        self.follow_chains()
    }

    /// Reads the chains of all held partitions, each from where it is.
    pub(super) fn follow_chains(&mut self) -> Result<(), Ended> {
        let chains = self
            .held
            .iter()
            .map(|(partition, held)| (*partition, &held.source.chain));
        Ok(follow::assign(self.parts.chain.as_mut(), chains)?)
    }

    /// Lets partitions run whose chain was read up to its mark.
    pub(super) fn start_restored(&mut self) -> Result<(), Ended> {
        let mut restored = Vec::new();
        for (partition, held) in &mut self.held {
            let Phase::Restoring { mark } = &mut held.phase else {
                continue;
            };
            if mark.is_none() {
                // A mark that cannot be had now is asked for in the next turn.
                *mark = self.parts.chain.mark(*partition).ok();
            }
            if mark.is_some_and(|mark| held.source.chain.changelog >= mark) {
                restored.push(*partition);
            }
        }
        for partition in restored {
            self.start(partition)?;
        }
        Ok(())
    }

    fn start(&mut self, partition: Partition) -> Result<(), Ended> {
        let Some(held) = self.held.get(&partition) else {
            return Ok(());
        };
        let (next, newest) = (held.source.next(), held.source.chain.max_append_ms);
        let reader = &mut self.parts.reader;
        let looked = reader.range(partition).and_then(|(first, end)| {
            check_range(partition, next, first, end)?;
            check_last(reader.as_mut(), partition, (first, next), newest)?;
            Ok(end)
        });
        let end = match looked {
            Ok(end) => end,
            Err(LogError::Away(reason)) => {
                tracing::warn!(lane = self.settings.name, %partition, reason, "the event log is away");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let Some(held) = self.held.get_mut(&partition) else {
            return Ok(());
        };
        let unsent = held.source.take_unsent();
        self.resend(partition, &unsent)?;
        let Some(held) = self.held.get_mut(&partition) else {
            return Ok(());
        };
        held.phase = Phase::Running;
        held.lag = end.0.saturating_sub(held.source.next().0);
        let (keys, spilled, bytes) = held.source.dedup_size();
        self.tools.metrics.dedup(partition, keys, spilled, bytes);
        let next = held.source.next();
        tracing::info!(lane = self.settings.name, %partition, %next, keys, "restored from the chain");
        Ok(self.parts.member.seek(partition, next)?)
    }
}

/// What the chain concluded must be on the log, and what it did not conclude must be there still.
fn check_range(partition: Partition, next: Offset, first: Offset, end: Offset) -> Result<(), LogError> {
    if next > end {
        return Err(LogError::Wrong(format!(
            "`events` {partition} ends at {end}, but {next} is counted: the log was truncated or re-created; \
             restore it from a copy, or begin with an empty log"
        )));
    }
    if next < first {
        return Err(LogError::Wrong(format!(
            "`events` {partition} begins at {first}, but only what lies before {next} is counted: retention removed \
             records that were never counted; restore them from a copy, or begin with an empty log"
        )));
    }
    Ok(())
}

/// The last record that the chain concluded must be the one that lies there: a log that lost its end and grew again has a newer one in its
/// place, and whatever lies before `next` would never be looked at.
fn check_last(
    reader: &mut dyn LogReader,
    partition: Partition,
    (first, next): (Offset, Offset),
    newest_ms: i64,
) -> Result<(), LogError> {
    let last = next.0.checked_sub(1).map(Offset);
    let Some(last) = last.filter(|last| *last >= first) else {
        return Ok(());
    };
    let batch = reader.read(partition, last, next, 1)?;
    match batch.iter().find(|record| record.append_ms > newest_ms) {
        None => Ok(()),
        Some(record) => Err(LogError::Wrong(format!(
            "`events` {partition} has another record at {} than the one that was counted: it came later than all that was counted. The log lost \
             its end and grew again; restore it from a copy, or begin with an empty log",
            record.offset
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::RecordBatch;

    /// Records 0 to 9, appended a second after each other from this time on.
    struct Log(i64);

    impl LogReader for Log {
        fn range(&mut self, _: Partition) -> Result<(Offset, Offset), LogError> {
            Ok((Offset(0), Offset(10)))
        }

        fn read(
            &mut self,
            partition: Partition,
            next: Offset,
            end: Offset,
            _: usize,
        ) -> Result<RecordBatch, LogError> {
            let mut batch = RecordBatch::new(partition);
            for offset in next.0..end.0 {
                batch.push(log::Record {
                    offset: Offset(offset),
                    append_ms: self.0 + i64::try_from(offset).unwrap_or(0) * 1_000,
                    key: None,
                    value: Some(b"{}"),
                    origin: None,
                    kind: log::batch::Kind::Event,
                    redrive: None,
                    trace: None,
                });
            }
            Ok(batch)
        }
    }

    #[test]
    fn a_log_that_lost_its_end_and_grew_again_is_seen_by_the_record_that_came_in_its_place() {
        let check = |from_ms, next, newest_ms| {
            check_last(
                &mut Log(from_ms),
                Partition(0),
                (Offset(2), Offset(next)),
                newest_ms,
            )
        };
        assert!(check(0, 8, 7_000).is_ok());
        // Counted to 8 when its newest was of 7,000; what lies there now came an hour later.
        assert!(matches!(check(3_600_000, 8, 7_000), Err(LogError::Wrong(_))));
        // Nothing was counted yet, or what was is not kept any more.
        assert!(check(3_600_000, 0, 0).is_ok());
        assert!(check(3_600_000, 2, 1_000).is_ok());
    }
}
