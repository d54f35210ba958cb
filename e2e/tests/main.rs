//! End-to-end tests on real engines, one module per scenario. `make test` starts the engines and sets their
//! addresses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod proxy;
mod rig;
mod services;
mod moments;
mod embedded;
mod kafka;
mod kafka_kills;
mod members;
mod stopping;
mod monitoring;
mod producers;
mod secure;
mod memory;
mod upload_memory;
mod restore;
mod engines;
mod tears;
mod uploads;
mod redrives;
mod surface;
mod tenants;
mod traces;
