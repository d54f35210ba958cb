//! What became of records whose places are known: for `POST /v1/events?wait=counted`.
//!
//! Outcomes are read from the commit records on the chains. Whoever waits begins before the records are appended, from progress that the
//! views had then: so nothing that concludes the records is passed over. What is not on the chain is no outcome, and a
//! record that no commit record names has none: it is never taken for counted. Then it waits until every view reflects the records, so that
//! whatever is asked next does.
//!
//! Each who waits holds a thread and a reader of the changelog; how many may is bounded.

use crate::ProgressWatch;
use crate::reader::OpenChain;
use crate::receipts::is_seen;
use crate::waiting::covered;
use crate::watch::{Seen, WaitEnd};
use log::chain::{Chain, Step};
use log::{ChainEvent, ChainReader, LogError, Place};
use schemas::commit::{CommitRecord, Fate};
use schemas::receipt::Receipt;
use schemas::row::{Progress, View};
use schemas::{Offset, Outcome, Partition};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use views::Store;

/// Requests that may wait at one time. On Kafka each has a consumer of its own.
const PLACES: usize = 32;
/// Readers kept for those who come next: to open one costs a connection.
const IDLE_READERS: usize = 4;
/// Longest time for finding where to begin; the records are not appended before.
const BEGIN_DEADLINE: Duration = Duration::from_secs(2);
/// Longest time for the last look at each view; it was seen to be there.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);
/// Longest wait for the chains before it is asked whether anybody still waits.
const POLL: Duration = Duration::from_millis(50);

/// Tells outcomes. Clones share their bounds.
#[derive(Clone)]
pub struct Outcomes(Arc<Shared>);

struct Shared {
    store: Store,
    generation: u32,
    open: OpenChain,
    idle: Mutex<Vec<Box<dyn ChainReader>>>,
    places: Arc<Semaphore>,
    progress: ProgressWatch,
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// A place on the chains before all records that are appended from now on.
pub struct Begun {
    shared: Arc<Shared>,
    /// None where the views did not say how far they are.
    at: Option<Arc<BTreeMap<Partition, Progress>>>,
    place: OwnedSemaphorePermit,
}

/// What is known of some records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether every view reflects all that was asked for.
    pub reflected: bool,
    /// What became of each record, where that is known.
    pub became: BTreeMap<(Partition, Offset), Became>,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Became {
    /// What.
    pub outcome: Outcome,
    /// What is wrong with it, where it is a dead letter.
    pub detail: String,
}

impl Outcomes {
    /// Outcomes on the chains of a generation, read through readers that `open` makes; `progress` watches `store`.
    pub fn new(store: Store, generation: u32, open: OpenChain, progress: ProgressWatch) -> Self {
        Self(Arc::new(Shared {
            store,
            generation,
            open,
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(PLACES)),
            progress,
        }))
    }

    /// To be called before the records are appended. Takes at most 2 s.
    ///
    /// # Errors
    /// [`TooMany`]: then nothing should be appended by whoever relies on an outcome.
    pub async fn begin(&self) -> Result<Begun, TooMany> {
        let shared = Arc::clone(&self.0);
        let places = Arc::clone(&shared.places);
        let place = places.try_acquire_owned().map_err(|_| TooMany)?;
        let seen = shared.progress.seen().borrow().get(&View::Progress).cloned();
        let at = match seen {
            // However old it is, it lies on the chain.
            Some(progress) => Some(progress),
            None => match timeout(BEGIN_DEADLINE, shared.store.progress(View::Progress)).await {
                Ok(Ok(progress)) => Some(Arc::new(progress)),
                Ok(Err(cause)) => {
                    tracing::warn!(%cause, "outcomes cannot be told: how far the views are is not known");
                    None
                }
                Err(_) => None,
            },
        };
        Ok(Begun { shared, at, place })
    }
}

impl Begun {
    /// What became of the records at `wanted`, which `receipt` covers; at `deadline` what is known then.
    pub async fn outcomes(
        self,
        wanted: BTreeMap<Partition, Vec<Offset>>,
        receipt: &Receipt,
        deadline: Instant,
    ) -> Known {
        let Self { shared, at, place } = self;
        let Some(at) = at else {
            return Known::default();
        };
        let generation = shared.generation;
        let following = wanted.into_iter().map(|(partition, wanted)| {
            let chain = match at.get(&partition) {
                Some(progress) => Chain::after(partition, generation, progress),
                None => Chain::new(partition, generation),
            };
            (partition, Following::new(chain, wanted))
        });
        let mut search = Search {
            following: following.collect(),
            became: BTreeMap::new(),
        };
        // Set when nobody waits any more: the thread must not go on for them.
        let gone = Gone::default();
        let (is_gone, at) = (Arc::clone(&gone.0), Arc::clone(&shared));
        let searching = tokio::task::spawn_blocking(move || {
            at.search(&mut search, deadline, &is_gone);
            drop(place);
            search.became
        });
        let became = searching.await.unwrap_or_default();
        let seen = |seen: &Seen| is_seen(seen, receipt);
        let end = shared.progress.wait(&View::ALL, deadline, seen).await;
        let reflected = end == WaitEnd::Seen && shared.reflects(receipt).await;
        Known { reflected, became }
    }
}

