//! Whether this process should be given work: a list of named conditions, all of which must hold.
//!
//! Readiness falls with the very wish to stop, before anything drains, so that a load balancer looks elsewhere while
//! requests in hand are finished. It says nothing of being alive: a process that waits for its store is not ready,
//! and must not be restarted for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::shutdown::Shutdown;

/// The condition that fails while draining; always the first in the list.
const DRAINING: &str = "draining";

/// The conditions of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    conditions: Arc<watch::Sender<BTreeMap<&'static str, State>>>,
    shutdown: Shutdown,
}

/// Whether one condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds.
    Ready,
    /// It does not, for this reason: a phrase for an operator, without secrets.
    NotReady(String),
}

/// The handle of the part that a condition is about. Clones are the same condition.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    conditions: Arc<watch::Sender<BTreeMap<&'static str, State>>>,
}

/// What `/ready` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all conditions hold.
    pub ready: bool,
    /// Each condition; `draining` first, if so, then by name.
    pub conditions: Vec<Line>,
}

/// One condition of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name, as in `store`.
    pub name: &'static str,
    /// Whether it holds.
    pub ready: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Readiness {
    /// No conditions yet; not ready from the moment that `shutdown` is announced.
    #[must_use]
    pub fn new(shutdown: &Shutdown) -> Self {
        Self {
            conditions: Arc::new(watch::Sender::new(BTreeMap::new())),
            shutdown: shutdown.clone(),
        }
    }

    /// Adds a condition, which does not hold until its handle says so. A name given twice is one condition.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        self.conditions.send_modify(|conditions| {
            conditions
                .entry(name)
                .or_insert_with(|| State::NotReady("starting".to_owned()));
        });
        Condition {
            name,
            conditions: Arc::clone(&self.conditions),
        }
    }

    /// Whether work should come, and if not, why.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut lines = Vec::new();
        if self.shutdown.is_announced() {
            let reason = Some("the process is stopping".to_owned());
            lines.push(Line {
                name: DRAINING,
                ready: false,
                reason,
            });
        }
        for (name, state) in self.conditions.borrow().iter() {
            lines.push(match state {
                State::Ready => Line {
                    name,
                    ready: true,
                    reason: None,
                },
                State::NotReady(reason) => Line {
                    name,
                    ready: false,
                    reason: Some(reason.clone()),
                },
            });
        }
        Report {
            ready: lines.iter().all(|line| line.ready),
            conditions: lines,
        }
    }

    /// Waits until every condition holds; draining is not looked at, so pair it with [`Shutdown::begun`].
    pub async fn until_ready(&self) {
        let all_ready =
            |all: &BTreeMap<&'static str, State>| all.values().all(|state| *state == State::Ready);
        // Fails only when the sender is gone; it is ours.
        let _ = self.conditions.subscribe().wait_for(all_ready).await;
    }
}

/// A condition that holds where it does of each of several, such as lanes: of these none hides another.
#[derive(Clone, Debug)]
pub struct Each {
    condition: Condition,
    /// Of whom it does not hold, and why.
    unmet: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Each {
    /// It holds of this one from now on.
    pub fn ready(&self, one: &str) {
        self.set(one, None);
    }

    /// It does not hold of this one, for this reason.
    pub fn not_ready(&self, one: &str, reason: impl Into<String>) {
        self.set(one, Some(reason.into()));
    }

    fn set(&self, one: &str, reason: Option<String>) {
        // Held to the end: of two the later must not be told of first.
        let mut unmet = self.unmet.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => unmet.insert(one.to_owned(), reason),
            None => unmet.remove(one),
        };
        match unmet.values().next() {
            Some(reason) => self.condition.not_ready(reason),
            None => self.condition.ready(),
        }
    }
}

impl Condition {
    /// Makes it one of several, of each of which it holds to begin with.
    pub fn of_each(self) -> Each {
        self.ready();
        Each {
            condition: self,
            unmet: Arc::default(),
        }
    }

    /// It holds from now on.
    pub fn ready(&self) {
        self.set(State::Ready);
    }

    /// It does not hold, for this reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(State::NotReady(reason.into()));
    }

    fn set(&self, state: State) {
        self.conditions.send_if_modified(|conditions| {
            if conditions.get(self.name) == Some(&state) {
                return false;
            }
            match &state {
                State::Ready => tracing::info!(condition = self.name, "ready"),
                State::NotReady(reason) => tracing::warn!(condition = self.name, reason, "not ready"),
            }
            conditions.insert(self.name, state);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_conditions_must_hold_and_drain_comes_first() {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(&shutdown);
        assert!(readiness.report().ready);
        let (store, lanes) = (readiness.condition("store"), readiness.condition("lanes"));
        store.ready();
        assert!(!readiness.report().ready);
        lanes.ready();
        readiness.until_ready().await;
        assert!(readiness.report().ready);
        store.not_ready("no node answers");
        let report = serde_json::to_value(readiness.report()).unwrap();
        let expected = serde_json::json!({"ready": false, "conditions": [
            {"name": "lanes", "ready": true},
            {"name": "store", "ready": false, "reason": "no node answers"},
        ]});
        assert_eq!(report, expected);
        store.ready();
        shutdown.begin();
        let report = readiness.report();
        assert!(!report.ready && report.conditions[0].name == "draining");
    }

    #[test]
    fn a_condition_of_several_holds_where_it_does_of_each() {
        let readiness = Readiness::new(&Shutdown::new());
        let lanes = readiness.condition("lanes").of_each();
        assert!(readiness.report().ready);
        lanes.not_ready("a-0", "fenced");
        lanes.not_ready("a-1", "away");
        lanes.ready("a-1");
        let report = readiness.report();
        assert!(!report.ready);
        assert_eq!(report.conditions[0].reason.as_deref(), Some("fenced"));
        lanes.ready("a-0");
        assert!(readiness.report().ready);
    }
}
