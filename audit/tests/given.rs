//! Records of every outcome.

use crate::ports::Stored;
use crate::rig::{Given, Made, OWN_SCHEMA, PARTITIONS, Said, make};
use log::batch::Origin;
use schemas::redrive::Redrive;
use schemas::{Amount, Event, Offset, Partition, Reason, Timestamp, avro, key, limits, wire};

/// Id of a schema of another writer.
pub const FOREIGN: u32 = 50;
/// Its text.
pub const FOREIGN_SCHEMA: &str = r#"{"type":"record","name":"Other","fields":[
    {"name":"idempotency_key","type":"string"},{"name":"user_id","type":"string"},
    {"name":"event_type","type":"string"},{"name":"occurred_at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

const START_MS: i64 = 1_700_000_000_000;

/// The key `n` among those of a partition.
pub fn key_in(partition: u32, n: usize) -> String {
    let keys = (0..).map(|number| format!("key-{number}"));
    let mut keys = keys.filter(|key| key::partition(key.as_bytes(), PARTITIONS) == Partition(partition));
    keys.nth(n).unwrap()
}

pub fn event(key: &str, user: &str, event_type: &str, hour: i64) -> Event<'static> {
    Event {
        tenant: "default".into(),
        idempotency_key: key.to_owned().into(),
        user_id: user.to_owned().into(),
        event_type: event_type.to_owned().into(),
        occurred_at: Timestamp((START_MS + hour * 3_600_000) * 1000),
        occurred_at_assigned: false,
        amount: Amount::from_millionths(12_500_000),
        upload_id: None,
        row: None,
        reverse: false,
        metadata: vec![("page".into(), "home".into())],
    }
}

pub fn stored(key: &str, value: Vec<u8>, at: i64) -> Stored {
    Stored {
        key: Some(key.into()),
        value: Some(value),
        origin: None,
        append_ms: START_MS + 7_200_000 + at,
        redrive: None,
    }
}

pub fn avro(event: &Event<'_>, at: i64) -> Stored {
    let mut value = Vec::new();
    avro::encode(event, OWN_SCHEMA, &mut value);
    stored(&event.idempotency_key, value, at)
}

/// An event of the other writer, whose schema has no amount and no metadata.
fn foreign(id: u32, event: &Event<'_>, at: i64) -> Stored {
    let mut value = vec![0];
    value.extend_from_slice(&id.to_be_bytes());
    for text in [&event.idempotency_key, &event.user_id, &event.event_type] {
        wire::put_i64(&mut value, text.len() as i64);
        value.extend_from_slice(text.as_bytes());
    }
    wire::put_i64(&mut value, event.occurred_at.0);
    stored(&event.idempotency_key, value, at)
}

pub fn counted(event: Event<'static>) -> Said {
    Said::Counted(Box::new(event))
}

