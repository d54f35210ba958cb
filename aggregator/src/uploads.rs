//! What a lane knows of uploads: which of them wait to be released, and which copies were asked for. All of it follows from the
//! facts on the chain, in their order, so each owner comes to the same.

use hashbrown::{HashMap, HashSet};
use schemas::upload::{Fact, What};
use schemas::{Offset, Partition};
use uuid::Uuid;

/// A tenant's upload.
type Id = (String, Uuid);

/// Held records of one partition: the first offset, and the next one behind the last.
type Place = (Partition, Offset, Offset);

/// What is known of uploads in one source partition.
#[derive(Debug, Default)]
pub struct Uploads {
    /// Where the records lie of those that are held, in the partition of their facts.
    waiting: HashMap<Id, Vec<Place>>,
    /// Whose records of this partition are being copied, or were.
    copying: HashSet<Id>,
}

/// What a fact calls for, once it is on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Each partition with held records has to be told to copy them.
    Tell {
        /// Whose.
        tenant: String,
        /// Which upload's.
        upload: Uuid,
        /// When the fact came to be that calls for it, in milliseconds.
        at_ms: i64,
        /// Where they lie.
        places: Vec<Place>,
    },
    /// Held records of this partition are to be copied.
    Release(Release),
}

/// Held records that are to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Whose.
    pub tenant: String,
    /// Which upload's.
    pub upload: Uuid,
    /// The first that may not be copied yet.
    pub from: Offset,
    /// Next offset behind the last.
    pub to: Offset,
}

impl Uploads {
    /// Takes in a fact that lies at `offset`. One that another excludes calls for nothing.
    pub fn take(&mut self, fact: &Fact, offset: Offset) -> Option<Call> {
        let id = || (fact.tenant.clone(), fact.upload);
        match &fact.what {
            What::Held { places, release, .. } => {
                let places = self.waiting.entry(id()).or_insert_with(|| places.clone()).clone();
                release.then_some(())?;
                self.waiting.remove(&id());
                Some(tell(fact, places))
            }
            What::Released => {
                let places = self.waiting.remove(&id())?;
                Some(tell(fact, places))
            }
            What::Discarded => {
                self.waiting.remove(&id());
                None
            }
            // What lies behind this fact cannot have been held when it was written.
            What::Copy { from, to } => self.copying.insert(id()).then(|| {
                Call::Release(Release {
                    tenant: fact.tenant.clone(),
                    upload: fact.upload,
                    from: *from,
                    to: (*to).min(offset),
                })
            }),
            What::Begun(_)
            | What::Going { .. }
            | What::Errors { .. }
            | What::Sent(_)
            | What::Failed { .. } => None,
        }
    }
}

fn tell(fact: &Fact, places: Vec<Place>) -> Call {
    Call::Tell {
        tenant: fact.tenant.clone(),
        upload: fact.upload,
        at_ms: fact.at_ms,
        places,
    }
}
