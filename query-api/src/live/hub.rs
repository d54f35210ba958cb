//! The rows of all days that somebody watches, read once for all readers whenever progress has moved, and at most a few times
//! a second. Nothing runs while nobody reads.
//!
//! Readers see the newest state only: totals are absolute, so whoever is late misses states between and no total.

use crate::QueryApi;
use crate::reads::{ANSWER_DEADLINE, READS_AT_ONCE, malformed};
use crate::reflected::{AsOf, ByPartition, ENDS_AGE, Reflected};
use crate::waiting::covered;
use futures::stream::{self, StreamExt, TryStreamExt};
use schemas::Day;
use schemas::partial::{Cells, DayPartial};
use schemas::receipt::Receipt;
use schemas::row::{Row, RowKey, View};
use service::http::{Problem, RETRY_AFTER_S};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// Shortest time between two looks, so that readers cost the store the same however fast events come.
const TICK: Duration = Duration::from_millis(200);
/// Longest time between two looks, for the lag, which changes without progress.
const RECHECK: Duration = Duration::from_secs(1);
/// Pause after a look that failed.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// Days of tenants that are watched at one time, over all readers: reads of each look.
const WATCHED_DAYS: usize = 128;

/// A tenant's UTC day.
type Key = (Arc<str>, Day);
/// What a tenant's UTC day has of each type.
pub(super) type DayTypes = BTreeMap<String, Cells>;

/// What is watched, and what was seen of it last.
pub(super) struct Hub {
    api: Arc<QueryApi>,
    watched: Mutex<Watched>,
    added: Notify,
    ticks: watch::Sender<Option<Arc<Tick>>>,
}

#[derive(Default)]
struct Watched {
    /// How many readers watch each day.
    days: BTreeMap<Key, usize>,
    is_running: bool,
}

/// The watched days at one moment.
pub(super) struct Tick {
    /// What was read reflects at least this.
    progress: ByPartition,
    /// The same, as answers say it.
    pub(super) as_of: AsOf,
    /// The same, as the id of an event.
    pub(super) id: String,
    days: BTreeMap<Key, Arc<DayTypes>>,
}

impl Tick {
    /// A day, if it was watched then. The same as before where nothing changed.
    pub(super) fn day(&self, tenant: &Arc<str>, day: Day) -> Option<&Arc<DayTypes>> {
        self.days.get(&(Arc::clone(tenant), day))
    }

    /// Whether it is of the moment of an id, or of a later one.
    pub(super) fn covers(&self, receipt: &Receipt) -> bool {
        covered(receipt, &self.progress)
    }
}

/// Days that a reader watches, until dropped.
pub(super) struct Watch {
    hub: Arc<Hub>,
    pub(super) tenant: Arc<str>,
    pub(super) days: Vec<Day>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.hub.watched();
        for day in &self.days {
            if let Entry::Occupied(mut readers) = watched.days.entry((Arc::clone(&self.tenant), *day)) {
                *readers.get_mut() -= 1;
                if *readers.get() == 0 {
                    readers.remove();
                }
            }
        }
    }
}

impl Hub {
    pub(super) fn new(api: Arc<QueryApi>) -> Self {
        Self {
            api,
            watched: Mutex::default(),
            added: Notify::new(),
            ticks: watch::Sender::new(None),
        }
    }

    pub(super) fn api(&self) -> &Arc<QueryApi> {
        &self.api
    }

    /// The newest state, whenever there is another one.
    pub(super) fn ticks(&self) -> watch::Receiver<Option<Arc<Tick>>> {
        self.ticks.subscribe()
    }

