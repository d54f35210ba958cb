//! One flush: all rows are written and acknowledged, then the tables are looked at, then progress is written, view by view.
//!
//! It is tried until the store takes it, each time from its first row: a store that did not answer may have been set back, and what was
//! acknowledged before that may be gone. Progress must never be written in a try in which not every row was acknowledged.

use super::metrics::Metrics;
use super::patience::Patience;
use super::sink::Sink;
use super::standing::{Standing, Standings};
use schemas::row::{Progress, Row, View};
use schemas::{Offset, Partition};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use views::Error;

/// How often the tables are looked at while there is much to read or to write: what is read and written behind a loss is in vain, and of
/// several tables that are emptied one after another the last must be noticed as well.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Rows handed to the store at once at most while a budget holds: short enough for an even pace.
const PACED_ROWS: usize = 1_000;

/// What one flush writes.
pub(super) struct Work {
    pub(super) rows: Vec<Row>,
    pub(super) partitions: Vec<PartitionWork>,
    /// Rows handed to the store at once at most.
    pub(super) chunk_rows: usize,
    /// Rows a second at most; 0: no limit.
    pub(super) pace: u32,
}

/// What one flush says of a partition.
pub(super) struct PartitionWork {
    pub(super) partition: Partition,
    /// How far the rows are once all of them are written.
    pub(super) progress: Progress,
    /// What each view's table is known to hold already.
    pub(super) standings: Standings,
    /// Whether its tables are only looked at.
    pub(super) only_look: bool,
    /// Interruptions of the store before its projection began.
    pub(super) interruptions: u64,
}

/// What became of a flush.
pub(super) enum Flushed {
    /// All of it is in the store, and how long that took beyond what the budget of rows asks for.
    Written(Vec<Written>, Duration),
    /// The tables are what they were, and there was nothing to write.
    Looked,
    /// A table has lost what was written to it.
    Lost(Partition, View),
    /// The store is not what it should be.
    Wrong(String),
    /// It was given up: its rows may be missing.
    GivenUp,
}

/// What the store says of a partition since this flush.
pub(super) struct Written {
    pub(super) partition: Partition,
    pub(super) next: Offset,
    pub(super) changelog: Offset,
    /// The lives for which it was written.
    pub(super) standings: Standings,
}

/// A flush under way.
pub(super) struct Flush {
    task: JoinHandle<Flushed>,
    /// A task that has ended must not be asked again.
    ended: Option<Flushed>,
}

impl Flush {
    pub(super) fn start<S: Sink>(
        runtime: &tokio::runtime::Handle,
        sink: S,
        work: Work,
        patience: &Patience,
        give_up: &CancellationToken,
        metrics: &Metrics,
    ) -> Self {
        let (patience, give_up, metrics) = (patience.clone(), give_up.clone(), metrics.clone());
        Self {
            task: runtime.spawn(async move { run(&sink, work, &patience, &give_up, &metrics).await }),
            ended: None,
        }
    }

    /// Waits for the end of the flush, at most `timeout`.
    pub(super) fn wait(&mut self, runtime: &tokio::runtime::Handle, timeout: Duration) {
        if self.ended.is_none() {
            let task = &mut self.task;
            let ended = runtime.block_on(async { tokio::time::timeout(timeout, task).await });
            self.ended = ended
                .ok()
                .map(|ended| ended.unwrap_or_else(|error| Flushed::Wrong(error.to_string())));
        }
    }

    /// What became of it, once it ended.
    pub(super) fn result(&mut self, runtime: &tokio::runtime::Handle) -> Option<Flushed> {
        if self.task.is_finished() {
            self.wait(runtime, Duration::ZERO);
        }
        self.ended.take()
    }
}

