//! Copies of dead letters ride in the lane's transaction.

use crate::kafka_support::*;
use log::kafka::KafkaLane;
use log::{DeadLetterCopy, Lane};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::Duration;

#[test]
fn dead_letters_keep_their_bytes_their_place_and_their_reason() {
    let settings = with_topics("letters", 1);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 1);
    let mut transaction = transaction(0, 7, &[b"part"]);
    let letter = |key: &str, value: Option<&[u8]>| DeadLetterCopy {
        key: key.to_owned(),
        value: value.map(<[u8]>::to_vec),
        headers: vec![
            ("reason".to_owned(), b"bad_json".to_vec()),
            ("detail".to_owned(), Vec::new()),
        ],
    };
    let large = vec![b'x'; 1024 * 1024];
    transaction.dead_letters = vec![
        letter("0/5", Some(b"{")),
        letter("0/6", None),
        letter("0/4", Some(&large)),
    ];
    lane.commit(&transaction).unwrap();

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", "looks-only")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&settings.dead_letters, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&list).unwrap();
    let mut seen = Vec::new();
    until("three dead letters", || {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let headers = message.headers().unwrap();
            assert_eq!(
                (headers.get(0).key, headers.get(0).value),
                ("reason", Some(&b"bad_json"[..]))
            );
            assert_eq!(headers.count(), 2);
            seen.push((
                String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
                message.payload().map(<[u8]>::len),
            ));
        }
        (seen.len() == 3).then_some(())
    });
    assert_eq!(
        seen,
        [
            ("0/5".to_owned(), Some(1)),
            ("0/6".to_owned(), None),
            ("0/4".to_owned(), Some(large.len()))
        ]
    );
}
