//! `tidemark send FILE...`: brings files of events to a server, and can be stopped at any point and started again.
//!
//! A file is read in slices of whole rows, and each slice is one `POST /v1/events`. When the server has said that a slice is
//! durable, the place behind it is written to a state file beside the input. Whatever ends a run, the next one goes on at
//! that place and sends again what was not acknowledged, without asking what became of it. That is harmless since each row
//! goes by the same key every time: its own; else, with a time, the hash of its content that the server makes; else one
//! that is made here of the file's digest and the row's number. No key depends on where a slice was cut.
//!
//! Read it in this order: `file` is the way of one file. `plan` says where to begin, `slices` cuts and `shape` writes
//! what is sent, `deliver` brings a slice to the server by `client`, and then `side` and `state` are written, in
//! this order.

/// The options.
mod args;
/// Exit codes.
pub mod exit;
/// Which files are meant.
mod inputs;
/// One file, from its first byte to its last acknowledgement.
mod file;
/// Where to begin.
mod plan;
/// The bytes of a file, decompressed.
mod content;
/// What makes a file the same file.
mod identity;
/// Whole rows, cut into slices.
mod slices;
/// One slice.
mod slice;
/// What a row looks like when it is sent.
mod shape;
/// CSV as it is sent.
mod csv;
/// JSON lines as they are sent.
mod json;
/// Service A's lines as events.
mod lines_a;
/// A slice, until each of its rows is accepted or refused by name.
mod deliver;
/// Calls that are tried again.
mod client;
/// The refused rows.
mod side;
/// What is remembered of a file.
mod state;
/// No faster than asked.
mod pace;
/// What a person sees meanwhile.
mod progress;
/// Waiting until all is counted.
mod wait;
/// `tidemark dead-letters`, by the same client.
pub mod letters;

pub use args::Args;

use client::Client;
use service::shutdown::Shutdown;
use std::io::Write as _;

/// Sends what `args` name, until done or until `shutdown`; gives the exit code, see [`exit`].
pub async fn run(args: &Args, shutdown: &Shutdown) -> u8 {
    let inputs = match args.checked().and_then(|()| inputs::expand(&args.files)) {
        Ok(inputs) => inputs,
        Err(fault) => return report(&fault),
    };
    let client = match Client::new(args, shutdown.clone()) {
        Ok(client) => client,
        Err(fault) => return report(&fault),
    };
    let mut code = exit::OK;
    let mut receipts = Vec::new();
    for input in &inputs {
        let ended = file::send(input, args, &client).await;
        receipts.extend(ended.receipt);
        code = exit::worse(code, ended.code);
        if matches!(ended.code, exit::INTERRUPTED | exit::UNREACHABLE) {
            break;
        }
    }
    if args.wait && !args.dry_run && matches!(code, exit::OK | exit::REFUSED) {
        code = exit::worse(code, wait::until_counted(&client, receipts, args.quiet).await);
    }
    code
}

/// Why something could not be done, and the exit code of it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// A fault of reading the input: what it holds is broken, or it cannot be read.
    pub(crate) fn reading(name: &str, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::PermissionDenied
            | std::io::ErrorKind::IsADirectory => exit::NO_INPUT,
            _ => exit::DATA,
        };
        Self::new(code, format!("{name} cannot be read: {error}"))
    }

    /// A fault of writing one of our own files.
    pub(crate) fn writing(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(exit::IO, format!("{} cannot be written: {error}", path.display()))
    }
}

pub(crate) fn report(fault: &Fault) -> u8 {
    warn(&fault.message);
    fault.code
}

/// Says something that is wrong, whatever was asked for.
pub(crate) fn warn(text: &str) {
    // Nobody may be reading: that is no reason to stop.
    let _ = writeln!(std::io::stderr(), "tidemark send: {}", plain(text));
}

/// Says what came of it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", plain(text));
}

/// Text without what a terminal would obey: names of files and columns are not ours.
fn plain(text: &str) -> String {
    let is_plain = |letter: &char| *letter == '\n' || *letter == '\t' || !letter.is_control();
    text.chars()
        .map(|letter| {
            if is_plain(&letter) {
                letter
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}
