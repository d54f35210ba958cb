//! Makes a CSV file of events and says what must come of it, for benchmarks, soaks and the sample of the repository.
//!
//! A row is a pure function of the seed and its number, so that a repeat can be made of any row before it without keeping
//! the file, and whose row counts is known while it is written: the first of its key. Nothing here is the product's code, so
//! that a fault of the product cannot hide in what is expected of it.

mod settings; // what to make
mod draw; // chance
mod row; // what each row is
mod text; // its bytes
mod write; // the whole file
mod expectation; // what must come of it
mod compare; // whether it did
mod sample; // the small file that the repository carries

pub use compare::{DayCount, Difference, UserCount, compare};
pub use expectation::{Expectation, Tally, Totals};
pub use row::Fault;
pub use sample::{SAMPLE_EVENTS, SAMPLE_EXPECTED, sample};
pub use settings::{EventType, Settings};
pub use write::write;
