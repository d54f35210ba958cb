//! Writes a file of made-up events, and beside it what must come of it.

use anyhow::Context;
use bench::generate::{SAMPLE_EVENTS, SAMPLE_EXPECTED, Settings, Totals, sample, write};
use clap::Parser;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Make a CSV file of events, and what must come of it.
#[derive(Debug, Parser)]
#[command(name = "generate")]
struct Arguments {
    /// Rows behind the header.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// The same seed gives the same file.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Users.
    #[arg(long, default_value_t = 1_000_000)]
    users: u32,
    /// The CSV file; `-` writes to the standard output.
    #[arg(long, default_value = "events.csv")]
    out: PathBuf,
    /// The expectation; without it, none is written.
    #[arg(long)]
    expected: Option<PathBuf>,
    /// Write the repository's small sample and its expectation into this folder instead.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = "sample")]
    sample: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.sample {
        let events = folder.join(SAMPLE_EVENTS);
        return make(&sample(), &events, Some(&folder.join(SAMPLE_EXPECTED)));
    }
    let settings = Settings {
        seed: arguments.seed,
        rows: arguments.rows,
        users: arguments.users,
        ..Settings::default()
    };
    make(&settings, &arguments.out, arguments.expected.as_deref())
}

fn make(settings: &Settings, out: &Path, expected: Option<&Path>) -> anyhow::Result<()> {
    let started = Instant::now();
    let create =
        |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
    let expectation = if out == Path::new("-") {
        write(settings, &mut std::io::stdout().lock())?
    } else {
        write(settings, &mut create(out)?)?
    };
    let seconds = started.elapsed().as_secs_f64();
    if let Some(path) = expected {
        expectation.write(&mut create(path)?)?;
    }
    let Totals {
        rows,
        accepted,
        counted,
        duplicate,
        key_conflict,
        invalid,
    } = expectation.totals;
    let refused: u64 = invalid.iter().sum();
    writeln!(
        std::io::stderr(),
        "{rows} rows in {seconds:.2} s: {accepted} to be accepted ({counted} counted, {duplicate} duplicates, \
         {key_conflict} key conflicts), {refused} to be refused"
    )?;
    Ok(())
}
