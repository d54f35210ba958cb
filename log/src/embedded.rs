//! The event log of a single process: one folder of append-only segment files, no broker.
//!
//! `events`, the changelog and dead letters are all the same thing, a partition of frames with checksums, so that one rule
//! says what a torn end means. A commit record alone is the truth, so nothing else need be atomic with it. Only
//! what an fsync has made durable is ever acknowledged or read. What was acknowledged is never cut.

/// Wakes readers.
mod bell;
/// One frame: what one fsync made durable.
mod frame;
/// Records inside a frame.
mod record;
/// What is done to segment files.
mod disk;
/// Failures of a disk, for tests.
mod faults;
/// A piece of a file in memory.
mod window;
/// Goes from frame to frame.
mod walk;
/// One segment file.
mod segment;
/// What a folder holds at start, and what may be cut.
mod recover;
/// What is known of one partition.
mod partition;
/// Appends that wait.
mod queue;
/// The thread that writes one partition.
mod writer;
/// Reads one partition in order.
mod cursor;
/// The log's folder: lock, identity, generation.
mod folder;
/// Port: appends.
mod appender;
/// Port: a lane.
mod lane;
/// Port: the chain.
mod chain;
/// Port: looks at events.
mod reader;

pub use faults::{Faults, Survivor};

use crate::ports::{Appender, ChainReader, Lane, LogError, LogReader};
use bell::hold;
use disk::Disk;
use folder::{Folder, Found, Opened};
use queue::{Failure, Queue};
use recover::Access;
use schemas::generation::Generation;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Semaphore;
use uuid::Uuid;
use writer::{Orders, Writer};

/// Stack of a writer's thread, which holds no more than a few frames of calls.
const WRITER_STACK_BYTES: usize = 256 * 1024;

/// Settings of an embedded log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The log's own folder; made if it is not there.
    pub folder: PathBuf,
    /// Partitions of `events` and of the changelog. Fixed when the log is made.
    pub partitions: u32,
    /// Bytes after which a segment is followed by a new one. The last segment of each partition is read at start.
    pub segment_bytes: u64,
    /// Least milliseconds between two fsyncs of a partition of `events`, so that more appends share one. 0: as soon as
    /// the last one has ended. An append after a quiet time is never delayed, a full group neither.
    pub fsync_interval_ms: u32,
    /// Bytes of appends that may wait for the disk, in all.
    pub buffer_bytes: usize,
    /// Milliseconds after which an append is told that it is not known to be durable.
    pub append_deadline_ms: u32,
}

impl Settings {
    /// The defaults, for a log in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            partitions: 4,
            segment_bytes: 64 * 1024 * 1024,
            fsync_interval_ms: 0,
            buffer_bytes: 64 * 1024 * 1024,
            append_deadline_ms: 30_000,
        }
    }
}

/// An open log: the folder's lock, and a writing thread for each partition.
#[derive(Debug)]
pub struct EmbeddedLog {
    queues: Queues,
    room: Arc<Semaphore>,
    buffer_bytes: usize,
    append_deadline: Duration,
    writers: Mutex<Vec<(Arc<Queue>, JoinHandle<()>)>>,
    folder: Arc<Folder>,
}

#[derive(Debug, Default)]
struct Queues {
    events: Vec<Arc<Queue>>,
    changelog: Vec<Arc<Queue>>,
    dead_letters: Arc<Queue>,
}

impl EmbeddedLog {
    /// Opens the log, or makes one. Blocks while the last segments are read.
    /// [`LogError::Wrong`] if another process has it open, if the number of partitions is another, or if what
    /// was acknowledged is damaged; [`LogError::Away`] if the disk fails.
    pub fn open(settings: &Settings) -> Result<Arc<Self>, LogError> {
        Self::open_on(settings, &Disk::default())
    }

    /// Opens the log on a disk that fails as a test says.
    pub fn open_with_faults(settings: &Settings, faults: Arc<Faults>) -> Result<Arc<Self>, LogError> {
        Self::open_on(settings, &Disk::faulty(faults))
    }

    fn open_on(settings: &Settings, disk: &Disk) -> Result<Arc<Self>, LogError> {
        let access = Access::Write(disk.clone());
        let Opened {
            folder,
            events,
            changelog,
            dead_letters,
        } = Folder::open(&settings.folder, Some(settings.partitions), &access)?;
        let orders = |interval_ms: u32| Orders {
            segment_bytes: settings.segment_bytes,
            interval: Duration::from_millis(u64::from(interval_ms)),
            disk: disk.clone(),
        };
        let buffer_bytes = settings.buffer_bytes.clamp(1, u32::MAX as usize / 8);
        let mut log = Self {
            queues: Queues::default(),
            room: Arc::new(Semaphore::new(buffer_bytes)),
            buffer_bytes,
            append_deadline: Duration::from_millis(u64::from(settings.append_deadline_ms)),
            writers: Mutex::default(),
            folder: Arc::new(folder),
        };
        // If one of these fails, dropping the log stops the writers that run already.
        let events = events
            .iter()
            .map(|found| log.start(found, orders(settings.fsync_interval_ms)));
        let events = events.collect::<Result<_, _>>()?;
        let changelog = changelog
            .iter()
            .map(|found| log.start(found, orders(0)))
            .collect::<Result<_, _>>()?;
        let dead_letters = log.start(&dead_letters, orders(0))?;
        log.queues = Queues {
            events,
            changelog,
            dead_letters,
        };
        Ok(Arc::new(log))
    }

