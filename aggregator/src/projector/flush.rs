//! One flush: all rows are written and acknowledged, then progress, view by view. It tries until the store takes it.

use super::projection::Projected;
use super::sink::Sink;
use prometheus::{Histogram, IntCounter, IntGauge};
use schemas::row::{Progress, Row, View};
use schemas::{Offset, Partition};
use service::metrics::{Error as MetricsError, Family, Label, Registry, SECONDS};
use service::readiness::Condition;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use views::Error;

/// Rows handed to the store at once.
const CHUNK_ROWS: usize = 20_000;
/// Rows handed to the store at once while a budget holds: short enough for an even pace.
const PACED_ROWS: usize = 1_000;
/// Waits between tries while the store is away: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What one flush writes.
pub(super) struct Work {
    pub(super) rows: Vec<Row>,
    pub(super) progress: Vec<PartitionWork>,
    /// Whether to look first if the tables are still what they were.
    pub(super) check: bool,
    /// Rows a second at most; 0: no limit.
    pub(super) pace: u32,
}

/// What one flush says of a partition.
pub(super) struct PartitionWork {
    pub(super) partition: Partition,
    pub(super) progress: Progress,
    /// The life of each view's table.
    pub(super) births: BTreeMap<View, Uuid>,
    /// Next offsets on `events` and on the changelog that were written last.
    pub(super) written: Option<(Offset, Offset)>,
}

/// What became of a flush.
pub(super) enum Flushed {
    /// All of it is in the store: next offsets on `events` and on the changelog by partition.
    Written(Vec<(Partition, (Offset, Offset))>),
    /// A table has lost what was written to it.
    Emptied(Partition, View),
    /// The store is not what it should be.
    Wrong(String),
    /// The process is stopping.
    Stopped,
}

/// A flush under way.
pub(super) struct Flush {
    task: JoinHandle<Flushed>,
}

