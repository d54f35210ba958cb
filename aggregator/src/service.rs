//! The aggregator as a service: its lanes, its projector, and what watches over them. A lane whose handles the log refuses
//! begins again with new ones; what a person must look at stops the process.

use crate::fold::Rules;
use crate::lane::{self, Lane, Owned};
use crate::projector::{self, Projector, Sink};
use crate::schema::{Answer, Registry, Waits};
use crate::spill::{Spill, SpillError};
use log::{Appender, ChainReader, Lane as Member, LogError, LogReader};
use service::readiness::Readiness;
use service::shutdown::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Questions to the registry that may wait.
const QUESTIONS: usize = 64;
/// Wait before a lane or projector begins again, doubled up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Opens handles on a log; each lane and the projector get their own.
pub trait Handles: Send + Sync + 'static {
    /// The handle of one lane.
    fn member(&self, lane: u32) -> Result<Box<dyn Member>, LogError>;
    /// A reader of the changelog.
    fn chain(&self) -> Result<Box<dyn ChainReader>, LogError>;
    /// A reader of `events`.
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError>;
    /// Writes copies of misplaced and of released records.
    fn appender(&self) -> Result<Arc<dyn Appender>, LogError>;
    /// Asks the registry; `None` where there is no registry, as in the embedded mode.
    fn registry(&self) -> Option<Box<dyn Registry>>;
}

/// What the aggregator is made of.
pub struct Aggregator<S> {
    /// What the fold must know.
    pub rules: Arc<Rules>,
    /// The id of our own schema.
    pub own_schema: Option<u32>,
    /// How each lane works; its name gets the lane's number.
    pub lane: lane::Settings,
    /// Lanes of this process.
    pub lanes: u32,
    /// How the projector works.
    pub projector: projector::Settings,
    /// The log.
    pub handles: Arc<dyn Handles>,
    /// The view store; `None` projects nothing, to measure lanes alone.
    pub sink: Option<S>,
    /// Metrics of the lanes.
    pub lane_metrics: lane::Metrics,
    /// Metrics of the projector.
    pub projector_metrics: projector::Metrics,
}

/// A running aggregator.
pub struct Running {
    lanes: Vec<JoinHandle<()>>,
    projector: Option<JoinHandle<()>>,
    stop_lanes: CancellationToken,
    stop_projector: CancellationToken,
    fault: Fault,
}

/// Why the process must stop, if it must: the first reason counts.
#[derive(Clone, Debug, Default)]
struct Fault(Arc<Mutex<Option<String>>>);

impl Fault {
    fn set(&self, what: String, shutdown: &Shutdown) {
        tracing::error!(what, "stopping: a person must look");
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(what);
        shutdown.begin();
    }

    /// Runs what a thread is for. Whoever went on without it would take events that nobody counts.
    fn guard(&self, shutdown: &Shutdown, body: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            self.set("a thread panicked; the log says where".to_owned(), shutdown);
        }
    }
}

impl Running {
    /// Stops the lanes, then the projector, each within its deadline. Blocks. Returns why it stopped by itself, if it did.
    pub fn stop(mut self) -> Option<String> {
        self.stop_lanes.cancel();
        for thread in self.lanes.drain(..) {
            let _ = thread.join();
        }
        self.stop_projector.cancel();
        if let Some(thread) = self.projector.take() {
            let _ = thread.join();
        }
        self.fault.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S: Sink> Aggregator<S> {
    /// Starts all threads. `folder` is wiped: it holds only what does not fit in memory. `shutdown` is begun when a person must look.
    pub fn start(
        self,
        folder: &Path,
        readiness: &Readiness,
        runtime: &tokio::runtime::Handle,
        shutdown: &Shutdown,
    ) -> Result<Running, SpillError> {
        let spill = Spill::open(folder)?;
        let owned = Owned::default();
        let mut running = Running {
            lanes: Vec::new(),
            projector: None,
            stop_lanes: CancellationToken::new(),
            stop_projector: CancellationToken::new(),
            fault: Fault::default(),
        };
        let ready = readiness.condition("lanes").of_each();
        let registry = self.handles.registry();
        let registry = registry.map(|_| readiness.condition("registry").of_each());
        let waits = Waits::new(self.lane_metrics.waiting.clone(), registry);
        for number in 0..self.lanes {
            let watch = LaneWatch {
                number,
                settings: lane::Settings {
                    name: format!("{}-{number}", self.lane.name),
                    ..self.lane.clone()
                },
                rules: self.rules.clone(),
                own_schema: self.own_schema,
                handles: self.handles.clone(),
                spill: spill.clone(),
                metrics: self.lane_metrics.clone(),
                waits: waits.clone(),
                owned: owned.clone(),
                ready: ready.clone(),
                runtime: runtime.clone(),
                stop: running.stop_lanes.clone(),
            };
            let (fault, shutdown) = (running.fault.clone(), shutdown.clone());
            running.lanes.push(spawn(format!("lane-{number}"), move || {
                fault.guard(&shutdown, || watch.run(&fault, &shutdown));
            }));
        }
        if let Some(sink) = self.sink {
            let watch = ProjectorWatch {
                settings: self.projector,
                sink,
                handles: self.handles,
                owned,
                spill,
                metrics: self.projector_metrics,
                ready: readiness.condition("store"),
                runtime: runtime.clone(),
                stop: running.stop_projector.clone(),
                drain: self.lane.drain_deadline,
            };
            let (fault, shutdown) = (running.fault.clone(), shutdown.clone());
            running.projector = Some(spawn("projector".into(), move || {
                fault.guard(&shutdown, || watch.run(&fault, &shutdown));
            }));
        }
        Ok(running)
    }
}

#[expect(
    clippy::expect_used,
    reason = "a process that cannot start a thread at its start cannot serve"
)]
fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .expect("the system starts a thread")
}

