//! Helpers for tests that run Tidemark as a whole on real engines: what must break on purpose, breaks here.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )
)]

pub mod proxy;
