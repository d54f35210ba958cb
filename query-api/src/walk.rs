//! The chain read backwards: which events of a user's day lie below some offset. The log alone cannot say it, since it holds
//! duplicates and conflicts as well; a commit record says of each offset what became of it, and a record is on the chain if
//! the one behind it says so. So whoever begins at a record that is on the chain and goes from `prev` to `prev` is never wrong.
//!
//! Bounded in bytes and in time; where it gave up it says where to go on.

use log::{ChainEvent, ChainReader, LogError, Place};
use schemas::commit::{BatchId, CommitRecord, Link, Part};
use schemas::positions::Position;
use schemas::{Day, Offset, Partition};
use std::time::{Duration, Instant};

/// Offsets of the changelog that are read in one go, to begin with and at most.
const SPAN: u64 = 16;
const SPAN_MOST: u64 = 4_096;
/// Bytes of one go at most; one of less than a quarter of it makes the next one longer.
const SPAN_BYTES: usize = 4 * 1024 * 1024;
/// How long one look at the changelog waits.
const POLL: Duration = Duration::from_millis(100);

/// What is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub(crate) partition: Partition,
    pub(crate) tenant: String,
    pub(crate) user: String,
    pub(crate) day: Day,
    /// A commit record that is on the chain and does not end before `below`; it lies here or before.
    pub(crate) from: Link,
    /// Only events before this offset.
    pub(crate) below: Offset,
    pub(crate) until: Until,
    /// Bytes of the changelog that may be read.
    pub(crate) bytes: usize,
}

/// Where it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// At this offset, the event at it among them.
    Floor(Offset),
    /// With so many events.
    Count(usize),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// All events from `lowest` on, the newest first.
    pub(crate) positions: Vec<Position>,
    pub(crate) lowest: Offset,
    /// From where events below `lowest` are found; none at the beginning of the chain.
    pub(crate) next: Option<Link>,
    /// Whether it was enough, or there is no more.
    pub(crate) is_done: bool,
    /// Bytes that were read.
    pub(crate) bytes: usize,
}

/// Walks until it is enough, or as far as bytes and time allow.
pub(crate) fn run(reader: &mut dyn ChainReader, walk: &Walk, until: Instant) -> Result<Walked, LogError> {
    let mut parts = Parts::new(walk.partition, walk.from.changelog.next(), until);
    let mut walked = Walked {
        positions: Vec::new(),
        lowest: walk.below,
        next: Some(walk.from),
        is_done: false,
        bytes: 0,
    };
    while let Some(link) = walked.next.filter(|_| !walked.is_done) {
        // At least one record each time, so that whoever goes on gets on.
        let is_first = walked.next == Some(walk.from);
        if !is_first && (walked.bytes >= walk.bytes || parts.is_late()) {
            break;
        }
        let found = match parts.find(reader, link.id) {
            Ok(found) => found,
            Err(LogError::Away(_)) if !is_first && parts.is_late() => break,
            Err(error) => return Err(error),
        };
        walked.bytes = parts.read;
        take(walk, &found, link, &mut walked);
    }
    // Stops what the reader would fetch ahead.
    reader.assign(&[])?;
    Ok(walked)
}

/// Takes in the commit record at `link`.
fn take(walk: &Walk, found: &Found, link: Link, walked: &mut Walked) {
    let is_wanted = |offset: Offset| match walk.until {
        Until::Floor(floor) => (floor..walk.below).contains(&offset),
        Until::Count(_) => offset < walk.below,
    };
    let record = &found.record;
    let types = &record.types;
    let of_user = record.counted().filter(|counted| {
        let tenant = types.get(counted.type_index as usize).map(|(tenant, _)| tenant);
        counted.user == walk.user
            && counted.fresh.quarter.day() == walk.day
            && tenant == Some(&walk.tenant)
            && is_wanted(counted.offset)
    });
    let mut positions: Vec<Position> = of_user
        .map(|counted| Position {
            offset: counted.offset,
            reverse: counted.fresh.reversed,
        })
        .collect();
    positions.reverse();
    walked.lowest = walked.lowest.min(record.head.from);
    walked.next = found.before;
    match walk.until {
        Until::Count(most) if walked.positions.len() + positions.len() >= most => {
            positions.truncate(most.saturating_sub(walked.positions.len()));
            if let Some(last) = positions.last() {
                walked.lowest = last.offset;
            }
            // There may be more of it in this very record.
            walked.next = Some(link);
            walked.is_done = true;
        }
        Until::Floor(floor) if record.head.from <= floor => {
            walked.lowest = floor;
            // Events below may lie in this record.
            walked.next = Some(link);
            walked.is_done = true;
        }
        _ => walked.is_done = found.before.is_none(),
    }
    walked.positions.append(&mut positions);
}

