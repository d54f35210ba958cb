//! The one place with unsafe code: the few calls of librdkafka that rdkafka's safe interface lacks, or makes dear.
//!
//! - Delivery reports by callback and `rd_kafka_produce_batch`: half the CPU of `BaseProducer::send`.
//! - Transactions: the safe `flush` and `commit_transaction` wait out a flat 100 ms each time, and the safe group metadata
//!   does not show its generation.
//! - Reading: `rd_kafka_consume_start_queue` gives each partition a queue of its own from an explicit offset, without a
//!   group, a coordinator or a race between assignment and forwarding; `rd_kafka_consume_batch_queue` takes many at once.
//! - Passwords: one that changed is shown by clients that are there.
//! - Memory: the C allocator, which keeps what librdkafka frees.
//! - Rights: making them.
//! - Questions: topic ids, and ends of partitions as read_uncommitted sees them.
//!
//! Each type owns one native object and whatever that object needs to outlive it. Nothing here decides anything:
//! deadlines, retries and the meaning of errors are the callers'.
#![allow(
    unsafe_code,
    reason = "librdkafka's C interface; every block says why it is sound"
)]

mod handle;
mod login;
mod signal;
mod topic;
mod produce;
mod transaction;
mod source;
mod messages;
mod ask;
mod acls;
mod memory;

pub(super) use acls::Acl;
pub(super) use ask::{Ask, Edge, TopicFacts};
pub(super) use handle::{Failure, Handle, Watched};
pub(super) use login::Enrolled;
pub use login::Login;
pub use memory::keep_little_memory;
pub(super) use messages::{Messages, Seen};
pub(super) use produce::{Copy, Report, Ticket};
pub(super) use signal::Signal;
pub(super) use source::Source;
pub(super) use topic::Topic;
pub(super) use transaction::Membership;
