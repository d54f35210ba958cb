//! Queries through the router, on an embedded store whose rows are written by hand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, unreachable_pub)]

mod fake_log;
mod fixture;
mod fake_chain;
mod days;
mod zones;
mod buckets;
mod users;
mod receipts;
mod redrives;
mod redrive_bytes;
mod outcomes;
mod ledger;
mod dead_letters;
mod uploads;
mod upload_calls;
mod ports;
mod exports;
mod conditional;
mod canaries;
mod live_reader;
mod live;
mod top_users;
mod events;
mod distinct_users;
mod problems;
mod bad_input;
mod tenants;
