//! End-to-end tests on real engines, one module per scenario. `make test` starts the engines and sets their
//! addresses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod proxy;
