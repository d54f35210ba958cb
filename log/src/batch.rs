//! Records by the batch: one arena of bytes and a list of ranges, so that neither a record that is appended nor one
//! that is read costs an allocation.

use schemas::redrive::HEADER_BYTES;
use schemas::{Offset, Partition};
use std::ops::Range;

/// Records on their way to one partition.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Where they go.
    pub partition: Partition,
    bytes: Vec<u8>,
    /// End of each key and of each value in `bytes`.
    ends: Vec<(u32, u32)>,
    headers: Vec<(String, Vec<u8>)>,
    kind: Kind,
    /// What each record is a copy of, if these are copies: as many as records, or none.
    copies: Vec<Copied>,
}

/// What a record says as a copy.
#[derive(Clone, Debug)]
struct Copied {
    origin: Origin,
    redrive: Option<Vec<u8>>,
    /// Whether the original had a key, and a value.
    has: (bool, bool),
}

impl Chunk {
    /// An empty chunk for a partition.
    pub fn new(partition: Partition) -> Self {
        Self {
            partition,
            ..Self::default()
        }
    }

    /// Adds a record; `value` writes its bytes to the end of the arena.
    pub fn push_with(&mut self, key: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len() as u32;
        value(&mut self.bytes);
        self.ends.push((key_end, self.bytes.len() as u32));
    }

    /// Adds a record.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.push_with(key, |bytes| bytes.extend_from_slice(value));
    }

    /// Adds a copy of a record. A chunk holds copies alone, or none.
    pub fn push_copy(&mut self, key: &[u8], value: &[u8], origin: Origin) {
        self.push(key, value);
        self.copies.push(Copied {
            origin,
            redrive: None,
            has: (true, true),
        });
    }

    /// Adds a redriven copy of a dead letter, which may lack a key or a value; `redrive` is its header.
    pub fn push_redrive(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        origin: Origin,
        redrive: Vec<u8>,
    ) {
        self.push(key.unwrap_or_default(), value.unwrap_or_default());
        self.copies.push(Copied {
            origin,
            redrive: Some(redrive),
            has: (key.is_some(), value.is_some()),
        });
    }

    /// Where record `index` was copied from, if it is a copy.
    pub fn origin(&self, index: usize) -> Option<Origin> {
        self.copies.get(index).map(|copied| copied.origin)
    }

    /// The header of record `index` that says that it is redriven, if it is.
    pub fn redrive(&self, index: usize) -> Option<&[u8]> {
        self.copies.get(index)?.redrive.as_deref()
    }

    /// Key and value of record `index` as they are sent: only a redriven copy may lack them.
    pub fn sent<'a>(
        &self,
        index: usize,
        (key, value): (&'a [u8], &'a [u8]),
    ) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
        let (has_key, has_value) = self.copies.get(index).map_or((true, true), |copied| copied.has);
        (has_key.then_some(key), has_value.then_some(value))
    }

    /// Says what the records of this chunk are; events where nothing is said.
    pub fn set_kind(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// What the records of this chunk are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether its records are plain events, which carry no header.
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::Event && self.headers.is_empty() && self.copies.is_empty()
    }

    /// Headers that every record of this chunk carries beside its kind and origin.
    pub fn set_headers(&mut self, headers: Vec<(String, Vec<u8>)>) {
        self.headers = headers;
    }

    /// Lets a trace go on from this chunk's records.
    pub fn set_trace(&mut self, traceparent: String) {
        self.headers
            .push((TRACE_HEADER.to_owned(), traceparent.into_bytes()));
    }

    /// The headers of every record of this chunk beside its kind and origin.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// The headers of record `index`: those of all records of the chunk, and those that say its kind, its origin and that it is
    /// redriven.
    pub fn headers_of(&self, index: usize) -> Vec<(String, Vec<u8>)> {
        let mut headers = self.headers.clone();
        if let Some(word) = self.kind.word() {
            headers.push((KIND_HEADER.to_owned(), word.as_bytes().to_vec()));
        }
        if let Some(origin) = self.origin(index) {
            headers.push((ORIGIN_HEADER.to_owned(), origin.encode()));
        }
        if let Some(redrive) = self.redrive(index) {
            headers.push((REDRIVE_HEADER.to_owned(), redrive.to_vec()));
        }
        headers
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records' keys and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts
            .zip(&self.ends)
            .map(|(start, (key_end, end))| {
                (
                    slice(&self.bytes, start..*key_end),
                    slice(&self.bytes, *key_end..*end),
                )
            })
            .collect::<Vec<_>>()
            .into_iter()
    }
}

fn slice(bytes: &[u8], range: Range<u32>) -> &[u8] {
    bytes
        .get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

/// One record as the log holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it lies.
    pub offset: Offset,
    /// When the log took it, in milliseconds.
    pub append_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Where a copy came from, by its headers.
    pub origin: Option<Origin>,
    /// What it is, by its headers.
    pub kind: Kind,
    /// The header [`REDRIVE_HEADER`], whatever it holds.
    pub redrive: Option<&'a [u8]>,
    /// The header [`TRACE_HEADER`], whatever it holds.
    pub trace: Option<&'a [u8]>,
}

