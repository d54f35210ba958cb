//! Projectors over a changelog that grows, on the store of [`crate::store`]: started again as they end, until nothing goes wrong any more and the
//! views are complete.

use crate::sim::{PARTITION, PARTITIONS, spill};
use crate::store::{Client, LANE, Process, Script, World};
use crate::truth::Truth;
use aggregator::lane::Owned;
use aggregator::projector::{Ended, Metrics, Parts, Projector, Settings};
use log::{ChainEvent, ChainReader, LogError, Place};
use schemas::{Offset, Partition};
use service::metrics::Registry;
use service::readiness::Readiness;
use service::shutdown::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A case that is not done by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the projectors of a case work.
#[derive(Clone, Debug)]
pub struct Way {
    /// Processes that project at the same time.
    pub processes: usize,
    /// What appears of the changelog, and is read, at a time.
    pub each: Each,
    /// While there is nothing to write.
    pub check_interval: Duration,
    /// The interval of flushes, the one for much, and the time without news.
    pub intervals: [Duration; 3],
    pub dirty_rows: usize,
    pub chunk_rows: usize,
    pub rows_memory_bytes: usize,
}

/// What is read at a time.
#[derive(Clone, Copy, Debug)]
pub enum Each {
    /// So many slots.
    Slots(usize),
    /// One commit record, once what came before it was flushed.
    Record,
}

impl Way {
    fn settings(&self) -> Settings {
        Settings {
            generation: 1,
            changelog_id: Uuid::nil(),
            flush_interval: self.intervals[0],
            bulk_flush_interval: self.intervals[1],
            quiet: self.intervals[2],
            dirty_rows: self.dirty_rows,
            chunk_rows: self.chunk_rows,
            rows_per_s: 0,
            bulk_rows_per_s: 0,
            rows_memory_bytes: self.rows_memory_bytes,
            check_interval: self.check_interval,
            retry_wait: Duration::from_micros(50),
        }
    }
}

/// A changelog that grows as it is read.
struct Changelog {
    slots: Vec<Option<Vec<u8>>>,
    /// Behind each commit record on the chain.
    ends: Vec<usize>,
    shown: AtomicUsize,
    each: Each,
}

struct Reader {
    log: Arc<Changelog>,
    next: Option<usize>,
    /// The process's flushes when it was last given something.
    flushes: Option<u64>,
    client: Client,
}

impl Reader {
    /// Behind what may be read now.
    fn limit(&mut self, from: usize) -> usize {
        let slots = self.log.slots.len();
        match self.log.each {
            Each::Slots(count) => {
                let shown = self.log.shown.fetch_add(count, Ordering::Relaxed);
                (from + count).min(shown).min(slots)
            }
            Each::Record => {
                let flushes = self.client.world.lock().unwrap().flushes(self.client.process);
                if self.flushes == Some(flushes) {
                    return from;
                }
                self.flushes = Some(flushes);
                let end = self.log.ends.iter().find(|end| **end > from);
                end.copied().unwrap_or(slots)
            }
        }
    }
}