impl Flush {
    pub(super) fn start<S: Sink>(
        runtime: &tokio::runtime::Handle,
        sink: S,
        work: Work,
        ready: &Condition,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> Self {
        let (ready, metrics, stop) = (ready.clone(), metrics.clone(), stop.clone());
        Self {
            task: runtime.spawn(async move { run(&sink, work, &ready, &metrics, &stop).await }),
        }
    }

    /// Waits for the end of the flush, at most `timeout`.
    pub(super) fn wait(&mut self, runtime: &tokio::runtime::Handle, timeout: Duration) {
        let task = &mut self.task;
        let _ = runtime.block_on(async {
            tokio::time::timeout(timeout, async {
                while !task.is_finished() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await
        });
    }

    /// What became of it, once it ended.
    pub(super) fn result(&mut self, runtime: &tokio::runtime::Handle) -> Option<Flushed> {
        if !self.task.is_finished() {
            return None;
        }
        Some(
            runtime
                .block_on(&mut self.task)
                .unwrap_or_else(|error| Flushed::Wrong(error.to_string())),
        )
    }
}

/// Reads what the store reflects of a partition, beginning each table's life where it has none. `None` when stopping.
pub(super) async fn begin<S: Sink>(
    sink: &S,
    partition: Partition,
    ready: &Condition,
    stop: &CancellationToken,
) -> Option<Projected> {
    let mut projected = Projected::new();
    for view in View::ALL {
        let birth = until_done(ready, stop, || sink.begin(view, partition))
            .await?
            .ok()?;
        let progress = until_done(ready, stop, || sink.progress(view)).await?.ok()?;
        let next = progress
            .get(&partition)
            .map_or(Offset(0), |progress| progress.next);
        projected.insert(view, (birth, next));
    }
    Some(projected)
}

async fn run<S: Sink>(
    sink: &S,
    work: Work,
    ready: &Condition,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Flushed {
    let started = Instant::now();
    if work.check {
        match until_done(ready, stop, || emptied(sink, &work)).await {
            None => return Flushed::Stopped,
            Some(Err(what)) => return Flushed::Wrong(what),
            Some(Ok(Some((partition, view)))) => return Flushed::Emptied(partition, view),
            Some(Ok(None)) => {}
        }
    }
    let count = work.rows.len();
    if let Err(flushed) = write_rows(sink, work.rows, work.pace, ready, stop).await {
        return flushed;
    }
    let mut written = Vec::new();
    for PartitionWork {
        partition,
        mut progress,
        births,
        ..
    } in work.progress
    {
        for view in View::ALL {
            progress.birth = births.get(&view).copied().unwrap_or_default();
            match until_done(ready, stop, || sink.write_progress(view, partition, &progress)).await {
                None => return Flushed::Stopped,
                Some(Err(what)) => return Flushed::Wrong(what),
                Some(Ok(())) => {}
            }
        }
        written.push((partition, (progress.next, progress.changelog)));
    }
    metrics.flushed(count, started.elapsed());
    Flushed::Written(written)
}

async fn write_rows<S: Sink>(
    sink: &S,
    mut rows: Vec<Row>,
    pace: u32,
    ready: &Condition,
    stop: &CancellationToken,
) -> Result<(), Flushed> {
    let at_once = if pace == 0 { CHUNK_ROWS } else { PACED_ROWS };
    // Neighbours in a store partition go in one batch, so rows are put in the order of their keys.
    rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let started = Instant::now();
    let mut done = 0_usize;
    for chunk in rows.chunks(at_once) {
        match until_done(ready, stop, || sink.upsert(chunk.to_vec())).await {
            None => return Err(Flushed::Stopped),
            Some(Err(what)) => return Err(Flushed::Wrong(what)),
            Some(Ok(())) => {}
        }
        done += chunk.len();
        if pace > 0 {
            let due = Duration::from_secs_f64(done as f64 / f64::from(pace));
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
    }
    Ok(())
}

/// A table that lost what was written to it: emptied, or set back by a store that forgot acknowledged writes. Progress is written last, so
/// whoever lost a row lost the progress behind it.
async fn emptied<S: Sink>(sink: &S, work: &Work) -> Result<Option<(Partition, View)>, Error> {
    for view in View::ALL {
        let stored = sink.progress(view).await?;
        for item in &work.progress {
            let Some((next, _)) = item.written else { continue };
            if stored
                .get(&item.partition)
                .is_none_or(|stored| stored.next < next)
            {
                return Ok(Some((item.partition, view)));
            }
        }
    }
    Ok(None)
}

/// Tries until the store answers. `None` when the process stops meanwhile; `Err` with what is wrong with the store.
async fn until_done<T, F: Future<Output = Result<T, Error>>>(
    ready: &Condition,
    stop: &CancellationToken,
    mut make: impl FnMut() -> F,
) -> Option<Result<T, String>> {
    let mut wait = FIRST_WAIT;
    loop {
        match make().await {
            Ok(done) => {
                ready.ready();
                return Some(Ok(done));
            }
            Err(Error::Wrong(what)) => return Some(Err(what)),
            Err(Error::Away(reason)) => {
                ready.not_ready(format!("the view store is away: {reason}"));
                tracing::warn!(reason, "the view store is away");
            }
        }
        if stop.is_cancelled() {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// What the projector tells of itself; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    rows: IntCounter,
    dirty: IntGauge,
    seconds: Histogram,
    emptied: IntCounter,
    next: Family<IntGauge>,
    behind: Family<IntGauge>,
}

impl Metrics {
    /// Makes the metrics for `partitions` source partitions.
    pub fn new(registry: &Registry, partitions: u32) -> Result<Self, MetricsError> {
        let partition = || {
            [Label::new(
                "partition",
                (0..partitions).map(|partition| partition.to_string()),
            )]
        };
        Ok(Self {
            rows: registry.counter(
                "tidemark_projector_written_rows_total",
                "Rows written to the view store.",
            )?,
            dirty: registry.gauge("tidemark_projector_dirty_rows", "Rows of the last flush.")?,
            seconds: registry.histogram("tidemark_projector_flush_seconds", "Time of a flush.", &SECONDS)?,
            emptied: registry.counter(
                "tidemark_projector_emptied_total",
                "Tables found emptied and projected again.",
            )?,
            next: registry.gauges(
                "tidemark_projector_projected_offset",
                "Next offset that the views reflect.",
                &partition(),
            )?,
            behind: registry.gauges(
                "tidemark_projector_behind_records",
                "Records on the chain that the views do not reflect.",
                &partition(),
            )?,
        })
    }

    pub(super) fn dirty(&self, rows: usize) {
        self.dirty.set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    fn flushed(&self, rows: usize, took: Duration) {
        self.rows.inc_by(rows as u64);
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn emptied(&self) {
        self.emptied.inc();
    }

    pub(super) fn projected(&self, partition: Partition, next: Offset, read: Offset) {
        let partition = partition.to_string();
        self.next
            .get(&[&partition])
            .set(i64::try_from(next.0).unwrap_or(i64::MAX));
        self.behind
            .get(&[&partition])
            .set(i64::try_from(read.0.saturating_sub(next.0)).unwrap_or(i64::MAX));
    }
}
