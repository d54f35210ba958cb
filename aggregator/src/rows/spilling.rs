//! Rows as bytes, of which there may be many: what is used stays in memory, the rest moves to the local folder.

use super::RowsError;
use crate::spill::{Space, Spill};
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use schemas::row::{Row, RowKey};
use schemas::wire::Malformed;
use schemas::{Offset, Partition};

/// Memory that one row takes beside its key and value: the slot, and what two allocations cost.
const ROW_BYTES: usize = 104;

/// The key of a row, as whoever keeps it here makes it.
type Key = Box<[u8]>;

/// A row: its version, and its value.
pub(super) type Versioned = (Offset, Box<[u8]>);

/// Rows in two generations: what is used is young; when the budget is full, the old ones move to the local folder
/// and the young ones become old.
#[derive(Debug)]
pub(super) struct Spilling {
    young: HashMap<Key, Kept, FxBuildHasher>,
    old: HashMap<Key, Kept, FxBuildHasher>,
    /// What the store does not have yet, wherever it lies.
    dirty: HashSet<Key, FxBuildHasher>,
    bytes: usize,
    budget: usize,
    spill: Spill,
    space: Option<Space>,
}

#[derive(Debug)]
struct Kept {
    row: Versioned,
    /// Whether its key is among the dirty ones for certain: most changes then have nothing to look up.
    is_dirty: bool,
}

impl Spilling {
    pub(super) fn new(budget: usize, spill: Spill) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            dirty: HashSet::default(),
            bytes: 0,
            budget,
            spill,
            space: None,
        }
    }

    /// Changes a row, or makes it, as `change` says of what is there; of `None` nothing comes. `dirty`: the store does not have it then.
    pub(super) fn change(
        &mut self,
        key: &[u8],
        dirty: bool,
        change: impl FnOnce(Option<&Versioned>) -> Result<Option<Versioned>, RowsError>,
    ) -> Result<(), RowsError> {
        let is_news = if let Some(kept) = self.young.get_mut(key) {
            let Some(row) = change(Some(&kept.row))? else {
                return Ok(());
            };
            self.bytes = (self.bytes + row.1.len()).saturating_sub(kept.row.1.len());
            kept.row = row;
            let was_dirty = kept.is_dirty;
            kept.is_dirty |= dirty;
            dirty && !was_dirty
        } else {
            let found = self.take_older(key)?;
            let changed = change(found.as_ref().map(|kept| &kept.row))?;
            let (is_changed, was_dirty) = (
                changed.is_some(),
                found.as_ref().is_some_and(|kept| kept.is_dirty),
            );
            let Some(row) = changed.or_else(|| found.map(|kept| kept.row)) else {
                return Ok(());
            };
            self.bytes += size(key, &row);
            let is_dirty = was_dirty || (dirty && is_changed);
            self.young.insert(key.into(), Kept { row, is_dirty });
            is_dirty && !was_dirty
        };
        if is_news {
            self.dirty.insert(key.into());
        }
        Ok(())
    }

    /// Takes a row out of where it lay unused.
    fn take_older(&mut self, key: &[u8]) -> Result<Option<Kept>, RowsError> {
        if let Some(kept) = self.old.remove(key) {
            self.bytes = self.bytes.saturating_sub(size(key, &kept.row));
            return Ok(Some(kept));
        }
        let row = spilled(self.space.as_ref(), key)?;
        Ok(row.map(|row| Kept { row, is_dirty: false }))
    }

    /// How many rows the store does not have yet.
    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Takes all dirty rows with their present values; `read` makes the key of a row from the one it has here.
    pub(super) fn take_dirty(
        &mut self,
        partition: Partition,
        read: impl Fn(&[u8]) -> Option<RowKey>,
        rows: &mut Vec<Row>,
    ) -> Result<(), RowsError> {
        for key in std::mem::take(&mut self.dirty) {
            let kept = match self.young.get_mut(&key) {
                Some(kept) => Some(kept),
                None => self.old.get_mut(&key),
            };
            let row = match kept {
                Some(kept) => {
                    kept.is_dirty = false;
                    Some(kept.row.clone())
                }
                None => spilled(self.space.as_ref(), &key)?,
            };
            rows.extend(row.zip(read(&key)).map(|((version, value), key)| Row {
                key,
                partition,
                version,
                value: value.into(),
            }));
        }
        Ok(())
    }

    pub(super) fn keep_budget(&mut self) -> Result<(), RowsError> {
        if self.bytes <= self.budget {
            return Ok(());
        }
        if !self.old.is_empty() {
            let mut entries: Vec<(&[u8], Vec<u8>)> = Vec::with_capacity(self.old.len());
            for (key, kept) in &self.old {
                let (version, bytes) = &kept.row;
                self.bytes = self.bytes.saturating_sub(size(key, &kept.row));
                let value = [&version.0.to_be_bytes(), &bytes[..]].concat();
                entries.push((key, value));
            }
            entries.sort_unstable();
            let space = match self.space.take() {
                Some(space) => space,
                None => self.spill.space()?,
            };
            space.ingest(entries.iter().map(|(key, value)| (*key, value.as_slice())))?;
            self.space = Some(space);
        }
        self.old = std::mem::take(&mut self.young);
        Ok(())
    }
}