/// What a record of `events` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// An event, to be counted. What other producers write is this.
    #[default]
    Event,
    /// An event of an upload that waits to be released: its copy counts, not it.
    Held,
    /// A fact of an upload's life: [`schemas::upload::Fact`].
    Fact,
    /// Counts for nothing, and goes all the way of an event: how long that takes is what it is for.
    Canary,
}

/// Name of the header that says a record's kind; a record without it is an event.
pub const KIND_HEADER: &str = "tidemark-kind";

impl Kind {
    /// The header's value; none for events, which have no such header.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Event => None,
            Self::Held => Some("held"),
            Self::Fact => Some("fact"),
            Self::Canary => Some("canary"),
        }
    }

    /// Reads the header's value. Any other word is another producer's own, and says nothing of us.
    pub fn of_word(word: &[u8]) -> Self {
        match word {
            b"held" => Self::Held,
            b"fact" => Self::Fact,
            b"canary" => Self::Canary,
            _ => Self::Event,
        }
    }
}

/// Where a copy (of a reroute, a release or a redrive) came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Partition of the original.
    pub partition: Partition,
    /// Offset of the original.
    pub offset: Offset,
    /// When the log took the original, in milliseconds.
    pub append_ms: i64,
    /// Whether the original is a held record, of which only one copy may count.
    pub held: bool,
}

/// What stands behind the numbers of an origin that is a held record.
const HELD: &str = "held";

/// Name of the header that names a copy's origin; its value is `partition/offset/append_ms` in decimal ASCII, and `/held` behind
/// it where the original was held.
pub const ORIGIN_HEADER: &str = "tidemark-origin";

/// Name of the header that says that a copy is a redriven dead letter; its value is a [`schemas::redrive::Redrive`].
pub const REDRIVE_HEADER: &str = "tidemark-redrive";

/// Name of the header in which a trace goes on from whoever wrote the record (W3C Trace Context). It says nothing of what the record counts.
pub const TRACE_HEADER: &str = "traceparent";

/// Longest header of a trace that is looked at; those of version 0 have 55 bytes.
const TRACE_BYTES: usize = 64;

impl Origin {
    /// The header's value.
    pub fn encode(self) -> Vec<u8> {
        let mut value = format!("{}/{}/{}", self.partition, self.offset, self.append_ms);
        if self.held {
            value.push('/');
            value.push_str(HELD);
        }
        value.into_bytes()
    }

    /// Reads the header's value; `None` if it is not one of ours.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split('/');
        let mut origin = Self {
            partition: Partition(parts.next()?.parse().ok()?),
            offset: Offset(parts.next()?.parse().ok()?),
            append_ms: parts.next()?.parse().ok()?,
            held: false,
        };
        match parts.next() {
            None => return Some(origin),
            Some(HELD) => origin.held = true,
            Some(_) => return None,
        }
        parts.next().is_none().then_some(origin)
    }
}

/// Records read from one partition, in the order of offsets.
#[derive(Clone, Debug, Default)]
pub struct RecordBatch {
    /// Where they lie.
    pub partition: Partition,
    /// Leader epoch of the last record, -1 where unknown.
    pub leader_epoch: i32,
    bytes: Vec<u8>,
    records: Vec<Meta>,
}

#[derive(Clone, Debug)]
struct Meta {
    offset: Offset,
    append_ms: i64,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    origin: Option<Origin>,
    kind: Kind,
    redrive: Option<Range<u32>>,
    trace: Option<Range<u32>>,
}

impl RecordBatch {
    /// An empty batch of a partition.
    pub fn new(partition: Partition) -> Self {
        Self {
            partition,
            leader_epoch: -1,
            ..Self::default()
        }
    }

    /// Adds a record.
    pub fn push(&mut self, record: Record<'_>) {
        let key = record.key.map(|key| self.store(key));
        let value = record.value.map(|value| self.store(value));
        // A longer one is not ours.
        let redrive = record.redrive.filter(|redrive| redrive.len() <= HEADER_BYTES);
        let redrive = redrive.map(|redrive| self.store(redrive));
        let trace = record.trace.filter(|trace| trace.len() <= TRACE_BYTES);
        let trace = trace.map(|trace| self.store(trace));
        self.records.push(Meta {
            offset: record.offset,
            append_ms: record.append_ms,
            key,
            value,
            origin: record.origin,
            kind: record.kind,
            redrive,
            trace,
        });
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().map(|meta| Record {
            offset: meta.offset,
            append_ms: meta.append_ms,
            key: meta.key.clone().map(|range| slice(&self.bytes, range)),
            value: meta.value.clone().map(|range| slice(&self.bytes, range)),
            origin: meta.origin,
            kind: meta.kind,
            redrive: meta.redrive.clone().map(|range| slice(&self.bytes, range)),
            trace: meta.trace.clone().map(|range| slice(&self.bytes, range)),
        })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn store(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len() as u32
    }
}
