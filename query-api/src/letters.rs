//! Records of the log: the original bytes of dead letters, which the views do not hold, and how long the log keeps them.

use crate::reader::{LogAway, OpenReader, Reader};
use futures::FutureExt;
use futures::future::BoxFuture;
use log::LogError;
use log::batch::{Kind, Record};
use schemas::limits::RECORD_BYTES;
use schemas::{Offset, Partition};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Longest time for reading one record.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time for reading some records.
const MANY_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of records that are in memory at one time, apart from the last of them.
const MANY_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that are read at once on the way from one record to the next.
const READ_BYTES: usize = 1024 * 1024;
/// Records between two that are wanted beyond which a new reading is cheaper than to read on.
const GAP: u64 = 2_000;
/// How long is believed what the log said of how long it keeps records.
const KEPT_AGE: Duration = Duration::from_secs(60);

/// A record as it lies on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When the log took the event, in milliseconds: of a copy, when it took the original.
    pub accepted_ms: i64,
    /// When the log took this record, in milliseconds.
    pub append_ms: i64,
    /// What it is.
    pub kind: Kind,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// How long the log keeps a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For ever.
    Forever,
    /// Not for ever: for at least so many milliseconds, where that can be said.
    Bounded(Option<u64>),
    /// Nobody knows.
    Unknown,
}

/// Asks the log how long it keeps records. Blocks.
pub type AskRetention = Box<dyn Fn() -> Result<Retention, LogError> + Send + Sync>;

/// A record by its offset, if it is there.
pub type RecordAt = (Offset, Option<LogRecord>);

impl LogRecord {
    /// What is kept of a record.
    pub(crate) fn of(record: &Record<'_>) -> Self {
        Self {
            accepted_ms: record.origin.map_or(record.append_ms, |origin| origin.append_ms),
            append_ms: record.append_ms,
            kind: record.kind,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
        }
    }
}

/// The records behind dead letters.
pub trait LetterBytes: Send + Sync {
    /// The record at an offset of `events`; `None` if there is none. Bounded in time.
    fn record(
        &self,
        partition: Partition,
        offset: Offset,
    ) -> BoxFuture<'_, Result<Option<LogRecord>, LogAway>>;

    /// The records at these offsets, which rise: the first of them, as many as fit in memory and at least one. Bounded in time.
    fn records(
        &self,
        partition: Partition,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<Vec<RecordAt>, LogAway>>;

    /// How long the log keeps records.
    fn retention(&self) -> BoxFuture<'_, Retention>;
}

/// The records as a log reader reads them.
pub struct LogLetters {
    reader: Reader,
    kept: Arc<AskRetention>,
    /// What was said last, and when.
    known: Mutex<Option<(Instant, Retention)>>,
}

impl LogLetters {
    /// Reads through readers that `open` makes; `kept` says how long the log keeps records.
    pub fn new(open: OpenReader, kept: AskRetention) -> Self {
        Self {
            reader: Reader::new(open),
            kept: Arc::new(kept),
            known: Mutex::new(None),
        }
    }

    async fn ask(&self) -> Retention {
        // Held while asking, so that one asks for all.
        let mut known = self.known.lock().await;
        if let Some((at, retention)) = *known
            && at.elapsed() < KEPT_AGE
        {
            return retention;
        }
        let kept = Arc::clone(&self.kept);
        let asked = timeout(READ_DEADLINE, tokio::task::spawn_blocking(move || kept())).await;
        let retention = match asked {
            Ok(Ok(Ok(retention))) => retention,
            Ok(Ok(Err(cause))) => {
                tracing::warn!(%cause, "the log did not say how long it keeps records");
                Retention::Unknown
            }
            Ok(Err(_)) | Err(_) => Retention::Unknown,
        };
        *known = Some((Instant::now(), retention));
        retention
    }
}

impl std::fmt::Debug for LogLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogLetters")
    }
}

impl LetterBytes for LogLetters {
    fn record(
        &self,
        partition: Partition,
        offset: Offset,
    ) -> BoxFuture<'_, Result<Option<LogRecord>, LogAway>> {
        let read = move |reader: &mut (dyn log::LogReader + 'static)| {
            let records = read(reader, partition, &[offset])?;
            Ok(records.into_iter().next().and_then(|(_, record)| record))
        };
        self.reader.call(READ_DEADLINE, read).boxed()
    }

    fn records(
        &self,
        partition: Partition,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<Vec<RecordAt>, LogAway>> {
        let read = move |reader: &mut (dyn log::LogReader + 'static)| read(reader, partition, &offsets);
        self.reader.call(MANY_DEADLINE, read).boxed()
    }

    fn retention(&self) -> BoxFuture<'_, Retention> {
        self.ask().boxed()
    }
}

fn read(
    reader: &mut dyn log::LogReader,
    partition: Partition,
    offsets: &[Offset],
) -> Result<Vec<RecordAt>, LogError> {
    // A log may refuse, rather than answer, a place that it does not have.
    let (first, end) = reader.range(partition)?;
    let mut found: Vec<RecordAt> = Vec::with_capacity(offsets.len());
    let mut bytes = 0;
    let mut rest = offsets;
    while let Some(wanted) = rest.first() {
        if bytes >= MANY_BYTES && !found.is_empty() {
            break;
        }
        if *wanted < first || *wanted >= end {
            found.push((*wanted, None));
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        // One run of offsets that lie near each other.
        let near = |pair: &[Offset]| pair.iter().map(|offset| offset.0).reduce(|a, b| b - a.min(b));
        let run = 1 + rest
            .windows(2)
            .take_while(|pair| near(pair).is_some_and(|gap| gap <= GAP))
            .filter(|pair| pair.last().is_some_and(|offset| *offset < end))
            .count();
        let (run, behind) = rest.split_at(run.min(rest.len()));
        bytes += read_run(reader, partition, run, &mut found)?;
        rest = match found.last().map(|(offset, _)| *offset) {
            // Stopped within the run, since enough is in memory.
            Some(last) if run.last().is_some_and(|end| last < *end) => {
                let taken = offsets.partition_point(|offset| *offset <= last);
                offsets.get(taken..).unwrap_or_default()
            }
            _ => behind,
        };
    }
    Ok(found)
}

/// Reads on from the first to the last of a run, until enough is in memory; says how many bytes that is.
fn read_run(
    reader: &mut dyn log::LogReader,
    partition: Partition,
    run: &[Offset],
    found: &mut Vec<RecordAt>,
) -> Result<usize, LogError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(0);
    };
    let (mut next, mut bytes) = (*first, 0);
    let most = if run.len() == 1 { RECORD_BYTES } else { READ_BYTES };
    let mut wanted = run.iter().copied().peekable();
    while next <= *last && bytes < MANY_BYTES {
        let batch = reader.read(partition, next, last.next(), most)?;
        if batch.is_empty() {
            break;
        }
        for record in batch.iter() {
            while let Some(gone) = wanted.next_if(|offset| *offset < record.offset) {
                found.push((gone, None));
            }
            if wanted.next_if_eq(&record.offset).is_some() {
                bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                found.push((record.offset, Some(LogRecord::of(&record))));
            }
            next = record.offset.next();
        }
    }
    if bytes < MANY_BYTES {
        found.extend(wanted.map(|gone| (gone, None)));
    }
    Ok(bytes)
}
