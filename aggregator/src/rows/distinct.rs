//! Sketches of distinct users, one for each type and UTC day.
//!
//! A sketch's bytes are those of its set of users alone ([`schemas::distinct`]), so how the chain was cut into commit records, read or
//! spilled does not show in them. A row's version is that of the last commit record that changed its bytes: of a full sketch few
//! do, and only those are written. Sketches are kept as bytes, small while there are few users, and move to the local folder like
//! rows of users. An event that is taken back leaves its user in: a sketch cannot forget.

use super::{RowsError, Spilling, user_key};
use crate::spill::Spill;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use schemas::commit::CommitRecord;
use schemas::distinct::Distinct;
use schemas::row::{Row, RowKey};
use schemas::{Day, Partition};

/// As how many dirty rows a dirty sketch counts, so that the bound on rows bounds bytes as well: it has up to 3 KiB.
const WEIGHT: usize = 16;

/// The sketches of one source partition.
#[derive(Debug)]
pub(super) struct Sketches(Spilling);

impl Sketches {
    pub(super) fn new(memory_bytes: usize, spill: Spill) -> Self {
        Self(Spilling::new(memory_bytes, spill))
    }

    /// Adds the users that a commit record counted.
    pub(super) fn add(&mut self, record: &CommitRecord, dirty: bool) -> Result<(), RowsError> {
        let mut users: HashMap<(u32, Day), Vec<&str>, FxBuildHasher> = HashMap::default();
        for counted in record.counted().filter(|counted| !counted.fresh.reversed) {
            let place = (counted.type_index, counted.fresh.quarter.day());
            users.entry(place).or_default().push(counted.user);
        }
        let mut key = Vec::with_capacity(64);
        for ((type_index, day), users) in users {
            let Some((tenant, event_type)) = record.types.get(type_index as usize) else {
                continue;
            };
            user_key(&mut key, tenant, event_type, day);
            self.0.change(&key, dirty, |before| {
                let mut sketch = match before {
                    Some((_, bytes)) => Distinct::decode(bytes)?,
                    None => Distinct::default(),
                };
                users.into_iter().for_each(|user| sketch.add(user));
                let after = sketch.encode();
                let is_new = before.is_none_or(|(_, bytes)| bytes[..] != after[..]);
                Ok(is_new.then(|| (record.head.to, after.into())))
            })?;
        }
        self.0.keep_budget()
    }

    /// What the dirty ones count as.
    pub(super) fn dirty(&self) -> usize {
        self.0.dirty() * WEIGHT
    }

    /// Takes all dirty ones with their present values.
    pub(super) fn take_dirty(&mut self, partition: Partition, rows: &mut Vec<Row>) -> Result<(), RowsError> {
        self.0.take_dirty(partition, read_key, rows)
    }
}

fn read_key(key: &[u8]) -> Option<RowKey> {
    let (texts, day) = key.split_last_chunk::<4>()?;
    let (tenant, event_type) = std::str::from_utf8(texts)
        .ok()?
        .strip_suffix('\0')?
        .split_once('\0')?;
    Some(RowKey::Distinct {
        tenant: tenant.to_owned(),
        day: Day(u32::from_be_bytes(*day)),
        event_type: event_type.to_owned(),
    })
}
