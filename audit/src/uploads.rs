//! Uploads as the audit reads them: the ledger of each, its facts, and which copies of held records must be there.

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::upload::{Fact, What};
use schemas::{Ledger, Offset, Outcome, Partition};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A tenant's upload.
pub(crate) type Id = (String, Uuid);

/// The uploads of one source partition.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    /// Outcomes of the records of each, with the version of the row.
    pub(crate) ledgers: BTreeMap<Id, (Offset, Ledger)>,
    /// By offset: whose fact, the version of its row, and what the row must hold.
    pub(crate) facts: BTreeMap<Offset, (Id, Offset, Vec<u8>)>,
    /// Held records.
    held: FxHashMap<Id, Vec<Offset>>,
    /// Held records of which a copy was seen.
    copied: FxHashSet<Offset>,
    /// Where the records of those lie that are held, and not released.
    waiting: FxHashMap<Id, Vec<Partition>>,
    /// Those that were released, by the offset of the fact that did it, and the partitions that must be told.
    released: Vec<(Offset, Id, Vec<Partition>)>,
    /// Whose held records must be copied here, by the offset of the first word of it, and which range of them.
    told: FxHashMap<Id, (Offset, Offset, Offset)>,
}

impl Uploads {
    /// Adds the outcome of a record of an upload.
    pub(crate) fn add(&mut self, id: Id, outcome: Outcome, is_copy: bool, version: Offset) {
        let (of, ledger) = self.ledgers.entry(id).or_default();
        *of = version;
        ledger.records += 1;
        ledger.copies += u64::from(is_copy);
        ledger.add_outcome(outcome);
    }

    /// Takes in a held record.
    pub(crate) fn hold(&mut self, id: Id, offset: Offset) {
        self.held.entry(id).or_default().push(offset);
    }

    /// Takes in a copy of a held record. False if there was one before.
    pub(crate) fn copy(&mut self, original: Offset) -> bool {
        self.copied.insert(original)
    }

    /// Takes in a fact, with its bytes.
    pub(crate) fn note(&mut self, fact: &Fact, bytes: &[u8], offset: Offset, version: Offset) {
        let id = (fact.tenant.clone(), fact.upload);
        // What lists rows may be long: its row says only where it lies.
        let long = matches!(fact.what, What::Errors { .. });
        let value = if long { Vec::new() } else { bytes.to_vec() };
        self.facts.insert(offset, (id.clone(), version, value));
        match &fact.what {
            What::Held { places, release, .. } => {
                let partitions = || places.iter().map(|(partition, ..)| *partition).collect();
                let partitions = self.waiting.entry(id.clone()).or_insert_with(partitions).clone();
                if *release {
                    self.waiting.remove(&id);
                    self.released.push((offset, id, partitions));
                }
            }
            What::Released => {
                if let Some(partitions) = self.waiting.remove(&id) {
                    self.released.push((offset, id, partitions));
                }
            }
            What::Discarded => {
                self.waiting.remove(&id);
            }
            What::Copy { from, to } => {
                self.told.entry(id).or_insert((offset, *from, (*to).min(offset)));
            }
            What::Begun(_)
            | What::Going { .. }
            | What::Errors { .. }
            | What::Sent(_)
            | What::Failed { .. } => {}
        }
    }

    /// Held records whose copies must be there, since all before `through` is done, and are not.
    pub(crate) fn uncopied(&self, through: Offset) -> impl Iterator<Item = Offset> {
        let told = self.told.iter().filter(move |(_, (at, ..))| *at < through);
        let due = told.flat_map(|(id, (_, from, to))| {
            let held = self.held.get(id).into_iter().flatten();
            held.filter(move |offset| *from <= **offset && **offset < *to)
        });
        due.filter(|offset| !self.copied.contains(offset)).copied()
    }

    /// Copies of records that no word to this partition called for.
    pub(crate) fn uncalled(&self) -> impl Iterator<Item = Offset> {
        let called = self.told.iter().flat_map(|(id, (_, from, to))| {
            let held = self.held.get(id).into_iter().flatten();
            held.filter(move |offset| *from <= **offset && **offset < *to)
        });
        let called: FxHashSet<Offset> = called.copied().collect();
        self.copied
            .iter()
            .filter(move |offset| !called.contains(offset))
            .copied()
    }

    /// Held records of an upload that this partition was not told of.
    pub(crate) fn untold(&self, id: &Id) -> impl Iterator<Item = Offset> {
        let told = self
            .told
            .get(id)
            .map_or((Offset(0), Offset(0)), |(_, from, to)| (*from, *to));
        let held = self.held.get(id).into_iter().flatten();
        held.filter(move |offset| **offset < told.0 || told.1 <= **offset)
            .copied()
    }

    /// Uploads of which this partition was told, and where the word lies.
    pub(crate) fn words(&self) -> impl Iterator<Item = (&Id, Offset)> {
        self.told.iter().map(|(id, (at, ..))| (id, *at))
    }

    /// Whether an upload was released by a fact of this partition.
    pub(crate) fn has_released(&self, id: &Id) -> bool {
        self.released.iter().any(|(_, released, _)| released == id)
    }

    /// Releases that must be known in other partitions, since all before `through` is done: the fact's offset, the upload, the partition.
    pub(crate) fn tellings(&self, through: Offset) -> impl Iterator<Item = (Offset, &Id, Partition)> {
        let released = self.released.iter().filter(move |(at, ..)| *at < through);
        released
            .flat_map(|(at, id, partitions)| partitions.iter().map(move |partition| (*at, id, *partition)))
    }

    /// Whether this partition was told to copy held records of an upload.
    pub(crate) fn was_told(&self, id: &Id) -> bool {
        self.told.contains_key(id)
    }
}
