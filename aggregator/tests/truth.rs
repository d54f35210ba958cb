//! What the rows must be: a plain sum over the chain, as of each of its commit records. Shares nothing with the rows of the product.

use crate::sim::PARTITION;
use aggregator::chain::{Chain, Step};
use schemas::commit::{CommitRecord, Fate, Source};
use schemas::distinct::Distinct;
use schemas::partial::{DayPartial, UserPartial};
use schemas::redrive::Try;
use schemas::row::{DeadLetter, RowKey, decode_upload_ledger};
use schemas::{Day, Ledger, Offset, Reason, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What a row says: (type, quarter-hour) -> count and sum. A row of days names no type; a dead letter has its reason for one, a
/// sketch its bytes.
pub type Cells = BTreeMap<(String, u32), (u64, i128)>;

/// Every row as of every commit record that changed it.
#[derive(Debug, Default)]
pub struct Truth {
    pub rows: BTreeMap<RowKey, BTreeMap<u64, Cells>>,
    /// The ledger as of each next offset at which a commit record ends.
    pub ledgers: BTreeMap<u64, Ledger>,
    /// The next offset at the end of the chain.
    pub end: u64,
    /// The next offset on the changelog behind each commit record on the chain.
    pub ends: Vec<usize>,
    users: BTreeMap<RowKey, BTreeSet<String>>,
}

impl Truth {
    pub fn of(changelog: &[Option<Vec<u8>>]) -> Self {
        let mut chain = Chain::new(PARTITION, 1);
        let mut truth = Self::default();
        truth.ledgers.insert(0, Ledger::default());
        for (offset, bytes) in changelog.iter().enumerate() {
            let Some(bytes) = bytes else { continue };
            if let Step::Applied(_, record) = chain.offer(Offset(offset as u64), bytes).unwrap() {
                truth.add(&record);
                truth.ends.push(offset + 1);
            }
        }
        truth.end = chain.next.0;
        truth
    }

    fn add(&mut self, record: &CommitRecord) {
        let to = record.head.to.0;
        self.ledgers.insert(to, record.head.ledger);
        for counted in record.counted() {
            let (tenant, event_type) = record.types[counted.type_index as usize].clone();
            let quarter = counted.fresh.quarter;
            let amount = counted.amount.map_or(0, |amount| i128::from(amount.millionths()));
            let (tenant, user, day) = (tenant, counted.user.to_owned(), quarter.day());
            let by_day = RowKey::Day {
                tenant: tenant.clone(),
                day,
                event_type: event_type.clone(),
            };
            let change = (counted.fresh.reversed, amount);
            self.count(by_day, to, (String::new(), quarter.0), change);
            if !counted.fresh.reversed {
                let by_type = RowKey::Distinct {
                    tenant: tenant.clone(),
                    day,
                    event_type: event_type.clone(),
                };
                self.meet(by_type, to, &user);
            }
            let by_user = RowKey::User { tenant, user, day };
            self.count(by_user, to, (event_type, quarter.0), change);
            let word = if counted.fresh.reversed {
                "reversed"
            } else {
                "counted"
            };
            self.upload(record, to, counted.source, word);
        }
        for (redriven, outcome, _) in record.tries() {
            let key = RowKey::Redrive {
                tenant: redriven.redrive.tenant.to_owned(),
                day: Timestamp::from_millis(redriven.accepted_ms).quarter().day(),
                accepted_ms: redriven.accepted_ms,
                letter: redriven.partition,
                offset: redriven.offset,
                copy: redriven.copy,
            };
            self.count(key, to, (format!("{outcome:?}"), 0), (false, 0));
        }
        for exception in record.exceptions() {
            let word = match exception.fate {
                Fate::DeadLettered(refusal) => refusal.reason.word(),
                Fate::Duplicate => "duplicate",
                Fate::Held => "held",
                Fate::Repeated => "repeated",
                Fate::Rerouted(_) | Fate::Noted(_) => continue,
            };
            self.upload(record, to, exception.source, word);
            let Fate::DeadLettered(refusal) = exception.fate else {
                continue;
            };
            if record
                .redrives()
                .any(|redriven| redriven.copy == exception.offset)
            {
                continue;
            }
            let key = RowKey::DeadLetter {
                tenant: refusal.tenant.to_owned(),
                day: Timestamp::from_millis(refusal.accepted_ms).quarter().day(),
                accepted_ms: refusal.accepted_ms,
                offset: exception.offset,
            };
            self.count(key, to, (refusal.reason.word().to_owned(), 0), (false, 0));
        }
    }

    /// Adds a user to a sketch. There are few, so each new one changes its bytes.
    fn meet(&mut self, key: RowKey, to: u64, user: &str) {
        let users = self.users.entry(key.clone()).or_default();
        if users.insert(user.to_owned()) {
            let mut sketch = Distinct::default();
            users.iter().for_each(|user| sketch.add(user));
            let cells = Cells::from([((format!("{:?}", sketch.encode()), 0), (1, 0))]);
            self.rows.entry(key).or_default().insert(to, cells);
        }
    }

    fn upload(&mut self, record: &CommitRecord, to: u64, source: Option<Source>, word: &str) {
        let Some(source) = source else { return };
        let (tenant, upload) = record.uploads[source.upload_index as usize].clone();
        let key = RowKey::Upload {
            tenant,
            day: schemas::upload::day(upload),
            upload,
            fact: None,
        };
        self.count(key, to, (word.to_owned(), 0), (false, 0));
    }

    fn count(&mut self, key: RowKey, to: u64, cell: (String, u32), (reversed, amount): (bool, i128)) {
        let versions = self.rows.entry(key).or_default();
        let mut cells = versions.values().next_back().cloned().unwrap_or_default();
        let sums = cells.remove(&cell).unwrap_or_default();
        let changed = match reversed {
            false => (sums.0 + 1, sums.1 + amount),
            true => (sums.0 - 1, sums.1 - amount),
        };
        if changed != (0, 0) {
            cells.insert(cell, changed);
        }
        versions.insert(to, cells);
    }

    /// The version that a row must have at least once everything before `next` is reflected; `None` where there is no such row yet.
    pub fn needed(&self, key: &RowKey, next: u64) -> Option<u64> {
        let versions = self.rows.get(key)?;
        versions.range(..=next).next_back().map(|(version, _)| *version)
    }
}

/// What a row's bytes say.
pub fn cells(key: &RowKey, value: &[u8]) -> Cells {
    let quarter = |day: &Day, of_day| day.quarter(of_day).0;
    match key {
        RowKey::Day { day, .. } => {
            let partial = DayPartial::decode(value).unwrap();
            let cell = partial.cells().iter().map(|cell| {
                let place = (String::new(), quarter(day, cell.of_day));
                (place, (cell.count, cell.sum.0))
            });
            cell.collect()
        }
        RowKey::User { day, .. } => {
            let partial = UserPartial::decode(value).unwrap();
            let mut cells = Cells::new();
            for (event_type, partial) in partial.types() {
                for cell in partial.cells() {
                    let place = (event_type.clone(), quarter(day, cell.of_day));
                    cells.insert(place, (cell.count, cell.sum.0));
                }
            }
            cells
        }
        RowKey::DeadLetter { .. } => {
            let letter = DeadLetter::decode(value).unwrap();
            Cells::from([((letter.reason.word().to_owned(), 0), (1, 0))])
        }
        RowKey::Distinct { .. } => Cells::from([((format!("{value:?}"), 0), (1, 0))]),
        RowKey::Redrive { .. } => {
            let tried = Try::decode(value).unwrap();
            Cells::from([((format!("{:?}", tried.outcome), 0), (1, 0))])
        }
        RowKey::Upload { .. } => {
            let ledger = decode_upload_ledger(value).unwrap();
            assert!(ledger.balanced());
            let mut counts = vec![
                ("counted", ledger.counted),
                ("duplicate", ledger.duplicate),
                ("reversed", ledger.reversed),
                ("held", ledger.held),
                ("repeated", ledger.repeated),
            ];
            counts.extend(Reason::ALL.map(|reason| (reason.word(), ledger.dead_lettered_for(reason))));
            let counts = counts.into_iter().filter(|(_, count)| *count > 0);
            counts
                .map(|(word, count)| ((word.to_owned(), 0), (count, 0)))
                .collect()
        }
    }
}