/// Keeps one lane running.
struct LaneWatch {
    number: u32,
    settings: lane::Settings,
    rules: Arc<Rules>,
    own_schema: Option<u32>,
    handles: Arc<dyn Handles>,
    spill: Spill,
    metrics: lane::Metrics,
    waits: Waits,
    owned: Owned,
    ready: service::readiness::Each,
    runtime: tokio::runtime::Handle,
    stop: CancellationToken,
}

impl LaneWatch {
    fn run(&self, fault: &Fault, shutdown: &Shutdown) {
        let _in_runtime = self.runtime.enter();
        let mut wait = FIRST_WAIT;
        while !self.stop.is_cancelled() {
            let started = std::time::Instant::now();
            match self.once() {
                Ok(()) => return,
                Err(lane::Ended::Stopped(what)) => return fault.set(what, shutdown),
                Err(lane::Ended::Again(reason)) => {
                    tracing::warn!(lane = self.settings.name, reason, "a lane begins again");
                    let name = &self.settings.name;
                    self.ready
                        .not_ready(name, format!("lane {name} begins again: {reason}"));
                }
            }
            if started.elapsed() > LAST_WAIT * 4 {
                wait = FIRST_WAIT;
            }
            pause(&self.runtime, &self.stop, wait);
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    fn once(&self) -> Result<(), lane::Ended> {
        let member = self.handles.member(self.number)?;
        let chain = self.handles.chain()?;
        let reader = self.handles.reader()?;
        let appender = self.handles.appender()?;
        let (questions, answers) = self.ask_registry();
        let parts = lane::Parts {
            member,
            chain,
            reader,
            appender,
            questions,
            answers,
            owned: self.owned.clone(),
        };
        let (rules, spill) = (self.rules.clone(), self.spill.clone());
        let tools = lane::Tools {
            spill,
            metrics: self.metrics.clone(),
            waits: self.waits.clone(),
            runtime: self.runtime.clone(),
            stop: self.stop.clone(),
        };
        let lane = Lane::new(self.settings.clone(), rules, self.own_schema, tools, parts);
        // One that ends again at once was never ready.
        let (ready, name) = (self.ready.clone(), self.settings.name.clone());
        let calm = self.runtime.spawn(async move {
            tokio::time::sleep(LAST_WAIT).await;
            ready.ready(&name);
        });
        let ended = lane.run();
        calm.abort();
        // What it says must not come behind what is said of this end.
        let _ = self.runtime.block_on(calm);
        ended
    }

    /// The thread that asks the registry for this lane.
    fn ask_registry(&self) -> (SyncSender<u32>, Receiver<(u32, Answer)>) {
        let (ask, questions) = sync_channel::<u32>(QUESTIONS);
        let (answer, answers) = sync_channel(QUESTIONS);
        let registry = self.handles.registry();
        let runtime = self.runtime.clone();
        spawn(format!("registry-{}", self.number), move || {
            let _in_runtime = runtime.enter();
            let mut registry = registry;
            while let Ok(id) = questions.recv() {
                let said = registry
                    .as_mut()
                    .map_or(Answer::Unknown, |registry| registry.fetch(id));
                if let Answer::Away(reason) = &said {
                    tracing::warn!(id, reason, "the schema registry is away: waiting");
                }
                if answer.send((id, said)).is_err() {
                    return;
                }
            }
        });
        (ask, answers)
    }
}

/// Keeps the projector running.
struct ProjectorWatch<S> {
    settings: projector::Settings,
    sink: S,
    handles: Arc<dyn Handles>,
    owned: Owned,
    spill: Spill,
    metrics: projector::Metrics,
    ready: service::readiness::Condition,
    runtime: tokio::runtime::Handle,
    stop: CancellationToken,
    drain: Duration,
}

impl<S: Sink> ProjectorWatch<S> {
    fn run(&self, fault: &Fault, shutdown: &Shutdown) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.once() {
                Ok(()) => return,
                Err(projector::Ended::Stopped(what)) => return fault.set(what, shutdown),
                Err(projector::Ended::Again(reason)) => tracing::warn!(reason, "the projector begins again"),
            }
            if self.stop.is_cancelled() {
                return;
            }
            pause(&self.runtime, &self.stop, wait);
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    fn once(&self) -> Result<(), projector::Ended> {
        let parts = projector::Parts {
            sink: self.sink.clone(),
            chain: self.handles.chain()?,
            owned: self.owned.clone(),
            spill: self.spill.clone(),
            metrics: self.metrics.clone(),
            ready: self.ready.clone(),
        };
        Projector::new(
            self.settings.clone(),
            parts,
            self.runtime.clone(),
            self.stop.clone(),
        )
        .run(self.drain)
    }
}

/// Waits, but not past the stop.
fn pause(runtime: &tokio::runtime::Handle, stop: &CancellationToken, wait: Duration) {
    // Made within the runtime: a time-out that is made outside of one panics.
    let _ = runtime.block_on(async { tokio::time::timeout(wait, stop.cancelled()).await });
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_no_runtime_waits_and_ends_its_wait_at_the_stop() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (stop, began) = (CancellationToken::new(), std::time::Instant::now());
        pause(runtime.handle(), &stop, Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
        stop.cancel();
        pause(runtime.handle(), &stop, Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_panic_of_a_thread_stops_the_process_with_a_reason() {
        let (fault, shutdown) = (Fault::default(), Shutdown::new());
        fault.guard(&shutdown, || ());
        assert!(!shutdown.has_begun());
        fault.guard(&shutdown, || panic!("as planned"));
        assert!(shutdown.has_begun());
        let said = fault.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert_eq!(said.as_deref(), Some("a thread panicked; the log says where"));
    }
}
