//! Held records, their release, and what a new owner does of it: what each calls for, and when it is known to be done.

use crate::sim::{OWN_SCHEMA, PARTITION, PARTITIONS, rules, spill, upload};
use aggregator::decide::{Decision, decide};
use aggregator::fold::Work;
use aggregator::schema::Schemas;
use aggregator::source::{ReadBack, Source, Unsent, new_batch_id};
use aggregator::uploads::{Call, Release};
use log::Record;
use log::batch::{Kind, Origin};
use schemas::input::RowError;
use schemas::upload::{Fact, Totals, What};
use schemas::{Amount, Event, Offset, Partition, Timestamp, avro, key};
use uuid::Uuid;

/// A source partition with its log and its changelog.
struct World {
    source: Source,
    next: u64,
    changelog: Vec<Vec<u8>>,
    read: usize,
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

    fn fold(&mut self, key: &str, value: &[u8], kind: Kind, copy_of: Option<u64>) {
        let origin = copy_of.map(|offset| Origin {
            partition: PARTITION,
            offset: Offset(offset),
            append_ms: 1_700_001_000_000,
            held: true,
        });
        let record = Record {
            offset: Offset(self.next),
            append_ms: 1_700_001_000_000,
            key: Some(key.as_bytes()),
            value: Some(value),
            origin,
            kind,
            redrive: None,
            trace: None,
        };
        self.next += 1;
        let schemas = Schemas::new(Some(OWN_SCHEMA));
        let decision = decide(&record, PARTITION, PARTITIONS, &schemas);
        assert!(!matches!(decision, Decision::Refused(_)), "{decision:?}");
        self.source.fold(&record, decision).unwrap();
    }

    fn row(&mut self, number: usize, kind: Kind, copy_of: Option<u64>) {
        let key = key_here(number);
        let event = Event {
            tenant: "default".into(),
            idempotency_key: key.clone().into(),
            user_id: "u1".into(),
            event_type: "click".into(),
            occurred_at: Timestamp(1_700_000_000_000_000),
            occurred_at_assigned: false,
            amount: Amount::from_millionths(1),
            upload_id: Some(id()),
            row: Some(number as i64),
            reverse: false,
            metadata: Vec::new(),
        };
        let mut value = Vec::new();
        avro::encode(&event, OWN_SCHEMA, &mut value);
        self.fold(&key, &value, kind, copy_of);
    }

    fn fact(&mut self, what: What) {
        let fact = Fact::new("default", id(), 5, what);
        self.fold(&fact.key(), &fact.encode(), Kind::Fact, None);
    }

    /// Sends what was folded, and reads it back.
    fn commit(&mut self) {
        if let Some((commit, _)) = self.source.close(new_batch_id(), "test") {
            self.changelog.extend(commit.parts);
        }
        while let Some(bytes) = self.changelog.get(self.read) {
            self.source.offer(Offset(self.read as u64), bytes).unwrap();
            self.read += 1;
        }
    }

    /// Another owner reads the chain; what is left undone.
    fn take_over(&mut self) -> Vec<(Offset, Unsent)> {
        self.source = source();
        self.read = 0;
        self.commit();
        self.source.take_unsent()
    }

    fn due(&self) -> Vec<Work> {
        self.source.due().cloned().collect()
    }
}

fn source() -> Source {
    Source::new(PARTITION, rules(), 1 << 20, spill())
}

/// An upload whose facts lie in the partition of the tests.
fn id() -> Uuid {
    let mut ids = (0..).map(upload);
    ids.find(|id| schemas::upload::home(*id, PARTITIONS) == PARTITION)
        .unwrap()
}

fn key_here(number: usize) -> String {
    let mut keys = (0..).map(|number| format!("row-{number}"));
    let mut keys = keys
        .by_ref()
        .filter(|key| key::partition(key.as_bytes(), PARTITIONS) == PARTITION);
    keys.nth(number).unwrap()
}

fn held(release: bool) -> What {
    What::Held {
        totals: Totals::default(),
        places: vec![
            (Partition(0), Offset(7), Offset(9)),
            (PARTITION, Offset(0), Offset(3)),
        ],
        release,
    }
}

fn release(from: u64) -> Work {
    Work::Call(Call::Release(Release {
        tenant: "default".into(),
        upload: id(),
        from: Offset(from),
        to: Offset(3),
    }))
}

