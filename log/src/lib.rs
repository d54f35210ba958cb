//! The event log: what ingest appends to, what lanes read and commit to, and what everybody checks. Two
//! implementations stand behind the ports: Kafka, and an embedded log in one folder.
//!
//! Only this crate knows rdkafka.

pub mod batch;
pub mod ports;
pub mod chain;
pub mod kafka;
pub mod embedded;

pub use batch::{Chunk, Record, RecordBatch};
pub use ports::{
    AppendError, Appended, Appender, ChainEvent, ChainReader, CommitError, DeadLetterCopy, Lane, LaneEvent,
    LogError, LogReader, PartCommit, Place, Placed, Transaction,
};
