//! The ports over a real log, and over one that hangs.

use log::embedded::{EmbeddedLog, Settings};
use log::{Chunk, LogError};
use query_api::{Ends, LetterBytes, LogEnds, LogLetters, Retention};
use schemas::{Offset, Partition};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

#[tokio::test]
async fn the_embedded_log_says_where_it_ends_and_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        partitions: 2,
        ..Settings::new(folder.path())
    };
    let log = EmbeddedLog::open(&settings).unwrap();
    let mut chunk = Chunk::new(Partition(1));
    (0..3).for_each(|n| chunk.push(format!("k{n}").as_bytes(), format!("v{n}").as_bytes()));
    log.appender().append(chunk).await.unwrap();
    let open = || {
        let log = Arc::clone(&log);
        Box::new(move || Ok(log.reader()))
    };
    let ends = LogEnds::new(open(), 2).ends(Duration::ZERO).await.unwrap();
    assert_eq!((ends[&Partition(0)], ends[&Partition(1)]), (Offset(0), Offset(3)));
    let letters = LogLetters::new(open(), Box::new(|| Ok(Retention::Forever)));
    assert_eq!(letters.retention().await, Retention::Forever);
    // Also backwards, and twice.
    for n in [2, 0, 1, 1] {
        let record = letters.record(Partition(1), Offset(n)).await.unwrap().unwrap();
        assert_eq!(record.key, Some(format!("k{n}").into_bytes()));
        assert_eq!(record.value, Some(format!("v{n}").into_bytes()));
        assert!(record.accepted_ms > 1_700_000_000_000);
    }
    for (partition, offset) in [(1, 3), (1, i64::MAX as u64), (0, 0)] {
        let record = letters
            .record(Partition(partition), Offset(offset))
            .await
            .unwrap();
        assert_eq!(record, None, "{partition}-{offset}");
    }
}

#[tokio::test]
async fn many_records_are_read_in_order_near_and_far_and_those_that_are_not_there_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        partitions: 1,
        ..Settings::new(folder.path())
    };
    let log = EmbeddedLog::open(&settings).unwrap();
    // Some of a megabyte, so that they do not all fit in memory at one time.
    for first in (0..6_000_u64).step_by(1_000) {
        let mut chunk = Chunk::new(Partition(0));
        (first..first + 1_000).for_each(|n| chunk.push(format!("k{n}").as_bytes(), &value_of(n)));
        log.appender().append(chunk).await.unwrap();
    }
    let reader = Arc::clone(&log);
    let open = Box::new(move || Ok(reader.reader()));
    let letters = LogLetters::new(open, Box::new(|| Ok(Retention::Forever)));
    let near = (0..6_000).filter(|n| n % 500 == 7 || n % 700 == 0);
    let far = [0, 1, 5_999, 6_000, 1 << 40];
    let mut calls = 0;
    for wanted in [near.collect::<Vec<u64>>(), far.to_vec(), vec![9_000]] {
        let mut rest: Vec<Offset> = wanted.into_iter().map(Offset).collect();
        while !rest.is_empty() {
            let found = letters.records(Partition(0), rest.clone()).await.unwrap();
            calls += 1;
            assert!(!found.is_empty());
            for ((offset, record), expected) in found.iter().zip(rest.drain(..found.len())) {
                assert_eq!(*offset, expected);
                let value = record.as_ref().map(|record| record.value.clone().unwrap());
                let expected = (offset.0 < 6_000).then(|| value_of(offset.0));
                assert_eq!(value, expected, "{offset}");
            }
        }
    }
    assert!(calls > 3, "{calls}: all of it was in memory at one time");
}

/// The value of the record at an offset.
fn value_of(n: u64) -> Vec<u8> {
    vec![n as u8; if n % 500 == 7 { 1_000_000 } else { 10 }]
}

#[tokio::test]
async fn a_log_that_hangs_holds_one_thread_and_nobody_for_long() {
    let (release, hung) = mpsc::channel::<()>();
    let (hung, calls) = (Mutex::new(hung), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let open = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = hung.lock().unwrap().recv();
        Err(LogError::Away("released".to_owned()))
    };
    let ends = Arc::new(LogEnds::new(Box::new(open), 2));
    let began = Instant::now();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let ends = Arc::clone(&ends);
            tokio::spawn(async move { ends.ends(Duration::ZERO).await })
        })
        .collect();
    for asked in asking {
        assert!(asked.await.unwrap().is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(ends.ends(Duration::ZERO).await.is_err());
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "a failure is remembered for a second"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop(release);
}
