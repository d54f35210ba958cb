//! Requests as librdkafka and newer clients put them on the wire, byte by byte.

use super::*;
use crate::proxy::wire::Writer;

const PRODUCER: Producer = Producer { id: 4000, epoch: 3 };

fn header(api: Api, version: i16) -> Writer {
    let mut writer = Writer::default();
    writer.int16(api.key());
    writer.int16(version);
    writer.int32(77);
    writer.string("lane", Layout::Classic).unwrap();
    writer.end(api.layout(version));
    writer
}

fn decode(writer: &Writer) -> Request {
    Request::decode(5, &writer.bytes).unwrap()
}

#[test]
fn an_end_txn_of_librdkafka_is_read() {
    let frame = [
        0, 26, 0, 1, 0, 0, 0, 9, 0, 2, b'm', b'e', // EndTxn version 1, correlation id 9, client id.
        0, 3, b't', b'-', b'1', 0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0, 3, 1,
    ];
    let request = Request::decode(5, &frame).unwrap();
    assert_eq!(
        (
            request.connection,
            request.api,
            request.version,
            request.correlation_id
        ),
        (5, Api::EndTxn, 1, 9)
    );
    assert_eq!(request.client_id.as_deref(), Some("me"));
    let expected = EndTxn {
        transactional_id: "t-1".to_owned(),
        producer: PRODUCER,
        committed: true,
    };
    assert_eq!(request.facts, Facts::EndTxn(expected));
    assert!(request.ends("t-1") && !request.ends("t-2"));
}

#[test]
fn a_flexible_end_txn_with_tagged_fields_is_read() {
    let frame = [
        0, 26, 0, 3, 0, 0, 0, 9, 0xff, 0xff, 1, 0, 2, 7,
        7, // No client id, one tagged field of two bytes.
        4, b't', b'-', b'1', 0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0, 3, 0, 0,
    ];
    let request = Request::decode(5, &frame).unwrap();
    assert_eq!(request.client_id, None);
    let expected = EndTxn {
        transactional_id: "t-1".to_owned(),
        producer: PRODUCER,
        committed: false,
    };
    assert_eq!(request.facts, Facts::EndTxn(expected));
}

#[test]
fn partitions_added_to_a_transaction_are_read_in_both_layouts() {
    for version in [0, 3] {
        let layout = Api::AddPartitionsToTxn.layout(version);
        let mut writer = header(Api::AddPartitionsToTxn, version);
        writer.string("t-1", layout).unwrap();
        writer.int64(PRODUCER.id);
        writer.int16(PRODUCER.epoch);
        array(&mut writer, 1, layout);
        writer.string("changelog", layout).unwrap();
        array(&mut writer, 2, layout);
        writer.int32(0);
        writer.int32(4);
        writer.end(layout);
        writer.end(layout);
        let expected = Facts::AddPartitionsToTxn {
            transactional_id: "t-1".to_owned(),
            producer: PRODUCER,
            partitions: vec![("changelog".to_owned(), 0), ("changelog".to_owned(), 4)],
        };
        assert_eq!(decode(&writer).facts, expected, "version {version}");
    }
}

#[test]
fn offsets_of_a_transaction_are_read_in_both_layouts() {
    for version in [0, 2, 3] {
        let layout = Api::TxnOffsetCommit.layout(version);
        let mut writer = header(Api::TxnOffsetCommit, version);
        writer.string("t-1", layout).unwrap();
        writer.string("lanes", layout).unwrap();
        writer.int64(PRODUCER.id);
        writer.int16(PRODUCER.epoch);
        if version >= 3 {
            writer.int32(12);
            writer.string("member", layout).unwrap();
            writer.uvarint(0);
        }
        array(&mut writer, 1, layout);
        writer.string("events", layout).unwrap();
        array(&mut writer, 1, layout);
        writer.int32(2);
        writer.int64(500);
        if version >= 2 {
            writer.int32(-1);
        }
        writer.string("", layout).unwrap();
        writer.end(layout);
        writer.end(layout);
        writer.end(layout);
        let expected = Facts::TxnOffsetCommit {
            transactional_id: "t-1".to_owned(),
            group: "lanes".to_owned(),
            producer: PRODUCER,
            generation: if version >= 3 { 12 } else { -1 },
            offsets: vec![("events".to_owned(), 2, 500)],
        };
        assert_eq!(decode(&writer).facts, expected, "version {version}");
    }
}

#[test]
fn produced_partitions_and_record_counts_are_read_in_both_layouts() {
    for version in [7, 10] {
        let layout = Api::Produce.layout(version);
        let mut batch = vec![0; RECORD_COUNT_AT];
        batch.extend_from_slice(&42i32.to_be_bytes());
        batch.extend_from_slice(&[9; 300]);
        let mut writer = header(Api::Produce, version);
        writer.string("t-1", layout).unwrap();
        writer.int16(-1);
        writer.int32(30_000);
        array(&mut writer, 1, layout);
        writer.string("changelog", layout).unwrap();
        array(&mut writer, 1, layout);
        writer.int32(6);
        match layout {
            Layout::Classic => writer.int32(batch.len() as i32),
            Layout::Flexible => writer.uvarint(batch.len() as u32 + 1),
        }
        writer.bytes.extend_from_slice(&batch);
        writer.end(layout);
        writer.end(layout);
        writer.end(layout);
        let expected = Facts::Produce {
            transactional_id: Some("t-1".to_owned()),
            acks: -1,
            partitions: vec![("changelog".to_owned(), 6, 42)],
        };
        assert_eq!(decode(&writer).facts, expected, "version {version}");
        assert!(decode(&writer).is_answered());
    }
}

#[test]
fn an_unknown_version_or_a_torn_body_costs_only_the_facts() {
    let mut newer = header(Api::Produce, 13);
    newer.int64(1);
    assert_eq!(decode(&newer).facts, Facts::Opaque);
    let torn = header(Api::EndTxn, 1);
    assert_eq!(decode(&torn).facts, Facts::Opaque);
    assert!(Request::decode(1, &[0, 26, 0]).is_err());
}

fn array(writer: &mut Writer, length: i32, layout: Layout) {
    match layout {
        Layout::Classic => writer.int32(length),
        Layout::Flexible => writer.uvarint(length as u32 + 1),
    }
}
