//! The log behind a user's numbers: records of `events` by their places, and the chain read backwards for places that are not
//! remembered. Both block, so each call runs on a thread that may, with a deadline; few requests at one time.

use crate::letters::LogRecord;
use crate::reader::{LogAway, Open, OpenChain, OpenReader, Reader};
use crate::walk::{self, Walk, Walked};
use log::{LogError, LogReader};
use schemas::{Offset, Partition};
use service::http::{Problem, RETRY_AFTER_S};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Such requests at one time.
const REQUESTS: usize = 4;
/// Readers of each kind, so that one request's partitions are read at one time: on Kafka each new place costs a reader up to 100 ms.
const READERS: usize = 4;
/// Longest time for one call.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Records that may lie between two that are read in one go: to read over them is cheaper than to begin anew.
const GAP: u64 = 64;
/// Bytes that one read of records takes.
const READ_BYTES: usize = 256 * 1024;

/// Reads what lies behind the numbers.
#[derive(Debug)]
pub struct LogEvents {
    records: Vec<Reader<dyn LogReader>>,
    chain: Vec<Reader<dyn log::ChainReader>>,
    places: Arc<Semaphore>,
}

impl LogEvents {
    /// Reads through readers that `records` and `chain` make.
    pub fn new(records: OpenReader, chain: OpenChain) -> Self {
        Self {
            records: readers(records),
            chain: readers(chain),
            places: Arc::new(Semaphore::new(REQUESTS)),
        }
    }

    /// Errors: 503 `too_many_scans`.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Problem::unavailable("too_many_scans", "Too many look at events", RETRY_AFTER_S)
                .detail(format!("{REQUESTS} requests may do so at one time"))
                .with("limit_requests", REQUESTS)
        })
    }

    /// The records at these offsets; those that are not there any more are left out.
    pub(crate) async fn records(
        &self,
        partition: Partition,
        mut offsets: Vec<Offset>,
    ) -> Result<BTreeMap<Offset, LogRecord>, LogAway> {
        offsets.sort_unstable();
        let until = Instant::now() + CALL_DEADLINE;
        of(&self.records, partition)?
            .call(CALL_DEADLINE, move |reader| {
                read(reader, partition, &offsets, until)
            })
            .await
    }

    /// Looks through the chain backwards.
    pub(crate) async fn walk(&self, walk: Walk) -> Result<Walked, LogAway> {
        let until = Instant::now() + CALL_DEADLINE;
        of(&self.chain, walk.partition)?
            .call(CALL_DEADLINE, move |reader| walk::run(reader, &walk, until))
            .await
    }
}

/// Readers that are opened when they are needed.
fn readers<R: ?Sized + Send + 'static>(open: Open<R>) -> Vec<Reader<R>> {
    let open = Arc::new(open);
    let one = |_| {
        let open = Arc::clone(&open);
        Reader::new(Box::new(move || open()))
    };
    (0..READERS).map(one).collect()
}

/// The reader of a partition.
fn of<R: ?Sized>(readers: &[Reader<R>], partition: Partition) -> Result<&Reader<R>, LogAway> {
    let reader = readers.get(partition.0 as usize % READERS);
    reader.ok_or_else(|| LogAway("there is no reader".to_owned()))
}

fn read(
    reader: &mut dyn LogReader,
    partition: Partition,
    offsets: &[Offset],
    until: Instant,
) -> Result<BTreeMap<Offset, LogRecord>, LogError> {
    let (first, end) = reader.range(partition)?;
    let mut found = BTreeMap::new();
    let near = |one: &Offset, next: &Offset| next.0 - one.0 <= GAP;
    for together in offsets.chunk_by(near) {
        let (Some(from), Some(to)) = (together.first(), together.last()) else {
            continue;
        };
        // A log may refuse, rather than answer, a place that it does not have.
        let (mut next, to) = (*from.max(&first), to.next().min(end));
        while next < to {
            if Instant::now() >= until {
                return Err(LogError::Away("records were not read in time".to_owned()));
            }
            let batch = reader.read(partition, next, to, READ_BYTES)?;
            let wanted = batch
                .iter()
                .filter(|record| together.binary_search(&record.offset).is_ok());
            found.extend(wanted.map(|record| (record.offset, LogRecord::of(&record))));
            match batch.iter().last() {
                Some(last) => next = last.offset.next(),
                None => break,
            }
        }
    }
    Ok(found)
}
