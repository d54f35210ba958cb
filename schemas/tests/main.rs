//! What crosses a process boundary, held against bytes of former releases, against another implementation where there
//! is one, and against bytes that nobody meant. One file per layout.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod given;
mod golden;
mod avro;
mod foreign;
mod input;
mod commit;
mod partial;
mod fresh;
mod receipt;
