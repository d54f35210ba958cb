//! The chunks of one request that are not complete yet: one for each partition that got a row of it.

use log::Chunk;
use log::batch::Kind;
use schemas::{Event, Partition, avro, key};

/// Bytes that one request may hold in chunks that are not complete. With many partitions it would be many chunks:
/// beyond this the largest is handed over as it is.
const OPEN_BYTES: usize = 8 * 1024 * 1024;

/// A chunk, and the rows that are in it, in the same order.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) chunk: Chunk,
    pub(crate) rows: Vec<u64>,
}

/// The open chunks.
pub(crate) struct Chunks {
    partitions: u32,
    schema_id: u32,
    kind: Kind,
    /// By partition. Boxed, since most requests touch few of many partitions.
    open: Vec<Option<Box<Open>>>,
    open_bytes: usize,
    /// Bytes at which a chunk is complete.
    limit: usize,
    full: Vec<Partition>,
}

impl Chunks {
    /// No chunk yet. A chunk is complete at `limit` bytes.
    pub(crate) fn new(partitions: u32, schema_id: u32, limit: usize) -> Self {
        Self {
            partitions,
            schema_id,
            kind: Kind::Event,
            open: Vec::new(),
            open_bytes: 0,
            limit,
            full: Vec::new(),
        }
    }

    /// From now on chunks are of events that wait to be released.
    pub(crate) fn hold(&mut self) {
        self.kind = Kind::Held;
    }

    /// Bytes in all of them.
    pub(crate) fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    /// From now on a chunk is complete at `limit` bytes.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Adds the event of a row to the chunk of its partition.
    pub(crate) fn add(&mut self, event: &Event<'_>, row: u64) {
        let partition = key::partition(event.idempotency_key.as_bytes(), self.partitions);
        let place = partition.0 as usize;
        if self.open.len() <= place {
            self.open.resize_with(place + 1, || None);
        }
        let Some(slot) = self.open.get_mut(place) else {
            return;
        };
        let open = slot.get_or_insert_with(|| {
            let mut chunk = Chunk::new(partition);
            chunk.set_kind(self.kind);
            Box::new(Open {
                chunk,
                rows: Vec::new(),
            })
        });
        let before = open.chunk.bytes();
        let schema_id = self.schema_id;
        open.chunk.push_with(event.idempotency_key.as_bytes(), |bytes| {
            avro::encode(event, schema_id, bytes)
        });
        open.rows.push(row);
        let after = open.chunk.bytes();
        self.open_bytes += after - before;
        if before < self.limit && after >= self.limit {
            self.full.push(partition);
        }
    }

    /// A complete chunk; when too much is open, the largest.
    pub(crate) fn take_full(&mut self) -> Option<Open> {
        while let Some(partition) = self.full.pop() {
            if let Some(open) = self.take(partition) {
                return Some(open);
            }
        }
        if self.open_bytes > OPEN_BYTES {
            self.take_largest()
        } else {
            None
        }
    }

    /// The largest chunk, complete or not.
    pub(crate) fn take_largest(&mut self) -> Option<Open> {
        let largest = self
            .open
            .iter()
            .flatten()
            .max_by_key(|open| open.chunk.bytes())?
            .chunk
            .partition;
        self.take(largest)
    }

    fn take(&mut self, partition: Partition) -> Option<Open> {
        let open = self.open.get_mut(partition.0 as usize)?.take()?;
        self.open_bytes = self.open_bytes.saturating_sub(open.chunk.bytes());
        Some(*open)
    }
}
