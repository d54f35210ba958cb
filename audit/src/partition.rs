//! One source partition: its chain beside its records. Each commit record on the chain is read together with the records that
//! it concludes, so that neither has to be kept.

use crate::chain::Chain;
use crate::fold::{Fold, Shared};
use crate::look::CouldNotLook;
use crate::outcomes::{Conclusions, differ};
use crate::record::accepted_ms;
use crate::report::{Difference, Differences};
use log::{ChainEvent, ChainReader, LogReader, Place};
use schemas::commit::{CommitRecord, Link};
use schemas::key::Hashing;
use schemas::{Offset, Partition};
use std::time::{Duration, Instant};

/// Bytes of records that are read at once.
pub(crate) const READ_BYTES: usize = 1024 * 1024;
/// How long one look at the changelog waits.
const POLL: Duration = Duration::from_millis(200);
/// How long the changelog may give nothing before its mark: beyond the longest transaction (60 s by default).
const SILENCE: Duration = Duration::from_secs(90);

/// A source partition as far as it was looked at.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) chain: Chain,
    pub(crate) fold: Fold,
    /// Next offset at the end of `events`, as last asked.
    pub(crate) end: Offset,
}

/// What a pass reads with.
pub(crate) struct Pass<'p, 'w> {
    pub(crate) log: &'p mut dyn LogReader,
    pub(crate) chain: &'p mut dyn ChainReader,
    pub(crate) shared: &'p mut Shared<'w>,
    pub(crate) hashing: &'p Hashing,
    pub(crate) differences: &'p mut Differences,
    /// Told how far the fold is.
    pub(crate) tell: &'p mut dyn FnMut(Partition, Offset, Offset),
}

impl Source {
    pub(crate) fn new(partition: Partition, generation: u32) -> Self {
        Self {
            chain: Chain::new(partition, generation),
            fold: Fold::new(partition),
            end: Offset(0),
        }
    }

    /// Reads the chain to its present end, and the records that it concludes. True if there was anything new on it.
    pub(crate) fn advance(&mut self, pass: &mut Pass<'_, '_>) -> Result<bool, CouldNotLook> {
        let partition = self.fold.partition;
        let before = self.chain.last;
        let mark = pass.chain.mark(partition)?;
        self.ask_end(pass.log)?;
        if self.chain.changelog >= mark {
            return Ok(false);
        }
        pass.chain.assign(&[Place {
            partition,
            next: self.chain.changelog,
        }])?;
        let mut heard = Instant::now();
        while self.chain.changelog < mark {
            let events = pass.chain.poll(POLL)?;
            if !events.is_empty() {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE {
                return Err(CouldNotLook::ChainSilent {
                    partition,
                    changelog: self.chain.changelog,
                    mark,
                });
            }
            for event in events {
                self.take(event, pass)?;
            }
        }
        Ok(self.chain.last != before)
    }

    /// Asks where the records end.
    pub(crate) fn ask_end(&mut self, log: &mut dyn LogReader) -> Result<(), CouldNotLook> {
        let (first, end) = log.range(self.fold.partition)?;
        if first > self.fold.next {
            return Err(CouldNotLook::RecordsGone {
                partition: self.fold.partition,
                first,
            });
        }
        self.end = end;
        Ok(())
    }

    fn take(&mut self, event: ChainEvent, pass: &mut Pass<'_, '_>) -> Result<(), CouldNotLook> {
        match event {
            ChainEvent::Part {
                partition,
                offset,
                bytes,
            } if partition == self.fold.partition => {
                if offset < self.chain.changelog {
                    return Ok(());
                }
                if let Some(record) = self.chain.offer(offset, &bytes, pass.differences)? {
                    self.fold_beside(&record, offset, pass)?;
                }
            }
            ChainEvent::Reached(place) if place.partition == self.fold.partition => {
                self.chain.reached(place.next)
            }
            ChainEvent::Part { .. } | ChainEvent::Reached(_) => {}
        }
        Ok(())
    }

    /// Folds the records that a commit record concludes, and compares.
    fn fold_beside(
        &mut self,
        record: &CommitRecord,
        changelog: Offset,
        pass: &mut Pass<'_, '_>,
    ) -> Result<(), CouldNotLook> {
        let (partition, to) = (self.fold.partition, record.head.to);
        if to > self.end {
            // Written since the end was asked for, or never.
            self.ask_end(pass.log)?;
        }
        if to > self.end {
            let what = format!("concludes up to {to}, and the log ends at {}", self.end);
            pass.differences.push(|| Difference::Chain {
                partition,
                changelog,
                what,
            });
        }
        let end = to.min(self.end);
        let mut conclusions = Conclusions::of(record);
        let id = self.chain.last;
        self.fold.rows.begin(to, Link { changelog, id });
        (pass.tell)(partition, self.fold.next, self.end);
        while self.fold.next < end {
            let batch = pass.log.read(partition, self.fold.next, end, READ_BYTES)?;
            if batch.is_empty() {
                break;
            }
            for entry in batch.iter() {
                stray(partition, &mut conclusions, entry.offset, pass.differences);
                let concluded = conclusions
                    .before(entry.offset.next())
                    .map(|(_, concluded)| concluded);
                let verdict = self.fold.take(&entry, concluded.as_ref(), pass.shared)?;
                let differs = differ(&verdict, accepted_ms(&entry), concluded.as_ref(), pass.hashing);
                if let Some((expected, found)) = differs {
                    let offset = entry.offset;
                    pass.differences.push(|| Difference::Outcome {
                        partition,
                        offset,
                        expected,
                        found,
                    });
                }
            }
        }
        stray(partition, &mut conclusions, Offset(u64::MAX), pass.differences);
        self.fold.next = self.fold.next.max(to);
        Ok(())
    }
}

/// Conclusions before `end` that no record is left for: it has its outcome already, or there is none.
fn stray(
    partition: Partition,
    conclusions: &mut Conclusions<'_>,
    end: Offset,
    differences: &mut Differences,
) {
    while let Some((offset, concluded)) = conclusions.before(end) {
        differences.push(|| Difference::Outcome {
            partition,
            offset,
            expected: "nothing more: no such record, or concluded before".to_owned(),
            found: concluded.word(),
        });
    }
}
