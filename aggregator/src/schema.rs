//! The schemas that records were written with. Ours is known; another's is fetched from the registry once, beside the
//! lane. A registry that does not answer means wait: it never makes a dead letter.

use rustc_hash::FxHashMap;
use schemas::Reason;
use schemas::avro::{self, Foreign};
use service::readiness::Each;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it is believed of an id that the registry does not know it, where a record of it is redriven.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The schemas known so far.
#[derive(Debug, Default)]
pub struct Schemas {
    own: Option<u32>,
    foreign: FxHashMap<u32, Result<Foreign, Ruling>>,
    /// When the registry said of an id that it does not know it.
    unknown_since: FxHashMap<u32, Instant>,
}

/// Why records of a schema id can never be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// `UnknownSchema`, or `Undecodable` for a schema that is not one of events.
    pub reason: Reason,
    /// For people.
    pub detail: String,
}

/// What a registry says of an id.
#[derive(Debug)]
pub enum Answer {
    /// The schema's JSON text.
    Schema(String),
    /// It surely does not have this id: it said so, and in the same minute served the id of our own schema.
    Unknown,
    /// It did not answer, or not in a way that can be believed.
    Away(String),
}

/// Where foreign schemas come from. Called off the lane's thread; may block for as long as its own deadline.
pub trait Registry: Send {
    /// Asks for one id.
    fn fetch(&mut self, id: u32) -> Answer;
}

impl Schemas {
    /// Knows the id of our own schema.
    pub fn new(own: Option<u32>) -> Self {
        Self {
            own,
            foreign: FxHashMap::default(),
            unknown_since: FxHashMap::default(),
        }
    }

    /// Whether `id` is our own schema's.
    pub fn is_own(&self, id: u32) -> bool {
        self.own == Some(id)
    }

    /// What is known of another id; `None` when it has to be fetched.
    pub fn foreign(&self, id: u32) -> Option<&Result<Foreign, Ruling>> {
        self.foreign.get(&id)
    }

    /// Makes the registry be asked again for the schema of a redriven record that it did not know: somebody may have put it there since.
    /// Not more often than once a minute, however many such records there are.
    pub fn ask_again(&mut self, value: &[u8], now: Instant) {
        let Some((id, _)) = avro::frame(value) else { return };
        let since = self.unknown_since.get(&id);
        if since.is_some_and(|since| now.duration_since(*since) >= AGAIN_AFTER) {
            self.unknown_since.remove(&id);
            self.foreign.remove(&id);
        }
    }

    /// Takes in a registry's answer; false when it was none.
    pub fn learn(&mut self, id: u32, answer: &Answer, now: Instant) -> bool {
        if matches!(answer, Answer::Unknown) {
            self.unknown_since.insert(id, now);
        }
        let known = match answer {
            Answer::Away(_) => return false,
            Answer::Unknown => Err(Ruling {
                reason: Reason::UnknownSchema,
                detail: format!("the registry does not know schema id {id}"),
            }),
            Answer::Schema(text) => Foreign::new(text).map_err(|error| Ruling {
                reason: Reason::Undecodable,
                detail: format!("schema id {id} cannot be read as an event: {error}"),
            }),
        };
        self.foreign.insert(id, known);
        true
    }
}

/// Who waits for the registry, over all lanes of a process: a metric, and a condition of `/ready`.
#[derive(Clone, Debug)]
pub struct Waits {
    partitions: prometheus::IntGauge,
    ready: Option<Each>,
    /// Partitions of each lane.
    lanes: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// What one lane waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wait {
    partitions: usize,
    /// Why the registry did not answer, when last asked.
    away: Option<String>,
}

/// One lane's part in [`Waits`]. A lane that ends waits no more.
#[derive(Debug)]
pub struct LaneWaits {
    all: Waits,
    lane: String,
    wait: Wait,
}

