//! The chain rule. Whoever reads the changelog of a source partition reads committed records in order and applies one
//! only if its `prev` is the last applied id; any other is superseded. So a position on the log is a compare-and-set: of two
//! owners that fold the same offsets the first on the log wins, for everyone alike.
//!
//! A record holds only when all its parts are there. What cannot be read is skipped by everyone alike; what was
//! written by a later release stops the reader, since another reader may be able to apply it.
//!
//! Lanes, the projector and those who wait for outcomes read by it; the audit has one of its own, on purpose.

use crate::ports::LogError;
use schemas::commit::{BatchId, CommitRecord, Head, Part};
use schemas::row::Progress;
use schemas::{Ledger, Offset, Partition};
use std::collections::HashMap;
use std::sync::LazyLock;
use uuid::Uuid;

/// Layout versions that a later release may write: an unknown one of these stops a reader.
const VERSIONS: std::ops::RangeInclusive<u8> = 2..=31;
/// Commit records that may be in the making at once: one for each owner that writes at the same time.
const ASSEMBLIES: usize = 16;

/// A rule of exactness. The proofs' control is a program that leaves one out: there the tests of that rule must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Whether a commit record counts is decided by its place on the chain.
    Chain,
    /// A batch is done when it was read back, and not when the broker says so.
    ReadBack,
}

impl Rule {
    /// Always; but a build with debug assertions, which no release is, leaves out the one that `CONTROL_WITHOUT_RULE` names: `chain` or
    /// `read-back`.
    pub fn holds(self) -> bool {
        static WITHOUT: LazyLock<Option<String>> =
            LazyLock::new(|| std::env::var("CONTROL_WITHOUT_RULE").ok());
        let name = match self {
            Self::Chain => "chain",
            Self::ReadBack => "read-back",
        };
        !cfg!(debug_assertions) || WITHOUT.as_deref() != Some(name)
    }
}

/// The end of the chain of one source partition, as far as it was read.
#[derive(Clone, Debug)]
pub struct Chain {
    partition: Partition,
    generation: u32,
    /// The last applied record; nil before the first.
    pub last: BatchId,
    /// Next offset on `events`.
    pub next: Offset,
    /// Next offset on the changelog.
    pub changelog: Offset,
    /// Totals up to `next`.
    pub ledger: Ledger,
    /// The newest append time up to `next`, in milliseconds.
    pub max_append_ms: i64,
    /// Copies of all records rerouted before this next offset are known to be written.
    pub rerouted_through: Offset,
    /// Records skipped because they were not on the chain, or could not be read.
    pub superseded: u64,
    assemblies: HashMap<BatchId, Assembly>,
}

#[derive(Clone, Debug)]
struct Assembly {
    /// Where its first part lies on the changelog.
    start: Offset,
    count: u16,
    parts: u16,
    body: Vec<u8>,
}

/// What one record of the changelog did.
#[derive(Debug)]
pub enum Step {
    /// It completed a commit record that is on the chain now.
    Applied(BatchId, Box<CommitRecord>),
    /// It belongs to a commit record that is off the chain.
    Superseded(BatchId),
    /// More parts are to come, or it said nothing.
    Nothing,
}

impl Chain {
    /// The chain of a partition before its first record.
    pub fn new(partition: Partition, generation: u32) -> Self {
        Self {
            partition,
            generation,
            last: Uuid::nil(),
            next: Offset(0),
            changelog: Offset(0),
            ledger: Ledger::default(),
            max_append_ms: 0,
            rerouted_through: Offset(0),
            superseded: 0,
            assemblies: HashMap::new(),
        }
    }

    /// The chain as far as a progress row says, to be read on from there.
    pub fn after(partition: Partition, generation: u32, progress: &Progress) -> Self {
        Self {
            last: progress.chain,
            next: progress.next,
            changelog: progress.changelog,
            ledger: progress.ledger,
            max_append_ms: progress.max_append_ms,
            ..Self::new(partition, generation)
        }
    }

