//! The schemas that records were written with. Ours is known; another's is fetched from the registry once, beside the
//! lane. A registry that does not answer means wait: it never makes a dead letter.

use rustc_hash::FxHashMap;
use schemas::Reason;
use schemas::avro::{self, Foreign};
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
