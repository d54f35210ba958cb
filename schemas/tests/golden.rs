//! Bytes of every version ever released, as hex under `tests/golden`. Each is read to what it meant, and today's
//! release still writes it. A file is never changed once it was released; a new layout gets a new file.
//!
//! `TIDEMARK_WRITE_GOLDEN=1 cargo test -p schemas` writes the files that are not there yet, and never over one that is.

use crate::commit::{head, redriven, small_body};
use crate::given::full_event;
use schemas::commit::{self, CommitRecord, Fate, Link, Part};
use schemas::distinct::{Distinct, Union};
use schemas::generation::{FOLD_VERSION, Generation, PARTITIONER};
use schemas::key::Secret;
use schemas::partial::{DayPartial, UserPartial};
use schemas::positions::REMEMBERED;
use schemas::receipt::Receipt;
use schemas::redrive::{Redrive, Try};
use schemas::row::{DeadLetter, Progress};
use schemas::{Amount, Day, Event, Ledger, Offset, Outcome, Partition, Reason, Timestamp, avro, json, key};
use std::path::Path;
use uuid::Uuid;

/// The bytes of a file, which are also what today's release writes.
fn golden(name: &str, today: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.hex"));
    if std::env::var_os("TIDEMARK_WRITE_GOLDEN").is_some_and(|value| value == "1") && !path.exists() {
        let lines: Vec<String> = today.chunks(32).map(hex).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(
        hex(&bytes),
        hex(today),
        "{name}: today's release writes other bytes"
    );
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_event_in_avro() {
    let mut today = vec![];
    avro::encode(&full_event(), 42, &mut today);
    let bytes = golden("event-avro-1", &today);
    let (id, body) = avro::frame(&bytes).unwrap();
    assert_eq!(id, 42);
    assert_eq!(avro::decode(body), Ok(full_event()));
}

#[test]
fn the_schema_of_events() {
    let bytes = golden("event-schema-1", avro::SCHEMA.as_bytes());
    assert_eq!(bytes, avro::SCHEMA.as_bytes());
}

#[test]
fn an_event_in_json() {
    // Nobody of ours writes these, so the text is its own golden form.
    let text = r#"{"tenant":"acme","idempotencyKey":"order-17","userId":"müller","eventType":"purchase",
        "timestamp":"2024-01-15T10:00:00.000001Z","amount":-12.50,"page":"home","metadata":{"currency":"EUR"}}"#;
    let bytes = golden("event-json-1", text.as_bytes());
    let expected = Event {
        upload_id: None,
        row: None,
        reverse: false,
        ..full_event()
    };
    assert_eq!(json::decode(&bytes, "another", Timestamp(0)), Ok(expected));
}

#[test]
fn keys_and_hashes() {
    let hashing = key::Hashing::new(&Secret([7; 32]));
    let mut today = vec![];
    today.extend_from_slice(&hashing.fingerprint("acme", "order-17").0.to_le_bytes());
    today.extend_from_slice(&hashing.content(&full_event()).bits().to_le_bytes());
    today.extend_from_slice(key::content_key(&full_event()).as_bytes());
    today.extend_from_slice(key::batch_key("header", 7).as_bytes());
    today.extend_from_slice(&schemas::row::user_bucket("acme", "müller", 512).to_le_bytes());
    golden("keys-1", &today);
}

#[test]
fn a_commit_record_in_one_part() {
    let today = commit::cut(Uuid::from_u128(2), Uuid::from_u128(1), &small_body());
    assert_eq!(today.len(), 1);
    let bytes = golden("commit-1", &today[0]);
    let part = Part::decode(&bytes).unwrap();
    assert_eq!((part.id, part.prev), (Uuid::from_u128(2), Uuid::from_u128(1)));
    let record = CommitRecord::decode(part.chunk.to_vec()).unwrap();
    assert_eq!(record.head, head(1000, 1005));
    assert_eq!(record.types, [("acme".to_owned(), "purchase".to_owned())]);
    let counted: Vec<_> = record.counted().collect();
    assert_eq!(counted.len(), 1);
    assert_eq!((counted[0].offset, counted[0].user), (Offset(1000), "müller"));
    assert_eq!(counted[0].amount, Amount::from_millionths(-12_500_000));
    let exceptions: Vec<_> = record.exceptions().collect();
    let offsets: Vec<u64> = exceptions.iter().map(|exception| exception.offset.0).collect();
    assert_eq!(offsets, [1001, 1003, 1004]);
    assert_eq!(exceptions[1].fate, Fate::Rerouted(Partition(5)));
    assert_eq!(record.redrives().collect::<Vec<_>>(), [redriven(1004)]);
    let Fate::DeadLettered(refusal) = exceptions[2].fate else {
        panic!("not a dead letter")
    };
    assert_eq!(
        (refusal.reason, refusal.detail),
        (Reason::KeyConflict, "the amount differs")
    );
}

#[test]
fn a_commit_record_in_three_parts() {
    // Two megabytes of bytes that anyone can make again: the files hold what stands before them in each part.
    let body: Vec<u8> = (0..2_000_000_u32).map(|place| (place % 251) as u8).collect();
    let parts = commit::cut(Uuid::from_u128(3), Uuid::from_u128(2), &body);
    let heads: Vec<u8> = parts.iter().flat_map(|part| part[..41].to_vec()).collect();
    let bytes = golden("commit-parts-1", &heads);
    let mut rest = body.as_slice();
    for (index, head) in bytes.chunks(41).enumerate() {
        let (chunk, behind) = rest.split_at(rest.len().min(900 * 1024 - 41));
        rest = behind;
        let part = [head, chunk].concat();
        let part = Part::decode(&part).unwrap();
        assert_eq!((usize::from(part.index), part.count), (index, 3));
    }
    assert!(rest.is_empty());
}

#[test]
fn a_day_partial() {
    let mut partial = DayPartial::default();
    partial.add(40, Amount::from_millionths(12_500_000));
    partial.add(40, None);
    partial.add(95, Amount::from_millionths(-1));
    assert_eq!(
        DayPartial::decode(&golden("partial-day-1", &partial.encode())),
        Ok(partial)
    );
}

#[test]
fn a_user_partial() {
    let mut partial = UserPartial::default();
    partial.add("view", 0, None);
    partial.add("purchase", 40, Amount::from_millionths(12_500_000));
    let link = |n: u64| Link {
        changelog: Offset(n),
        id: Uuid::from_u128(u128::from(n)),
    };
    partial.remember(Offset(7), false, link(1));
    partial.remember(Offset(1_000), true, link(2));
    assert_eq!(
        UserPartial::decode(&golden("partial-user-2", &partial.encode())),
        Ok(partial.clone())
    );
    // With more events than are remembered.
    (0..40).for_each(|n| partial.remember(Offset(2_000 + n * n), n % 2 == 1, link(n)));
    let read = UserPartial::decode(&golden("partial-user-2-older", &partial.encode()));
    assert_eq!(read, Ok(partial.clone()));
    assert_eq!(partial.positions().older(), 10);
    assert_eq!(partial.positions().last(), Some(link(39)));
    assert_eq!(partial.positions().iter().count(), REMEMBERED);
}

#[test]
fn a_sketch_of_users() {
    for (name, users) in [("few", 5), ("some", 100), ("many", 1_000)] {
        let mut sketch = Distinct::default();
        (0..users).for_each(|user| sketch.add(&format!("müller {user}")));
        let bytes = golden(&format!("distinct-1-{name}"), &sketch.encode());
        assert_eq!(Distinct::decode(&bytes).unwrap().encode(), bytes);
        let mut union = Union::default();
        union.add(&Distinct::decode(&bytes).unwrap());
        let found = union.estimate();
        assert!(found.low <= users && users <= found.high, "{users}: {found:?}");
    }
}

#[test]
fn a_dead_letter_row() {
    let row = DeadLetter {
        reason: Reason::TooManyTypes,
        user: "müller".into(),
        detail: "more than 1000".into(),
        upload: Some((Uuid::from_u128(7), 12)),
    };
    assert_eq!(
        DeadLetter::decode(&golden("dead-letter-1", &row.encode())),
        Ok(row)
    );
}

#[test]
fn a_redrive() {
    let redrive = redriven(0).redrive;
    let bytes = golden("redrive-1", &redrive.encode());
    assert_eq!(Redrive::decode(&bytes), Ok(redrive));
    let row = Try {
        outcome: Outcome::DeadLettered(Reason::KeyConflict),
        detail: "the amount differs".into(),
        who: "k1".into(),
        at_ms: 1_705_312_900_456,
        edited: true,
    };
    assert_eq!(Try::decode(&golden("try-1", &row.encode())), Ok(row));
    let hashing = key::Hashing::new(&Secret([7; 32]));
    let place = (Partition(3), Offset(17));
    let mut today = hashing.redriven(place.0, place.1).0.to_le_bytes().to_vec();
    today.extend_from_slice(key::redrive_key(place, 12).as_bytes());
    golden("keys-redrive-1", &today);
}

#[test]
fn a_progress_row() {
    let mut ledger = Ledger {
        records: 1005,
        copies: 2,
        counted: 999,
        duplicate: 3,
        ..Ledger::default()
    };
    ledger.dead_lettered[4] = 2;
    ledger.dead_lettered[8] = 1;
    let progress = Progress {
        next: Offset(1005),
        changelog: Offset(17),
        chain: Uuid::from_u128(2),
        max_append_ms: 1_705_312_800_123,
        birth: Uuid::from_u128(6),
        days: Some((Day(0), Day(19_737))),
        ledger,
    };
    assert_eq!(
        Progress::decode(&golden("progress-1", &progress.encode())),
        Ok(progress)
    );
    let empty = Progress::default();
    assert_eq!(
        Progress::decode(&golden("progress-empty-1", &empty.encode())),
        Ok(empty)
    );
}

#[test]
fn a_receipt() {
    let mut receipt = Receipt::new(Uuid::from_u128(9));
    receipt.extend(Partition(0), Offset(1));
    receipt.extend(Partition(300), Offset(1 << 40));
    let bytes = golden("receipt-1", receipt.to_string().as_bytes());
    assert_eq!(String::from_utf8(bytes).unwrap().parse(), Ok(receipt));
}

#[test]
fn a_generation_record() {
    let generation = Generation {
        layout: 1,
        number: 1,
        partitions: 4,
        events_id: Uuid::from_u128(9),
        changelog_id: Uuid::from_u128(10),
        partitioner: PARTITIONER.into(),
        secret: Secret([7; 32]),
        user_buckets: 512,
        fold_version: FOLD_VERSION,
        schema_id: Some(42),
        schema_digest: "d".repeat(64),
    };
    let bytes = golden("generation-1", &serde_json::to_vec(&generation).unwrap());
    let read: Generation = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(read, generation);
}
