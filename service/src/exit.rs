//! Exit codes of `tidemark`, after BSD's `sysexits.h` where that has a word for it.
//!
//! Scripts and supervisors branch on these numbers, so a number is never given a second meaning. Numbers below 64 are a
//! command's own: those here are the audit's, and `send` has others, in `send/src/exit.rs`.
//! Use: `std::process::ExitCode::from(exit::USAGE)`.

/// Everything asked for was done; for an audit: no differences.
pub const OK: u8 = 0;
/// An audit or comparison looked at everything and found differences.
pub const DIFFERENCES: u8 = 1;
/// An audit or comparison could not look, so it knows nothing: never to be read as "no differences".
pub const COULD_NOT_LOOK: u8 = 2;
/// The command line is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// The configuration is wrong; the same number as [`USAGE`], since both are mended by whoever starts the program.
pub const CONFIG: u8 = 64;
/// The input is wrong: lines were refused, a file is malformed (`EX_DATAERR`).
pub const DATA: u8 = 65;
/// An input file is missing or cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// Something needed does not answer: broker, store, registry, server (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A bug: an invariant was seen broken (`EX_SOFTWARE`).
pub const SOFTWARE: u8 = 70;
/// The disk failed or is full (`EX_IOERR`).
pub const IO: u8 = 74;
/// Stopped half way, by a deadline; starting again continues (`EX_TEMPFAIL`).
pub const TEMPORARY: u8 = 75;
/// A second signal ended the program before its drain was done (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;
