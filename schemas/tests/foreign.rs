//! Records of other writers' schemas: read by the rules of resolution, and never a way to exhaust memory or stack.

use crate::avro::{schema, value};
use crate::given::{any_event, full_event};
use apache_avro::types::Value;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use proptest::prelude::*;
use schemas::avro::{self, Foreign};
use schemas::{Amount, Event, Timestamp};

/// A schema with the required fields and some more.
fn schema_with(more: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Event","namespace":"shop","fields":[
            {{"name":"event_type","type":"string"}}, {{"name":"user_id","type":"string"}},
            {{"name":"idempotency_key","type":"string"}},
            {{"name":"occurred_at","type":{{"type":"long","logicalType":"timestamp-millis"}}}}{more}]}}"#
    )
}

/// The bytes of the required fields.
const REQUIRED: [u8; 7] = [2, b't', 2, b'u', 2, b'k', 4];

fn read(more: &str, bytes: &[u8]) -> Result<Event<'static>, &'static str> {
    let foreign = Foreign::new(&schema_with(more)).map_err(|error| error.why)?;
    let body = [&REQUIRED, bytes].concat();
    foreign
        .decode(&body)
        .map(Event::into_owned)
        .map_err(|error| error.why)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn our_own_schema_reads_the_same_on_both_ways(event in any_event()) {
        let mut bytes = vec![];
        avro::encode(&event, 7, &mut bytes);
        let foreign = Foreign::new(avro::SCHEMA).unwrap();
        prop_assert_eq!(foreign.decode(&bytes[5..]), avro::decode(&bytes[5..]));
    }

    #[test]
    fn a_writer_with_other_fields_is_read_as_apache_avro_reads_it(event in any_event(), extra in ".{0,9}", number: f64) {
        let writer = Schema::parse_str(WIDER).unwrap();
        let bytes = |event: &Event<'_>| {
            let Value::Record(mut fields) = value(event) else { unreachable!() };
            fields.retain(|(name, _)| name != "reverse");
            fields.reverse();
            let list = Value::Array(vec![Value::Union(1, Box::new(Value::String(extra.clone())))]);
            fields.insert(3, ("extra".into(), list));
            let inner = Value::Record(vec![
                ("ratio".into(), Value::Double(number)),
                ("state".into(), Value::Enum(1, "OFF".into())),
                ("hash".into(), Value::Fixed(3, vec![1, 2, 3])),
            ]);
            fields.push(("inner".into(), inner));
            fields.retain(|(name, _)| name != "tenant");
            to_avro_datum(&writer, Value::Record(fields)).unwrap()
        };
        let foreign = Foreign::new(WIDER).unwrap();
        let expected = Event { tenant: "default".into(), reverse: false, ..event };
        let full = bytes(&expected);
        prop_assert_eq!(foreign.decode(&full), Ok(expected.clone()));
        // apache-avro 0.21 resolves no decimal(18) of fewer than 8 bytes: its check of the precision is the wrong way round.
        let without = Event { amount: None, ..expected };
        let bytes = bytes(&without);
        let theirs = from_avro_datum(&writer, &mut bytes.as_slice(), Some(&schema())).unwrap();
        prop_assert_eq!(value(&foreign.decode(&bytes).unwrap()), theirs);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for text in [avro::SCHEMA, WIDER] {
            let _ = Foreign::new(text).unwrap().decode(&bytes);
        }
    }

    #[test]
    fn no_text_makes_a_schema_panic(text in ".{0,40}", place in any::<prop::sample::Index>(), cut in 0_usize..30) {
        let _ = Foreign::new(&text);
        let mut broken: Vec<char> = WIDER.chars().collect();
        let from = place.index(broken.len());
        let to = (from + cut).min(broken.len());
        broken.splice(from..to, text.chars());
        if let Ok(foreign) = Foreign::new(&broken.iter().collect::<String>()) {
            let _ = foreign.decode(&[2; 200]);
        }
    }
}

const WIDER: &str = r#"{"type":"record","name":"Event","namespace":"tidemark","fields":[
    {"name":"metadata","type":{"type":"map","values":"string"}},
    {"name":"row","type":["null","long"]},
    {"name":"upload_id","type":["null",{"type":"string","logicalType":"uuid"}]},
    {"name":"extra","type":{"type":"array","items":["null","string"]}},
    {"name":"amount","type":["null",{"type":"bytes","logicalType":"decimal","precision":18,"scale":6}]},
    {"name":"occurred_at_assigned","type":"boolean"},
    {"name":"occurred_at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"event_type","type":"string"},
    {"name":"user_id","type":"string"},
    {"name":"idempotency_key","type":"string"},
    {"name":"inner","type":{"type":"record","name":"Inner","fields":[
        {"name":"ratio","type":"double"},
        {"name":"state","type":{"type":"enum","name":"State","symbols":["ON","OFF"]}},
        {"name":"hash","type":{"type":"fixed","name":"Hash","size":3}}]}}]}"#;

#[test]
fn what_the_writer_lacks_has_its_default() {
    let event = read("", &[]).unwrap();
    let expected = Event {
        tenant: "default".into(),
        idempotency_key: "k".into(),
        user_id: "u".into(),
        event_type: "t".into(),
        occurred_at: Timestamp(2000),
        amount: None,
        upload_id: None,
        row: None,
        reverse: false,
        metadata: vec![],
        ..full_event()
    };
    assert_eq!(event, expected);
}

#[test]
fn a_body_with_anything_behind_it_is_refused() {
    assert!(read("", &[0]).is_err());
}

