//! Watches how far the views are, once for all who wait: one poller a process, however many requests wait for a receipt.
//!
//! What it saw is a hint that an answer is worth a look; the answer itself always rests on a look of its own.

use crate::metrics::Metrics;
use crate::reads::CALL_DEADLINE;
use schemas::Partition;
use schemas::row::{Progress, View};
use service::shutdown::Shutdown;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use views::Store;

/// Pause between looks while somebody waits: what it adds to the time from projection to answer.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Pause between looks while nobody waits, and after one that failed.
const IDLE_PAUSE: Duration = Duration::from_millis(250);
/// Requests that may wait at one time: half of what the HTTP port works on by default, so that waiting never stops the rest.
const WAITERS: usize = 256;

/// What the poller saw last of each view.
pub(crate) type Seen = BTreeMap<View, Arc<BTreeMap<Partition, Progress>>>;

/// How far the views are. Clones share one poller.
#[derive(Clone, Debug)]
pub struct ProgressWatch {
    shared: Arc<Shared>,
    seen: watch::Receiver<Seen>,
}

/// The wait did not end as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// What was waited for was seen.
    Seen,
    /// The time is over.
    TimeOver,
    /// The process is stopping.
    Stopping,
    /// Too many wait already.
    TooMany,
}

#[derive(Debug)]
struct Shared {
    /// Who waits for each view, in the order of [`View::ALL`].
    waiting: [AtomicUsize; View::ALL.len()],
    wake: Notify,
    places: Semaphore,
    metrics: Metrics,
    shutdown: Shutdown,
}

impl ProgressWatch {
    /// Starts the poller, which ends with `shutdown`, or when the last clone is dropped. Needs a tokio runtime.
    pub fn start(store: Store, metrics: Metrics, shutdown: Shutdown) -> Self {
        let (sender, seen) = watch::channel(Seen::new());
        let shared = Arc::new(Shared {
            waiting: Default::default(),
            wake: Notify::new(),
            places: Semaphore::new(WAITERS),
            metrics,
            shutdown: shutdown.clone(),
        });
        let poller = Poller {
            store,
            shared: Arc::clone(&shared),
            seen: sender,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.begun() => {}
                () = poller.seen.closed() => {}
                () = poller.run() => {}
            }
        });
        Self { shared, seen }
    }

    /// What was seen last, whenever it is something else. Of each view it is at most about [`IDLE_PAUSE`] old.
    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    /// The end of the process, which ends all that waits.
    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shared.shutdown
    }

    /// Waits until `enough` holds of what was seen of `views`.
    pub(crate) async fn wait(
        &self,
        views: &[View],
        deadline: Instant,
        enough: impl Fn(&Seen) -> bool,
    ) -> WaitEnd {
        let Ok(_place) = self.shared.places.try_acquire() else {
            return WaitEnd::TooMany;
        };
        let _waiting = Waiting::new(&self.shared, views);
        let mut seen = self.seen.clone();
        match tokio::time::timeout_at(deadline, seen.wait_for(|seen| enough(seen))).await {
            Ok(Ok(_)) => WaitEnd::Seen,
            Ok(Err(_)) => WaitEnd::Stopping,
            Err(_) => WaitEnd::TimeOver,
        }
    }
}

/// Somebody who waits; until dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    views: Vec<&'a AtomicUsize>,
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared, views: &[View]) -> Self {
        let counters = View::ALL.iter().zip(&shared.waiting);
        let views: Vec<_> = counters
            .filter(|(view, _)| views.contains(view))
            .map(|(_, counter)| counter)
            .collect();
        for counter in &views {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        shared.metrics.waiters.inc();
        shared.wake.notify_one();
        Self { shared, views }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for counter in &self.views {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        self.shared.metrics.waiters.dec();
    }
}

struct Poller {
    store: Store,
    shared: Arc<Shared>,
    seen: watch::Sender<Seen>,
}

impl Poller {
    async fn run(&self) {
        let mut was_away = false;
        let mut all_seen: Option<Instant> = None;
        loop {
            let waited_for = self.waited_for();
            let is_idle = waited_for.is_empty();
            // Those who wait for one view must not keep others from hearing of the rest.
            let is_all = is_idle || all_seen.is_none_or(|at| at.elapsed() >= IDLE_PAUSE);
            if is_all {
                all_seen = Some(Instant::now());
            }
            let looked = self.look(if is_all { &View::ALL } else { &waited_for }).await;
            self.shared.metrics.polls.inc();
            match (&looked, was_away) {
                (Err(cause), false) => tracing::warn!(%cause, "how far the views are is not known"),
                (Ok(()), true) => tracing::info!("how far the views are is known again"),
                _ => {}
            }
            was_away = looked.is_err();
            if was_away {
                self.shared.metrics.failures.get(&["store"]).inc();
                tokio::time::sleep(IDLE_PAUSE).await;
            } else if is_idle {
                // Whoever begins to wait ends this pause.
                let _ = tokio::time::timeout(IDLE_PAUSE, self.shared.wake.notified()).await;
            } else {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
        }
    }

    fn waited_for(&self) -> Vec<View> {
        let counters = View::ALL.into_iter().zip(&self.shared.waiting);
        counters
            .filter(|(_, counter)| counter.load(Ordering::Relaxed) > 0)
            .map(|(view, _)| view)
            .collect()
    }

    async fn look(&self, views: &[View]) -> Result<(), views::Error> {
        for view in views {
            let progress = tokio::time::timeout(CALL_DEADLINE, self.store.progress(*view))
                .await
                .map_err(|_| views::Error::Away("no answer in time".to_owned()))??;
            self.seen.send_if_modified(|seen| match seen.get(view) {
                Some(known) if **known == progress => false,
                _ => {
                    seen.insert(*view, Arc::new(progress));
                    true
                }
            });
        }
        Ok(())
    }
}
