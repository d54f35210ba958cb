//! The projector: makes the views follow the chains of the source partitions that this process owns.
//!
//! It reads the changelog by itself, applies the chain rule, adds up rows, and upserts *absolute* partials stamped with
//! the chain position that last changed them. So a repeated write is a no-op and a late one harmless; any process may
//! project, at any time. Progress is written only after every row it stands for was acknowledged.
//!
//! The changelog is its queue: while the store is away it reads no further, and memory stays bounded. A table that
//! was emptied begins a new life, whose id every progress row of it carries; its rows are then written again from the start of the chain.

mod projection;
mod flush;
mod pace;
mod standing;
mod patience;
mod sink;
mod metrics;

pub use metrics::Metrics;
pub use sink::Sink;

use crate::follow;
use crate::lane::Owned;
use crate::rows::RowsError;
use crate::spill::Spill;
use flush::{Flush, Flushed};
use log::{ChainEvent, ChainReader, LogError};
use pace::Pace;
use patience::Patience;
use projection::Projection;
use schemas::Partition;
use schemas::row::Row;
use service::readiness::Condition;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// Longest wait for the chains while nothing else is due.
const IDLE: Duration = Duration::from_millis(10);

/// How the projector works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of the generation.
    pub generation: u32,
    /// The id of its changelog.
    pub changelog_id: Uuid,
    /// Time between flushes while fresh.
    pub flush_interval: Duration,
    /// Time behind a flush while catching up or with a quarter of `dirty_rows`, and at most behind one that kept the store busy for
    /// long: rows that change often are then written less often.
    pub bulk_flush_interval: Duration,
    /// Time without news of the chains after which that is not waited for: longer than lanes mean to leave between two commits.
    pub quiet: Duration,
    /// Dirty rows beyond which no more is read before they are written.
    pub dirty_rows: usize,
    /// Rows handed to the store at once at most.
    pub chunk_rows: usize,
    /// Rows a second at most while fresh; 0: no limit. Keeps readers of the store fast.
    pub rows_per_s: u32,
    /// Rows a second at most while catching up; 0: no limit.
    pub bulk_rows_per_s: u32,
    /// Bytes of memory for rows of users, per partition.
    pub rows_memory_bytes: usize,
    /// How often the tables are asked whether they are still what they were, while nothing is written.
    pub check_interval: Duration,
    /// First wait for a store that does not answer; each further one is twice as long, up to 40 times the first.
    pub retry_wait: Duration,
}

/// The projector of one process.
pub struct Projector<S> {
    settings: Settings,
    sink: S,
    chain: Box<dyn ChainReader>,
    owned: Owned,
    spill: Spill,
    metrics: Metrics,
    patience: Patience,
    runtime: tokio::runtime::Handle,
    stop: CancellationToken,
    give_up: CancellationToken,
    /// Ends the flush under way when this is dropped: nobody waits for it then.
    _given_up: DropGuard,
    held: BTreeMap<Partition, Projection>,
    flush: Option<Flush>,
    pace: Pace,
    last_look: Instant,
}

/// What a projector is made of beside its settings.
pub struct Parts<S> {
    /// Where the rows go.
    pub sink: S,
    /// Reads the changelog.
    pub chain: Box<dyn ChainReader>,
    /// Which partitions to project.
    pub owned: Owned,
    /// The local folder.
    pub spill: Spill,
    /// What it tells of itself.
    pub metrics: Metrics,
    /// Whether the store answers.
    pub ready: Condition,
}

/// Why a projector ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Begin again with new handles.
    #[error("the projector has to begin again: {0}")]
    Again(String),
    /// A person must look.
    #[error("the projector stopped: {0}")]
    Stopped(String),
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Away(_) | LogError::Fatal(_) => Self::Again(error.to_string()),
            LogError::Wrong(what) => Self::Stopped(what),
        }
    }
}

impl From<RowsError> for Ended {
    fn from(error: RowsError) -> Self {
        Self::Again(error.to_string())
    }
}

