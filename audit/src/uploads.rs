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

    /// Held records that words before `through` call for.
    fn called(&self, through: Offset) -> impl Iterator<Item = Offset> {
        let told = self.told.iter().filter(move |(_, (at, ..))| *at < through);
        told.flat_map(|(id, (_, from, to))| {
            let held = self.held.get(id).into_iter().flatten();
            held.filter(move |offset| *from <= **offset && **offset < *to)
                .copied()
        })
    }

    /// Held records whose copies must be there, since all before `through` is done, and are not.
    pub(crate) fn uncopied(&self, through: Offset) -> impl Iterator<Item = Offset> {
        self.called(through)
            .filter(|offset| !self.copied.contains(offset))
    }

    /// Copies of records that no word to this partition called for.
    pub(crate) fn uncalled(&self) -> impl Iterator<Item = Offset> {
        let called: FxHashSet<Offset> = self.called(Offset(u64::MAX)).collect();
        let copied = self.copied.iter().copied();
        copied.filter(move |offset| !called.contains(offset))
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

    /// Releases that must be known in other partitions, since all before `through` is done: the fact's offset, the upload, the partitions.
    pub(crate) fn releases(&self, through: Offset) -> impl Iterator<Item = &(Offset, Id, Vec<Partition>)> {
        self.released.iter().filter(move |(at, ..)| *at < through)
    }

    /// Whether this partition was told to copy held records of an upload.
    pub(crate) fn was_told(&self, id: &Id) -> bool {
        self.told.contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::upload::Totals;

    fn id() -> Id {
        ("acme".to_owned(), Uuid::from_u128(7))
    }

    fn note(uploads: &mut Uploads, what: What, offset: u64) {
        let fact = Fact::new("acme", id().1, 0, what);
        uploads.note(&fact, b"", Offset(offset), Offset(offset + 1));
    }

    /// Three held records, of which the word, if there is one, calls for the first two.
    fn held(word: bool) -> Uploads {
        let mut uploads = Uploads::default();
        (0..3).for_each(|offset| uploads.hold(id(), Offset(offset)));
        if word {
            let (from, to) = (Offset(0), Offset(2));
            note(&mut uploads, What::Copy { from, to }, 3);
        }
        uploads
    }

    #[test]
    fn a_copy_that_is_not_there_is_missed_once_the_chain_says_it_is_written() {
        let mut uploads = held(true);
        uploads.copy(Offset(0));
        assert_eq!(uploads.uncopied(Offset(3)).count(), 0);
        assert_eq!(uploads.uncopied(Offset(4)).collect::<Vec<_>>(), [Offset(1)]);
    }

    #[test]
    fn a_copy_that_no_word_called_for_is_found() {
        for (word, uncalled) in [(true, vec![Offset(2)]), (false, vec![Offset(1), Offset(2)])] {
            let mut uploads = held(word);
            uploads.copy(Offset(1));
            uploads.copy(Offset(2));
            let mut found: Vec<Offset> = uploads.uncalled().collect();
            found.sort();
            assert_eq!(found, uncalled);
        }
    }

    #[test]
    fn held_records_that_a_word_passes_over_and_words_without_a_release_are_known() {
        let mut uploads = held(true);
        assert_eq!(uploads.untold(&id()).collect::<Vec<_>>(), [Offset(2)]);
        assert_eq!(held(false).untold(&id()).count(), 3);
        assert!(!uploads.has_released(&id()));
        let places = vec![(Partition(0), Offset(0), Offset(2))];
        let totals = Totals::default();
        note(
            &mut uploads,
            What::Held {
                totals,
                places,
                release: false,
            },
            4,
        );
        note(&mut uploads, What::Discarded, 5);
        note(&mut uploads, What::Released, 6);
        assert!(!uploads.has_released(&id()), "it was discarded before");
    }
}
