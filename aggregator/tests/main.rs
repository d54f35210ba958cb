//! The aggregator's guarantees, each by name. The log here is a simulation that tears, loses and delays; the same guarantees
//! are shown on a real broker in the crate `e2e`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod sim;
mod chain;
mod rows;
mod uploads;
mod truth;
mod store;
mod redrives;
mod rig;
mod projector;
