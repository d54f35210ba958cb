//! The options of `tidemark send`.

use crate::{Fault, exit};
use service::config::Secret;
use std::convert::Infallible;
use std::path::PathBuf;

/// What the slices of a file are at most, in bytes, unless asked otherwise: long enough for the log's bulk batches, short
/// enough that little is sent twice.
const SLICE_BYTES: usize = 4 * 1024 * 1024;

/// Sends files of events to a server, and can be stopped and started again.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all rows accepted; 2 some rows refused (they lie in the side file); 3 interrupted, \
    4 server not reached or gave up after all tries (in both cases the same command goes on where it stopped); 64 wrong \
    use; 65 a file is not what it should be; 66 a file cannot be read; 74 a file of our own cannot be written."
)]
pub struct Args {
    /// Files to send, one after another; patterns such as 'logs/*.csv' work where the shell leaves them alone; `-` is
    /// standard input, which cannot be resumed. gzip and zstd are told by their first bytes.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where to send.
    #[arg(
        long,
        value_name = "URL",
        env = "TIDEMARK_SERVER",
        default_value = "http://127.0.0.1:8080"
    )]
    pub(crate) server: String,
    /// Where to ask what is counted, if it is another server [default: the same].
    #[arg(long, value_name = "URL", env = "TIDEMARK_QUERY_SERVER")]
    pub(crate) query_server: Option<String>,
    /// Key to send with, where the server needs one; other users of this machine may see it, so better is TIDEMARK_KEY or --key-file.
    #[arg(long, value_name = "KEY", env = "TIDEMARK_KEY", hide_env_values = true, value_parser = secret, conflicts_with = "key_file")]
    pub(crate) key: Option<Secret>,
    /// File that holds the key and nothing else.
    #[arg(long, value_name = "FILE", env = "TIDEMARK_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// PEM file of the authorities that an https:// server's certificate is believed by, in place of the system's.
    #[arg(long, value_name = "FILE", env = "TIDEMARK_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// What the files hold.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,
    /// Rename a column (of CSV) or a field (of NDJSON) before sending, as in `--map customer=user_id`; may be repeated.
    #[arg(long, value_name = "THEIRS=OURS", value_parser = mapping)]
    pub(crate) map: Vec<(String, String)>,
    /// Check all rows, and record nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// When all is sent, wait until it is counted, and say what the server's ledger holds.
    #[arg(long)]
    pub(crate) wait: bool,
    /// State file [default: FILE.send-state]. Only with one FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Forget the state file and begin with the first row. What was counted is not counted again.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Side file for refused rows [default: FILE.refused.csv or FILE.refused.ndjson]. Only with one FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) refused: Option<PathBuf>,
    /// Most rows sent in a second.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Bytes of a slice, which is what one request holds.
    #[arg(long, value_name = "BYTES", default_value_t = SLICE_BYTES as u64, value_parser = clap::value_parser!(u64).range(1024..=64 * 1024 * 1024))]
    pub(crate) slice_bytes: u64,
    /// Slices on their way at one time. With more than one it is faster, but of two rows with one key the later may come first.
    #[arg(long, value_name = "SLICES", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    pub(crate) in_flight: u64,
    /// Seconds to go on trying when the server cannot be reached or is busy.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) retry_for: u64,
    /// Print nothing but what is wrong.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// Told by the name of the file, else by its first byte.
    Auto,
    /// CSV with a header.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// One `{"userId","name","value"}` a line, as clients of the older revenue service have them.
    LinesA,
}

impl Args {
    /// Checks what the parser cannot.
    pub(crate) fn checked(&self) -> Result<(), Fault> {
        let wrong = |text: &str| Err(Fault::new(exit::USAGE, text));
        let several = self.files.len() > 1;
        if several && (self.state.is_some() || self.refused.is_some()) {
            return wrong("--state and --refused are for one FILE");
        }
        if !self.map.is_empty() && self.format == Format::LinesA {
            return wrong("--map is not for --format lines-a, whose fields are known");
        }
        let mut theirs: Vec<&str> = self.map.iter().map(|(theirs, _)| theirs.as_str()).collect();
        theirs.sort_unstable();
        theirs.dedup();
        if theirs.len() < self.map.len() {
            return wrong("--map gives one name twice");
        }
        Ok(())
    }
}

/// A key. Neither `Debug` nor an error of the parser shows it.
pub(crate) fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((theirs, ours)) if !theirs.trim().is_empty() && !ours.trim().is_empty() => {
            Ok((theirs.trim().to_owned(), ours.trim().to_owned()))
        }
        _ => Err("must be THEIRS=OURS".to_owned()),
    }
}