#[test]
fn a_name_means_the_type_of_its_own_namespace() {
    let more = r#",{"name":"a","type":{"type":"fixed","name":"other.F","size":1}},
        {"name":"b","type":{"type":"fixed","name":"F","size":2}},
        {"name":"c","type":"F"}, {"name":"d","type":"other.F"}, {"name":"e","type":"shop.F"}"#;
    assert!(read(more, &[0; 8]).is_ok());
    assert!(read(more, &[0; 7]).is_err());
}

#[test]
fn amounts_of_any_scale_are_exact_and_numbers_are_no_amounts() {
    let cents =
        r#",{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}"#;
    assert_eq!(
        read(cents, &[4, 0x04, 0xe2]).unwrap().amount,
        Amount::from_millionths(12_500_000)
    );
    let fixed = r#",{"name":"amount","type":{"type":"fixed","name":"F","size":3,"logicalType":"decimal","precision":6}}"#;
    assert_eq!(
        read(fixed, &[0xff, 0xff, 0xfe]).unwrap().amount,
        Amount::from_millionths(-2_000_000)
    );
    assert!(read(r#",{"name":"amount","type":"double"}"#, &[0; 8]).is_err());
    assert!(read(r#",{"name":"amount","type":["null","long"]}"#, &[2, 2]).is_err());
    assert_eq!(
        read(r#",{"name":"amount","type":["null","long"]}"#, &[0])
            .unwrap()
            .amount,
        None
    );
}

#[test]
fn an_upload_id_may_be_a_text_or_sixteen_bytes() {
    let id = full_event().upload_id.unwrap();
    let fixed = r#",{"name":"upload_id","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}}"#;
    assert_eq!(read(fixed, id.as_bytes()).unwrap().upload_id, Some(id));
    let text = r#",{"name":"upload_id","type":["string","null"]}"#;
    assert_eq!(read(text, &[2]).unwrap().upload_id, None);
    assert_eq!(
        read(text, &[&[0, 72], id.to_string().as_bytes()].concat())
            .unwrap()
            .upload_id,
        Some(id)
    );
}

#[test]
fn a_time_that_is_no_instant_is_not_taken_for_one() {
    let schema = |form: &str| schema_with("").replace("timestamp-millis", form);
    let read = |form: &str, last: u8| {
        let body = [&REQUIRED[..6], &[last]].concat();
        Foreign::new(&schema(form))
            .unwrap()
            .decode(&body)
            .map(|event| event.occurred_at.0)
            .ok()
    };
    assert_eq!(read("timestamp-micros", 4), Some(2));
    assert_eq!(read("no-such-type", 4), Some(2));
    assert_eq!(read("timestamp-nanos", 4), None);
    assert_eq!(read("timestamp-nanos", 0), Some(0));
    assert_eq!(read("local-timestamp-micros", 4), None);
    let far = [
        &REQUIRED[..6],
        &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ]
    .concat();
    assert!(
        Foreign::new(&schema("timestamp-millis"))
            .unwrap()
            .decode(&far)
            .is_err()
    );
}

#[test]
fn a_schema_that_is_no_event_is_refused() {
    for text in [
        "",
        "{}",
        "\"string\"",
        "\"no.such.Name\"",
        "[]",
        r#"{"type":"record","name":"Event","fields":[]}"#,
        r#"{"type":"record","name":"Event"}"#,
        &schema_with(r#",{"name":"user_id","type":"string"}"#),
        &schema_with(r#",{"name":"x","type":{"type":"fixed","name":"shop.Event","size":1}}"#),
        &format!("{}{}", " ".repeat(256 * 1024), schema_with("")),
        &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
    ] {
        assert!(Foreign::new(text).is_err(), "{text:.80}");
    }
}

#[test]
fn neither_schema_nor_body_can_exhaust_memory_or_stack() {
    // A billion items of no bytes, lists of such lists, a record that holds itself, one that nests as deep as its bytes.
    let nulls = r#",{"name":"x","type":{"type":"array","items":"null"}}"#;
    assert_eq!(read(nulls, &[6, 0]).map(|event| event.row), Ok(None));
    assert!(read(nulls, &[0x80, 0x94, 0xeb, 0xdc, 0x03, 0]).is_err());
    let lists = r#",{"name":"x","type":{"type":"array","items":{"type":"array","items":"null"}}}"#;
    assert!(read(lists, &[0xfe, 0x7f].repeat(100_000)).is_err());
    let itself = r#",{"name":"x","type":{"type":"record","name":"X","fields":[{"name":"x","type":"X"}]}}"#;
    assert!(read(itself, &[]).is_err());
    let deep =
        r#",{"name":"x","type":{"type":"record","name":"X","fields":[{"name":"x","type":["null","X"]}]}}"#;
    assert!(read(deep, &[2, 2, 2, 0]).is_ok());
    assert!(read(deep, &[&[2].repeat(100_000)[..], &[0]].concat()).is_err());
    let fixed = r#",{"name":"x","type":{"type":"fixed","name":"F","size":9223372036854775807}}"#;
    assert!(read(fixed, &[1]).is_err());
    let twice = |level: u32| {
        format!(
            r#"{{"name":"R{level}","type":"record","fields":[{{"name":"a","type":"R{0}"}},{{"name":"b","type":"R{0}"}}]}}"#,
            level - 1
        )
    };
    // Sixty records, each of them two of the one before: 2^60 values of no bytes.
    let mut more = String::from(r#",{"name":"r0","type":{"type":"record","name":"R0","fields":[]}}"#);
    for level in 1..60 {
        more.push_str(&format!(r#",{{"name":"r{level}","type":{}}}"#, twice(level)));
    }
    assert!(read(&more, &[]).is_err());
}
