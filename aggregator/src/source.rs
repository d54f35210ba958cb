//! One source partition as its owner holds it: the chain as far as it was read, what is remembered, the batch that is
//! being folded, and the batches that are sent but not read back.
//!
//! The read-back rule is kept here: a batch is done only when its commit record was seen on the chain. If another's record
//! is seen in its place, or its own is missing, everything folded since is worth nothing: the owner drops this
//! source and makes a new one from the chain. Pure: what is sent and read is the caller's.

use crate::chain::{Chain, Rule, Step};
use crate::decide::Decision;
use crate::dedup::Dedup;
use crate::fold::{Batch, Known, Rules, Types, Work};
use crate::spill::{Spill, SpillError};
use crate::uploads::{Call, Uploads};
use hashbrown::HashMap;
use log::{DeadLetterCopy, LogError, PartCommit, Record};
use schemas::commit::{BatchId, CommitRecord, Fate, Fresh, Head, cut};
use schemas::generation::FOLD_VERSION;
use schemas::upload::Fact;
use schemas::wire::Malformed;
use schemas::{Ledger, Offset, Outcome, Partition};
use std::collections::VecDeque;
use std::sync::Arc;
use uuid::Uuid;

/// One source partition in the hands of one owner.
#[derive(Debug)]
pub struct Source {
    partition: Partition,
    rules: Arc<Rules>,
    /// What was read of the chain.
    pub chain: Chain,
    known: Known,
    /// The last record sent, or applied where none is in flight.
    tail: BatchId,
    batch: Batch,
    in_flight: VecDeque<InFlight>,
    outbox: VecDeque<Confirmed>,
    rerouted_through: Offset,
    /// Held records before this are copied, of the release that is being worked on.
    released_through: Offset,
    /// Something was written that no commit record says yet.
    copied: bool,
    unsent: Vec<(Offset, Unsent)>,
    /// Whether the chain was restored: what a former owner left undone was taken.
    is_started: bool,
}

/// A batch that was sent and not read back.
#[derive(Debug)]
struct InFlight {
    id: BatchId,
    to: Offset,
    work: Vec<Work>,
}

/// A batch that was read back, and what it calls for and is not done.
#[derive(Debug)]
struct Confirmed {
    to: Offset,
    work: VecDeque<Work>,
}

/// What a former owner's record called for, as far as the chain says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// A copy for this partition; its bytes are to be read again.
    Reroute(Partition),
    /// What a fact of an upload calls for.
    Call(Call),
}

/// What a record of the changelog means to this owner.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// A batch of ours is done.
    Done(BatchId),
    /// Another's record was applied; nothing of ours was in the way.
    Followed,
    /// What was folded here is off the chain: drop this source and begin again from the chain.
    Lost,
    /// Nothing yet.
    Nothing,
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The changelog is not what it should be.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The local folder failed.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

impl Source {
    /// A source that knows nothing; feed it the changelog from offset 0.
    pub fn new(partition: Partition, rules: Arc<Rules>, dedup_memory_bytes: usize, spill: Spill) -> Self {
        let chain = Chain::new(partition, rules.generation);
        Self {
            partition,
            rules,
            known: Known {
                dedup: Dedup::new(dedup_memory_bytes, spill),
                types: Types::default(),
                uploads: Uploads::default(),
            },
            tail: chain.last,
            batch: Batch::new(chain.next, chain.ledger, chain.max_append_ms),
            in_flight: VecDeque::new(),
            outbox: VecDeque::new(),
            rerouted_through: chain.rerouted_through,
            released_through: Offset(0),
            copied: false,
            unsent: Vec::new(),
            is_started: false,
            chain,
        }
    }

    /// Takes in the next committed record of the changelog.
    pub fn offer(&mut self, offset: Offset, bytes: &[u8]) -> Result<ReadBack, Fault> {
        match self.chain.offer(offset, bytes)? {
            Step::Nothing => Ok(ReadBack::Nothing),
            Step::Superseded(id) if Rule::ReadBack.holds() && self.is_in_flight(id) => Ok(ReadBack::Lost),
            Step::Superseded(_) => Ok(ReadBack::Nothing),
            Step::Applied(id, record) => self.applied(id, &record),
        }
    }