fn spilled(space: Option<&Space>, key: &[u8]) -> Result<Option<Versioned>, RowsError> {
    let Some(space) = space else { return Ok(None) };
    let Some(value) = space.get(key)? else {
        return Ok(None);
    };
    let (version, bytes) = value
        .split_first_chunk::<8>()
        .ok_or(Malformed { what: "user row" })?;
    Ok(Some((Offset(u64::from_be_bytes(*version)), bytes.into())))
}

fn size(key: &[u8], (_, bytes): &Versioned) -> usize {
    key.len() + bytes.len() + ROW_BYTES
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schemas::Day;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Clone, Debug)]
    enum Act {
        Change(u8, bool, Option<usize>),
        Take,
        Keep,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0..9_u8, any::<bool>(), proptest::option::weighted(0.8, 0..40_usize))
                .prop_map(|(key, dirty, bytes)| Act::Change(key, dirty, bytes)),
            1 => Just(Act::Take),
            2 => Just(Act::Keep),
        ]
    }

    fn row_key(key: &[u8]) -> Option<RowKey> {
        Some(RowKey::User {
            tenant: "t".to_owned(),
            user: key.first()?.to_string(),
            day: Day(1),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rows_wherever_they_lie_are_those_of_a_map_and_none_that_changed_is_forgotten(
            acts in proptest::collection::vec(act(), 1..60),
            budget in prop_oneof![Just(0), Just(400), Just(usize::MAX)],
        ) {
            let folder = tempfile::tempdir().unwrap();
            let spill = Spill::open(folder.path()).unwrap();
            let mut rows = Spilling::new(budget, spill);
            let (mut model, mut dirty) = (BTreeMap::new(), BTreeSet::new());
            for (version, act) in (1..).map(Offset).zip(acts) {
                match act {
                    Act::Change(key, is_dirty, bytes) => {
                        let after: Option<Versioned> = bytes.map(|bytes| (version, vec![key; bytes].into()));
                        rows.change(&[key], is_dirty, |before| {
                            assert_eq!(before, model.get(&key));
                            Ok(after.clone())
                        }).unwrap();
                        if let Some(after) = after {
                            model.insert(key, after);
                            if is_dirty {
                                dirty.insert(key);
                            }
                        }
                    }
                    Act::Take => {
                        let mut taken = Vec::new();
                        rows.take_dirty(Partition(0), row_key, &mut taken).unwrap();
                        let taken: BTreeMap<_, _> = taken
                            .into_iter()
                            .map(|row| (row.key, (row.version, row.value.into_boxed_slice())))
                            .collect();
                        let expected: BTreeMap<_, _> = std::mem::take(&mut dirty)
                            .into_iter()
                            .map(|key| (row_key(&[key]).unwrap(), model[&key].clone()))
                            .collect();
                        prop_assert_eq!(taken, expected);
                    }
                    Act::Keep => {
                        let is_over = rows.bytes > budget;
                        let old = rows.old.len();
                        rows.keep_budget().unwrap();
                        prop_assert!(!is_over || (rows.young.is_empty() && (old == 0 || rows.space.is_some())));
                    }
                }
                prop_assert_eq!(rows.dirty(), dirty.len());
                let kept = || rows.young.iter().chain(&rows.old);
                let bytes: usize = kept().map(|(key, kept)| size(key, &kept.row)).sum();
                prop_assert_eq!(rows.bytes, bytes);
                for (key, kept) in kept() {
                    prop_assert!(!kept.is_dirty || rows.dirty.contains(key));
                }
            }
        }
    }
}