impl<S: Sink> Projector<S> {
    /// A projector that has projected nothing yet.
    pub fn new(
        settings: Settings,
        parts: Parts<S>,
        runtime: tokio::runtime::Handle,
        stop: CancellationToken,
    ) -> Self {
        let patience = Patience::new(parts.ready, settings.retry_wait);
        let give_up = CancellationToken::new();
        Self {
            settings,
            sink: parts.sink,
            chain: parts.chain,
            owned: parts.owned,
            spill: parts.spill,
            metrics: parts.metrics,
            patience,
            runtime,
            stop,
            _given_up: give_up.clone().drop_guard(),
            give_up,
            held: BTreeMap::new(),
            flush: None,
            pace: Pace::new(Instant::now()),
            last_look: Instant::now(),
        }
    }

    /// Runs until asked to stop; then what was read is written, if the store takes it within `deadline`. Blocks its thread.
    pub fn run(mut self, deadline: Duration) -> Result<(), Ended> {
        while !self.stop.is_cancelled() {
            self.turn(IDLE)?;
        }
        let until = Instant::now() + deadline;
        // What the lanes committed last may still be on its way: the store must be left at the very end of the chain, if that can be learnt
        // in time.
        for (partition, projection) in &mut self.held {
            projection.mark = match Instant::now() < until {
                true => self.chain.mark(*partition).ok(),
                false => None,
            };
        }
        while Instant::now() < until {
            let idle = self.read(IDLE)? == 0;
            self.finish_flush()?;
            if idle && self.flush.is_none() && !self.is_catching_up() {
                if self.dirty() == 0 && self.held.values().all(Projection::is_finished) {
                    break;
                }
                self.start_flush()?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, timeout: Duration) -> Result<(), Ended> {
        self.follow_owned()?;
        if self.dirty() < self.settings.dirty_rows {
            self.read(timeout)?;
        } else {
            self.wait_for_flush(timeout);
        }
        self.finish_flush()?;
        if self.flush.is_none() {
            if self.is_due() {
                self.start_flush()?;
            } else if self.must_look() {
                self.start_look();
            }
        }
        Ok(())
    }

    /// Holds what the lanes own and nothing else.
    fn follow_owned(&mut self) -> Result<(), Ended> {
        let owned = self.owned.get();
        if owned.iter().eq(self.held.keys()) {
            return Ok(());
        }
        for (partition, _) in self
            .held
            .extract_if(.., |partition, _| !owned.contains(partition))
        {
            self.metrics.forget(partition);
        }
        for partition in owned {
            if self.held.contains_key(&partition) {
                continue;
            }
            // Counted before the store is read: what breaks meanwhile counts.
            let interruptions = self.patience.interruptions();
            let place = (partition, self.settings.changelog_id);
            let begun = flush::begin(&self.sink, place, &self.patience, &self.stop);
            let standings = match self.runtime.block_on(begun) {
                None => return Ok(()),
                Some(Err(what)) => return Err(Ended::Stopped(what)),
                Some(Ok(standings)) => standings,
            };
            let made = Projection::new(
                partition,
                self.settings.generation,
                standings,
                interruptions,
                self.settings.rows_memory_bytes,
                self.spill.clone(),
            );
            self.held.insert(partition, made);
        }
        self.follow_chains()
    }

    fn follow_chains(&mut self) -> Result<(), Ended> {
        for (partition, projection) in &mut self.held {
            projection.mark = self.chain.mark(*partition).ok();
        }
        let chains = self
            .held
            .iter()
            .map(|(partition, held)| (*partition, &held.chain));
        Ok(follow::assign(self.chain.as_mut(), chains)?)
    }

    /// Applies what came on the chains; says how much that was.
    fn read(&mut self, timeout: Duration) -> Result<usize, Ended> {
        let events = follow::poll(self.chain.as_mut(), "projector", timeout)?;
        for event in &events {
            match event {
                ChainEvent::Part {
                    partition,
                    offset,
                    bytes,
                } => {
                    if let Some(held) = self.held.get_mut(partition) {
                        held.offer(*offset, bytes)?;
                    }
                    self.pace.news(Instant::now());
                }
                ChainEvent::Reached(place) => {
                    if let Some(held) = self.held.get_mut(&place.partition) {
                        held.chain.reached(place.next);
                    }
                }
            }
        }
        for (partition, held) in &self.held {
            held.check_claims()?;
            // Also while the store takes nothing: then it grows.
            if !events.is_empty() {
                self.metrics.behind(*partition, held.behind());
            }
        }
        Ok(events.len())
    }

    fn dirty(&self) -> usize {
        self.held.values().map(|held| held.rows.dirty()).sum()
    }

    fn is_catching_up(&self) -> bool {
        self.held.values().any(Projection::is_catching_up)
    }

    /// Whether the tables are to be looked at, though nothing is written yet.
    fn must_look(&self) -> bool {
        let interval = match self.is_catching_up() {
            true => flush::LOOK,
            false => self.settings.check_interval,
        };
        self.last_look.elapsed() >= interval
    }

    fn is_due(&self) -> bool {
        let now = Instant::now();
        match self.held.values().all(Projection::is_written) {
            true => self.pace.must_look(now, &self.settings),
            false => self
                .pace
                .is_due(now, &self.settings, self.dirty(), self.is_catching_up()),
        }
    }

    fn start_flush(&mut self) -> Result<(), Ended> {
        // Before its rows are taken: with them it is not finished.
        let partitions = self.work(Projection::is_finished);
        let mut rows = Vec::with_capacity(self.dirty());
        for held in self.held.values_mut() {
            rows.extend(held.rows.take_dirty()?);
        }
        self.metrics.dirty(rows.len());
        // More than a second's budget is a backlog: it is worth more to be through with it than to spare readers.
        let backlog = self.is_catching_up() || rows.len() > self.settings.rows_per_s as usize;
        let pace = if backlog {
            self.settings.bulk_rows_per_s
        } else {
            self.settings.rows_per_s
        };
        self.pace.begun(Instant::now());
        self.begin_flush(rows, partitions, pace);
        Ok(())
    }

    /// Looks whether the tables are still what they were, and writes nothing.
    fn start_look(&mut self) {
        let partitions = self.work(|_| true);
        self.begin_flush(Vec::new(), partitions, 0);
    }

    fn work(&self, only_look: impl Fn(&Projection) -> bool) -> Vec<flush::PartitionWork> {
        let part = |(partition, held): (&Partition, &Projection)| flush::PartitionWork {
            partition: *partition,
            progress: held.progress(),
            standings: held.standings.clone(),
            only_look: only_look(held),
            interruptions: held.interruptions,
        };
        self.held.iter().map(part).collect()
    }

    fn begin_flush(&mut self, rows: Vec<Row>, partitions: Vec<flush::PartitionWork>, pace: u32) {
        let work = flush::Work {
            rows,
            partitions,
            chunk_rows: self.settings.chunk_rows,
            pace,
        };
        self.last_look = Instant::now();
        self.flush = Some(Flush::start(
            &self.runtime,
            self.sink.clone(),
            work,
            &self.patience,
            &self.give_up,
            &self.metrics,
        ));
    }

    fn wait_for_flush(&mut self, timeout: Duration) {
        if let Some(flush) = &mut self.flush {
            flush.wait(&self.runtime, timeout);
        }
    }

    fn finish_flush(&mut self) -> Result<(), Ended> {
        let Some(flushed) = self.flush.as_mut().and_then(|flush| flush.result(&self.runtime)) else {
            return Ok(());
        };
        self.flush = None;
        match flushed {
            Flushed::Looked => Ok(()),
            Flushed::Written(written, busy) => {
                self.pace.ended(Instant::now(), busy);
                // It looked at the tables right before it wrote progress.
                self.last_look = Instant::now();
                for written in written {
                    if let Some(held) = self.held.get_mut(&written.partition) {
                        held.flushed(&written);
                        self.metrics.projected(written.partition, written.next);
                        self.metrics.behind(written.partition, held.behind());
                    }
                }
                Ok(())
            }
            Flushed::Lost(partition, view) => {
                tracing::error!(%partition, view = view.name(), "a table of the view store was emptied or set back: projecting it again");
                self.metrics.emptied();
                // All of them: the rows of this flush are dropped, and the store may have lost what it took of the others.
                self.held.keys().for_each(|held| self.metrics.forget(*held));
                self.held.clear();
                self.follow_owned()
            }
            Flushed::Wrong(what) => Err(Ended::Stopped(what)),
            // Its rows are gone from here: whoever went on would write progress without them.
            Flushed::GivenUp => Err(Ended::Again("a flush was given up".into())),
        }
    }
}
