//! One record of the log: the original bytes of a dead letter, which the views do not hold.

use crate::reader::{LogAway, OpenReader, Reader};
use futures::future::BoxFuture;
use log::LogError;
use schemas::limits::RECORD_BYTES;
use schemas::{Offset, Partition};
use std::time::Duration;

/// Longest time for reading one record.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// A record as it lies on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When the log took the event, in milliseconds: of a copy, when it took the original.
    pub accepted_ms: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// The records behind dead letters.
pub trait LetterBytes: Send + Sync {
    /// The record at an offset of `events`; `None` if there is none. Bounded in time.
    fn record(
        &self,
        partition: Partition,
        offset: Offset,
    ) -> BoxFuture<'_, Result<Option<LogRecord>, LogAway>>;
}

/// The records as a log reader reads them.
#[derive(Debug)]
pub struct LogLetters {
    reader: Reader,
}

impl LogLetters {
    /// Reads through readers that `open` makes.
    pub fn new(open: OpenReader) -> Self {
        Self {
            reader: Reader::new(open),
        }
    }
}

impl LetterBytes for LogLetters {
    fn record(
        &self,
        partition: Partition,
        offset: Offset,
    ) -> BoxFuture<'_, Result<Option<LogRecord>, LogAway>> {
        Box::pin(
            self.reader
                .call(READ_DEADLINE, move |reader| read(reader, partition, offset)),
        )
    }
}

fn read(
    reader: &mut dyn log::LogReader,
    partition: Partition,
    offset: Offset,
) -> Result<Option<LogRecord>, LogError> {
    // A log may refuse, rather than answer, a place that it does not have.
    let (first, end) = reader.range(partition)?;
    if offset < first || offset >= end {
        return Ok(None);
    }
    let batch = reader.read(partition, offset, offset.next(), RECORD_BYTES)?;
    let record = batch.iter().find(|record| record.offset == offset);
    Ok(record.map(|record| LogRecord {
        accepted_ms: record.origin.map_or(record.append_ms, |origin| origin.append_ms),
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
    }))
}
