//! The generator's scenarios: a reading of its own of the files it writes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod compares;
mod files;
mod reading;
