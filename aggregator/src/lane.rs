//! A lane: one thread, one member of the group, one transactional producer, and its source partitions.
//!
//! The loop polls, decides, folds, sends one transaction, reads back. It never blocks for long on anything but its
//! own commit, so membership of the group does not hang on a slow registry or a long restore.

mod metrics;
mod held;
mod commit;
mod readback;
mod outbox;

use commit::What;
pub use metrics::Metrics;

use crate::decide::{Decision, decide};
use crate::fold::Rules;
use crate::schema::{Answer, LaneWaits, Schemas, Waits};
use crate::source::{Fault, Source};
use crate::spill::Spill;
use held::{Held, Phase};
use log::{Appender, ChainReader, Lane as Member, LaneEvent, LogError, LogReader, RecordBatch};
use schemas::Partition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Longest wait for the group while nothing else is due.
const IDLE: Duration = Duration::from_millis(50);
/// Longest wait for the group while a batch waits to be read back or a source is being restored.
const BUSY: Duration = Duration::from_millis(2);
/// Bytes of conclusions after which a batch is closed whatever its age: below what a transaction should hold.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How a lane works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this lane in commit records and logs.
    pub name: String,
    /// Age at which a batch is closed while the lane is fresh.
    pub commit_interval: Duration,
    /// Age at which a batch is closed while the lane is far behind.
    pub bulk_commit_interval: Duration,
    /// Records behind which a lane is far behind.
    pub bulk_lag_records: u64,
    /// Records of one partition in one batch at most.
    pub batch_records: u64,
    /// Batches sent and not read back at most, per partition.
    pub pipeline: usize,
    /// How long a transaction may be open: what is open for longer hangs.
    pub hanging_after: Duration,
    /// Bytes of memory for the dedup index of one partition.
    pub dedup_memory_bytes: usize,
    /// Keys of one partition at most; the lane stops rather than forget. `u64::MAX`: no limit.
    pub dedup_max_keys: u64,
    /// How long to try to finish what is in hand when asked to stop.
    pub drain_deadline: Duration,
}

/// What a lane works with. Built anew when the log refuses a handle.
pub struct Parts {
    /// Member of the group and transactional producer.
    pub member: Box<dyn Member>,
    /// Reads the changelog.
    pub chain: Box<dyn ChainReader>,
    /// Reads `events` at chosen places.
    pub reader: Box<dyn LogReader>,
    /// Writes copies of misplaced and of released records.
    pub appender: Arc<dyn Appender>,
    /// Asks the registry for schema ids.
    pub questions: SyncSender<u32>,
    /// The registry's answers.
    pub answers: Receiver<(u32, Answer)>,
    /// Where the lane says what it owns, for the projector.
    pub owned: Owned,
}

/// The source partitions that the lanes of this process own, and which of them does; cheap to clone.
///
/// A lane that was frozen may hear that it lost a partition when another one has it already, so each lets go of its own alone.
#[derive(Clone, Debug, Default)]
pub struct Owned(Arc<Mutex<BTreeMap<Partition, String>>>);

impl Owned {
    /// What is owned now.
    pub fn get(&self) -> BTreeSet<Partition> {
        self.lock().keys().copied().collect()
    }

    /// From now on this lane owns a partition, whoever did before.
    pub fn take(&self, partition: Partition, lane: &str) {
        self.lock().insert(partition, lane.to_owned());
    }

    /// This lane owns a partition no more; another's stays. Whether it was this lane's.
    pub fn let_go(&self, partition: Partition, lane: &str) -> bool {
        let mut owned = self.lock();
        let is_own = owned.get(&partition).is_some_and(|owner| owner == lane);
        if is_own {
            owned.remove(&partition);
        }
        is_own
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Partition, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a lane ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Its handles are of no use any more: build new ones and run again.
    #[error("the lane has to begin again: {0}")]
    Again(String),
    /// A person must look before anything may be counted on.
    #[error("the lane stopped: {0}")]
    Stopped(String),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Log(error) => error.into(),
            Fault::Spill(error) => Self::Again(error.to_string()),
        }
    }
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Away(_) | LogError::Fatal(_) => Self::Again(error.to_string()),
            LogError::Wrong(what) => Self::Stopped(what),
        }
    }
}

/// One lane while it runs.
pub struct Lane {
    settings: Settings,
    rules: Arc<Rules>,
    schemas: Schemas,
    tools: Tools,
    parts: Parts,
    held: BTreeMap<Partition, Held>,
    waits: LaneWaits,
    /// Since when something waits to be sent.
    opened: Option<Instant>,
    hanging_looked: Instant,
}

/// What all lanes of a process share.
#[derive(Clone)]
pub struct Tools {
    /// The local folder.
    pub spill: Spill,
    /// What the lanes tell of themselves.
    pub metrics: Metrics,
    /// Who waits for the registry.
    pub waits: Waits,
    /// Drives what is written to `events`.
    pub runtime: tokio::runtime::Handle,
    /// Asks the lanes to stop.
    pub stop: CancellationToken,
}

impl Lane {
    /// A lane that owns nothing yet.
    pub fn new(
        settings: Settings,
        rules: Arc<Rules>,
        own_schema: Option<u32>,
        tools: Tools,
        parts: Parts,
    ) -> Self {
        Self {
            waits: tools.waits.lane(&settings.name),
            settings,
            rules,
            schemas: Schemas::new(own_schema),
            tools,
            parts,
            held: BTreeMap::new(),
            opened: None,
            hanging_looked: Instant::now(),
        }
    }

