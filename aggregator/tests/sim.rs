//! A log of events, an independent reading of it, and a changelog that tears.

use aggregator::decide::{Decision, decide};
use aggregator::fold::Rules;
use aggregator::schema::Schemas;
use aggregator::source::{ReadBack, Source, new_batch_id};
use aggregator::spill::Spill;
use log::batch::{Kind, Origin};
use log::{Record, RecordBatch};
use proptest::prelude::*;
use schemas::key::{Hashing, Secret};
use schemas::{Amount, Event, Ledger, Offset, Outcome, Partition, Reason, Timestamp, avro, key};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

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
    /// Whether it takes back what was counted.
    pub reverse: bool,
    /// Whether the server set its time; then it differs each time.
    pub assigned: bool,
    /// The upload that it came in.
    pub upload: Option<u8>,
    pub way: Way,
}

/// How a record came to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a client.
    Plain,
    /// By a client, to be held.
    Held,
    /// As a copy of one of the held records before it, if there is one.
    Copy(u8),
}

pub fn draw() -> impl Strategy<Value = Draw> {
    let way = prop_oneof![
        6 => Just(Way::Plain),
        2 => Just(Way::Held),
        3 => any::<u8>().prop_map(Way::Copy),
    ];
    let content = (
        0..40_u8,
        0..3_u8,
        0..2_u8,
        0..60_u8,
        proptest::option::of(any::<i8>()),
    );
    let weighted = proptest::bool::weighted;
    let marks = (
        weighted(0.05),
        weighted(0.2),
        weighted(0.2),
        proptest::option::of(0..2_u8),
    );
    (content, marks, way).prop_map(
        |((key, user, kind, hour, amount), (invalid, reverse, assigned, upload), way)| Draw {
            key,
            // Most repeats of a key are duplicates, some are conflicts.
            user: if user == 2 { 2 } else { key % 2 },
            kind: key % 2 + kind / 2,
            hour: if assigned { hour } else { key + hour / 50 },
            amount: if user == 2 { amount } else { Some(key as i8) },
            invalid,
            reverse,
            assigned: assigned && key % 3 == 0,
            upload,
            way,
        },
    )
}

impl Draw {
    pub fn key(&self) -> String {
        format!("key-{}", self.key)
    }

    fn is_here(&self) -> bool {
        key::partition(self.key().as_bytes(), PARTITIONS) == PARTITION
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
            occurred_at_assigned: self.assigned,
            amount: self
                .amount
                .map(|amount| Amount::from_millionths(i64::from(amount) * 10_000).unwrap()),
            upload_id: self.upload.map(upload),
            row: self.upload.map(i64::from),
            reverse: self.reverse,
            metadata: Vec::new(),
        }
    }

    /// What must be the same for two events of one key to be one event.
    fn content(&self) -> (u8, u8, Option<u8>, Option<i8>) {
        (
            self.user,
            self.kind,
            (!self.assigned).then_some(self.hour),
            self.amount,
        )
    }
}

/// The id of an upload.
pub fn upload(number: u8) -> Uuid {
    Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(number))
}

/// What the log holds: for each offset what was drawn, and of a copy where the held record lies that it was made of. A copy of
/// nothing is a plain record.
pub fn placed(draws: &[Draw]) -> Vec<(Draw, Option<usize>)> {
    let mut held: Vec<usize> = Vec::new();
    let mut placed: Vec<(Draw, Option<usize>)> = Vec::new();
    for draw in draws {
        let original = match draw.way {
            Way::Copy(number) if !held.is_empty() => Some(held[usize::from(number) % held.len()]),
            _ => None,
        };
        let mut draw = original.map_or(draw, |original| &draws[original]).clone();
        draw.way = match (original, draw.way) {
            (Some(_), _) | (None, Way::Copy(_)) => Way::Plain,
            (None, way) => way,
        };
        // The lane copies only what it held.
        if draw.way == Way::Held && draw.is_here() && !draw.invalid && draw.upload.is_some() {
            held.push(placed.len());
        }
        placed.push((draw, original));
    }
    placed
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
    for (offset, (draw, original)) in placed(draws).iter().enumerate() {
        let mut value = Vec::new();
        avro::encode(&draw.event(), OWN_SCHEMA, &mut value);
        let origin = original.map(|original| Origin {
            partition: PARTITION,
            offset: Offset(original as u64),
            append_ms: append_ms(original),
            held: true,
        });
        batch.push(Record {
            offset: Offset(offset as u64),
            append_ms: append_ms(offset),
            key: Some(draw.key().as_bytes()),
            value: Some(&value),
            origin,
            kind: match draw.way {
                Way::Held => Kind::Held,
                Way::Plain | Way::Copy(_) => Kind::Event,
            },
        });
    }
    batch
}

