//! Redriven copies: of all tries for one letter one alone has an effect, whoever folds the next, and headers that somebody made up
//! stop nothing.

use crate::sim::{OWN_SCHEMA, PARTITION, PARTITIONS, rules, spill};
use aggregator::decide::decide;
use aggregator::schema::Schemas;
use aggregator::source::{Source, new_batch_id};
use log::Record;
use log::batch::{Kind, Origin};
use schemas::redrive::Redrive;
use schemas::{Event, Offset, Outcome, Partition, Reason, Timestamp, avro, key};

const APPEND_MS: i64 = 1_700_001_000_000;

/// A source partition with its log and its changelog.
struct World {
    source: Source,
    next: u64,
    changelog: Vec<Vec<u8>>,
    read: usize,
}

/// What a record says of itself.
#[derive(Clone, Copy, Default)]
struct Headers<'a> {
    letter: Option<(Partition, u64)>,
    redrive: Option<&'a [u8]>,
}

impl World {
    fn new() -> Self {
        Self {
            source: source(),
            next: 0,
            changelog: Vec::new(),
            read: 0,
        }
    }

    fn fold(&mut self, event: &Event<'_>, headers: Headers<'_>) -> Outcome {
        let mut value = Vec::new();
        avro::encode(event, OWN_SCHEMA, &mut value);
        let origin = headers.letter.map(|(partition, offset)| Origin {
            partition,
            offset: Offset(offset),
            append_ms: APPEND_MS,
            held: false,
        });
        let record = Record {
            offset: Offset(self.next),
            append_ms: APPEND_MS,
            key: Some(event.idempotency_key.as_bytes()),
            value: Some(&value),
            origin,
            kind: Kind::Event,
            redrive: headers.redrive,
            trace: None,
        };
        self.next += 1;
        let schemas = Schemas::new(Some(OWN_SCHEMA));
        let decision = decide(&record, PARTITION, PARTITIONS, &schemas);
        self.source.fold(&record, decision).unwrap().unwrap()
    }

    /// A try for the letter at an offset of this partition.
    fn redrive(&mut self, event: &Event<'_>, letter: u64) -> Outcome {
        let header = header();
        let headers = Headers {
            letter: Some((PARTITION, letter)),
            redrive: Some(&header),
        };
        self.fold(event, headers)
    }

    /// Sends what was folded, and another owner takes over.
    fn take_over(&mut self) {
        if let Some((commit, _)) = self.source.close(new_batch_id(), "test") {
            self.changelog.extend(commit.parts);
        }
        (self.source, self.read) = (source(), 0);
        while let Some(bytes) = self.changelog.get(self.read) {
            self.source.offer(Offset(self.read as u64), bytes).unwrap();
            self.read += 1;
        }
        assert_eq!(self.source.next(), Offset(self.next));
    }
}

fn source() -> Source {
    Source::new(PARTITION, rules(), 1 << 20, spill())
}

fn header() -> Vec<u8> {
    let redrive = Redrive {
        tenant: "default",
        who: "k1",
        at_ms: 5,
        edited: false,
    };
    redrive.encode()
}

fn event(key: &str, user: &str, reverse: bool) -> Event<'static> {
    Event {
        tenant: "default".into(),
        idempotency_key: key.to_owned().into(),
        user_id: user.to_owned().into(),
        event_type: "click".into(),
        occurred_at: Timestamp(1_700_000_000_000_000),
        occurred_at_assigned: false,
        amount: None,
        upload_id: None,
        row: None,
        reverse,
        metadata: Vec::new(),
    }
}

/// A key of the partition of the tests.
fn key_here() -> String {
    let mut keys = (0..).map(|number| format!("key-{number}"));
    keys.find(|key| key::partition(key.as_bytes(), PARTITIONS) == PARTITION)
        .unwrap()
}

const UNMATCHED: Outcome = Outcome::DeadLettered(Reason::ReversalUnmatched);
const CONFLICT: Outcome = Outcome::DeadLettered(Reason::KeyConflict);

