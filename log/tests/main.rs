//! Scenarios of the log: each on the real broker, or on a folder of its own.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod kafka_support;
mod kafka_foreign;
mod kafka_commits;
mod kafka_dead_letters;
mod kafka_hanging;
mod kafka_groups;
mod kafka_appends;
mod kafka_reader;
mod kafka_admin;
mod embedded_fixture;
mod embedded_reads;
mod embedded_lane;
mod embedded_tail;
mod embedded_power;
mod embedded_full;
mod embedded_folder;
mod embedded_speed;
