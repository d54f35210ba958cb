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
use schemas::redrive::{HEADER_BYTES, Redrive};
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
    /// As a redriven copy of one of the records before it, a dead letter more often than not.
    Redrive(u8),
    /// As what was drawn, in place of one of the records before it.
    Edited(u8),
    /// By a client that makes up headers of redrives.
    MadeUp(u8),
    /// As a canary, whatever it holds.
    Canary,
}

/// What a record's headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Nothing,
    /// A copy of the held record at this offset.
    CopyOf(usize),
    /// A try for the record at this offset.
    Redrive {
        letter: usize,
        edited: bool,
    },
    /// Something that somebody made up.
    MadeUp(u8),
}

/// A record of the log.
#[derive(Clone, Debug)]
pub struct Placed {
    pub draw: Draw,
    pub key: String,
    pub said: Said,
}

pub fn draw() -> impl Strategy<Value = Draw> {
    let way = prop_oneof![
        6 => Just(Way::Plain),
        2 => Just(Way::Held),
        3 => any::<u8>().prop_map(Way::Copy),
        3 => any::<u8>().prop_map(Way::Redrive),
        2 => any::<u8>().prop_map(Way::Edited),
        1 => any::<u8>().prop_map(Way::MadeUp),
        1 => Just(Way::Canary),
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

fn is_here(key: &str) -> bool {
    key::partition(key.as_bytes(), PARTITIONS) == PARTITION
}

/// What the log holds at each offset. A copy of nothing is a plain record.
pub fn placed(draws: &[Draw]) -> Vec<Placed> {
    let mut held: Vec<usize> = Vec::new();
    let mut letters: Vec<usize> = Vec::new();
    let mut placed: Vec<Placed> = Vec::new();
    for draw in draws {
        let pick = |from: &[usize], number: u8| Some(*from.get(usize::from(number) % from.len().max(1))?);
        let said = match draw.way {
            Way::Copy(number) => pick(&held, number).map(Said::CopyOf),
            Way::Redrive(number) => pick(&letters, number).map(|letter| Said::Redrive {
                letter,
                edited: false,
            }),
            Way::Edited(number) => {
                pick(&letters, number).map(|letter| Said::Redrive { letter, edited: true })
            }
            Way::MadeUp(number) => Some(Said::MadeUp(number)),
            Way::Plain | Way::Held | Way::Canary => None,
        };
        let said = said.unwrap_or(Said::Nothing);
        let (mut draw, key) = match said {
            Said::CopyOf(original)
            | Said::Redrive {
                letter: original,
                edited: false,
            } => (placed[original].draw.clone(), placed[original].key.clone()),
            Said::Redrive {
                letter, edited: true, ..
            } => {
                let letter = (PARTITION, Offset(letter as u64));
                (draw.clone(), key::redrive_key(letter, PARTITIONS))
            }
            Said::Nothing | Said::MadeUp(_) => (draw.clone(), draw.key()),
        };
        draw.way = match (said, draw.way) {
            (Said::Nothing, way @ (Way::Held | Way::Canary)) => way,
            _ => Way::Plain,
        };
        // The lane copies only what it held.
        if draw.way == Way::Held && is_here(&key) && !draw.invalid && draw.upload.is_some() {
            held.push(placed.len());
        }
        // What is most likely refused, and now and then what is not.
        if draw.way == Way::Plain && (draw.invalid || draw.reverse || draw.user == 2 || draw.hour % 8 == 0) {
            letters.push(placed.len());
        }
        placed.push(Placed { draw, key, said });
    }
    placed
}

/// The origin and the header that a record carries, if any.
fn headers(said: Said, offset: usize) -> (Option<Origin>, Option<Vec<u8>>) {
    let origin = |offset: usize, held| Origin {
        partition: PARTITION,
        offset: Offset(offset as u64),
        append_ms: append_ms(offset),
        held,
    };
    let redrive = |edited| Redrive {
        tenant: "default",
        who: "k1",
        at_ms: 5,
        edited,
    };
    let right = Some(redrive(false).encode());
    let elsewhere = |partition, offset| Origin {
        partition: Partition(partition),
        offset: Offset(offset),
        append_ms: append_ms(0),
        held: false,
    };
    match said {
        Said::Nothing => (None, None),
        Said::CopyOf(original) => (Some(origin(original, true)), None),
        Said::Redrive { letter, edited } => (Some(origin(letter, false)), Some(redrive(edited).encode())),
        Said::MadeUp(number) => match number % 7 {
            0 => (Some(origin(0, false)), Some(vec![9, 9])),
            1 => (None, right),
            2 => (Some(origin(offset, false)), right),
            3 => (Some(elsewhere(PARTITIONS, 0)), right),
            4 => (Some(elsewhere(0, u64::MAX)), right),
            5 => (Some(elsewhere(0, 5)), right),
            _ => (
                Some(origin(0, false)),
                Some([&[1, 0, 1, b'k', 0][..], &[0; HEADER_BYTES]].concat()),
            ),
        },
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
    })
}

/// The events as the log holds them, all in [`PARTITION`], wherever they belong.
pub fn records(draws: &[Draw]) -> RecordBatch {
    let mut batch = RecordBatch::new(PARTITION);
    for (offset, placed) in placed(draws).iter().enumerate() {
        let mut value = Vec::new();
        let event = Event {
            idempotency_key: placed.key.clone().into(),
            ..placed.draw.event()
        };
        avro::encode(&event, OWN_SCHEMA, &mut value);
        let (origin, redrive) = headers(placed.said, offset);
        batch.push(Record {
            offset: Offset(offset as u64),
            append_ms: append_ms(offset),
            key: Some(placed.key.as_bytes()),
            value: Some(&value),
            origin,
            kind: match placed.draw.way {
                Way::Held => Kind::Held,
                Way::Canary => Kind::Canary,
                _ => Kind::Event,
            },
            redrive: redrive.as_deref(),
            trace: None,
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
    /// By the offset of each redriven copy: the letter, whether it was mended, what became of it.
    pub tries: BTreeMap<u64, ((Partition, Offset), bool, Outcome)>,
    /// Dead letters that are no tries.
    pub letters: u64,
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
    let mut seen: BTreeMap<String, Draw> = BTreeMap::new();
    let mut reversed: BTreeSet<String> = BTreeSet::new();
    let mut copied: BTreeSet<usize> = BTreeSet::new();
    let mut healed: BTreeSet<usize> = BTreeSet::new();
    for (offset, Placed { draw, key, said }) in placed(draws).into_iter().enumerate() {
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
        let letter = match said {
            Said::Redrive { letter, .. } => Some(letter),
            _ => None,
        };
        let is_copy_again = matches!(said, Said::CopyOf(original) if copied.contains(&original));
        let outcome = match seen.get(&key) {
            _ if draw.way == Way::Canary => Outcome::Noted,
            _ if !is_here(&key) && draw.way == Way::Held => invalid,
            _ if !is_here(&key) => Outcome::Rerouted,
            _ if draw.invalid => invalid,
            _ if draw.way == Way::Held && draw.upload.is_none() => invalid,
            _ if draw.way == Way::Held => Outcome::Held,
            _ if is_copy_again => Outcome::Repeated,
            Some(first) if first.content() != draw.content() => Outcome::DeadLettered(Reason::KeyConflict),
            Some(_) if !draw.reverse || reversed.contains(&key) => Outcome::Duplicate,
            None if draw.reverse => Outcome::DeadLettered(Reason::ReversalUnmatched),
            _ if letter.is_some_and(|letter| healed.contains(&letter)) => Outcome::Repeated,
            Some(first) => {
                expected.change(cell(first), true, amount);
                reversed.insert(key.clone());
                healed.extend(letter);
                Outcome::Reversed
            }
            None => {
                expected.change(cell(&draw), false, amount);
                seen.insert(key.clone(), draw.clone());
                healed.extend(letter);
                Outcome::Counted
            }
        };
        if let Said::CopyOf(original) = said {
            copied.insert(original);
        }
        expected.ledger.records += 1;
        expected.ledger.copies += u64::from(headers(said, offset).0.is_some());
        expected.ledger.add_outcome(outcome);
        let tried = match said {
            _ if outcome == Outcome::Rerouted => None,
            Said::Redrive { letter, edited } => Some(((PARTITION, Offset(letter as u64)), edited)),
            Said::MadeUp(number) if number % 7 == 5 => Some(((Partition(0), Offset(5)), false)),
            Said::MadeUp(_) | Said::CopyOf(_) | Said::Nothing => None,
        };
        if let Some((letter, edited)) = tried {
            expected.tries.insert(offset as u64, (letter, edited, outcome));
        } else if matches!(outcome, Outcome::DeadLettered(_)) {
            expected.letters += 1;
        }
        let is_row =
            tried.is_none() && !matches!(outcome, Outcome::Rerouted | Outcome::Noted) && is_here(&key);
        if let Some(upload) = draw.event().upload_id.filter(|_| is_row) {
            expected.upload(upload, outcome, matches!(said, Said::CopyOf(_)));
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
