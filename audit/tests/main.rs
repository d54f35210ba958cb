//! The audit's scenarios: a right world passes, and each single fault in a world is found and named.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod chain_faults;
mod given;
mod moving;
mod ports;
mod redrives;
mod right;
mod rig;
mod store_faults;