impl ChainReader for Reader {
    fn assign(&mut self, places: &[Place]) -> Result<(), LogError> {
        self.next = places.first().map(|place| place.next.0 as usize);
        self.flushes = None;
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Result<Vec<ChainEvent>, LogError> {
        if self.client.world.lock().unwrap().is_dead(self.client.process) {
            return Err(LogError::Fatal("this process is no more".into()));
        }
        std::thread::yield_now();
        let Some(from) = self.next else {
            return Ok(Vec::new());
        };
        let to = self.limit(from);
        if to <= from {
            return Ok(Vec::new());
        }
        self.next = Some(to);
        let part = |offset: usize| {
            let bytes = self.log.slots[offset].clone()?;
            let offset = Offset(offset as u64);
            Some(ChainEvent::Part {
                partition: PARTITION,
                offset,
                bytes,
            })
        };
        let next = Offset(to as u64);
        let reached = ChainEvent::Reached(Place {
            partition: PARTITION,
            next,
        });
        Ok((from..to).filter_map(part).chain([reached]).collect())
    }

    fn mark(&mut self, _: Partition) -> Result<Offset, LogError> {
        let shown = match self.log.each {
            Each::Slots(_) => self.log.shown.load(Ordering::Relaxed),
            Each::Record => usize::MAX,
        };
        Ok(Offset(shown.min(self.log.slots.len()) as u64))
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let make = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
    };
    RUNTIME.get_or_init(|| make().unwrap())
}

type Thread = JoinHandle<Result<(), Ended>>;

/// Starts one process's projector.
fn start(world: &Arc<Mutex<World>>, log: &Arc<Changelog>, way: &Way) -> Thread {
    let stop = CancellationToken::new();
    let owned = Owned::default();
    owned.take(PARTITION, LANE);
    let process = Process {
        stop: stop.clone(),
        owned: owned.clone(),
        flushes: 0,
    };
    let process = world.lock().unwrap().join(process);
    let client = Client {
        world: world.clone(),
        process,
    };
    let reader = Reader {
        log: log.clone(),
        next: None,
        flushes: None,
        client: client.clone(),
    };
    let parts = Parts {
        sink: client,
        chain: Box::new(reader),
        owned,
        spill: spill(),
        metrics: Metrics::new(&Registry::new().unwrap(), PARTITIONS).unwrap(),
        ready: Readiness::new(&Shutdown::new()).condition("store"),
    };
    let projector = Projector::new(way.settings(), parts, runtime().handle().clone(), stop);
    std::thread::spawn(move || projector.run(Duration::from_millis(50)))
}

/// Fills the views from one chain, and then starts a projector that reads another one; how it ends.
pub fn run_over(slots: Vec<Option<Vec<u8>>>, other: Vec<Option<Vec<u8>>>, way: &Way) -> Result<(), Ended> {
    let changelog = |slots: Vec<Option<Vec<u8>>>| {
        Arc::new(Changelog {
            ends: Truth::of(&slots).ends,
            slots,
            shown: AtomicUsize::new(0),
            each: way.each,
        })
    };
    let world = World::new(Truth::of(&slots), Box::new(|_, _| None));
    let world = Arc::new(Mutex::new(world));
    let first = start(&world, &changelog(slots), way);
    let began = Instant::now();
    while !world.lock().unwrap().is_complete() {
        assert!(began.elapsed() < PATIENCE, "{}", world.lock().unwrap().summary());
        std::thread::sleep(Duration::from_micros(200));
    }
    world.lock().unwrap().end();
    let _ = first.join().unwrap();
    // A flush lets the next record be read, so by then all of them were.
    let flushes = 2 * other.len() as u64 + 2;
    let second = start(&world, &changelog(other), way);
    while !second.is_finished() && world.lock().unwrap().flushes(1) < flushes {
        assert!(began.elapsed() < PATIENCE, "{}", world.lock().unwrap().summary());
        std::thread::sleep(Duration::from_micros(200));
    }
    world.lock().unwrap().end();
    second.join().unwrap()
}

/// Runs projectors until nothing goes wrong any more and the views are complete; says what must never be.
pub fn run(slots: Vec<Option<Vec<u8>>>, script: Script, way: &Way) -> Result<(), String> {
    let truth = Truth::of(&slots);
    let log = Arc::new(Changelog {
        slots,
        ends: truth.ends.clone(),
        shown: AtomicUsize::new(0),
        each: way.each,
    });
    let world = Arc::new(Mutex::new(World::new(truth, script)));
    let mut processes: Vec<Thread> = Vec::new();
    let began = Instant::now();
    let result = loop {
        let (over, living): (Vec<_>, Vec<_>) = processes.drain(..).partition(JoinHandle::is_finished);
        processes = living;
        let stopped = over.into_iter().map(|process| process.join().unwrap());
        if let Some(Err(Ended::Stopped(what))) = stopped.into_iter().find(|ended| ended.is_err()) {
            break Err(what);
        }
        while processes.len() < way.processes {
            processes.push(start(&world, &log, way));
        }
        let mut world = world.lock().unwrap();
        world.give_back();
        if world.is_calm() {
            world.settle();
        }
        match world.faults.first() {
            Some(fault) => break Err(fault.clone()),
            None if world.is_calm() && world.is_complete() => break Ok(()),
            None if began.elapsed() > PATIENCE => break Err(world.summary()),
            None => {}
        }
        drop(world);
        std::thread::sleep(Duration::from_micros(200));
    };
    world.lock().unwrap().end();
    for process in processes {
        let _ = process.join().unwrap();
    }
    let fault = world.lock().unwrap().faults.first().cloned();
    fault.map_or(result, Err)
}