    fn applied(&mut self, id: BatchId, record: &CommitRecord) -> Result<ReadBack, Fault> {
        match self.in_flight.front() {
            Some(front) if front.id == id => {
                self.confirm();
                return Ok(ReadBack::Done(id));
            }
            Some(_) if Rule::ReadBack.holds() => return Ok(ReadBack::Lost),
            Some(_) => return Ok(ReadBack::Nothing),
            // Who believes the broker does not look back: else its own record, read behind its belief, would make it begin again, and heal.
            None if self.is_started && !Rule::ReadBack.holds() => return Ok(ReadBack::Nothing),
            None if !self.batch.is_empty() => return Ok(ReadBack::Lost),
            // How far the other is with what is due here is not known: what its record says of it is not of our outbox.
            None if self.is_started && !self.outbox.is_empty() => return Ok(ReadBack::Lost),
            None => {}
        }
        self.follow(id, record)?;
        // What its record calls for is done by whoever restores from the chain, in its order.
        if self.is_started && !self.unsent.is_empty() {
            return Ok(ReadBack::Lost);
        }
        Ok(ReadBack::Followed)
    }

    /// Moves the oldest batch in flight to the outbox: what it calls for is due now.
    fn confirm(&mut self) {
        if let Some(done) = self.in_flight.pop_front() {
            self.outbox.push_back(Confirmed {
                to: done.to,
                work: done.work.into(),
            });
            self.skip_empty();
        }
    }

    /// Applies a record that this owner did not fold.
    fn follow(&mut self, id: BatchId, record: &CommitRecord) -> Result<(), Fault> {
        for (tenant, event_type) in &record.types {
            self.known.types.add(tenant, event_type);
        }
        let letters: HashMap<Offset, Offset> = record
            .redrives()
            .filter(|redriven| redriven.partition == self.partition)
            .map(|redriven| (redriven.copy, redriven.offset))
            .collect();
        for counted in record.counted() {
            self.remember_copy(counted.source)?;
            if let Some(letter) = letters.get(&counted.offset) {
                let print = self.rules.hashing.redriven(self.partition, *letter);
                self.known.dedup.insert(Fresh::of_copy(print))?;
            }
            match counted.fresh.reversed {
                true => self.known.dedup.replace(counted.fresh)?,
                false => self.known.dedup.insert(counted.fresh)?,
            }
        }
        self.rerouted_through = record.head.rerouted_through;
        self.released_through = record.head.released_through;
        for exception in record.exceptions() {
            match exception.fate {
                Fate::Rerouted(to) => self.unsent.push((exception.offset, Unsent::Reroute(to))),
                Fate::Noted(bytes) if !bytes.is_empty() => {
                    let fact = Fact::decode(bytes)
                        .map_err(|error| wrong(self.partition, exception.offset, &error))?;
                    let call = self.known.uploads.take(&fact, exception.offset);
                    self.unsent
                        .extend(call.map(|call| (exception.offset, Unsent::Call(call))));
                }
                Fate::Repeated => {}
                _ => self.remember_copy(exception.source)?,
            }
        }
        self.unsent.retain(|(offset, _)| *offset >= self.rerouted_through);
        self.tail = id;
        self.batch = Batch::new(self.chain.next, self.chain.ledger, self.chain.max_append_ms);
        Ok(())
    }

    /// Remembers which held record something was a copy of.
    fn remember_copy(&mut self, source: Option<schemas::commit::Source>) -> Result<(), SpillError> {
        let Some(original) = source.and_then(|source| source.copy_of) else {
            return Ok(());
        };
        let print = self.rules.hashing.copy(self.partition, original);
        self.known.dedup.insert(Fresh::of_copy(print))
    }

    /// Folds one record unless it was concluded before. `None`: it was.
    pub fn fold(
        &mut self,
        record: &Record<'_>,
        decision: Decision<'_>,
    ) -> Result<Option<Outcome>, SpillError> {
        if record.offset < self.batch.to {
            return Ok(None);
        }
        self.batch
            .fold(self.partition, record, decision, &mut self.known, &self.rules)
            .map(Some)
    }

    /// The next offset to fold.
    pub fn next(&self) -> Offset {
        self.batch.to
    }

    /// Totals up to [`Self::next`].
    pub fn ledger(&self) -> Ledger {
        self.batch.ledger
    }

    /// Sets the leader epoch of the records folded last.
    pub fn set_leader_epoch(&mut self, leader_epoch: i32) {
        self.batch.leader_epoch = leader_epoch;
    }