#[test]
fn a_reversal_before_its_original_is_healed_by_a_redrive() {
    let mut world = World::new();
    let key = key_here();
    let (original, reversal) = (event(&key, "u1", false), event(&key, "u1", true));
    let letter = world.next;
    assert_eq!(world.fold(&reversal, Headers::default()), UNMATCHED);
    assert_eq!(world.redrive(&reversal, letter), UNMATCHED);
    assert_eq!(world.fold(&original, Headers::default()), Outcome::Counted);
    assert_eq!(world.redrive(&reversal, letter), Outcome::Reversed);
    assert_eq!(world.redrive(&reversal, letter), Outcome::Duplicate);
    let ledger = world.source.ledger();
    assert_eq!((ledger.records, ledger.copies, ledger.accepted()), (5, 3, 2));
    assert_eq!((ledger.counted, ledger.reversed), (1, 1));
    assert!(ledger.balanced());
}

#[test]
fn of_all_tries_of_one_letter_one_alone_has_an_effect_whoever_folds_the_next() {
    let key = key_here();
    for mended_first in [false, true] {
        for taken_over in [false, true] {
            let mut world = World::new();
            let reversal = event(&key, "u1", true);
            let letter = world.next;
            assert_eq!(world.fold(&reversal, Headers::default()), UNMATCHED);
            assert_eq!(
                world.fold(&event(&key, "u1", false), Headers::default()),
                Outcome::Counted
            );
            let mended_key = key::redrive_key((PARTITION, Offset(letter)), PARTITIONS);
            let mended = event(&mended_key, "u2", false);
            let (first, then) = if mended_first {
                ((&mended, Outcome::Counted), &reversal)
            } else {
                ((&reversal, Outcome::Reversed), &mended)
            };
            assert_eq!(world.redrive(first.0, letter), first.1);
            if taken_over {
                world.take_over();
            }
            assert_eq!(world.redrive(then, letter), Outcome::Repeated);
            // In another tenant its key is another, and the letter is the same.
            let other = Event {
                tenant: "other".into(),
                ..mended.clone()
            };
            assert_eq!(world.redrive(&other, letter), Outcome::Repeated);
            assert_eq!(world.redrive(first.0, letter), Outcome::Duplicate);
        }
    }
}

#[test]
fn two_mends_of_one_letter_count_once() {
    let mut world = World::new();
    let key = key_here();
    assert_eq!(
        world.fold(&event(&key, "u1", false), Headers::default()),
        Outcome::Counted
    );
    let letter = world.next;
    let conflict = event(&key, "u2", false);
    assert_eq!(world.fold(&conflict, Headers::default()), CONFLICT);
    let mended_key = key::redrive_key((PARTITION, Offset(letter)), PARTITIONS);
    let (one, other) = (event(&mended_key, "u2", false), event(&mended_key, "u3", false));
    assert_eq!(world.redrive(&one, letter), Outcome::Counted);
    world.take_over();
    assert_eq!(world.redrive(&one, letter), Outcome::Duplicate);
    assert_eq!(world.redrive(&other, letter), CONFLICT);
    assert_eq!(world.redrive(&conflict, letter), CONFLICT);
}

#[test]
fn made_up_headers_stop_no_lane_and_count_nothing_twice() {
    let key = key_here();
    let right = header();
    let right = Some(right.as_slice());
    let long = vec![1; 5_000];
    let mut world = World::new();
    let first = event(&key, "u1", false);
    assert_eq!(world.fold(&first, Headers::default()), Outcome::Counted);
    for (letter, redrive) in [
        (None, right),
        (Some((PARTITION, 0)), Some(&b"redrive"[..])),
        (Some((PARTITION, 0)), Some(&[])),
        (Some((PARTITION, 0)), Some(&long)),
        (Some((PARTITION, u64::MAX)), right),
        (Some((Partition(PARTITIONS), 0)), right),
        (Some((Partition(0), u64::MAX)), right),
        (Some((PARTITION, 0)), right),
        (Some((Partition(0), 1 << 40)), right),
    ] {
        let headers = Headers { letter, redrive };
        assert_eq!(world.fold(&first, headers), Outcome::Duplicate);
        world.take_over();
    }
    // A new event under headers that somebody made up counts as it would without them, once.
    let made_up = Headers {
        letter: Some((Partition(0), 7)),
        redrive: right,
    };
    let keys = (0..).map(|number| format!("new-{number}"));
    let mut keys = keys.filter(|key| key::partition(key.as_bytes(), PARTITIONS) == PARTITION);
    let new = event(&keys.next().unwrap(), "u1", false);
    assert_eq!(world.fold(&new, made_up), Outcome::Counted);
    world.take_over();
    assert_eq!(world.fold(&new, made_up), Outcome::Duplicate);
    assert!(world.source.ledger().balanced());
}