    fn start(&self, (log, found): &Found, orders: Orders) -> Result<Arc<Queue>, LogError> {
        let away = |error: std::io::Error| LogError::Away(format!("{}: {error}", log.name));
        let queue = Arc::new(Queue::default());
        let writer = Writer::new(log.clone(), queue.clone(), orders, found).map_err(away)?;
        let thread = std::thread::Builder::new()
            .name(log.name.clone())
            .stack_size(WRITER_STACK_BYTES);
        let thread = thread.spawn(|| writer.run()).map_err(away)?;
        hold(&self.writers).push((queue.clone(), thread));
        Ok(queue)
    }

    /// How many partitions `events` and the changelog have.
    pub fn partitions(&self) -> u32 {
        self.folder.identity.partitions
    }

    /// Id of the topic `events`; a log that was made anew has another.
    pub fn events_id(&self) -> Uuid {
        self.folder.identity.events_id
    }

    /// Id of the changelog.
    pub fn changelog_id(&self) -> Uuid {
        self.folder.identity.changelog_id
    }

    /// The generation record; `None` before the first.
    pub fn generation(&self) -> Result<Option<Generation>, LogError> {
        self.folder.generation()
    }

    /// Writes the generation record, whole or not at all.
    pub fn set_generation(&self, generation: &Generation) -> Result<(), LogError> {
        self.folder.set_generation(generation)
    }

    /// Appends to `events`.
    pub fn appender(self: &Arc<Self>) -> Arc<dyn Appender> {
        Arc::new(appender::EmbeddedAppender(self.clone()))
    }

    /// The handle of lane `index` of `count`: it has every partition p with p mod `count` = `index`.
    pub fn lane(self: &Arc<Self>, index: u32, count: u32) -> Box<dyn Lane> {
        Box::new(lane::EmbeddedLane::new(self.clone(), index, count))
    }

    /// A reader of the changelog.
    pub fn chain_reader(&self) -> Box<dyn ChainReader> {
        Box::new(chain::Chain::new(self.folder.clone()))
    }

    /// A reader of `events`.
    pub fn reader(&self) -> Box<dyn LogReader> {
        Box::new(reader::Reader::new(self.folder.clone()))
    }

    /// Why some partition takes nothing more until the process is started again, if so: for readiness.
    pub fn failed(&self) -> Option<String> {
        let folder = &self.folder;
        folder
            .events
            .iter()
            .chain(&folder.changelog)
            .chain([&folder.dead_letters])
            .find_map(|log| log.failed())
    }

    /// Takes no more appends, and returns when those that wait are durable. Readers go on. Safe to call twice.
    pub fn close(&self) {
        self.room.close();
        let writers = std::mem::take(&mut *hold(&self.writers));
        for (queue, _) in &writers {
            queue.close(Failure::Closed);
        }
        for (_, writer) in writers {
            // A writer that panicked has answered everybody; its panic was printed by its thread.
            drop(writer.join());
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// The log of a folder that no process has open, for the audit: changes nothing there.
#[derive(Debug)]
pub struct LogFolder(Arc<Folder>);

impl LogFolder {
    /// Opens it and holds the same lock as a process that runs. A write that the power cut short is left where it is
    /// and not shown. [`LogError::Wrong`] if there is no log, or a process has it open.
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        let opened = Folder::open(folder, None, &Access::Read)?;
        Ok(Self(Arc::new(opened.folder)))
    }

    /// How many partitions `events` and the changelog have.
    pub fn partitions(&self) -> u32 {
        self.0.identity.partitions
    }

    /// Id of the topic `events`.
    pub fn events_id(&self) -> Uuid {
        self.0.identity.events_id
    }

    /// Id of the changelog.
    pub fn changelog_id(&self) -> Uuid {
        self.0.identity.changelog_id
    }

    /// The generation record; `None` before the first.
    pub fn generation(&self) -> Result<Option<Generation>, LogError> {
        self.0.generation()
    }

    /// A reader of the changelog.
    pub fn chain_reader(&self) -> Box<dyn ChainReader> {
        Box::new(chain::Chain::new(self.0.clone()))
    }

    /// A reader of `events`.
    pub fn reader(&self) -> Box<dyn LogReader> {
        Box::new(reader::Reader::new(self.0.clone()))
    }
}