/// Every outcome in partition 0; partition 1 has the copy, and an event whose time the server set, twice.
pub fn every_outcome() -> Given {
    let keys: Vec<String> = (0..12).map(|n| key_in(0, n)).collect();
    let first = event(&keys[0], "u1", "click", 0);
    let changed = Event {
        amount: None,
        ..first.clone()
    };
    let json = br#"{"userId":"u2","type":"view","time":"2023-11-14T23:00:00Z","amount":"2.5"}"#;
    let from_json = Event {
        amount: Amount::from_millionths(2_500_000),
        metadata: vec![],
        ..event(&keys[1], "u2", "view", 0)
    };
    let from_json = Event {
        occurred_at: Timestamp(1_700_002_800_000_000),
        ..from_json
    };
    let no_user = Event {
        user_id: "".into(),
        ..event(&keys[2], "", "click", 0)
    };
    let astray = event(&key_in(1, 9), "u1", "click", 1);
    let plain = |event: Event<'static>| Event {
        amount: None,
        metadata: vec![],
        ..event
    };
    let other = plain(event(&keys[3], "u1", "view", 0));
    let unread = |reason| Said::Refused(reason, "", "");
    let zero = vec![
        (avro(&first, 0), counted(first.clone())),
        (
            avro(
                &Event {
                    row: Some(9),
                    ..first.clone()
                },
                1,
            ),
            Said::Duplicate,
        ),
        (
            avro(&changed, 2),
            Said::Refused(Reason::KeyConflict, "default", "u1"),
        ),
        (
            Stored {
                key: None,
                ..avro(&first, 3)
            },
            unread(Reason::NullKey),
        ),
        (
            Stored {
                value: None,
                ..avro(&first, 4)
            },
            unread(Reason::NullValue),
        ),
        (
            stored(&keys[4], vec![b'x'; limits::EVENT_BYTES + 1], 5),
            unread(Reason::Oversized),
        ),
        (
            stored(&keys[5], b"hello".to_vec(), 6),
            unread(Reason::Undecodable),
        ),
        (stored(&keys[6], b"{not".to_vec(), 7), unread(Reason::Undecodable)),
        (
            stored(&keys[7], br#"{"type":"click"}"#.to_vec(), 8),
            unread(Reason::Invalid),
        ),
        (
            Stored {
                key: Some(keys[8].clone().into()),
                ..avro(&first, 9)
            },
            Said::Refused(Reason::KeyMismatch, "default", "u1"),
        ),
        (avro(&no_user, 10), Said::Refused(Reason::Invalid, "default", "")),
        (stored(&keys[1], json.to_vec(), 11), counted(from_json)),
        (avro(&astray, 12), Said::Rerouted(Partition(1))),
        (foreign(99, &first, 13), unread(Reason::UnknownSchema)),
        (foreign(FOREIGN, &other, 14), counted(other.clone())),
    ];
    let origin = Some(Origin {
        partition: Partition(0),
        offset: Offset(12),
        append_ms: START_MS + 7_200_012,
        held: false,
    });
    let own_time = br#"{"userId":"u3","type":"click"}"#;
    let stamped = |at: i64| stored(&key_in(1, 2), own_time.to_vec(), at);
    let assigned = Event {
        occurred_at_assigned: true,
        ..plain(event(&key_in(1, 2), "u3", "click", 0))
    };
    let assigned = Event {
        occurred_at: Timestamp(stamped(3).append_ms * 1000),
        ..assigned
    };
    let (b, c) = (
        event(&key_in(1, 0), "u1", "click", 0),
        event(&key_in(1, 1), "u1", "view", -48),
    );
    let one = vec![
        (avro(&b, 0), counted(b.clone())),
        (avro(&c, 1), counted(c.clone())),
        (
            Stored {
                origin,
                ..avro(&astray, 2)
            },
            counted(astray.clone()),
        ),
        (stamped(3), counted(assigned)),
        (stamped(4), Said::Duplicate),
    ];
    vec![zero, one]
}

/// A letter of partition 0 that is too new for its type and heals, with tries of every end in partition 0, and one in partition 1 of which
/// the letter's own lane knows nothing.
pub fn redriven() -> Given {
    let (letter, reason) = (event(&key_in(0, 0), "u1", "click", 0), Reason::ReversalUnmatched);
    let back = |event: &Event<'static>| Event {
        reverse: true,
        ..event.clone()
    };
    let place = (Partition(0), Offset(0));
    let mended = Event {
        reverse: false,
        ..event(&key::redrive_key(place, PARTITIONS), "u2", "view", 0)
    };
    let other = Event {
        amount: None,
        ..mended.clone()
    };
    let try_of = |event: &Event<'static>, at: i64, edited: bool| {
        let redrive = Redrive {
            tenant: "default",
            who: "k1",
            at_ms: 5,
            edited,
        };
        Stored {
            origin: Some(Origin {
                partition: place.0,
                offset: place.1,
                append_ms: START_MS + 7_200_000,
                held: false,
            }),
            redrive: Some(redrive.encode()),
            ..avro(event, at)
        }
    };
    let refused = |reason| Said::Refused(reason, "default", "u1");
    let zero = vec![
        (avro(&back(&letter), 0), refused(reason)),
        (try_of(&back(&letter), 1, false), refused(reason)),
        (avro(&letter, 2), counted(letter.clone())),
        (
            try_of(&back(&letter), 3, false),
            Said::Reversed(Box::new(letter.clone())),
        ),
        (try_of(&back(&letter), 4, false), Said::Duplicate),
        (try_of(&mended, 5, true), Said::Repeated),
        (avro(&mended, 6), counted(mended.clone())),
        (try_of(&mended, 7, true), Said::Duplicate),
        (
            try_of(&other, 8, true),
            Said::Refused(Reason::KeyConflict, "default", "u2"),
        ),
    ];
    let foreign = event(&key_in(1, 0), "u3", "click", 0);
    let one = vec![(try_of(&foreign, 0, false), counted(foreign.clone()))];
    vec![zero, one]
}

/// The world of [`redriven`].
pub fn redriven_world() -> Made {
    make(&redriven(), &[vec![(0, 3), (3, 9)], vec![(0, 1)]])
}

/// The world of [`every_outcome`].
pub fn world() -> Made {
    make(&every_outcome(), &[vec![(0, 5), (5, 15)], vec![(0, 2), (2, 5)]])
}
