//! What the services need of a log. Kafka, the embedded log, and the simulations of the aggregator's tests stand behind it.
//!
//! A lane is one thread, so its port blocks; ingest is asynchronous, so its port returns a future per chunk, never
//! one per event.

use crate::batch::{Chunk, RecordBatch};
use futures::future::BoxFuture;
use schemas::{Offset, Partition};
use std::time::Duration;

/// Appends chunks of records to `events`.
pub trait Appender: Send + Sync {
    /// Appends a chunk, in order and without gaps of its own. Resolves when all of it is durable: to where it lies.
    /// Bounded: the future waits while the log's buffer is full, at most until the append's deadline.
    fn append(&self, chunk: Chunk) -> BoxFuture<'static, Result<Appended, AppendError>>;

    /// Does the same, and says of each record where it lies.
    fn append_placed(&self, chunk: Chunk) -> BoxFuture<'static, Result<Placed, AppendError>> {
        let records = chunk.len() as u64;
        let append = self.append(chunk);
        Box::pin(async move {
            let appended = append.await?;
            let offsets = appended.first.0..appended.next.0;
            // Where others' records lie among its own, only the log itself could say.
            let is_alone = offsets.end.saturating_sub(offsets.start) == records;
            let offsets = match is_alone {
                true => offsets.map(Offset).collect(),
                false => Vec::new(),
            };
            Ok(Placed { appended, offsets })
        })
    }
}

/// Where a chunk lies. Records of other chunks may lie among its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub first: Offset,
    /// Next offset behind its last record.
    pub next: Offset,
}

/// Where each record of a chunk lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where all of it lies.
    pub appended: Appended,
    /// The offset of each record, in their order; empty where that is not known.
    pub offsets: Vec<Offset>,
}

/// Why a chunk is not known to be durable.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log did not take it within the deadline. Some of it may be on the log: keys make a retry harmless.
    #[error("the event log did not acknowledge in time: {0}")]
    Unavailable(String),
    /// A record that the log will never take.
    #[error("the event log refused the record: {0}")]
    Refused(String),
}

/// Any other failure of a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Waiting may cure it.
    #[error("the log is away: {0}")]
    Away(String),
    /// This handle is of no use any more; a new one may be.
    #[error("the log refused this handle: {0}")]
    Fatal(String),
    /// What is there is not what should be there: a person must look.
    #[error("the log is not what it should be: {0}")]
    Wrong(String),
}

/// One lane's handle: a member of the group, its transactional producer, and its own read of the changelog.
pub trait Lane: Send {
    /// Waits at most `timeout` for something to do.
    fn poll(&mut self, timeout: Duration) -> Result<LaneEvent, LogError>;

    /// Reads `events` of an assigned partition from `next` on. A partition that was assigned is paused until then.
    fn seek(&mut self, partition: Partition, next: Offset) -> Result<(), LogError>;

    /// Stops reading `events` of a partition until the next `seek`; records already fetched may still come once.
    fn pause(&mut self, partition: Partition) -> Result<(), LogError>;

    /// Ends a revocation: call when what was in hand for these partitions is done or dropped.
    fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError>;

    /// The next offset at the end of a partition of `events`, for lag.
    fn end(&mut self, partition: Partition) -> Result<Offset, LogError>;

    /// Sends one transaction and waits for the broker's word. That word is a hint: only what is read back counts.
    /// Blocks at most the transaction timeout.
    fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError>;

    /// Ends transactions of this lane's own that the log has forgotten and that would hold up readers for ever: those that are open since
    /// the call before. Blocks for some seconds where brokers are silent. A log without such has nothing to do.
    fn end_hanging(&mut self) -> Result<(), CommitError> {
        Ok(())
    }

    /// Leaves the group.
    fn close(self: Box<Self>);
}

/// What happened to a lane.
#[derive(Debug)]
pub enum LaneEvent {
    /// These partitions are this lane's from now on.
    Assigned(Vec<Partition>),
    /// These partitions are another's as soon as they are released.
    Revoked(Vec<Partition>),
    /// These partitions are another's already.
    Lost(Vec<Partition>),
    /// Records of one partition, in order, contiguous with what came before but for the log's own gaps.
    Records(RecordBatch),
    /// Nothing within the timeout.
    Idle,
}

/// What one transaction holds.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// One commit record for each source partition that moved.
    pub commits: Vec<PartCommit>,
    /// Dead letters: key (source coordinates), value (original bytes), headers.
    pub dead_letters: Vec<DeadLetterCopy>,
}

/// A commit record on its way.
#[derive(Clone, Debug)]
pub struct PartCommit {
    /// Source partition, which is also the changelog's.
    pub partition: Partition,
    /// Next offset on `events` after it: what the group commits.
    pub next: Offset,
    /// The record's parts, in order.
    pub parts: Vec<Vec<u8>>,
}

/// A copy of a dead letter on its way to the topic of that name.
#[derive(Clone, Debug)]
pub struct DeadLetterCopy {
    /// Source coordinates, `partition/offset`.
    pub key: String,
    /// The original value; `None` if it had none.
    pub value: Option<Vec<u8>>,
    /// Reason and context.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What the answer to a commit says. Whatever it says, the chain decides.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Aborted, or not known to be committed: this lane's handle goes on.
    #[error("the transaction was not committed: {0}")]
    Aborted(String),
    /// Another producer has this lane's transactional id, or the handle broke: build a new lane handle.
    #[error("this producer is fenced or broken: {0}")]
    Fatal(String),
}

/// Reads partitions of the changelog, read_committed, in order.
pub trait ChainReader: Send {
    /// Reads exactly these partitions from these next offsets on.
    fn assign(&mut self, places: &[Place]) -> Result<(), LogError>;

    /// Waits at most `timeout`; returns what came, in order per partition. Empty when nothing did.
    fn poll(&mut self, timeout: Duration) -> Result<Vec<ChainEvent>, LogError>;

    /// The end of a partition of the changelog, read uncommitted: a reader that reached it has seen all that was
    /// committed before this call, and no transaction that was open then is still undecided.
    fn mark(&mut self, partition: Partition) -> Result<Offset, LogError>;
}

/// A place to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Partition of the topic.
    pub partition: Partition,
    /// Next offset.
    pub next: Offset,
}

/// What a chain reader saw.
#[derive(Clone, Debug)]
pub enum ChainEvent {
    /// A committed record: one part of a commit record.
    Part {
        /// Partition of the changelog.
        partition: Partition,
        /// Its offset on the changelog.
        offset: Offset,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Everything committed before this next offset was seen; gaps that markers and aborted records leave are passed.
    Reached(Place),
}

/// Reads `events` at chosen places: for reroutes, for looking at dead letters, for the audit.
pub trait LogReader: Send {
    /// The first offset still there and the next offset at the end.
    fn range(&mut self, partition: Partition) -> Result<(Offset, Offset), LogError>;

    /// Records of a partition from `next` on, at most about `max_bytes` of them, at least one if there is one before `end`;
    /// an empty batch means that nothing is left before `end`.
    fn read(
        &mut self,
        partition: Partition,
        next: Offset,
        end: Offset,
        max_bytes: usize,
    ) -> Result<RecordBatch, LogError>;
}
