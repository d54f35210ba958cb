//! Ingest over real TCP, with a log that tests can look into, break and hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

/// The server, the client and the log of these tests.
mod rig;
/// Every format and encoding, and the answers to what is good.
mod formats;
/// What is refused, and how that is said.
mod refusals;
/// Logs that fail, refuse, or stand still.
mod log_faults;
/// Bodies that break off, are slow, or are huge.
mod bodies;
/// Files with an identity.
mod uploads;
/// Uploads as forms, and refused ones.
mod upload_bodies;
/// Unchanged clients of an older service.
mod live_event;
/// Whose events they are.
mod access;
/// CloudEvents.
mod cloud_events;
/// Unchanged clients of another older service.
mod batches;
/// Waiting for what becomes of events.
mod outcomes;
/// Files of lines of an older service.
mod lines_a;
/// Bad input, door by door.
mod bad_input;