/// Reads what the store reflects of a partition, beginning each table's life where it has none. `None` when stopping; `Err`
/// with what is wrong with the store.
pub(super) async fn begin<S: Sink>(
    sink: &S,
    (partition, changelog_id): (Partition, Uuid),
    patience: &Patience,
    stop: &CancellationToken,
) -> Option<Result<Standings, String>> {
    let read = || async {
        let mut standings = Standings::new();
        for view in View::ALL {
            let life = sink.begin(view, partition, changelog_id).await?;
            let stored = sink.stored(view).await?;
            standings.insert(view, Standing::of(life, stored.get(&partition)));
        }
        Ok::<_, Error>(standings)
    };
    patience.until_done(stop, read).await
}

async fn run<S: Sink>(
    sink: &S,
    mut work: Work,
    patience: &Patience,
    give_up: &CancellationToken,
    metrics: &Metrics,
) -> Flushed {
    let started = Instant::now();
    let only_look = work.partitions.iter().all(|part| part.only_look);
    let (rows, pace) = (work.rows.len(), work.pace);
    let chunks = cut(sink, &mut work);
    match patience
        .until_done(give_up, || attempt(sink, &work, &chunks, patience))
        .await
    {
        None => return Flushed::GivenUp,
        Some(Err(what)) => return Flushed::Wrong(what),
        Some(Ok(Some((partition, view)))) => return Flushed::Lost(partition, view),
        Some(Ok(None)) => {}
    }
    let took = started.elapsed();
    metrics.flushed(rows, took);
    if only_look {
        return Flushed::Looked;
    }
    let written = |part: PartitionWork| Written {
        partition: part.partition,
        next: part.progress.next,
        changelog: part.progress.changelog,
        standings: part.standings,
    };
    let parts = work.partitions.into_iter().filter(|part| !part.only_look);
    let busy = took.saturating_sub(least_time(rows, pace));
    Flushed::Written(parts.map(written).collect(), busy)
}

