//! Our hand-written codec against apache-avro: each reads what the other wrote.

use crate::given::{any_event, full_event};
use apache_avro::types::Value;
use apache_avro::{Decimal, Schema, from_avro_datum, to_avro_datum};
use proptest::prelude::*;
use schemas::{Event, Timestamp, avro};
use std::collections::HashMap;

/// The event as apache-avro has it.
pub(crate) fn value(event: &Event<'_>) -> Value {
    let text = |text: &str| Value::String(text.to_owned());
    let optional = |value: Option<Value>| match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(value)),
    };
    let decimal = |millionths: i64| {
        // The shortest form, since apache-avro gives back as many bytes as it was given.
        let bytes = millionths.to_be_bytes();
        let spare = bytes
            .windows(2)
            .take_while(|two| (two[0] == 0 && two[1] < 0x80) || (two[0] == 0xff && two[1] >= 0x80))
            .count();
        Value::Decimal(Decimal::from(&bytes[spare..]))
    };
    let metadata: HashMap<String, Value> = event
        .metadata
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    Value::Record(vec![
        ("tenant".into(), text(&event.tenant)),
        ("idempotency_key".into(), text(&event.idempotency_key)),
        ("user_id".into(), text(&event.user_id)),
        ("event_type".into(), text(&event.event_type)),
        ("occurred_at".into(), Value::TimestampMicros(event.occurred_at.0)),
        (
            "occurred_at_assigned".into(),
            Value::Boolean(event.occurred_at_assigned),
        ),
        (
            "amount".into(),
            optional(event.amount.map(|amount| decimal(amount.millionths()))),
        ),
        ("upload_id".into(), optional(event.upload_id.map(Value::Uuid))),
        ("row".into(), optional(event.row.map(Value::Long))),
        ("metadata".into(), Value::Map(metadata)),
        ("reverse".into(), Value::Boolean(event.reverse)),
    ])
}

pub(crate) fn schema() -> Schema {
    Schema::parse_str(avro::SCHEMA).unwrap()
}

fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut out = vec![];
    avro::encode(event, 7, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_we_write_apache_avro_reads(event in any_event()) {
        let bytes = encoded(&event);
        let (id, mut body) = avro::frame(&bytes).unwrap();
        prop_assert_eq!(id, 7);
        prop_assert_eq!(from_avro_datum(&schema(), &mut body, None).unwrap(), value(&event));
        prop_assert!(body.is_empty());
    }

    #[test]
    fn what_apache_avro_writes_we_read(event in any_event()) {
        let bytes = to_avro_datum(&schema(), value(&event)).unwrap();
        prop_assert_eq!(avro::decode(&bytes), Ok(event));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = avro::decode(&bytes);
    }

    #[test]
    fn a_broken_event_is_an_error_or_another_event(event in any_event(), place in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encoded(&event);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = avro::frame(&bytes).map(|(_, body)| avro::decode(body));
    }
}

#[test]
fn an_event_within_its_limits_is_never_too_large_encoded() {
    let largest = |bytes: usize| "x".repeat(bytes);
    let value_bytes = schemas::limits::METADATA_BYTES / schemas::limits::METADATA_ENTRIES - 2;
    let event = Event {
        tenant: largest(schemas::limits::TENANT_BYTES).into(),
        idempotency_key: largest(schemas::limits::KEY_BYTES).into(),
        user_id: largest(schemas::limits::USER_BYTES).into(),
        event_type: largest(schemas::limits::TYPE_BYTES).into(),
        metadata: (10..74)
            .map(|name| (format!("{name}").into(), largest(value_bytes).into()))
            .collect(),
        ..full_event()
    };
    assert_eq!(event.check(Timestamp(1_800_000_000_000_000)), Ok(()));
    assert!(encoded(&event).len() <= schemas::limits::EVENT_BYTES);
}

#[test]
fn the_digest_is_that_of_the_schema() {
    assert_eq!(
        avro::digest(),
        blake3::hash(avro::SCHEMA.as_bytes()).to_hex().to_string()
    );
}