fn append_ms(offset: usize) -> i64 {
    1_700_001_000_000 + offset as i64
}

/// What should come of it, by a plain reading that shares nothing with the fold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub ledger: Ledger,
    /// (user, type, quarter-hour) -> count and sum, without those that are nothing.
    pub cells: BTreeMap<(String, String, u32), (u64, i128)>,
    /// Outcomes of each upload's records.
    pub uploads: BTreeMap<Uuid, Ledger>,
}

impl Expected {
    /// Adds an event, or takes one back.
    pub fn change(&mut self, cell: (String, String, u32), reversed: bool, amount: i128) {
        let (count, sum) = self.cells.remove(&cell).unwrap_or_default();
        let changed = match reversed {
            false => (count + 1, sum + amount),
            true => (count - 1, sum - amount),
        };
        if changed != (0, 0) {
            self.cells.insert(cell, changed);
        }
    }

    /// Adds the outcome of an upload's record.
    pub fn upload(&mut self, upload: Uuid, outcome: Outcome, is_copy: bool) {
        let ledger = self.uploads.entry(upload).or_default();
        ledger.records += 1;
        ledger.copies += u64::from(is_copy);
        ledger.add_outcome(outcome);
    }
}

pub fn expected(draws: &[Draw]) -> Expected {
    let mut expected = Expected::default();
    let mut seen: BTreeMap<u8, Draw> = BTreeMap::new();
    let mut reversed: BTreeSet<u8> = BTreeSet::new();
    let mut copied: BTreeSet<usize> = BTreeSet::new();
    for (draw, original) in placed(draws) {
        let cell = |draw: &Draw| {
            let event = draw.event();
            let quarter = event.occurred_at.0 / 900_000_000;
            (
                event.user_id.to_string(),
                event.event_type.to_string(),
                quarter as u32,
            )
        };
        let amount = i128::from(draw.amount.unwrap_or(0)) * 10_000;
        let invalid = Outcome::DeadLettered(Reason::Invalid);
        let outcome = match seen.get(&draw.key) {
            _ if !draw.is_here() && draw.way == Way::Held => invalid,
            _ if !draw.is_here() => Outcome::Rerouted,
            _ if draw.invalid => invalid,
            _ if draw.way == Way::Held && draw.upload.is_none() => invalid,
            _ if draw.way == Way::Held => Outcome::Held,
            _ if original.is_some_and(|original| !copied.insert(original)) => Outcome::Repeated,
            Some(first) if first.content() != draw.content() => Outcome::DeadLettered(Reason::KeyConflict),
            Some(first) if draw.reverse && reversed.insert(draw.key) => {
                expected.change(cell(first), true, amount);
                Outcome::Reversed
            }
            Some(_) => Outcome::Duplicate,
            None if draw.reverse => Outcome::DeadLettered(Reason::ReversalUnmatched),
            None => {
                expected.change(cell(&draw), false, amount);
                seen.insert(draw.key, draw.clone());
                Outcome::Counted
            }
        };
        expected.ledger.records += 1;
        expected.ledger.copies += u64::from(original.is_some());
        expected.ledger.add_outcome(outcome);
        let unread = outcome == Outcome::Rerouted || !draw.is_here();
        if let Some(upload) = draw.event().upload_id.filter(|_| !unread) {
            expected.upload(upload, outcome, original.is_some());
        }
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
