//! All that crosses a process boundary: the event with its limits, the bytes of each record layout,
//! and the tables of the view store. Nothing here reads a clock, draws randomness, or does input or output.
//!
//! Bytes that one release writes must be readable for ever: each layout starts with a version, and
//! `tests/golden` holds bytes of every version ever released.

pub mod limits;
pub mod place;
pub mod time;
pub mod amount;
pub mod event;
pub mod input;
pub mod avro;
pub mod json;
pub mod key;
pub mod outcome;
pub mod wire;
pub mod commit;
pub mod partial;
pub mod positions;
pub mod distinct;
pub mod row;
pub mod cql;
pub mod generation;
pub mod receipt;
pub mod upload;
pub mod redrive;

pub use amount::Amount;
pub use event::{Event, Field, Invalid};
pub use outcome::{Ledger, Outcome, Reason};
pub use place::{Offset, Partition};
pub use time::{Day, Quarter, Timestamp};
