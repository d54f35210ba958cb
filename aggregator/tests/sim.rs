//! A log of events, an independent reading of it, and a changelog that tears.

use aggregator::decide::{Decision, decide};
use aggregator::fold::Rules;
use aggregator::schema::Schemas;
use aggregator::source::{ReadBack, Source, new_batch_id};
use aggregator::spill::Spill;
use log::{Record, RecordBatch};
use proptest::prelude::*;
use schemas::key::{Hashing, Secret};
use schemas::{Amount, Event, Ledger, Offset, Outcome, Partition, Reason, Timestamp, avro, key};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const OWN_SCHEMA: u32 = 7;
pub const PARTITIONS: u32 = 3;
pub const PARTITION: Partition = Partition(1);
const HOUR_MICROS: i64 = 3_600_000_000;

/// One event as the tests draw it: few keys, users, types and hours, so that everything collides.
#[derive(Clone, Debug)]
pub struct Draw {
    pub key: u8,
    pub user: u8,
    pub kind: u8,
    pub hour: u8,
    pub amount: Option<i8>,
    pub invalid: bool,
}

pub fn draw() -> impl Strategy<Value = Draw> {
    (
        0..40_u8,
        0..3_u8,
        0..2_u8,
        0..60_u8,
        proptest::option::of(any::<i8>()),
        proptest::bool::weighted(0.05),
    )
        .prop_map(|(key, user, kind, hour, amount, invalid)| Draw {
            key,
            // Most repeats of a key are duplicates, some are conflicts.
            user: if user == 2 { 2 } else { key % 2 },
            kind: key % 2 + kind / 2,
            hour: key + hour / 50,
            amount: if user == 2 { amount } else { Some(key as i8) },
            invalid,
        })
}

impl Draw {
    pub fn key(&self) -> String {
        format!("key-{}", self.key)
    }

    pub fn event(&self) -> Event<'static> {
        Event {
            tenant: "default".into(),
            idempotency_key: self.key().into(),
            user_id: if self.invalid {
                "".into()
            } else {
                format!("user-{}", self.user).into()
            },
            event_type: format!("type-{}", self.kind).into(),
            occurred_at: Timestamp(1_700_000_000_000_000 + i64::from(self.hour) * HOUR_MICROS / 4),
            occurred_at_assigned: false,
            amount: self
                .amount
                .map(|amount| Amount::from_millionths(i64::from(amount) * 10_000).unwrap()),
            upload_id: None,
            row: None,
            metadata: Vec::new(),
        }
    }
}

/// One local folder for all cases: opening one takes longer than a case.
pub fn spill() -> Spill {
    static SPILL: std::sync::OnceLock<(tempfile::TempDir, Spill)> = std::sync::OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::open(&folder.path().join("spill")).unwrap();
        (folder, spill)
    };
    SPILL.get_or_init(make).1.clone()
}

pub fn rules() -> Arc<Rules> {
    let hashing = Hashing::new(&Secret([3; 32]));
    Arc::new(Rules {
        generation: 1,
        partitions: PARTITIONS,
        hashing,
        types_limit: 1000,
    })
}

/// The events as the log holds them, all in [`PARTITION`], wherever they belong.
pub fn records(draws: &[Draw]) -> RecordBatch {
    let mut batch = RecordBatch::new(PARTITION);
    for (offset, draw) in draws.iter().enumerate() {
        let mut value = Vec::new();
        avro::encode(&draw.event(), OWN_SCHEMA, &mut value);
        batch.push(Record {
            offset: Offset(offset as u64),
            append_ms: 1_700_001_000_000 + offset as i64,
            key: Some(draw.key().as_bytes()),
            value: Some(&value),
            origin: None,
        });
    }
    batch
}

/// What should come of it, by a plain reading that shares nothing with the fold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub ledger: Ledger,
    /// (user, type, quarter-hour) -> count and sum.
    pub cells: BTreeMap<(String, String, u32), (u64, i128)>,
}

pub fn expected(draws: &[Draw]) -> Expected {
    let mut expected = Expected::default();
    let mut seen: BTreeMap<String, Event<'static>> = BTreeMap::new();
    for draw in draws {
        let event = draw.event();
        expected.ledger.records += 1;
        let outcome = if key::partition(draw.key().as_bytes(), PARTITIONS) != PARTITION {
            Outcome::Rerouted
        } else if draw.invalid {
            Outcome::DeadLettered(Reason::Invalid)
        } else {
            match seen.get(&draw.key()) {
                Some(first) if *first == event => Outcome::Duplicate,
                Some(_) => Outcome::DeadLettered(Reason::KeyConflict),
                None => {
                    let quarter = event.occurred_at.0 / 900_000_000;
                    let key = (
                        event.user_id.to_string(),
                        event.event_type.to_string(),
                        quarter as u32,
                    );
                    let cell = expected.cells.entry(key).or_default();
                    cell.0 += 1;
                    cell.1 += event.amount.map_or(0, |amount| i128::from(amount.millionths()));
                    seen.insert(draw.key(), event);
                    Outcome::Counted
                }
            }
        };
        expected.ledger.add_outcome(outcome);
    }
    expected
}

/// An owner of the partition: a source and how far it has read the changelog.
pub struct Owner {
    pub source: Source,
    rules: Arc<Rules>,
    spill: Spill,
    schemas: Schemas,
    read: usize,
    /// Times that it dropped its state.
    pub lost: usize,
}

impl Owner {
    pub fn new(rules: &Arc<Rules>, spill: &Spill) -> Self {
        Self {
            source: Source::new(PARTITION, rules.clone(), 1 << 20, spill.clone()),
            rules: rules.clone(),
            spill: spill.clone(),
            schemas: Schemas::new(Some(OWN_SCHEMA)),
            read: 0,
            lost: 0,
        }
    }

    pub fn restart(&mut self) {
        let lost = self.lost + 1;
        *self = Self {
            lost,
            ..Self::new(&self.rules, &self.spill)
        };
    }

    /// Reads at most `count` records of the changelog.
    pub fn read(&mut self, changelog: &[Option<Vec<u8>>], count: usize) {
        for _ in 0..count {
            let Some(slot) = changelog.get(self.read) else {
                return;
            };
            let offset = Offset(self.read as u64);
            self.read += 1;
            // A gap: an aborted record or a marker.
            let Some(bytes) = slot else { continue };
            if self.source.offer(offset, bytes).unwrap() == ReadBack::Lost {
                self.restart();
                return;
            }
        }
    }

    /// Folds at most `count` records from where it is.
    pub fn fold(&mut self, records: &RecordBatch, count: usize) {
        let next = self.source.next();
        for record in records
            .iter()
            .skip_while(|record| record.offset < next)
            .take(count)
        {
            let decision = decide(&record, PARTITION, PARTITIONS, &self.schemas);
            assert!(!matches!(decision, Decision::NeedsSchema(_)));
            self.source.fold(&record, decision).unwrap();
        }
    }

    /// Closes its batch: the parts to send.
    pub fn close(&mut self) -> Vec<Vec<u8>> {
        self.source
            .close(new_batch_id(), "sim")
            .map(|(commit, _)| commit.parts)
            .unwrap_or_default()
    }
}