fn told(world: &World) -> bool {
    let due = world.due();
    match due.as_slice() {
        [] => false,
        [Work::Call(Call::Tell { places, .. })] => places.len() == 2,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_held_upload_calls_for_nothing_until_it_is_released_and_then_once() {
    let mut world = World::new();
    for number in 0..3 {
        world.row(number, Kind::Held, None);
    }
    world.fact(held(false));
    world.commit();
    assert!(!told(&world));
    world.fact(What::Released);
    assert!(!told(&world), "not before it is on the chain");
    world.commit();
    assert!(told(&world));
    world.source.done(1);
    for late in [What::Released, What::Discarded, What::Released] {
        world.fact(late);
    }
    world.commit();
    assert!(!told(&world));
    assert_eq!(world.source.ledger().held, 3);
    assert_eq!(world.source.ledger().counted, 0);
}

#[test]
fn what_was_discarded_is_never_released() {
    let mut world = World::new();
    world.fact(held(false));
    world.fact(What::Discarded);
    world.fact(What::Released);
    world.commit();
    assert!(!told(&world));
    assert_eq!(world.take_over(), []);
}

#[test]
fn a_new_owner_goes_on_where_the_chain_says_that_copies_are_written() {
    let mut world = World::new();
    for number in 0..3 {
        world.row(number, Kind::Held, None);
    }
    let copy = What::Copy {
        from: Offset(0),
        to: Offset(3),
    };
    world.fact(copy.clone());
    world.fact(copy);
    world.commit();
    assert_eq!(world.due(), [release(0)], "of two words the first counts");
    assert_eq!(world.take_over().len(), 1);
    let work = |world: &mut World, unsent: Vec<(Offset, Unsent)>| {
        let work = unsent.into_iter().map(|(_, unsent)| match unsent {
            Unsent::Call(call) => Work::Call(call),
            Unsent::Reroute(_) => panic!("nothing is misplaced"),
        });
        let work = work.collect();
        world.source.resend(work);
    };
    let unsent = world.take_over();
    work(&mut world, unsent);
    assert_eq!(world.due(), [release(0)]);
    world.source.released(Offset(2));
    assert_eq!(world.due(), [release(2)]);
    // What no commit record says yet is done again.
    let unsent = world.take_over();
    work(&mut world, unsent);
    world.source.released(Offset(1));
    world.commit();
    let unsent = world.take_over();
    work(&mut world, unsent);
    assert_eq!(world.due(), [release(1)]);
    world.source.done(1);
    world.commit();
    assert_eq!(world.take_over(), []);
}

#[test]
fn a_long_fact_is_a_fact_and_no_dead_letter() {
    let mut world = World::new();
    let row = |row| RowError {
        row,
        code: "missing".into(),
        field: "user_id".into(),
        message: "is missing".into(),
    };
    // As many as ingest puts in one, and more bytes than an event may have.
    world.fact(What::Errors {
        rows: (0..3000).map(row).collect(),
    });
    world.commit();
    assert_eq!(
        (world.source.ledger().noted, world.source.ledger().accepted()),
        (1, 0)
    );
}

#[test]
fn a_copy_of_what_lies_behind_it_is_an_event_like_any() {
    let mut world = World::new();
    world.row(0, Kind::Event, Some(1_000_000));
    world.row(1, Kind::Event, Some(1));
    world.commit();
    assert_eq!(world.source.in_flight(), 0, "its record is on the chain");
    assert_eq!(world.source.ledger().counted, 2);
}

#[test]
fn an_owner_with_something_due_that_sees_anothers_record_begins_again() {
    let mut world = World::new();
    world.take_over();
    world.row(0, Kind::Held, None);
    world.fact(What::Copy {
        from: Offset(0),
        to: Offset(1),
    });
    world.commit();
    assert_eq!(world.due().len(), 1);
    // The other has read the same chain, and concludes what comes next.
    let mut other = World::new();
    other.changelog = world.changelog.clone();
    other.next = world.next;
    other.take_over();
    other.row(1, Kind::Event, None);
    let (commit, _) = other.source.close(new_batch_id(), "other").unwrap();
    let last = world.changelog.len() as u64;
    let read = world.source.offer(Offset(last), &commit.parts[0]).unwrap();
    assert_eq!(read, ReadBack::Lost);
}

#[test]
fn of_a_held_records_copies_one_counts_whoever_folds_the_next() {
    let mut world = World::new();
    for number in 0..2 {
        world.row(number, Kind::Held, None);
    }
    world.row(0, Kind::Event, Some(0));
    world.commit();
    world.take_over();
    world.row(0, Kind::Event, Some(0));
    world.row(1, Kind::Event, Some(1));
    world.row(1, Kind::Event, Some(1));
    // The same event by another way is a duplicate, and no repeat.
    world.row(1, Kind::Event, None);
    world.commit();
    let ledger = world.source.ledger();
    let outcomes = (ledger.held, ledger.counted, ledger.repeated, ledger.duplicate);
    assert_eq!(outcomes, (2, 2, 2, 1));
    assert_eq!((ledger.accepted(), ledger.balanced()), (3, true));
}
