//! Appends: acknowledged, bounded, refused.

use crate::kafka_support::*;
use log::batch::{Kind, ORIGIN_HEADER, Origin};
use log::kafka::{Admin, KafkaAppender, KafkaLane, KafkaReader, Plan};
use log::{AppendError, Appender, Chunk, Lane, LaneEvent, LogReader};
use schemas::{Offset, Partition};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn chunk(partition: u32, records: u64, value_bytes: usize) -> Chunk {
    let mut chunk = Chunk::new(Partition(partition));
    for number in 0..records {
        let mut value = vec![b'0'; value_bytes];
        value.extend(number.to_string().bytes());
        chunk.push(&number.to_be_bytes(), &value);
    }
    chunk
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_records_are_acknowledged_with_the_right_next_offsets() {
    let settings = with_topics("many", 4);
    let appender = KafkaAppender::open(&settings).unwrap();
    appender.append(chunk(0, 1, 10)).await.unwrap();
    let began = Instant::now();
    let waiting: Vec<_> = (0..100)
        .map(|number| appender.append(chunk(number % 4, 1_000, 100)))
        .collect();
    let mut last = [0; 4];
    for (number, append) in futures::future::join_all(waiting).await.into_iter().enumerate() {
        let next = append.unwrap().next.0;
        last[number % 4] = last[number % 4].max(next);
    }
    println!("100,000 appends took {:?}", began.elapsed());
    assert_eq!(last, [25_001, 25_000, 25_000, 25_000]);
    assert_eq!(appender.held_bytes(), 0);
    let ranges = Admin::new(&settings)
        .unwrap()
        .ranges(&settings.events, 4)
        .unwrap();
    assert_eq!(ranges.iter().map(|(_, next)| next.0).collect::<Vec<_>>(), last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_beyond_the_budget_wait_and_what_is_held_is_bounded() {
    let mut settings = with_topics("bounded", 2);
    settings.buffer_bytes = 1_000_000;
    let appender = Arc::new(KafkaAppender::open(&settings).unwrap());
    let appends: Vec<_> = (0..60)
        .map(|number| {
            let appender = appender.clone();
            tokio::spawn(async move { appender.append(chunk(number % 2, 500, 1_000)).await })
        })
        .collect();
    let watched = appender.clone();
    let most = tokio::spawn(async move {
        let mut most = 0;
        for _ in 0..200 {
            most = most.max(watched.held_bytes());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        most
    });
    for append in appends {
        append.await.unwrap().unwrap();
    }
    let most = most.await.unwrap();
    println!("held at most {most} bytes of 37 MB");
    assert!(most > 500_000 && most <= 1_000_000, "{most}");
}

#[tokio::test]
async fn without_a_broker_an_append_fails_at_its_deadline_and_holds_nothing_for_ever() {
    let mut settings = settings("away");
    settings.brokers = "127.0.0.1:1".to_owned();
    settings.produce_deadline_ms = 1_000;
    settings.buffer_bytes = 300_000;
    let appender = KafkaAppender::open(&settings).unwrap();
    let began = Instant::now();
    // The second does not even get its share.
    let (first, second) = futures::join!(
        appender.append(chunk(0, 500, 100)),
        appender.append(chunk(0, 1_000, 100))
    );
    assert!(matches!(first, Err(AppendError::Unavailable(_))), "{first:?}");
    assert!(matches!(second, Err(AppendError::Unavailable(_))), "{second:?}");
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_millis(2_500),
        "{took:?}"
    );
    until("the budget", || (appender.held_bytes() == 0).then_some(()));
}

#[tokio::test]
async fn a_record_that_the_topic_never_takes_is_refused_and_others_go_on() {
    let settings = settings("refused");
    let mut plan = Plan::events(&settings, 1);
    for (name, value, _) in &mut plan.config {
        if *name == "max.message.bytes" {
            *value = "2000".to_owned();
        }
    }
    Admin::new(&settings).unwrap().create(&[plan], None).unwrap();
    let appender = KafkaAppender::open(&settings).unwrap();
    let error = appender.append(chunk(0, 1, 10_000_000)).await.unwrap_err();
    assert!(matches!(error, AppendError::Refused(_)), "here: {error}");
    let mut large = Chunk::new(Partition(0));
    large.push(b"key", &noise(5_000));
    let error = appender.append(large).await.unwrap_err();
    assert!(matches!(error, AppendError::Refused(_)), "by the broker: {error}");
    assert_eq!(appender.append(chunk(0, 1, 100)).await.unwrap().next, Offset(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_each_record_lies_is_said_though_others_lie_among_them() {
    let settings = with_topics("placed", 1);
    let appender = Arc::new(KafkaAppender::open(&settings).unwrap());
    let mut reader = KafkaReader::new(&settings).unwrap();
    let (mut next, mut mixed) = (Offset(0), 0);
    let began = Instant::now();
    // Until some of two chunks lie among each other, which nobody can force.
    while mixed == 0 {
        assert!(
            began.elapsed() < PATIENCE,
            "no record of one chunk lies within the other"
        );
        let appends = ["a", "b"].map(|name| {
            let mut chunk = Chunk::new(Partition(0));
            (0..2_000_u32).for_each(|number| chunk.push(format!("{name}{number}").as_bytes(), b"value"));
            let appender = Arc::clone(&appender);
            tokio::spawn(async move { (name, appender.append_placed(chunk).await.unwrap()) })
        });
        let mut keys = std::collections::BTreeMap::new();
        for append in appends {
            let (name, placed) = append.await.unwrap();
            assert_eq!(placed.offsets.len(), 2_000);
            let last = placed.offsets[placed.offsets.len() - 1].next();
            assert_eq!(
                (placed.appended.first, placed.appended.next),
                (placed.offsets[0], last)
            );
            mixed += usize::from(last.0 - placed.offsets[0].0 > 2_000);
            let placed = placed.offsets.into_iter().enumerate();
            keys.extend(placed.map(|(number, offset)| (offset, format!("{name}{number}").into_bytes())));
        }
        let end = Offset(next.0 + 4_000);
        let mut found = 0;
        while next < end {
            let batch = reader.read(Partition(0), next, end, 1 << 20).unwrap();
            for record in batch.iter() {
                assert_eq!(
                    record.key,
                    keys.get(&record.offset).map(Vec::as_slice),
                    "{}",
                    record.offset
                );
                (found, next) = (found + 1, record.offset.next());
            }
        }
        assert_eq!(found, 4_000);
    }
    println!("{mixed} chunks have records of the other among their own");
}

#[tokio::test]
async fn a_copy_carries_its_origin_to_readers() {
    let settings = with_topics("copies", 1);
    let appender = KafkaAppender::open(&settings).unwrap();
    let origin = Origin {
        partition: Partition(3),
        offset: Offset(77),
        append_ms: 1_700_000_000_000,
        held: false,
    };
    let mut copy = chunk(0, 2, 10);
    copy.set_headers(vec![
        ("first".to_owned(), b"of two".to_vec()),
        (ORIGIN_HEADER.to_owned(), origin.encode()),
    ]);
    assert_eq!(appender.append(chunk(0, 1, 10)).await.unwrap().next, Offset(1));
    let appended = appender.append(copy).await.unwrap();
    assert_eq!((appended.first, appended.next), (Offset(1), Offset(3)));
    let batch = KafkaReader::new(&settings)
        .unwrap()
        .read(Partition(0), Offset(0), Offset(3), 1_000_000)
        .unwrap();
    let origins: Vec<_> = batch.iter().map(|record| record.origin).collect();
    assert_eq!(origins, [None, Some(origin), Some(origin)]);
    let record = batch.iter().last().unwrap();
    assert_eq!(
        (record.key, record.value),
        (Some(&1_u64.to_be_bytes()[..]), Some(&b"00000000001"[..]))
    );
    let age = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64
        - record.append_ms;
    assert!((-1_000..60_000).contains(&age), "the broker's time, {age} ms ago");
    assert!(batch.leader_epoch >= 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_reads_what_was_appended_fast() {
    let settings = with_topics("rate", 4);
    let appender = KafkaAppender::open(&settings).unwrap();
    let waiting: Vec<_> = (0..160)
        .map(|number| appender.append(chunk(number % 4, 2_000, 100)))
        .collect();
    for append in futures::future::join_all(waiting).await {
        append.unwrap();
    }
    drop(appender);
    let read = move || {
        let mut lane = KafkaLane::open(&settings).unwrap();
        for partition in joined(&mut lane, 4) {
            lane.seek(partition, Offset(0)).unwrap();
            assert_eq!(lane.end(partition).unwrap(), Offset(80_000));
        }
        let (began, mut seen, mut batches) = (Instant::now(), 0, 0);
        until("all records", || {
            if let LaneEvent::Records(batch) = lane.poll(Duration::from_millis(100)).unwrap() {
                seen += batch.len();
                batches += 1;
            }
            (seen == 320_000).then_some(())
        });
        let took = began.elapsed();
        println!(
            "320,000 records in {batches} batches took {took:?}: {:.0} a second",
            320_000.0 / took.as_secs_f64()
        );
    };
    tokio::task::spawn_blocking(read).await.unwrap();
}

#[tokio::test]
async fn a_record_says_its_kind_and_each_copy_its_own_origin() {
    let settings = with_topics("kinds", 1);
    let appender = KafkaAppender::open(&settings).unwrap();
    let origin = |offset| Origin {
        partition: Partition(0),
        offset: Offset(offset),
        append_ms: 5,
        held: offset % 2 == 0,
    };
    let mut copies = Chunk::new(Partition(0));
    for offset in 0..3 {
        copies.push_copy(b"key", b"value", origin(offset));
    }
    appender.append(copies).await.unwrap();
    for kind in [Kind::Event, Kind::Held, Kind::Fact, Kind::Canary] {
        let mut chunk = chunk(0, 1, 10);
        chunk.set_kind(kind);
        appender.append(chunk).await.unwrap();
    }
    let mut reader = KafkaReader::new(&settings).unwrap();
    let batch = reader
        .read(Partition(0), Offset(0), Offset(7), 1_000_000)
        .unwrap();
    let read: Vec<_> = batch.iter().map(|record| (record.kind, record.origin)).collect();
    let expected = [
        (Kind::Event, Some(origin(0))),
        (Kind::Event, Some(origin(1))),
        (Kind::Event, Some(origin(2))),
        (Kind::Event, None),
        (Kind::Held, None),
        (Kind::Fact, None),
        (Kind::Canary, None),
    ];
    assert_eq!(read, expected);
}

#[tokio::test]
async fn a_redriven_copy_is_read_as_it_was_written_also_without_key_or_value() {
    let settings = with_topics("redrives", 1);
    let appender = KafkaAppender::open(&settings).unwrap();
    let origin = Origin {
        partition: Partition(0),
        offset: Offset(7),
        append_ms: 5,
        held: false,
    };
    let mut copies = Chunk::new(Partition(0));
    let sent = [
        (Some(&b"key"[..]), Some(&b"value"[..]), &b"one"[..]),
        (None, Some(b"value"), b"two"),
        (Some(b"key"), None, b"three"),
        (Some(b""), Some(b""), b"four"),
    ];
    for (key, value, header) in sent {
        copies.push_redrive(key, value, origin, header.to_vec());
    }
    appender.append(copies).await.unwrap();
    let mut reader = KafkaReader::new(&settings).unwrap();
    let batch = reader
        .read(Partition(0), Offset(0), Offset(4), 1_000_000)
        .unwrap();
    let read: Vec<_> = batch
        .iter()
        .map(|record| (record.key, record.value, record.redrive.unwrap(), record.origin))
        .collect();
    assert_eq!(
        read,
        sent.map(|(key, value, header)| (key, value, header, Some(origin)))
    );
}