/// Takes the rows of a flush in the order in which the store takes them best, cut into what it gets at once.
fn cut<S: Sink>(sink: &S, work: &mut Work) -> Vec<Arc<[Row]>> {
    let mut rows = std::mem::take(&mut work.rows);
    sink.arrange(&mut rows);
    let at_once = match work.pace {
        0 => work.chunk_rows,
        _ => work.chunk_rows.min(PACED_ROWS),
    };
    let mut rows = rows.into_iter();
    std::iter::from_fn(|| {
        let chunk: Arc<[Row]> = rows.by_ref().take(at_once.max(1)).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
    .collect()
}

/// Writes all of it, or says which table has lost what was written to it before.
async fn attempt<S: Sink>(
    sink: &S,
    work: &Work,
    chunks: &[Arc<[Row]>],
    patience: &Patience,
) -> Result<Option<(Partition, View)>, Error> {
    if let Some(lost) = write_rows(sink, work, chunks, patience).await? {
        return Ok(Some(lost));
    }
    // Right before progress is written: progress on top of a loss would hide it for ever.
    if let Some(lost) = find_lost(sink, work, patience).await? {
        return Ok(Some(lost));
    }
    for part in work.partitions.iter().filter(|part| !part.only_look) {
        for (view, standing) in &part.standings {
            let progress = Progress {
                birth: standing.life,
                ..part.progress.clone()
            };
            sink.write_progress(*view, part.partition, &progress).await?;
        }
    }
    Ok(None)
}

/// Writes the rows, until a table is seen to have lost what was written to it before.
async fn write_rows<S: Sink>(
    sink: &S,
    work: &Work,
    chunks: &[Arc<[Row]>],
    patience: &Patience,
) -> Result<Option<(Partition, View)>, Error> {
    let started = Instant::now();
    let mut looked = started;
    let mut done = 0_usize;
    for chunk in chunks {
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if let Some(lost) = find_lost(sink, work, patience).await? {
                return Ok(Some(lost));
            }
        }
        sink.upsert(chunk.clone()).await?;
        patience.answered();
        done += chunk.len();
        if work.pace > 0 {
            let wait = least_time(done, work.pace).saturating_sub(started.elapsed());
            tokio::time::sleep(wait).await;
        }
    }
    Ok(None)
}

/// How long so many rows have to take for the budget.
fn least_time(rows: usize, pace: u32) -> Duration {
    match pace {
        0 => Duration::ZERO,
        _ => Duration::from_secs_f64(rows as f64 / f64::from(pace)),
    }
}

async fn find_lost<S: Sink>(
    sink: &S,
    work: &Work,
    patience: &Patience,
) -> Result<Option<(Partition, View)>, Error> {
    for view in View::ALL {
        let stored = sink.stored(view).await?;
        let lost = work.partitions.iter().find(|part| {
            let interrupted = patience.interruptions() != part.interruptions;
            part.standings
                .get(&view)
                .is_some_and(|standing| standing.is_lost(stored.get(&part.partition), interrupted))
        });
        if let Some(part) = lost {
            return Ok(Some((part.partition, view)));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;
    use schemas::row::RowKey;
    use service::readiness::Readiness;
    use service::shutdown::Shutdown;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use views::Stored;

    const LIFE: Uuid = Uuid::from_u128(1);

    /// A store of which a table is emptied once it took some rows.
    #[derive(Clone, Default)]
    struct Emptied {
        taken: Arc<AtomicUsize>,
    }

    impl Sink for Emptied {
        fn arrange(&self, _: &mut [Row]) {}

        async fn upsert(&self, rows: Arc<[Row]>) -> Result<(), Error> {
            self.taken.fetch_add(rows.len(), Ordering::Relaxed);
            Ok(())
        }

        async fn begin(&self, _: View, _: Partition, _: Uuid) -> Result<Uuid, Error> {
            Ok(LIFE)
        }

        async fn write_progress(&self, _: View, _: Partition, _: &Progress) -> Result<(), Error> {
            Err(Error::Wrong("progress on top of a loss".into()))
        }

        async fn stored(&self, view: View) -> Result<BTreeMap<Partition, Stored>, Error> {
            let is_emptied = view == View::Users && self.taken.load(Ordering::Relaxed) > 1;
            let life = (!is_emptied).then_some(LIFE);
            Ok(BTreeMap::from([(Partition(0), Stored { life, progress: None })]))
        }
    }

    /// Rows that wait for their budget are written for seconds: in vain, if the table lost what it had meanwhile.
    #[tokio::test]
    async fn a_table_that_is_emptied_is_noticed_while_rows_still_wait() {
        let sink = Emptied::default();
        let key = RowKey::User {
            tenant: "default".to_owned(),
            user: "u1".to_owned(),
            day: schemas::Day(0),
        };
        let row = Row {
            key,
            partition: Partition(0),
            version: Offset(1),
            value: Vec::new(),
        };
        let stored = Stored {
            life: Some(LIFE),
            progress: None,
        };
        let standings = View::ALL.map(|view| (view, Standing::of(LIFE, Some(&stored))));
        let work = Work {
            rows: vec![row; 100],
            partitions: vec![PartitionWork {
                partition: Partition(0),
                progress: Progress::default(),
                standings: standings.into(),
                only_look: false,
                interruptions: 0,
            }],
            chunk_rows: 1,
            pace: 10,
        };
        let ready = Readiness::new(&Shutdown::new()).condition("store");
        let patience = Patience::new(ready, Duration::from_millis(1));
        let metrics = Metrics::new(&service::metrics::Registry::new().unwrap(), 1).unwrap();
        match run(&sink, work, &patience, &CancellationToken::new(), &metrics).await {
            Flushed::Lost(partition, view) => assert_eq!((partition, view), (Partition(0), View::Users)),
            _ => panic!("the loss was not seen"),
        }
        let taken = sink.taken.load(Ordering::Relaxed);
        assert!(
            taken < 50,
            "all but {} of 100 rows were written on top of it",
            100 - taken
        );
    }
}
