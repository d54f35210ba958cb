//! The audit: reads the raw log from its first offset with a fold of its own, and compares what it concludes with the chain,
//! and what must follow with every row of every view.
//!
//! It shares with the aggregator what bytes mean (crate `schemas`) and nothing else: its own chain rule, its own memory of
//! keys (by BLAKE3, not by the generation's hashes), its own sums. What both get wrong in the same way would have to be
//! wrong in the definition. It only reads.

mod record; // what one record is
mod seen; // which keys were counted, with which content
mod names; // users and types, each once in memory
mod uploads; // uploads: ledgers, facts, copies that must be there
mod tries; // tries to redrive dead letters
mod rows; // the rows that must be
mod sketches; // the sketches of distinct users that must be
mod positions; // where a user's events must lie
mod fold; // records in, outcomes and rows out
mod chain; // the chain rule, and whether the chain keeps it
mod outcomes; // outcomes as the chain says them
mod partition; // one source partition: its chain beside its records
mod compare; // every row of every view
mod progress; // the views' own word on how far they are
mod look; // the whole
mod report; // what was found

pub use look::{CouldNotLook, Settings, Step, World, audit};
pub use report::{Difference, Differences, PartitionReport, Report, RowFault};
