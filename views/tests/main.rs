//! What both stores must do, on each of them, and what only one can show. Cassandra's tests need `TIDEMARK_TEST_CASSANDRA`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

mod rows;
mod scenarios;
mod on_embedded;
mod embedded_only;
mod keyspace;
mod on_cassandra;
mod cassandra_only;
mod a_killed_store_comes_back;
mod what_an_upsert_costs;