    /// From which offset of the changelog whoever knows of this chain only how far it is must read on: behind what was read, but not in
    /// the middle of a commit record whose other parts are to come. Without its first part it would be passed over, and a record
    /// that everyone else leaves off the chain taken in its place. It never falls.
    pub fn resume(&self) -> Offset {
        let starts = self.assemblies.values().map(|assembly| assembly.start);
        starts.min().unwrap_or(self.changelog)
    }

    /// Takes in the next committed record of the changelog; one that was taken in before says nothing.
    pub fn offer(&mut self, offset: Offset, bytes: &[u8]) -> Result<Step, LogError> {
        if offset < self.changelog {
            return Ok(Step::Nothing);
        }
        self.changelog = offset.next();
        if bytes.first().is_some_and(|version| VERSIONS.contains(version)) {
            return Err(self.wrong(
                offset,
                "was written by a later release: start that release, or a later one",
            ));
        }
        let Ok(part) = Part::decode(bytes) else {
            self.superseded += 1;
            return Ok(Step::Nothing);
        };
        if part.prev != self.last && Rule::Chain.holds() {
            self.superseded += u64::from(part.index == 0);
            return Ok(Step::Superseded(part.id));
        }
        let id = part.id;
        let Some(body) = self.assemble(offset, &part) else {
            return Ok(Step::Nothing);
        };
        let Ok(record) = CommitRecord::decode(body) else {
            self.superseded += 1;
            return Ok(Step::Superseded(id));
        };
        self.check(offset, &record)?;
        self.advance(id, &record.head);
        Ok(Step::Applied(id, Box::new(record)))
    }

    /// Takes in that everything before this next offset of the changelog was seen.
    pub fn reached(&mut self, changelog: Offset) {
        self.changelog = self.changelog.max(changelog);
    }

    /// Adds a part; the body once it is whole.
    fn assemble(&mut self, offset: Offset, part: &Part<'_>) -> Option<Vec<u8>> {
        if part.index == 0 {
            if self.assemblies.len() >= ASSEMBLIES {
                self.assemblies.clear();
            }
            let started = Assembly {
                start: offset,
                count: part.count,
                parts: 0,
                body: Vec::new(),
            };
            self.assemblies.insert(part.id, started);
        }
        let assembly = self.assemblies.get_mut(&part.id)?;
        if assembly.parts != part.index || assembly.count != part.count {
            self.assemblies.remove(&part.id);
            return None;
        }
        assembly.body.extend_from_slice(part.chunk);
        assembly.parts += 1;
        if assembly.parts < assembly.count {
            return None;
        }
        self.assemblies.remove(&part.id).map(|assembly| assembly.body)
    }

    /// What is on the chain must follow from what is before it. A fault here is a fault of the program that wrote it.
    fn check(&self, offset: Offset, record: &CommitRecord) -> Result<(), LogError> {
        let head = &record.head;
        let entries = record.counted_count + record.exception_count;
        if head.generation != self.generation || head.partition != self.partition {
            return Err(self.wrong(offset, "belongs to another generation or partition"));
        }
        if !Rule::Chain.holds() {
            return Ok(());
        }
        if head.from != self.next {
            return Err(self.wrong(offset, "does not begin where the chain ends"));
        }
        if !head.ledger.balanced() || head.ledger.records != self.ledger.records + entries {
            return Err(self.wrong(offset, "has a ledger that does not add up"));
        }
        Ok(())
    }

    fn advance(&mut self, id: BatchId, head: &Head) {
        self.assemblies.clear();
        self.last = id;
        self.next = head.to;
        self.ledger = head.ledger;
        self.max_append_ms = head.max_append_ms;
        self.rerouted_through = head.rerouted_through;
    }

    fn wrong(&self, offset: Offset, what: &str) -> LogError {
        LogError::Wrong(format!(
            "the commit record at changelog {}/{offset} {what}",
            self.partition
        ))
    }
}