    /// Ends the batch: what to send for it. `None` when there is nothing to say.
    pub fn close(&mut self, id: BatchId, lane: &str) -> Option<(PartCommit, Vec<DeadLetterCopy>)> {
        // Without copies a later `rerouted_through` tells a new owner nothing: it is no reason for a record of its own.
        let news = self.copied && self.in_flight.is_empty();
        if self.batch.is_empty() && !news {
            return None;
        }
        self.copied = false;
        let next = Batch::new(self.batch.to, self.batch.ledger, self.batch.max_append_ms);
        let batch = std::mem::replace(&mut self.batch, next);
        let head = Head {
            generation: self.rules.generation,
            fold_version: FOLD_VERSION,
            partition: self.partition,
            from: batch.from,
            to: batch.to,
            leader_epoch: batch.leader_epoch,
            lane: lane.to_owned(),
            max_append_ms: batch.max_append_ms,
            rerouted_through: self.rerouted_through,
            released_through: self.released_through,
            ledger: batch.ledger,
        };
        let parts = cut(id, self.tail, &batch.entries.encode(&head));
        self.tail = id;
        self.in_flight.push_back(InFlight {
            id,
            to: batch.to,
            work: batch.work,
        });
        Some((
            PartCommit {
                partition: self.partition,
                next: batch.to,
                parts,
            },
            batch.dead_letters,
        ))
    }

    /// Takes the broker's word for what is in flight: what the read-back rule forbids, so this is for the proofs' control alone.
    pub fn believe(&mut self) {
        while !self.in_flight.is_empty() {
            self.confirm();
        }
    }

    /// The oldest batch that was sent and not read back.
    pub fn oldest_in_flight(&self) -> Option<BatchId> {
        self.in_flight.front().map(|batch| batch.id)
    }

    /// Batches sent and not read back.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Records and bytes of the batch that is being folded.
    pub fn open(&self) -> (u64, usize) {
        (self.batch.to.0 - self.batch.from.0, self.batch.bytes())
    }

    /// What is due, in order: all of the oldest batch that is read back.
    pub fn due(&self) -> impl Iterator<Item = &Work> {
        self.outbox.front().into_iter().flat_map(|batch| &batch.work)
    }

    /// Says that the first `count` of what is due are done: what they wrote is durable.
    pub fn done(&mut self, count: usize) {
        let Some(batch) = self.outbox.front_mut() else {
            return;
        };
        let mut done = batch.work.drain(..count.min(batch.work.len()));
        let released = done.any(|work| matches!(work, Work::Call(Call::Release(_))));
        drop(done);
        if released {
            self.released_through = Offset(0);
        }
        self.copied = true;
        self.skip_empty();
    }

    /// Says that held records before this are copied, of the release that is the first of what is due.
    pub fn released(&mut self, through: Offset) {
        if let Some(Work::Call(Call::Release(release))) =
            self.outbox.front_mut().and_then(|batch| batch.work.front_mut())
        {
            release.from = through;
            self.released_through = through;
            self.copied = true;
        }
    }

    fn skip_empty(&mut self) {
        while self.outbox.front().is_some_and(|batch| batch.work.is_empty()) {
            if let Some(done) = self.outbox.pop_front() {
                self.rerouted_through = self.rerouted_through.max(done.to);
            }
        }
    }

    /// What a former owner's records called for and is not known to be done. Give it back with [`Self::resend`].
    pub fn take_unsent(&mut self) -> Vec<(Offset, Unsent)> {
        self.is_started = true;
        let mut unsent = std::mem::take(&mut self.unsent);
        let first = unsent.iter_mut().find_map(|(_, unsent)| match unsent {
            Unsent::Call(Call::Release(release)) => Some(release),
            _ => None,
        });
        if let Some(release) = first {
            release.from = release.from.max(self.released_through);
        }
        unsent
    }

    /// Puts what a former owner left undone in the outbox.
    pub fn resend(&mut self, work: Vec<Work>) {
        self.outbox.push_back(Confirmed {
            to: self.chain.next,
            work: work.into(),
        });
        self.skip_empty();
    }

    /// Keys remembered, those of them on disk, and bytes of memory they take.
    pub fn dedup_size(&self) -> (u64, u64, usize) {
        (
            self.known.dedup.len(),
            self.known.dedup.spilled(),
            self.known.dedup.memory_bytes(),
        )
    }

    fn is_in_flight(&self, id: BatchId) -> bool {
        self.in_flight.iter().any(|batch| batch.id == id)
    }
}

fn wrong(partition: Partition, offset: Offset, error: &Malformed) -> LogError {
    LogError::Wrong(format!("the commit record of {partition}/{offset}: {error}"))
}

/// A new batch's id.
pub fn new_batch_id() -> BatchId {
    Uuid::new_v4()
}
