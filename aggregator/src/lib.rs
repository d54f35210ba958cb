//! The aggregator: turns `events` into one chain of commit records, and the chain into the rows of the views.
//!
//! Read in this order: what one record means ([`decide`], [`fold`]), what is remembered ([`dedup`], [`uploads`]), what counts
//! ([`chain`], [`source`]), who does it ([`lane`]), and how the views follow ([`rows`], [`projector`]). The first five neither wait,
//! nor log, nor read a clock; nothing here knows which log or store it runs on.

pub mod decide;
pub mod spill;
pub mod dedup;
pub mod uploads;
pub mod fold;
pub use log::chain;
mod follow;
pub mod source;
pub mod schema;
pub mod lane;
pub mod rows;
pub mod projector;
pub mod service;