    /// Runs until asked to stop, then drains. Blocks its thread.
    pub fn run(mut self) -> Result<(), Ended> {
        let ended = self.turn_until_stopped();
        // At a stop the projector keeps them: it has yet to write what was committed last.
        if !self.tools.stop.is_cancelled() {
            for partition in self.held.keys() {
                if self.parts.owned.let_go(*partition, &self.settings.name) {
                    self.tools.metrics.forget(*partition);
                }
            }
        }
        self.held.clear();
        self.parts.member.close();
        ended
    }

    fn turn_until_stopped(&mut self) -> Result<(), Ended> {
        while !self.tools.stop.is_cancelled() {
            self.turn()?;
        }
        let deadline = Instant::now() + self.settings.drain_deadline;
        self.commit(What::All)?;
        while self.held.values().any(|held| held.source.in_flight() > 0) && Instant::now() < deadline {
            self.read_back(BUSY)?;
        }
        Ok(())
    }

    /// One turn of the loop.
    fn turn(&mut self) -> Result<(), Ended> {
        self.read_back(if self.is_full() { BUSY } else { Duration::ZERO })?;
        self.start_restored()?;
        self.learn_schemas()?;
        self.send_due()?;
        if self.is_due() {
            self.commit(What::Due)?;
        }
        self.ask_lag();
        self.end_hanging()?;
        self.wait_for_held_back()?;
        if self.is_full() {
            return Ok(());
        }
        let timeout = self.timeout();
        match self.parts.member.poll(timeout) {
            Ok(event) => self.handle(event),
            Err(LogError::Away(reason)) => {
                tracing::warn!(lane = self.settings.name, reason, "the event log is away");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How long the group may be waited for.
    fn timeout(&self) -> Duration {
        let waits = self
            .held
            .values()
            .any(|held| held.source.in_flight() > 0 || held.is_restoring());
        let idle = if waits { BUSY } else { IDLE };
        match self.opened.filter(|_| self.may_send()) {
            Some(opened) => idle.min(self.interval().saturating_sub(opened.elapsed())),
            None => idle,
        }
    }

    fn handle(&mut self, event: LaneEvent) -> Result<(), Ended> {
        match event {
            LaneEvent::Idle => Ok(()),
            LaneEvent::Assigned(partitions) => {
                tracing::info!(lane = self.settings.name, ?partitions, "assigned");
                for partition in partitions {
                    // Not where it only begins again: it may have lost it to another lane and not have heard of it yet.
                    self.parts.owned.take(partition, &self.settings.name);
                    self.hold(partition);
                }
                self.follow_chains()
            }
            LaneEvent::Revoked(partitions) => {
                tracing::info!(lane = self.settings.name, ?partitions, "revoked");
                // What is in hand is sent before it is let go; what does not hold is folded again by the next owner.
                self.commit(What::All)?;
                self.let_go(&partitions)?;
                Ok(self.parts.member.release(&partitions)?)
            }
            LaneEvent::Lost(partitions) => {
                tracing::warn!(lane = self.settings.name, ?partitions, "lost");
                self.let_go(&partitions)?;
                Ok(self.parts.member.release(&partitions)?)
            }
            LaneEvent::Records(batch) => self.fold(&batch),
        }
    }

    /// Folds what came of one partition.
    fn fold(&mut self, batch: &RecordBatch) -> Result<(), Ended> {
        let partition = batch.partition;
        let Some(held) = self.held.get_mut(&partition) else {
            return Ok(());
        };
        if !held.is_running() {
            return Ok(());
        }
        let before = held.source.ledger();
        for record in batch.iter() {
            if record.offset < held.source.next() {
                continue;
            }
            if let (Some(_), Some(value)) = (record.redrive, record.value) {
                self.schemas.ask_again(value, Instant::now());
            }
            let decision = decide(&record, partition, self.rules.partitions, &self.schemas);
            if let Decision::NeedsSchema(id) = decision {
                held.phase = Phase::NeedsSchema { id, asked: None };
                self.parts.member.pause(partition)?;
                break;
            }
            held.source.fold(&record, decision).map_err(Fault::from)?;
            if let Some(traceparent) = record.trace {
                held.folded_traced(partition, record.offset, traceparent);
            }
        }
        held.source.set_leader_epoch(batch.leader_epoch);
        self.tools
            .metrics
            .folded(partition, batch.len(), &before, &held.source.ledger());
        let (keys, spilled, bytes) = held.source.dedup_size();
        self.tools.metrics.dedup(partition, keys, spilled, bytes);
        let limit = self.settings.dedup_max_keys;
        if keys >= limit - limit / 5 && !held.warned {
            held.warned = true;
            tracing::warn!(%partition, keys, limit, "the dedup index is nearly full; at the limit dedup_max_keys the lane stops");
        }
        if keys >= limit {
            return Err(Ended::Stopped(format!(
                "partition {partition} remembers {keys} keys, the limit dedup_max_keys: raise it; nothing is forgotten silently"
            )));
        }
        if self.opened.is_none() {
            self.opened = Some(Instant::now());
        }
        Ok(())
    }

    /// Begins to hold a partition: its state is read from the chain.
    fn hold(&mut self, partition: Partition) {
        let source = Source::new(
            partition,
            self.rules.clone(),
            self.settings.dedup_memory_bytes,
            self.tools.spill.clone(),
        );
        self.held.insert(partition, Held::restoring(source));
    }

    fn let_go(&mut self, partitions: &[Partition]) -> Result<(), Ended> {
        for partition in partitions {
            self.held.remove(partition);
            if self.parts.owned.let_go(*partition, &self.settings.name) {
                self.tools.metrics.forget(*partition);
            }
        }
        self.follow_chains()
    }
}

#[cfg(test)]
mod tests;