impl Waits {
    /// Nobody waits. `ready` is `None` where there is no registry.
    pub fn new(partitions: prometheus::IntGauge, ready: Option<Each>) -> Self {
        Self {
            partitions,
            ready,
            lanes: Arc::default(),
        }
    }

    /// The part of the lane of this name, which waits for nothing yet.
    pub fn lane(&self, name: &str) -> LaneWaits {
        LaneWaits {
            all: self.clone(),
            lane: name.to_owned(),
            wait: Wait::default(),
        }
    }

    fn set(&self, lane: &str, wait: &Wait) {
        // Held to the end: of two lanes the later must not be told of first.
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.insert(lane.to_owned(), wait.partitions);
        let partitions: usize = lanes.values().sum();
        self.partitions.set(i64::try_from(partitions).unwrap_or(i64::MAX));
        let Some(ready) = &self.ready else { return };
        match wait.away.as_ref().filter(|_| wait.partitions > 0) {
            Some(reason) => ready.not_ready(lane, format!("the schema registry is away: {reason}")),
            None => ready.ready(lane),
        }
    }
}

impl LaneWaits {
    /// The registry said something, or did not answer.
    pub fn heard(&mut self, answer: Answer) {
        let away = match answer {
            Answer::Away(reason) => Some(reason),
            Answer::Schema(_) | Answer::Unknown => None,
        };
        self.set(Wait {
            away,
            partitions: self.wait.partitions,
        });
    }

    /// So many partitions of the lane wait for it.
    pub fn count(&mut self, partitions: usize) {
        if self.wait.partitions != partitions {
            // Where nobody waits it is not asked, and what it said last means nothing.
            let away = self.wait.away.take().filter(|_| partitions > 0);
            self.set(Wait { partitions, away });
        }
    }

    fn set(&mut self, wait: Wait) {
        self.all.set(&self.lane, &wait);
        self.wait = wait;
    }
}

impl Drop for LaneWaits {
    fn drop(&mut self) {
        self.set(Wait::default());
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use service::readiness::Readiness;
    use service::shutdown::Shutdown;

    #[test]
    fn of_a_redriven_record_an_unknown_schema_is_asked_for_again_and_not_at_once() {
        let (mut schemas, now) = (Schemas::new(Some(1)), Instant::now());
        schemas.learn(9, &Answer::Unknown, now);
        let value = [0, 0, 0, 0, 9, 1];
        schemas.ask_again(&value, now + AGAIN_AFTER - Duration::from_millis(1));
        assert!(schemas.foreign(9).is_some());
        schemas.ask_again(b"{}", now + AGAIN_AFTER);
        schemas.ask_again(&value, now + AGAIN_AFTER);
        assert!(schemas.foreign(9).is_none());
    }
    #[test]
    fn a_lane_that_waits_is_not_hidden_by_one_that_does_not_and_one_that_ends_waits_no_more() {
        let readiness = Readiness::new(&Shutdown::new());
        let gauge = prometheus::IntGauge::new("waiting", "h").unwrap();
        let waits = Waits::new(gauge.clone(), Some(readiness.condition("registry").of_each()));
        let (mut one, mut other) = (waits.lane("a-0"), waits.lane("a-1"));
        one.count(2);
        assert_eq!(gauge.get(), 2);
        assert!(readiness.report().ready, "it was not asked yet");
        one.heard(Answer::Away("connection refused".into()));
        other.count(1);
        other.count(0);
        assert_eq!(gauge.get(), 2);
        let reason = readiness.report().conditions[0].reason.clone();
        assert_eq!(
            reason.as_deref(),
            Some("the schema registry is away: connection refused")
        );
        one.heard(Answer::Unknown);
        assert!(readiness.report().ready);
        one.heard(Answer::Away("no answer".into()));
        assert!(!readiness.report().ready);
        drop(one);
        assert!(readiness.report().ready);
        assert_eq!(gauge.get(), 0);
    }
}
