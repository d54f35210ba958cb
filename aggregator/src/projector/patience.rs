//! How a store that does not answer is waited for: it is tried until it answers or the waiting is over, and readiness says so meanwhile.

use service::readiness::Condition;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use views::Error;

/// The longest wait between tries, in first waits.
const LONGEST_WAIT: u32 = 40;

/// The patience of one projector; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    ready: Condition,
    first_wait: Duration,
    interruptions: Arc<AtomicU64>,
}

impl Patience {
    /// `ready` says whether the store answers; each wait is twice as long as the one before, up to a bound.
    pub(super) fn new(ready: Condition, first_wait: Duration) -> Self {
        Self {
            ready,
            first_wait,
            interruptions: Arc::default(),
        }
    }

    /// How often the store did not answer. Each time it may have been set back.
    pub(super) fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Acquire)
    }

    /// Says that the store answers.
    pub(super) fn answered(&self) {
        self.ready.ready();
    }

    /// Tries until the store answers. `None` when `stop` ends the waiting; `Err` with what is wrong with the store.
    pub(super) async fn until_done<T, F: Future<Output = Result<T, Error>>>(
        &self,
        stop: &CancellationToken,
        mut make: impl FnMut() -> F,
    ) -> Option<Result<T, String>> {
        let mut wait = self.first_wait;
        loop {
            match make().await {
                Ok(done) => {
                    self.answered();
                    return Some(Ok(done));
                }
                Err(Error::Wrong(what)) => return Some(Err(what)),
                Err(Error::Away(reason)) => {
                    self.interruptions.fetch_add(1, Ordering::AcqRel);
                    self.ready.not_ready(format!("the view store is away: {reason}"));
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
            wait = (wait * 2).min(self.first_wait * LONGEST_WAIT);
        }
    }
}
