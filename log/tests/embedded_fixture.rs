//! What the scenarios of the embedded log share.

use futures::executor::block_on;
use log::embedded::{EmbeddedLog, Settings};
use log::{AppendError, Chunk, LogReader};
use schemas::{Offset, Partition};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Settings of a log with one partition in a folder.
pub fn small(folder: &Path) -> Settings {
    Settings {
        partitions: 1,
        ..Settings::new(folder)
    }
}

/// Opens a log that must open.
pub fn open(settings: &Settings) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(settings).unwrap()
}

/// A chunk of records with these values; each key is `k` and the value.
pub fn chunk<V: AsRef<[u8]>>(partition: u32, values: &[V]) -> Chunk {
    let mut chunk = Chunk::new(Partition(partition));
    for value in values {
        chunk.push(&[b"k", value.as_ref()].concat(), value.as_ref());
    }
    chunk
}

/// Appends and waits.
pub fn append<V: AsRef<[u8]>>(
    log: &Arc<EmbeddedLog>,
    partition: u32,
    values: &[V],
) -> Result<Offset, AppendError> {
    block_on(log.appender().append(chunk(partition, values))).map(|appended| appended.next)
}

/// Every value of a partition of `events`, read in batches of `max_bytes`. Checks offsets, keys and append times on the way.
pub fn values_by(reader: &mut dyn LogReader, partition: u32, max_bytes: usize) -> Vec<Vec<u8>> {
    let partition = Partition(partition);
    let (start, end) = reader.range(partition).unwrap();
    assert_eq!(start, Offset(0));
    let mut values = Vec::new();
    let mut next = start;
    let mut last_ms = i64::MIN;
    while next < end {
        let batch = reader.read(partition, next, end, max_bytes).unwrap();
        assert!(!batch.is_empty(), "nothing at {next} before {end}");
        for record in batch.iter() {
            assert_eq!(record.offset, next);
            assert!(record.append_ms >= last_ms);
            let value = record.value.unwrap();
            assert_eq!(record.key.unwrap(), [b"k", value].concat());
            values.push(value.to_vec());
            last_ms = record.append_ms;
            next = next.next();
        }
    }
    assert!(reader.read(partition, end, end, max_bytes).unwrap().is_empty());
    values
}

/// Every value of a partition of `events`.
pub fn values(log: &EmbeddedLog, partition: u32) -> Vec<Vec<u8>> {
    values_by(&mut *log.reader(), partition, 1 << 20)
}

/// The segments of a partition of `events`, in order.
pub fn segments(folder: &Path, partition: u32) -> Vec<PathBuf> {
    let folder = folder.join("events").join(partition.to_string());
    let mut segments: Vec<PathBuf> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort();
    segments
}
