//! What happened in the proxy, in order, for tests that wait for it.
//!
//! A ring of [`KEPT_EVENTS`]: the oldest are forgotten first. Waiting looks at the kept ones first, so an
//! event that came before the wait began is not missed; a test that wants only later ones compares with
//! [`mark`](super::Proxy::mark).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::sync::watch;

use super::answer::Answer;
use super::request::Request;

/// How many events are kept: far more than a fault test makes.
pub(crate) const KEPT_EVENTS: usize = 100_000;

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number, from 1 and without gaps.
    pub sequence: u64,
    /// What it was.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum What {
    /// A client connected and has its own connection to the broker.
    Connected {
        /// The client connection, counted from 1.
        connection: u64,
    },
    /// A client connection ended.
    Closed {
        /// The client connection.
        connection: u64,
        /// Who ended it, and why.
        reason: String,
    },
    /// A request came, and no rule was asked about it yet.
    RequestSeen(Arc<Request>),
    /// The broker answered.
    ResponseSeen {
        /// To what.
        request: Arc<Request>,
        /// With what.
        answer: Answer,
        /// Whether the client shall get it.
        delivered: bool,
    },
    /// A request, or the copy of one, is kept until [`release`](super::Proxy::release).
    Held {
        /// What `release` wants.
        id: u64,
        /// What is kept.
        request: Arc<Request>,
    },
    /// A kept request was sent and the broker answered.
    Released {
        /// Which.
        id: u64,
        /// With what.
        answer: Answer,
    },
}

impl Event {
    /// The request, if this is one that was seen.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        match &self.what {
            What::RequestSeen(request) => Some(request),
            _ => None,
        }
    }

    /// Request and answer, if this is an answer that was seen.
    #[must_use]
    pub fn response(&self) -> Option<(&Request, Answer)> {
        match &self.what {
            What::ResponseSeen { request, answer, .. } => Some((request, *answer)),
            _ => None,
        }
    }

    /// Id and request, if something was held.
    #[must_use]
    pub fn held(&self) -> Option<(u64, &Request)> {
        match &self.what {
            What::Held { id, request } => Some((*id, request)),
            _ => None,
        }
    }
}

/// The ring, and a number that rises with each event.
pub(crate) struct Events {
    kept: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }
}

impl Events {
    pub(crate) fn push(&self, what: What) {
        let mut kept = self.kept();
        // Numbered under the lock, or two events could stand in the wrong order.
        let sequence = *self.last.borrow() + 1;
        if kept.len() == KEPT_EVENTS {
            kept.pop_front();
        }
        kept.push_back(Event { sequence, what });
        self.last.send_replace(sequence);
    }

    pub(crate) fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// A copy of all that is kept.
    pub(crate) fn all(&self) -> Vec<Event> {
        self.kept().iter().cloned().collect()
    }

    /// The newest event of which `pick` makes something.
    pub(crate) fn newest<T>(&self, pick: impl FnMut(&Event) -> Option<T>) -> Option<T> {
        self.kept().iter().rev().find_map(pick)
    }

    /// The first event, kept or to come, that `wanted` accepts.
    pub(crate) async fn wait_for(
        &self,
        mut wanted: impl FnMut(&Event) -> bool,
        deadline: Duration,
        sleep: tokio::time::Sleep,
    ) -> Result<Event> {
        let mut last = self.last.subscribe();
        let mut looked_at = 0;
        let search = async {
            loop {
                last.borrow_and_update();
                if let Some(event) = self.first_after(&mut looked_at, &mut wanted) {
                    return Ok(event);
                }
                last.changed().await?;
            }
        };
        tokio::select! {
            found = search => found,
            () = sleep => {
                let newest = self.newest(|event| Some(format!("{event:?}")));
                Err(anyhow!("no such event within {deadline:?}; the newest is {newest:?}"))
            }
        }
    }

    fn first_after(&self, looked_at: &mut u64, wanted: &mut impl FnMut(&Event) -> bool) -> Option<Event> {
        let kept = self.kept();
        let first = kept.front()?.sequence;
        let skip = usize::try_from((*looked_at + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        for event in kept.iter().skip(skip) {
            *looked_at = event.sequence;
            if wanted(event) {
                return Some(event.clone());
            }
        }
        None
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // A predicate of a test that panics under the lock leaves the ring whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(deadline: Duration) -> tokio::time::Sleep {
        tokio::time::sleep(deadline)
    }

    #[tokio::test]
    async fn a_wait_sees_events_from_before_and_after_its_begin() {
        let events = Arc::new(Events::default());
        events.push(What::Connected { connection: 1 });
        let second = Duration::from_secs(1);
        let before = events
            .wait_for(|event| event.sequence == 1, second, sleep(second))
            .await
            .unwrap();
        assert!(matches!(before.what, What::Connected { connection: 1 }));
        let later = Arc::clone(&events);
        let waiting = tokio::spawn(async move {
            later
                .wait_for(|event| event.sequence == 2, second, sleep(second))
                .await
        });
        tokio::task::yield_now().await;
        events.push(What::Connected { connection: 2 });
        assert_eq!(waiting.await.unwrap().unwrap().sequence, 2);
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_deadline() {
        let short = Duration::from_millis(5);
        assert!(
            Events::default()
                .wait_for(|_| true, short, sleep(short))
                .await
                .is_err()
        );
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let events = Events::default();
        for connection in 0..KEPT_EVENTS as u64 + 10 {
            events.push(What::Connected { connection });
        }
        assert_eq!(events.all().len(), KEPT_EVENTS);
        assert_eq!(events.all()[0].sequence, 11);
        let mut looked_at = 0;
        assert_eq!(
            events
                .first_after(&mut looked_at, &mut |_| true)
                .unwrap()
                .sequence,
            11
        );
        assert_eq!(
            events
                .first_after(&mut looked_at, &mut |_| true)
                .unwrap()
                .sequence,
            12
        );
    }
}
