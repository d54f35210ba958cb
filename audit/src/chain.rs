//! The chain rule, written a second time, and whether the chain keeps what it must: a record is on the chain if its `prev` is
//! the last one on it; it then begins where that one ended, and its ledger is that one's and its own entries.
//!
//! Whoever reads the changelog may read on behind a fault here; the audit does, and says so.

use crate::look::CouldNotLook;
use crate::report::{Difference, Differences};
use schemas::commit::{BatchId, CommitRecord, Part};
use schemas::generation::FOLD_VERSION;
use schemas::{Ledger, Offset, Outcome, Partition};
use std::collections::HashMap;
use uuid::Uuid;

/// First bytes that only a later release writes.
const LATER_LAYOUTS: std::ops::RangeInclusive<u8> = 2..=31;
/// Commit records that may be in the making at once; the chain rule drops all of them for one more.
const IN_THE_MAKING: usize = 16;

/// The chain of one source partition as far as it was read.
#[derive(Debug)]
pub(crate) struct Chain {
    partition: Partition,
    generation: u32,
    /// The last record on it; nil before the first.
    pub(crate) last: BatchId,
    /// Next offset on `events` that it concludes.
    pub(crate) next: Offset,
    /// Next offset on the changelog.
    pub(crate) changelog: Offset,
    /// Next offset on the changelog behind the last record on the chain.
    pub(crate) applied: Offset,
    /// Totals as the last record says them.
    pub(crate) ledger: Ledger,
    /// Copies of all records rerouted before this next offset were written.
    pub(crate) rerouted_through: Offset,
    /// Commit records that are not on the chain.
    pub(crate) superseded: u64,
    making: HashMap<BatchId, Making>,
}

/// A commit record of which some parts were read.
#[derive(Debug)]
struct Making {
    count: u16,
    have: u16,
    body: Vec<u8>,
}

impl Chain {
    pub(crate) fn new(partition: Partition, generation: u32) -> Self {
        Self {
            partition,
            generation,
            last: Uuid::nil(),
            next: Offset(0),
            changelog: Offset(0),
            applied: Offset(0),
            ledger: Ledger::default(),
            rerouted_through: Offset(0),
            superseded: 0,
            making: HashMap::new(),
        }
    }

    /// Takes in the next record of the changelog; gives the commit record that it completed, if that is on the chain.
    pub(crate) fn offer(
        &mut self,
        offset: Offset,
        bytes: &[u8],
        differences: &mut Differences,
    ) -> Result<Option<CommitRecord>, CouldNotLook> {
        self.changelog = offset.next();
        if bytes.first().is_some_and(|layout| LATER_LAYOUTS.contains(layout)) {
            return Err(CouldNotLook::LaterRelease {
                partition: self.partition,
                changelog: offset,
            });
        }
        let Ok(part) = Part::decode(bytes) else {
            self.superseded += 1;
            return Ok(None);
        };
        if part.prev != self.last {
            self.superseded += u64::from(part.index == 0);
            return Ok(None);
        }
        let Some(body) = self.complete(&part) else {
            return Ok(None);
        };
        let Ok(record) = CommitRecord::decode(body) else {
            self.superseded += 1;
            return Ok(None);
        };
        for what in self.faults(&record) {
            differences.push(|| Difference::Chain {
                partition: self.partition,
                changelog: offset,
                what,
            });
        }
        self.superseded += self.making.len() as u64;
        self.making.clear();
        self.last = part.id;
        self.next = record.head.to;
        self.applied = self.changelog;
        self.ledger = record.head.ledger;
        self.rerouted_through = record.head.rerouted_through;
        Ok(Some(record))
    }

    /// Takes in that everything before this next offset of the changelog was seen.
    pub(crate) fn reached(&mut self, changelog: Offset) {
        self.changelog = self.changelog.max(changelog);
    }

    /// Adds a part; the body once it is whole. Parts come in order, or their commit record is worth nothing.
    fn complete(&mut self, part: &Part<'_>) -> Option<Vec<u8>> {
        if part.index == 0 {
            if self.making.len() == IN_THE_MAKING {
                self.superseded += self.making.len() as u64;
                self.making.clear();
            }
            self.making.insert(
                part.id,
                Making {
                    count: part.count,
                    have: 0,
                    body: Vec::new(),
                },
            );
        }
        let making = self.making.get_mut(&part.id)?;
        if making.have == part.index && making.count == part.count {
            making.have += 1;
            making.body.extend_from_slice(part.chunk);
            if making.have < making.count {
                return None;
            }
            return self.making.remove(&part.id).map(|making| making.body);
        }
        self.making.remove(&part.id);
        self.superseded += 1;
        None
    }

    /// What is wrong with a record that comes next on the chain.
    fn faults(&self, record: &CommitRecord) -> Vec<String> {
        let head = &record.head;
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        must(
            head.generation == self.generation,
            format!("is of generation {}", head.generation),
        );
        must(
            head.partition == self.partition,
            format!("is of partition {}", head.partition),
        );
        must(
            head.fold_version == FOLD_VERSION,
            format!("is of fold version {}", head.fold_version),
        );
        must(
            head.from == self.next,
            format!("begins at {} where {} comes next", head.from, self.next),
        );
        must(
            head.to >= head.from,
            format!("ends at {} before it begins at {}", head.to, head.from),
        );
        let mut ledger = self.ledger;
        for counted in record.counted() {
            ledger.add_outcome(match counted.fresh.reversed {
                true => Outcome::Reversed,
                false => Outcome::Counted,
            });
        }
        for exception in record.exceptions() {
            ledger.add_outcome(exception.fate.outcome());
        }
        let entries = record.counted_count.saturating_add(record.exception_count);
        ledger.records = ledger.records.saturating_add(entries);
        // Copies are not marked in the entries: the fold of the log counts them.
        ledger.copies = head.ledger.copies;
        must(
            head.ledger == ledger,
            "has a ledger that is not the one before it and its own entries".to_owned(),
        );
        must(
            head.ledger.copies >= self.ledger.copies,
            "counts fewer copies than the one before it".to_owned(),
        );
        faults
    }
}
