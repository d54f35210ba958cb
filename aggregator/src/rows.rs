//! The rows of one source partition as the chain adds them up, and which of them a store does not have yet.
//!
//! Rows of users and ledgers of uploads are kept as bytes, since there are many; those that have not changed for a
//! while move to the local folder. The value of (row, version) follows from the chain alone, so any process may write it, any number of times.

mod distinct;
mod spilling;

use crate::spill::{Spill, SpillError};
use distinct::Sketches;
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use schemas::commit::{CommitRecord, Fate, Link, Source};
use schemas::partial::{DayPartial, UserPartial};
use schemas::redrive::Try;
use schemas::row::{DeadLetter, Row, RowKey, View, decode_upload_ledger, encode_upload_ledger};
use schemas::wire::Malformed;
use schemas::{Day, Ledger, Offset, Outcome, Partition, Timestamp, upload};
use spilling::Spilling;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use uuid::Uuid;

/// What part of users' memory the ledgers of uploads may take beside it.
const UPLOADS_SHARE: usize = 16;
/// The same of the sketches of distinct users.
const SKETCHES_SHARE: usize = 4;

/// Why rows could not be added up.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The local folder failed.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// A row in the local folder is not what was put there.
    #[error("the local state folder holds a {0}")]
    Malformed(#[from] Malformed),
}

/// The rows of one source partition.
#[derive(Debug)]
pub struct Rows {
    partition: Partition,
    days: HashMap<(String, Day, String), DayRow, FxBuildHasher>,
    users: Spilling,
    uploads: Spilling,
    sketches: Sketches,
    dirty_days: HashSet<(String, Day, String), FxBuildHasher>,
    dirty_letters: Vec<Row>,
    dirty_facts: Vec<Row>,
    /// First and last UTC day with a counted event.
    pub span: Option<(Day, Day)>,
}

#[derive(Debug, Default)]
struct DayRow {
    version: Offset,
    partial: DayPartial,
}

impl Rows {
    /// No rows yet; users' rows take at most about `memory_bytes`.
    pub fn new(partition: Partition, memory_bytes: usize, spill: Spill) -> Self {
        Self {
            partition,
            days: HashMap::default(),
            users: Spilling::new(memory_bytes, spill.clone()),
            uploads: Spilling::new(memory_bytes / UPLOADS_SHARE, spill.clone()),
            sketches: Sketches::new(memory_bytes / SKETCHES_SHARE, spill),
            dirty_days: HashSet::default(),
            dirty_letters: Vec::new(),
            dirty_facts: Vec::new(),
            span: None,
        }
    }

    /// Adds a commit record that is on the chain, where `link` says. Rows of a view become dirty only if the store does not reflect the
    /// record yet: if it lies behind that view's next offset.
    pub fn apply(
        &mut self,
        record: &CommitRecord,
        link: Link,
        projected: &BTreeMap<View, Offset>,
    ) -> Result<(), RowsError> {
        let to = record.head.to;
        let missing = |view| projected.get(&view).is_none_or(|next| *next < to);
        let (days, users, letters, uploads) = (
            missing(View::Days),
            missing(View::Users),
            missing(View::DeadLetters),
            missing(View::Uploads),
        );
        self.add_days(record, days);
        self.add_users(record, link, users)?;
        self.sketches.add(record, missing(View::Distinct))?;
        if letters {
            self.add_letters(record);
            self.add_tries(record);
        }
        self.add_uploads(record, uploads)?;
        if uploads {
            self.add_facts(record);
        }
        Ok(())
    }

    fn add_days(&mut self, record: &CommitRecord, dirty: bool) {
        let mut changes: HashMap<(u32, Day), DayPartial, FxBuildHasher> = HashMap::default();
        let mut reversals = Vec::new();
        for counted in record.counted() {
            let quarter = counted.fresh.quarter;
            let place = (counted.type_index, quarter.day());
            let change = changes.entry(place).or_default();
            match counted.fresh.reversed {
                true => reversals.push((place, quarter.of_day(), counted.amount)),
                false => change.add(quarter.of_day(), counted.amount),
            }
        }
        for ((type_index, day), change) in changes {
            // The record was checked when it was decoded: its indexes lie in its table.
            let Some((tenant, event_type)) = record.types.get(type_index as usize) else {
                continue;
            };
            self.span = Some(
                self.span
                    .map_or((day, day), |(first, last)| (first.min(day), last.max(day))),
            );
            let key = (tenant.clone(), day, event_type.clone());
            if dirty {
                self.dirty_days.insert(key.clone());
            }
            let row = self.days.entry(key).or_default();
            row.version = record.head.to;
            row.partial.merge(&change);
        }
        // Behind what was added, so that an event of this very record can be taken back.
        for ((type_index, day), of_day, amount) in reversals {
            let Some((tenant, event_type)) = record.types.get(type_index as usize) else {
                continue;
            };
            if let Some(row) = self.days.get_mut(&(tenant.clone(), day, event_type.clone())) {
                row.partial.take_back(of_day, amount);
            }
        }
    }

