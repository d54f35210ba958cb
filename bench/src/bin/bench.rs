//! `make bench`: how fast the product is, as a share of the bare client in the same run, and whether that holds its limits.
//! Figures of a shared machine swing, so each is a median, and processor time stands beside each rate.

use anyhow::ensure;
use bench::cost::{median, us_each};
use bench::measure::{Input, Run, embedded, observed, parts, whole};
use clap::Parser;
use std::io::Write;

/// Least share of the bare client's produce rate that the file by HTTP must reach.
const INGEST_SHARE: f64 = 0.35;
/// Least share of the bare client's consume rate that an aggregator without a store must reach.
const AGGREGATE_SHARE: f64 = 0.15;
/// Least records a second from the first byte to the views, on Kafka and the store, all on one machine.
const WHOLE_RATE: f64 = 60_000.0;
/// Most processor time that observing may take, as a share of that without.
const OVERHEAD: f64 = 1.03;
/// The same of the single process.
const EMBEDDED_RATE: f64 = 100_000.0;
/// Most that ingest may grow by while it takes the file, in bytes.
const INGEST_GROWTH: u64 = 64 * 1024 * 1024;

/// Measure Tidemark against the bare client.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows of the file.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// How often each is measured; medians are told.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Measure this alone; no limit is held against it.
    #[arg(long)]
    only: Option<Only>,
    /// Say what does not hold, and end with 0 all the same.
    #[arg(long)]
    report_only: bool,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Bare client, ingest, and an aggregator without a store.
    Parts,
    /// From CSV to views on Kafka and the store.
    Whole,
    /// From CSV to views in the single process.
    Embedded,
    /// What it costs there that metrics are read and requests are traced; at least 7 repeats.
    Observed,
}

#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, Vec<Run>)>,
}

impl Table {
    fn add(&mut self, name: &'static str, run: Run) -> anyhow::Result<()> {
        let rate = run.records as f64 / run.seconds;
        writeln!(std::io::stderr(), "{name}: {rate:.0} records/s")?;
        match self.rows.iter_mut().find(|row| row.0 == name) {
            Some(row) => row.1.push(run),
            None => self.rows.push((name, vec![run])),
        }
        Ok(())
    }

    fn median(&self, name: &str, of: impl Fn(&Run) -> f64) -> f64 {
        let runs = self.rows.iter().find(|row| row.0 == name);
        median(runs.into_iter().flat_map(|row| row.1.iter().map(&of)).collect())
    }

    fn rate(&self, name: &str) -> f64 {
        self.median(name, |run| run.records as f64 / run.seconds)
    }

    fn print(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{:<34} {:>12} {:>25} {:>9} {:>9} {:>9}",
            "median of each", "records/s", "lowest..highest", "ours us", "broker us", "store us"
        )?;
        for (name, runs) in &self.rows {
            let rates: Vec<f64> = runs.iter().map(|run| run.records as f64 / run.seconds).collect();
            let (low, high) = rates
                .iter()
                .fold((f64::MAX, 0.0), |(low, high): (f64, f64), rate| {
                    (low.min(*rate), high.max(*rate))
                });
            let cpu = |part: usize| {
                self.median(name, |run| {
                    us_each(run.cpu_s.get(part).copied().unwrap_or_default(), run.records)
                })
            };
            writeln!(
                out,
                "{name:<34} {:>12.0} {:>25} {:>9.2} {:>9.2} {:>9.2}",
                self.rate(name),
                format!("{low:.0}..{high:.0}"),
                cpu(0),
                cpu(1),
                cpu(2)
            )?;
        }
        Ok(())
    }
}

const PRODUCE: &str = "bare produce";
const CONSUME: &str = "bare consume";
const INGEST: &str = "CSV by HTTP to its answer";
const AGGREGATE: &str = "one aggregator, no store";
const WHOLE: &str = "CSV to views, Kafka and store";
const EMBEDDED: &str = "CSV to views, single process";
const OBSERVED: &str = "the same, scraped and traced";

/// Pairs of runs, one after the other in turns, since the machine's speed drifts; the median of their ratios in processor time.
fn overhead(input: &Input, repeats: usize, mut table: Table) -> anyhow::Result<()> {
    let mut ratios = Vec::new();
    for pair in 0..repeats.max(7) {
        let (plain, looked_at) = match pair % 2 {
            0 => {
                let plain = embedded(input)?;
                (plain, observed(input)?)
            }
            _ => {
                let looked_at = observed(input)?;
                (embedded(input)?, looked_at)
            }
        };
        table.add(EMBEDDED, plain)?;
        table.add(OBSERVED, looked_at)?;
        let [plain, ..] = plain.cpu_s;
        let [looked_at, ..] = looked_at.cpu_s;
        ratios.push(looked_at / plain);
    }
    table.print()?;
    let (low, high) = (
        ratios.iter().copied().fold(f64::MAX, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
    );
    let found = median(ratios);
    writeln!(
        std::io::stdout(),
        "processor time where metrics are read and requests traced: {found:.3} of that where not ({low:.3}..{high:.3}), at most {OVERHEAD}"
    )?;
    ensure!(found <= OVERHEAD, "observing costs more than it may");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let input = Input::new(arguments.rows)?;
    writeln!(
        std::io::stderr(),
        "{} rows, {} bytes",
        arguments.rows,
        input.bytes()
    )?;
    let mut table = Table::default();
    for _ in 0..arguments.repeats.max(1) {
        let is_wanted = |what| arguments.only.is_none_or(|only| only == what);
        if is_wanted(Only::Parts) {
            let parts = parts(&input)?;
            table.add(PRODUCE, parts.produce)?;
            table.add(CONSUME, parts.consume)?;
            table.add(INGEST, parts.ingest)?;
            table.add(AGGREGATE, parts.aggregate)?;
        }
        if is_wanted(Only::Whole) {
            table.add(WHOLE, whole(&input)?)?;
        }
        if is_wanted(Only::Embedded) {
            table.add(EMBEDDED, embedded(&input)?)?;
        }
    }
    if arguments.only == Some(Only::Observed) {
        return overhead(&input, arguments.repeats, table);
    }
    table.print()?;
    if arguments.only.is_some() {
        return Ok(());
    }
    let growth = table.median(INGEST, |run| run.growth as f64);
    let limits = [
        (
            "share of bare produce that CSV by HTTP reaches",
            table.rate(INGEST) / table.rate(PRODUCE),
            INGEST_SHARE,
        ),
        (
            "share of bare consume that an aggregator without store reaches",
            table.rate(AGGREGATE) / table.rate(CONSUME),
            AGGREGATE_SHARE,
        ),
        (
            "records/s to the views, Kafka and store",
            table.rate(WHOLE),
            WHOLE_RATE,
        ),
        (
            "records/s to the views, single process",
            table.rate(EMBEDDED),
            EMBEDDED_RATE,
        ),
        (
            "bytes below the limit of ingest's growth",
            INGEST_GROWTH as f64 - growth,
            0.0,
        ),
    ];
    let mut out = std::io::stdout().lock();
    let mut short = 0;
    for (what, found, least) in limits {
        let holds = found >= least;
        short += u32::from(!holds);
        writeln!(
            out,
            "{} {what}: {found:.2}, at least {least:.2}",
            if holds { "holds" } else { "SHORT" }
        )?;
    }
    ensure!(short == 0 || arguments.report_only, "{short} limits do not hold");
    Ok(())
}
