//! The log on Kafka.
//!
//! What it rests on, all seen on a real broker (COSTS.md of the design, and the scenarios `tests/kafka_*.rs`):
//! - A lane is three clients: a *member* of the group that reads nothing, a *reading* of `events` from explicit offsets that
//!   knows no group, and a transactional *committer*. Apart, they cannot break one another.
//! - The answer of a commit is a hint. Records, flushes and offsets of a fenced producer look successful; a member of no
//!   generation is not fenced at all by the broker. Both are refused here as early as can be, and the chain decides.
//! - Offsets have gaps, and only the end-of-partition event knows where they end: see [`KafkaChainReader`].
//!
//! Nothing here is asynchronous but [`KafkaAppender`]; a lane and each reader belong to one thread each.
//!
//! ```no_run
//! use log::kafka::{Admin, KafkaLane, Plan, Settings};
//! use log::{Lane, LaneEvent};
//! use schemas::Offset;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), log::LogError> {
//! let settings = Settings::new("127.0.0.1:9092", 1);
//! Admin::new(&settings)?.create(&Plan::all(&settings, 4), None)?;
//! let mut lane = KafkaLane::open(&settings)?;
//! loop {
//!     match lane.poll(Duration::from_millis(100))? {
//!         LaneEvent::Assigned(partitions) => {
//!             for partition in partitions {
//!                 lane.seek(partition, Offset(0))?; // In earnest: the end of the partition's chain.
//!             }
//!         }
//!         LaneEvent::Records(batch) => println!("{} records of partition {}", batch.len(), batch.partition),
//!         LaneEvent::Revoked(partitions) => lane.release(&partitions)?,
//!         LaneEvent::Lost(_) | LaneEvent::Idle => {}
//!     }
//! }
//! # }
//! ```

mod settings; // what each kind of client is told
mod lane; // a lane: its member, its reading, its committer
mod member; // who owns which partition
mod orphans; // partitions that nobody owns
mod reading; // partitions from explicit offsets
mod committer; // transactions
mod hanging; // those that nobody ends
mod chain; // the changelog, read back
mod appender; // ingest's way in
mod reader; // events at chosen places
mod topics; // the topics as they must be
mod rights; // what each role may do
mod admin; // making and describing them
mod generation; // the generation record, and whether the log is still its log
mod edges; // where partitions begin and end
mod failure; // what a failure means
mod advice; // what to mend, where a broker says no
mod statistics; // what librdkafka measures of itself
mod trace; // librdkafka's log lines in ours
mod raw; // the only unsafe code

pub use admin::Admin;
pub use appender::KafkaAppender;
pub use chain::KafkaChainReader;
pub use lane::KafkaLane;
pub use raw::{Login, keep_little_memory};
pub use reader::KafkaReader;
pub use rights::Role;
pub use settings::Settings;
pub use statistics::{ClientKind, Measured, Statistics};
pub use topics::{Found, Plan, Rule};