/// A commit record, and where the one before it is.
struct Found {
    record: CommitRecord,
    before: Option<Link>,
}

/// Parts by offset, rising.
type Rising = Vec<(Offset, Vec<u8>)>;

/// Parts of a changelog, read backwards some at a time.
struct Parts {
    partition: Partition,
    /// All from `low` on that may still be of use.
    parts: Rising,
    low: Offset,
    span: u64,
    /// Bytes that were read.
    read: usize,
    until: Instant,
}

impl Parts {
    fn new(partition: Partition, low: Offset, until: Instant) -> Self {
        Self {
            partition,
            parts: Vec::new(),
            low,
            span: SPAN,
            read: 0,
            until,
        }
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// The commit record of an id, the last one of it before all that were found.
    fn find(&mut self, reader: &mut dyn ChainReader, id: BatchId) -> Result<Found, LogError> {
        loop {
            if let Some(found) = self.assemble(id) {
                return found;
            }
            if self.low == Offset(0) {
                return Err(self.wrong(id, "is not there"));
            }
            self.extend(reader)?;
        }
    }

    /// Puts together what was read; `None` if it is not all there yet.
    fn assemble(&mut self, id: BatchId) -> Option<Result<Found, LogError>> {
        let parts = self.parts.iter().rev();
        let of_id = parts.filter_map(|(offset, bytes)| Some((*offset, Part::decode(bytes).ok()?)));
        let mut chunks = Vec::new();
        let (mut begin, mut prev, mut wanted) = (None, BatchId::nil(), None);
        for (offset, part) in of_id.filter(|(_, part)| part.id == id) {
            // Its parts stand in order; those of a torn copy of it are passed over.
            let index = wanted.unwrap_or(part.count - 1);
            if part.index != index {
                continue;
            }
            chunks.push(part.chunk);
            if index == 0 {
                (begin, prev) = (Some(offset), part.prev);
                break;
            }
            wanted = Some(index - 1);
        }
        let begin = begin?;
        let body: Vec<u8> = chunks.into_iter().rev().flatten().copied().collect();
        self.parts.retain(|(offset, _)| *offset < begin);
        let before = (!prev.is_nil()).then(|| Link {
            changelog: Offset(begin.0.saturating_sub(1)),
            id: prev,
        });
        let record = CommitRecord::decode(body).map_err(|_| self.wrong(id, "cannot be read"));
        Some(record.map(|record| Found { record, before }))
    }

    /// Reads further back.
    fn extend(&mut self, reader: &mut dyn ChainReader) -> Result<(), LogError> {
        loop {
            let from = Offset(self.low.0.saturating_sub(self.span));
            let Some(mut parts) = self.range(reader, from)? else {
                self.span = (self.span / 4).max(1);
                continue;
            };
            let bytes: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
            if bytes * 4 < SPAN_BYTES {
                self.span = (self.span * 2).min(SPAN_MOST);
            }
            self.low = from;
            parts.append(&mut self.parts);
            self.parts = parts;
            return Ok(());
        }
    }

    /// The parts from an offset up to those that are there; `None` if they are too many for one go.
    fn range(&mut self, reader: &mut dyn ChainReader, from: Offset) -> Result<Option<Rising>, LogError> {
        let partition = self.partition;
        // Anew, since a reader may be there already and has given out what is asked for.
        reader.assign(&[])?;
        reader.assign(&[Place {
            partition,
            next: from,
        }])?;
        let (mut parts, mut bytes_read, mut next) = (Vec::new(), 0, from);
        while next < self.low {
            if self.is_late() {
                return Err(LogError::Away("the changelog was not read in time".to_owned()));
            }
            for event in reader.poll(POLL)? {
                match event {
                    ChainEvent::Part { offset, bytes, .. } => {
                        next = next.max(offset.next());
                        if offset < self.low {
                            bytes_read += bytes.len();
                            parts.push((offset, bytes));
                        }
                    }
                    ChainEvent::Reached(place) => next = next.max(place.next),
                }
            }
            if bytes_read > SPAN_BYTES && self.span > 1 {
                self.read += bytes_read;
                return Ok(None);
            }
        }
        self.read += bytes_read;
        Ok(Some(parts))
    }

    fn wrong(&self, id: BatchId, what: &str) -> LogError {
        LogError::Wrong(format!(
            "commit record {id} of partition {} {what} before {} of the changelog",
            self.partition, self.low
        ))
    }
}