    /// Watches UTC days of a tenant.
    ///
    /// Errors: 503 `too_many_live_days`.
    pub(super) fn watch(
        self: &Arc<Self>,
        tenant: &Arc<str>,
        days: Option<(Day, Day)>,
    ) -> Result<Watch, Problem> {
        let days: Vec<Day> = days
            .into_iter()
            .flat_map(|(first, last)| first.0..=last.0)
            .map(Day)
            .collect();
        let mut watched = self.watched();
        let key = |day: &Day| (Arc::clone(tenant), *day);
        let others = days.iter().filter(|day| !watched.days.contains_key(&key(day)));
        if watched.days.len() + others.count() > WATCHED_DAYS {
            return Err(Problem::unavailable(
                "too_many_live_days",
                "Too many days are watched",
                RETRY_AFTER_S,
            )
            .detail(format!(
                "readers of live totals watch {WATCHED_DAYS} days of UTC in all; ask for fewer"
            ))
            .with("limit_days", WATCHED_DAYS));
        }
        for day in &days {
            *watched.days.entry(key(day)).or_default() += 1;
        }
        if !watched.is_running && !days.is_empty() {
            watched.is_running = true;
            tokio::spawn(Arc::clone(self).run());
        }
        self.added.notify_one();
        Ok(Watch {
            hub: Arc::clone(self),
            tenant: Arc::clone(tenant),
            days,
        })
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>) {
        let shutdown = self.api.progress.shutdown().clone();
        let mut seen = self.api.progress.seen();
        let mut last = None;
        while let Some(keys) = self.wanted() {
            let looked = tokio::select! {
                () = shutdown.begun() => return,
                looked = self.look(&keys, last.as_ref()) => looked,
            };
            let pause = match looked {
                Ok(Some(tick)) => {
                    let tick = Arc::new(tick);
                    last = Some(Arc::clone(&tick));
                    self.ticks.send_replace(Some(tick));
                    TICK
                }
                Ok(None) => TICK,
                // Its cause was logged where it was found. Readers keep what they have until it is over.
                Err(_) => AWAY_PAUSE,
            };
            sleep(pause).await;
            tokio::select! {
                () = shutdown.begun() => return,
                moved = seen.changed() => if moved.is_err() { sleep(RECHECK).await },
                () = self.added.notified() => {}
                () = sleep(RECHECK) => {}
            }
        }
    }

    /// The days that are watched; none when nobody watches any more, and then this was the last look.
    fn wanted(&self) -> Option<Vec<Key>> {
        let mut watched = self.watched();
        if watched.days.is_empty() {
            watched.is_running = false;
            // Whoever comes later must not take it for the present.
            self.ticks.send_replace(None);
            return None;
        }
        Some(watched.days.keys().cloned().collect())
    }

    /// The state now; none if it is the last one. Reads rows only where there may be others.
    async fn look(&self, keys: &[Key], last: Option<&Arc<Tick>>) -> Result<Option<Tick>, Problem> {
        let api = &self.api;
        let reflected = api.reflected(View::Days, None, ENDS_AGE).await?;
        let as_of = api.as_of(&reflected);
        let last = last.filter(|last| last.progress == reflected.progress);
        let mut days = BTreeMap::new();
        let mut missing = Vec::new();
        for key in keys {
            match last.and_then(|last| last.days.get(key)) {
                Some(day) => {
                    days.insert(key.clone(), Arc::clone(day));
                }
                None => missing.push(key.clone()),
            }
        }
        if missing.is_empty() && last.is_some_and(|last| last.as_of == as_of) {
            return Ok(None);
        }
        if !missing.is_empty() {
            let before = self.ticks.borrow().clone();
            for (key, types) in self.read(&reflected, missing).await? {
                let before = before.as_ref().and_then(|tick| tick.days.get(&key));
                let day = match before.filter(|before| ***before == types) {
                    Some(before) => Arc::clone(before),
                    None => Arc::new(types),
                };
                days.insert(key, day);
            }
            api.confirm(View::Days, &reflected).await?;
        }
        let mut id = Receipt::new(api.generation.events_id);
        for (partition, progress) in &reflected.progress {
            id.extend(*partition, progress.next);
        }
        Ok(Some(Tick {
            progress: reflected.progress,
            as_of,
            id: id.to_string(),
            days,
        }))
    }

    async fn read(&self, reflected: &Reflected, keys: Vec<Key>) -> Result<Vec<(Key, DayTypes)>, Problem> {
        let api = &self.api;
        let span = reflected.days();
        let reads = keys.into_iter().map(|key| async move {
            let is_known = span.is_some_and(|(first, last)| (first..=last).contains(&key.1));
            let rows = match is_known {
                true => {
                    api.metrics.live_reads.inc();
                    api.store.day_rows(&key.0, key.1).await?
                }
                false => Vec::new(),
            };
            Ok((key, rows))
        });
        let reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect();
        let days: Vec<(Key, Vec<Row>)> = api.read(ANSWER_DEADLINE, reads).await?;
        days.into_iter()
            .map(|(key, rows)| Ok((key, types(&rows)?)))
            .collect()
    }
}

fn types(rows: &[Row]) -> Result<DayTypes, Problem> {
    let mut types = DayTypes::new();
    for row in rows {
        if let RowKey::Day { event_type, .. } = &row.key {
            let cells = DayPartial::decode(&row.value).map_err(|cause| malformed(&cause))?;
            types.entry(event_type.clone()).or_default().merge(&cells);
        }
    }
    Ok(types)
}
