//! How fast it goes here, printed; no time is asserted. `cargo test -p log@0.1.0 --release embedded_speed -- --nocapture`

use crate::embedded_fixture::chunk;
use futures::future::join_all;
use log::embedded::{EmbeddedLog, Settings};
use schemas::{Offset, Partition};
use std::sync::Arc;
use std::time::Instant;

/// Records of about 130 bytes, `records` in all, in chunks of `each`, over 4 partitions.
async fn fill(log: &Arc<EmbeddedLog>, records: usize, each: usize, together: usize) {
    let chunks: Vec<_> = (0..4).map(|p| chunk(p, &vec![[b'v'; 60]; each])).collect();
    let mut left = records / each;
    while left > 0 {
        let now = left.min(together);
        let appends = (0..now).map(|i| log.appender().append(chunks[i % 4].clone()));
        for answer in join_all(appends).await {
            answer.unwrap();
        }
        left -= now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_is_printed() {
    for (records, each, together) in [
        (1_000_000, 2_000, 32),
        (100_000, 20, 64),
        (20_000, 1, 256),
        (20_000, 1, 4),
        (2_000, 1, 1),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(folder.path());
        let log = EmbeddedLog::open(&settings).unwrap();
        let started = Instant::now();
        fill(&log, records, each, together).await;
        let seconds = started.elapsed().as_secs_f64();
        drop(log);

        let started = Instant::now();
        let log = EmbeddedLog::open(&settings).unwrap();
        let opened_ms = started.elapsed().as_millis();
        let started = Instant::now();
        let (mut bytes, mut count) = (0, 0);
        let mut reader = log.reader();
        for partition in (0..4).map(Partition) {
            let (mut next, end) = reader.range(partition).unwrap();
            while next < end {
                let batch = reader.read(partition, next, end, 1 << 20).unwrap();
                bytes += batch.bytes();
                count += batch.len();
                next = Offset(next.0 + batch.len() as u64);
            }
        }
        assert_eq!(count, records);
        let mb = bytes as f64 / 1e6;
        let read = started.elapsed().as_secs_f64();
        println!(
            "{records} records, {each} a chunk, {together} chunks together: appended {:.0}/s = {:.1} MB/s, \
             {:.0} rounds/s; opened in {opened_ms} ms; read {:.0}/s = {:.0} MB/s",
            records as f64 / seconds,
            mb / seconds,
            (records / each / together) as f64 / seconds,
            records as f64 / read,
            mb / read,
        );
    }
}