    fn add_users(&mut self, record: &CommitRecord, link: Link, dirty: bool) -> Result<(), RowsError> {
        let hasher = FxBuildHasher;
        let tenants: Vec<u64> = record
            .types
            .iter()
            .map(|(tenant, _)| hasher.hash_one(tenant))
            .collect();
        let mut events: Vec<_> = record
            .counted()
            .filter_map(|counted| {
                let (tenant, event_type) = record.types.get(counted.type_index as usize)?;
                let place = (tenant, counted.user, counted.fresh.quarter.day());
                let hash = hasher.hash_one((tenants.get(counted.type_index as usize), place.1, place.2.0));
                Some((hash, place, event_type, counted))
            })
            .collect();
        // The row of a busy user is long: it is read and written once for all of the record's events, which stay in their order. Hashes
        // are cheaper to sort than names; where two rows have one, they are told apart below.
        events.sort_by_key(|(hash, ..)| *hash);
        let mut key = Vec::with_capacity(64);
        for events in events.chunk_by(|(_, a, ..), (_, b, ..)| a == b) {
            let Some((_, (tenant, user, day), ..)) = events.first() else {
                continue;
            };
            user_key(&mut key, tenant, user, *day);
            self.users.change(&key, dirty, |before| {
                let mut partial = match before {
                    Some((_, bytes)) => UserPartial::decode(bytes)?,
                    None => UserPartial::default(),
                };
                for (_, _, event_type, counted) in events {
                    let of_day = counted.fresh.quarter.of_day();
                    match counted.fresh.reversed {
                        true => partial.take_back(event_type, of_day, counted.amount),
                        false => partial.add(event_type, of_day, counted.amount),
                    }
                    partial.remember(counted.offset, counted.fresh.reversed, link);
                }
                Ok(Some((record.head.to, partial.encode().into())))
            })?;
        }
        self.users.keep_budget()
    }

    fn add_letters(&mut self, record: &CommitRecord) {
        let copies: HashSet<Offset> = record.redrives().map(|redriven| redriven.copy).collect();
        for exception in record.exceptions() {
            // A redriven copy is a try of its letter and no letter itself.
            let (Fate::DeadLettered(refusal), false) = (exception.fate, copies.contains(&exception.offset))
            else {
                continue;
            };
            let value = DeadLetter {
                reason: refusal.reason,
                user: refusal.user.to_owned(),
                detail: refusal.detail.to_owned(),
                upload: exception.source.and_then(|source| {
                    let (_, upload) = record.uploads.get(source.upload_index as usize)?;
                    Some((*upload, refusal.row.unwrap_or(0)))
                }),
            };
            let key = RowKey::DeadLetter {
                tenant: refusal.tenant.to_owned(),
                day: Timestamp::from_millis(refusal.accepted_ms).quarter().day(),
                accepted_ms: refusal.accepted_ms,
                offset: exception.offset,
            };
            self.dirty_letters.push(Row {
                key,
                partition: self.partition,
                version: record.head.to,
                value: value.encode(),
            });
        }
    }

    fn add_tries(&mut self, record: &CommitRecord) {
        for (redriven, outcome, detail) in record.tries() {
            let redrive = redriven.redrive;
            let value = Try {
                outcome,
                detail: detail.to_owned(),
                who: redrive.who.to_owned(),
                at_ms: redrive.at_ms,
                edited: redrive.edited,
            };
            let key = RowKey::Redrive {
                tenant: redrive.tenant.to_owned(),
                day: Timestamp::from_millis(redriven.accepted_ms).quarter().day(),
                accepted_ms: redriven.accepted_ms,
                letter: redriven.partition,
                offset: redriven.offset,
                copy: redriven.copy,
            };
            self.dirty_letters.push(Row {
                key,
                partition: self.partition,
                version: record.head.to,
                value: value.encode(),
            });
        }
    }

