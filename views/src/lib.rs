//! The view store: where the materialized views lie that queries read. Two implementations: ScyllaDB (or Cassandra, which
//! speaks the same protocol) and an embedded store in one folder on fjall.
//!
//! Only this crate knows scylla. Every write is a stamped upsert: of two writes to one row the higher stamp wins, in whatever
//! order they arrive. Nothing is ever deleted, and nothing is ever written without a stamp.

mod store;
pub mod cassandra;
mod embedded;

pub use embedded::Embedded;
pub use store::{Error, STAMP_LIMIT, Stamped, Store, Stored, UserRows};
