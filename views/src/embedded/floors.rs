//! Which writes need a look at what is stored, so that an older version never replaces a newer one although the store below
//! knows no versions.
//!
//! Looking costs ten times the write, so it must be rare. Per source partition this keeps a *floor* and the *recent* rows:
//! **every stored row of the partition with a version above the floor is among the recent ones, with at least its version.**
//! So a write above the floor meets nothing newer, and needs no look, unless its row is recent with a higher version. When
//! progress is written, the floor rises to its next offset and what it covers is forgotten, which bounds the memory. While a
//! projector goes forward no write needs a look. After a start the floor is the highest version on disk, so what the
//! projector repeats is looked at.

use rustc_hash::FxHashMap;
use schemas::Partition;
use std::collections::BTreeMap;

/// Recent rows kept per partition, 16 bytes each: more than a projector's map between two writes of progress. Beyond it the
/// floor rises over all of them, and they cost a look.
const RECENT_LIMIT: usize = 1 << 20;

/// What is known of all partitions.
#[derive(Debug, Default)]
pub(super) struct Floors(BTreeMap<Partition, Floor>);

#[derive(Debug, Default)]
struct Floor {
    floor: u64,
    /// The highest version that any stored row may have; on disk before the rows are.
    high: u64,
    /// Hash of the key -> highest version written; two keys of one hash may only cost a look.
    recent: FxHashMap<u64, u64>,
}

impl Floors {
    /// The floors after a start, from the highest version on disk of each partition.
    pub(super) fn on_disk(highs: impl IntoIterator<Item = (Partition, u64)>) -> Self {
        let floor = |high| Floor {
            floor: high,
            high,
            recent: FxHashMap::default(),
        };
        Self(
            highs
                .into_iter()
                .map(|(partition, high)| (partition, floor(high)))
                .collect(),
        )
    }

    /// Notes that a row is about to be written, and says whether what is stored must be looked at first.
    pub(super) fn must_look(&mut self, partition: Partition, key_hash: u64, version: u64) -> bool {
        let floor = self.0.entry(partition).or_default();
        floor.high = floor.high.max(version);
        if version <= floor.floor {
            return true;
        }
        if floor.recent.len() >= RECENT_LIMIT {
            floor.floor = floor.high;
            floor.recent.clear();
            return true;
        }
        match floor.recent.entry(key_hash) {
            std::collections::hash_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let newer = *known > version;
                *known = version.max(*known);
                newer
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(version);
                false
            }
        }
    }

    /// The highest version of a partition, which must be on disk no later than the rows.
    pub(super) fn high(&self, partition: Partition) -> u64 {
        self.0.get(&partition).map_or(0, |floor| floor.high)
    }

    /// All rows below the next offset `next` are written: nothing older will come but after a step back.
    pub(super) fn raise(&mut self, partition: Partition, next: u64) {
        let floor = self.0.entry(partition).or_default();
        if next > floor.floor {
            floor.floor = next;
            floor.recent.retain(|_, version| *version > next);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: Partition = Partition(0);

    #[test]
    fn going_forward_needs_no_look_and_going_back_does() {
        let mut floors = Floors::on_disk([(P, 10)]);
        assert!(floors.must_look(P, 1, 9) && floors.must_look(P, 1, 10));
        assert!(!floors.must_look(P, 1, 12) && !floors.must_look(P, 2, 11));
        assert!(
            !floors.must_look(P, 2, 13),
            "written since the last progress, and older"
        );
        assert!(
            floors.must_look(P, 2, 12),
            "written since the last progress, and newer"
        );
        floors.raise(P, 13);
        assert!(!floors.must_look(P, 1, 14) && !floors.must_look(P, 2, 15));
        assert!(floors.must_look(P, 3, 13), "a step back");
        assert_eq!(floors.high(P), 15);
        assert!(
            !floors.must_look(Partition(1), 3, 1),
            "another partition has its own floor"
        );
    }

    #[test]
    fn a_progress_behind_what_is_written_keeps_what_is_above_it() {
        let mut floors = Floors::default();
        assert!(!floors.must_look(P, 1, 20));
        floors.raise(P, 15);
        assert!(floors.must_look(P, 1, 16));
    }

    proptest! {
        #[test]
        fn no_write_without_a_look_meets_a_newer_row(
            steps in proptest::collection::vec((0_u64..6, 1_u64..30, 0_u8..8), 1..60)
        ) {
            let (mut floors, mut stored) = (Floors::default(), BTreeMap::<u64, u64>::new());
            for (key, version, step) in steps {
                match step {
                    // Any progress, right or wrong: the rule may not rest on the caller.
                    0 => floors.raise(P, version),
                    1 => floors = Floors::on_disk([(P, floors.high(P))]),
                    _ => {
                        let stored = stored.entry(key).or_default();
                        let look = floors.must_look(P, key / 2, version);
                        prop_assert!(look || *stored <= version, "{key} {version} over {stored}");
                        *stored = version.max(*stored);
                    }
                }
            }
        }
    }
}
