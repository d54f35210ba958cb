//! What is read is what was appended.

use crate::embedded_fixture::{append, chunk, open, segments, small, values, values_by};
use futures::executor::block_on;
use log::Chunk;
use log::batch::{ORIGIN_HEADER, Origin};
use log::embedded::Settings;
use schemas::{Offset, Partition};
use std::collections::HashMap;

#[test]
fn a_reader_sees_exactly_what_was_appended_over_many_segments() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        segment_bytes: 5_000,
        ..small(folder.path())
    };
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for round in 0..3 {
        let log = open(&settings);
        assert_eq!(values(&log, 0), expected);
        for i in 0..40_u32 {
            let batch: Vec<Vec<u8>> = (0..i % 7 + 1)
                .map(|j| vec![(round * 40 + i) as u8; (j * i * 3) as usize])
                .collect();
            expected.extend(batch.iter().cloned());
            assert_eq!(append(&log, 0, &batch).unwrap(), Offset(expected.len() as u64));
        }
        for max_bytes in [1, 700, 1 << 20] {
            assert_eq!(values_by(&mut *log.reader(), 0, max_bytes), expected);
        }
    }
    assert!(segments(folder.path(), 0).len() > 10);
}

#[test]
fn reading_starts_and_ends_at_any_offset() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&Settings {
        segment_bytes: 3_000,
        ..small(folder.path())
    });
    let expected: Vec<Vec<u8>> = (0..200_u8).map(|i| vec![i; 100]).collect();
    for batch in expected.chunks(7) {
        append(&log, 0, batch).unwrap();
    }
    let mut reader = log.reader();
    for next in (0..200).rev() {
        for end in [next, next + 1, 200] {
            let batch = reader
                .read(Partition(0), Offset(next), Offset(end), 1 << 20)
                .unwrap();
            let read: Vec<&[u8]> = batch.iter().map(|record| record.value.unwrap()).collect();
            assert_eq!(read, expected[next as usize..end as usize]);
        }
    }
    let beyond = reader
        .read(Partition(0), Offset(201), Offset(300), 1)
        .unwrap_err();
    assert!(beyond.to_string().contains("ends at offset 200"), "{beyond}");
}

#[test]
fn a_batch_has_about_the_bytes_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(folder.path()));
    append(&log, 0, &vec![vec![1; 1_000]; 3_000]).unwrap();
    let batch = log
        .reader()
        .read(Partition(0), Offset(10), Offset(3_000), 100_000)
        .unwrap();
    assert!((90_000..=104_000).contains(&batch.bytes()), "{}", batch.bytes());
}

#[test]
fn a_copy_keeps_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(folder.path()));
    let origin = Origin {
        partition: Partition(3),
        offset: Offset(77),
        append_ms: 1_700_000_000_000,
        held: false,
    };
    let mut copy = Chunk::new(Partition(0));
    copy.push(b"key", b"value");
    copy.set_headers(vec![(ORIGIN_HEADER.into(), origin.encode())]);
    block_on(log.appender().append(copy)).unwrap();
    append(&log, 0, &["plain"]).unwrap();
    let batch = log
        .reader()
        .read(Partition(0), Offset(0), Offset(2), 1 << 20)
        .unwrap();
    assert_eq!(
        batch.iter().map(|record| record.origin).collect::<Vec<_>>(),
        [Some(origin), None]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_of_many_tasks_are_each_whole_and_where_they_were_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    // A buffer that holds a few chunks only, so that most of them have to wait for room.
    let settings = Settings {
        partitions: 2,
        buffer_bytes: 5_000,
        segment_bytes: 20_000,
        ..Settings::new(folder.path())
    };
    let log = open(&settings);
    let tasks: Vec<_> = (0..300_u32)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let values: Vec<String> = (0..task % 40 + 1)
                    .map(|i| format!("task {task} record {i}"))
                    .collect();
                let appended = log.appender().append(chunk(task % 2, &values)).await.unwrap();
                assert_eq!(appended.next.0 - appended.first.0, values.len() as u64);
                (task % 2, appended.next.0 as usize, values)
            })
        })
        .collect();
    let mut appended = Vec::new();
    for task in tasks {
        appended.push(task.await.unwrap());
    }
    let read: HashMap<u32, Vec<Vec<u8>>> = [0, 1].map(|p| (p, values(&log, p))).into();
    assert_eq!(
        read.values().map(Vec::len).sum::<usize>(),
        appended.iter().map(|(_, _, values)| values.len()).sum::<usize>()
    );
    for (partition, next, values) in appended {
        let found: Vec<&[u8]> = read[&partition][next - values.len()..next]
            .iter()
            .map(Vec::as_slice)
            .collect();
        assert_eq!(found, values.iter().map(String::as_bytes).collect::<Vec<_>>());
    }
}

#[test]
fn what_no_log_takes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(folder.path()));
    assert!(
        append(&log, 0, &[vec![0; 1 << 20]])
            .unwrap_err()
            .to_string()
            .contains("refused")
    );
    assert!(
        append(&log, 1, &["no such partition"])
            .unwrap_err()
            .to_string()
            .contains("no partition 1")
    );
    assert_eq!(append(&log, 0, &[] as &[&str]).unwrap(), Offset(0));
    assert_eq!(append(&log, 0, &["small"]).unwrap(), Offset(1));
}

#[test]
fn a_closed_log_takes_no_appends_but_finishes_those_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(folder.path()));
    let appends: Vec<_> = (0..100)
        .map(|i| log.appender().append(chunk(0, &[format!("{i}")])))
        .collect();
    log.close();
    for append in appends {
        block_on(append).unwrap();
    }
    let late = append(&log, 0, &["late"]).unwrap_err();
    assert!(late.to_string().contains("closed"), "{late}");
    assert_eq!(values(&log, 0).len(), 100);
}