#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Reads the chains until all is found, the deadline is over, or nobody waits. Blocks its thread.
    fn search(&self, search: &mut Search, deadline: Instant, gone: &AtomicBool) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let was_idle = idle.is_some();
        let mut ended = self.search_by(idle, search, deadline.into_std(), gone);
        // One that was kept may have broken meanwhile.
        if was_idle && ended.is_err() {
            ended = self.search_by(None, search, deadline.into_std(), gone);
        }
        if let Err(cause) = ended {
            tracing::warn!(%cause, "outcomes were not told: the changelog cannot be read");
        }
    }

    fn search_by(
        &self,
        reader: Option<Box<dyn ChainReader>>,
        search: &mut Search,
        deadline: std::time::Instant,
        gone: &AtomicBool,
    ) -> Result<(), LogError> {
        let mut reader = match reader {
            Some(reader) => reader,
            None => (self.open)()?,
        };
        reader.assign(&search.places())?;
        let is_over = || gone.load(Ordering::Relaxed) || self.progress.shutdown().has_begun();
        while !search.is_done() && !is_over() {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            match reader.poll(left.min(POLL)) {
                Ok(events) => events.iter().try_for_each(|event| search.take(event))?,
                // It may be there again before the deadline.
                Err(LogError::Away(_)) => {}
                Err(cause) => return Err(cause),
            }
        }
        reader.assign(&[])?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_READERS {
            idle.push(reader);
        }
        Ok(())
    }

    /// Whether every view's own table says that it reflects the receipt.
    async fn reflects(&self, receipt: &Receipt) -> bool {
        for view in View::ALL {
            match timeout(LOOK_DEADLINE, self.store.progress(view)).await {
                Ok(Ok(progress)) if covered(receipt, &progress) => {}
                _ => return false,
            }
        }
        true
    }
}

/// What is looked for on some chains, and what was found.
struct Search {
    following: BTreeMap<Partition, Following>,
    became: BTreeMap<(Partition, Offset), Became>,
}

/// A chain that is read, and what is looked for on it.
struct Following {
    chain: Chain,
    /// In order.
    wanted: Vec<Offset>,
}

impl Following {
    fn new(chain: Chain, mut wanted: Vec<Offset>) -> Self {
        wanted.sort_unstable();
        Self { chain, wanted }
    }

    /// Whether the chain is behind all that is looked for.
    fn is_done(&self) -> bool {
        self.wanted.last().is_none_or(|last| *last < self.chain.next)
    }
}

impl Search {
    fn places(&self) -> Vec<Place> {
        let places = self.following.iter().map(|(partition, following)| Place {
            partition: *partition,
            next: following.chain.changelog,
        });
        places.collect()
    }

    fn is_done(&self) -> bool {
        self.following.values().all(Following::is_done)
    }

    fn take(&mut self, event: &ChainEvent) -> Result<(), LogError> {
        match event {
            ChainEvent::Part {
                partition,
                offset,
                bytes,
            } => {
                let Some(following) = self.following.get_mut(partition) else {
                    return Ok(());
                };
                if let Step::Applied(_, record) = following.chain.offer(*offset, bytes)? {
                    conclude(&record, &following.wanted, &mut self.became);
                }
            }
            ChainEvent::Reached(place) => {
                if let Some(following) = self.following.get_mut(&place.partition) {
                    following.chain.reached(place.next);
                }
            }
        }
        Ok(())
    }
}

/// Takes from a commit record what it says of the records that are looked for.
fn conclude(record: &CommitRecord, wanted: &[Offset], became: &mut BTreeMap<(Partition, Offset), Became>) {
    let head = &record.head;
    let from = wanted.partition_point(|offset| *offset < head.from);
    let to = wanted.partition_point(|offset| *offset < head.to);
    let wanted = wanted.get(from..to).unwrap_or_default();
    if wanted.is_empty() {
        return;
    }
    let mut add = |offset: Offset, outcome, detail: &str| {
        if wanted.binary_search(&offset).is_ok() {
            let detail = detail.to_owned();
            became.insert((head.partition, offset), Became { outcome, detail });
        }
    };
    for counted in record.counted() {
        let outcome = match counted.fresh.reversed {
            true => Outcome::Reversed,
            false => Outcome::Counted,
        };
        add(counted.offset, outcome, "");
    }
    for exception in record.exceptions() {
        let detail = match exception.fate {
            Fate::DeadLettered(refusal) => refusal.detail,
            _ => "",
        };
        add(exception.offset, exception.fate.outcome(), detail);
    }
}
