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

/// A proxy that knows Kafka's frames.
pub mod proxy;
/// Requests over HTTP.
pub mod client;
/// One process of the program under test.
pub mod process;
/// Where processes run: folders, ports, names.
pub mod world;
/// A sender that knows what must be counted.
pub mod paced;
/// What must be counted, and whether it was.
pub mod model;
/// Statements to the view store.
pub mod cql;
/// The engines, killed and started again.
pub mod engines;
/// TLS for those that speak none.
pub mod tls;
/// What services send as traces.
pub mod collector;
