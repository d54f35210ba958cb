//! The schemas that records were written with. Ours is known; another's is fetched from the registry once, beside the
//! lane. A registry that does not answer means wait: it never makes a dead letter.

use rustc_hash::FxHashMap;
use schemas::Reason;
use schemas::avro::Foreign;

/// The schemas known so far.
#[derive(Debug, Default)]
pub struct Schemas {
    own: Option<u32>,
    foreign: FxHashMap<u32, Result<Foreign, Ruling>>,
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

    /// Takes in a registry's answer; false when it was none.
    pub fn learn(&mut self, id: u32, answer: &Answer) -> bool {
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
