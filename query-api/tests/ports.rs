//! The ports over a real log, and over one that hangs.

use log::embedded::{EmbeddedLog, Settings};
use log::{Chunk, LogError};
use query_api::{Ends, LetterBytes, LogEnds, LogLetters};
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
    let letters = LogLetters::new(open());
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