    /// Adds up the outcomes of each upload's records.
    fn add_uploads(&mut self, record: &CommitRecord, dirty: bool) -> Result<(), RowsError> {
        let mut changes: HashMap<u32, Ledger, FxBuildHasher> = HashMap::default();
        let mut add = |source: Option<Source>, outcome: Outcome| {
            // A fact is no record of the upload's own.
            let Some(source) = source.filter(|_| outcome != Outcome::Noted) else {
                return;
            };
            let ledger = changes.entry(source.upload_index).or_default();
            ledger.records += 1;
            ledger.copies += u64::from(source.copy_of.is_some() || outcome == Outcome::Repeated);
            ledger.add_outcome(outcome);
        };
        for counted in record.counted() {
            let reversed = counted.fresh.reversed;
            add(
                counted.source,
                if reversed {
                    Outcome::Reversed
                } else {
                    Outcome::Counted
                },
            );
        }
        for exception in record.exceptions() {
            add(exception.source, exception.fate.outcome());
        }
        for (index, change) in changes {
            let Some((tenant, upload)) = record.uploads.get(index as usize) else {
                continue;
            };
            let key = upload_key(tenant, *upload);
            self.uploads.change(&key, dirty, |before| {
                let mut ledger = match before {
                    Some((_, bytes)) => decode_upload_ledger(bytes)?,
                    None => Ledger::default(),
                };
                ledger.merge(&change);
                Ok(Some((record.head.to, encode_upload_ledger(&ledger).into())))
            })?;
        }
        self.uploads.keep_budget()
    }

    fn add_facts(&mut self, record: &CommitRecord) {
        for exception in record.exceptions() {
            let (Fate::Noted(bytes), Some(source)) = (exception.fate, exception.source) else {
                continue;
            };
            let Some((tenant, upload)) = record.uploads.get(source.upload_index as usize) else {
                continue;
            };
            self.dirty_facts.push(Row {
                key: RowKey::Upload {
                    tenant: tenant.clone(),
                    day: upload::day(*upload),
                    upload: *upload,
                    fact: Some(exception.offset),
                },
                partition: self.partition,
                version: record.head.to,
                value: bytes.to_vec(),
            });
        }
    }

    /// Rows that the store does not have yet; a sketch counts as several, by its bytes.
    pub fn dirty(&self) -> usize {
        let uploads = self.uploads.dirty() + self.dirty_facts.len();
        let others = self.dirty_letters.len() + uploads + self.sketches.dirty();
        self.dirty_days.len() + self.users.dirty() + others
    }

    /// Takes all dirty rows with their present values. The caller writes them, all, before it writes progress.
    pub fn take_dirty(&mut self) -> Result<Vec<Row>, RowsError> {
        let mut rows = std::mem::take(&mut self.dirty_letters);
        rows.append(&mut self.dirty_facts);
        rows.reserve(self.dirty_days.len() + self.users.dirty() + self.uploads.dirty());
        for key in self.dirty_days.drain() {
            let Some(row) = self.days.get(&key) else { continue };
            let (tenant, day, event_type) = key;
            let key = RowKey::Day {
                tenant,
                day,
                event_type,
            };
            rows.push(Row {
                key,
                partition: self.partition,
                version: row.version,
                value: row.partial.encode(),
            });
        }
        self.users.take_dirty(self.partition, read_user_key, &mut rows)?;
        self.uploads
            .take_dirty(self.partition, read_upload_key, &mut rows)?;
        self.sketches.take_dirty(self.partition, &mut rows)?;
        Ok(rows)
    }
}

fn user_key(key: &mut Vec<u8>, tenant: &str, user: &str, day: Day) {
    key.clear();
    key.extend_from_slice(tenant.as_bytes());
    key.push(0);
    key.extend_from_slice(user.as_bytes());
    key.push(0);
    key.extend_from_slice(&day.0.to_be_bytes());
}

fn read_user_key(key: &[u8]) -> Option<RowKey> {
    let (texts, day) = key.split_last_chunk::<4>()?;
    let (tenant, user) = std::str::from_utf8(texts)
        .ok()?
        .strip_suffix('\0')?
        .split_once('\0')?;
    Some(RowKey::User {
        tenant: tenant.to_owned(),
        user: user.to_owned(),
        day: Day(u32::from_be_bytes(*day)),
    })
}

fn upload_key(tenant: &str, upload: Uuid) -> Vec<u8> {
    [tenant.as_bytes(), upload.as_bytes()].concat()
}

fn read_upload_key(key: &[u8]) -> Option<RowKey> {
    let (tenant, upload) = key.split_last_chunk::<16>()?;
    let upload = Uuid::from_bytes(*upload);
    Some(RowKey::Upload {
        tenant: std::str::from_utf8(tenant).ok()?.to_owned(),
        day: upload::day(upload),
        upload,
        fact: None,
    })
}
