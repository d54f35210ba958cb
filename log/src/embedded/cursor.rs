//! Reads a partition in order, over frames and segments. Every byte it gives out has passed its frame's checksum, and none
//! is from behind what is durable.

use super::frame::Header;
use super::partition::PartitionLog;
use super::record;
use super::segment::Segment;
use super::walk::{Step, Walk};
use crate::batch::{Record, RecordBatch};
use crate::ports::LogError;
use schemas::Offset;
use schemas::wire::Reader;
use std::sync::Arc;

/// What a record costs in a batch beside its bytes, so that a batch of tiny records stays small too.
const RECORD_COST: usize = 64;

/// One reader's place in one partition.
#[derive(Debug)]
pub(super) struct Cursor {
    log: Arc<PartitionLog>,
    next: Offset,
    open: Option<Open>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Open {
    segment: Arc<Segment>,
    walk: Walk,
    frame: Option<Frame>,
}

/// The frame that is being read; its body has passed.
#[derive(Debug)]
struct Frame {
    header: Header,
    body_at: u64,
    /// Bytes of the body read so far.
    read: usize,
    /// Offset of the record there.
    offset: Offset,
}

impl Cursor {
    /// A cursor before the record at `next`. Touches no file yet.
    pub(super) fn new(log: Arc<PartitionLog>, next: Offset) -> Self {
        Self {
            log,
            next,
            open: None,
        }
    }

    /// Offset of the next record that it gives.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// Whether there is something to read.
    pub(super) fn has_more(&self) -> bool {
        self.next < self.log.end()
    }

    /// Records from its place on and before `end`: about `max_bytes`, at least one if there is one.
    pub(super) fn read(&mut self, end: Offset, max_bytes: usize) -> Result<RecordBatch, LogError> {
        let end = end.min(self.log.end());
        let mut batch = RecordBatch::new(self.log.partition);
        while self.next < end && (batch.is_empty() || cost(&batch) < max_bytes) {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(Open::at(&self.log, self.next)?),
            };
            if open.frame.is_some() {
                self.next = open.take(self.next, end, max_bytes, &mut batch)?;
            } else if !open.enter(&self.log, self.next)? {
                self.open = None;
            }
        }
        Ok(batch)
    }
}

fn cost(batch: &RecordBatch) -> usize {
    batch.bytes() + batch.len() * RECORD_COST
}

impl Open {
    fn at(log: &PartitionLog, next: Offset) -> Result<Self, LogError> {
        let Some((segment, _)) = log.segment_of(next) else {
            return Err(LogError::Wrong(format!("{}: its segments are gone", log.name)));
        };
        let walk = segment.walk_to(next, log.salt)?;
        Ok(Self {
            segment,
            walk,
            frame: None,
        })
    }

    /// Goes to the frame that holds `next`. `false` if it is in a later segment.
    fn enter(&mut self, log: &PartitionLog, next: Offset) -> Result<bool, LogError> {
        let segment = &self.segment;
        loop {
            // Asked before each step: the segment may have grown since, or have been followed by another.
            self.walk.extend(segment.durable());
            let place = self.walk.place();
            match self.walk.step().map_err(|error| segment.unreadable(&error))? {
                Step::Frame { header, .. } if header.next() <= next => {}
                Step::Frame { header, body_at } => {
                    let body = self
                        .walk
                        .body(&header, body_at)
                        .map_err(|error| segment.unreadable(&error))?;
                    if body.is_none() {
                        return Err(
                            segment.broken(place.position, "a frame's checksum does not fit its bytes")
                        );
                    }
                    self.frame = Some(Frame {
                        header,
                        body_at,
                        read: 0,
                        offset: header.base,
                    });
                    return Ok(true);
                }
                Step::Broken => {
                    return Err(segment.broken(place.position, "a frame's header is not readable"));
                }
                Step::End => match log.segment_of(next) {
                    Some((at, _)) if at.base == place.offset && at.base != segment.base => return Ok(false),
                    found => {
                        let begins = found.and_then(|(at, behind)| {
                            if at.base == segment.base {
                                behind
                            } else {
                                Some(at.base)
                            }
                        });
                        let begins = begins
                            .map_or_else(|| "is missing".to_owned(), |base| format!("begins at {base}"));
                        let what = format!(
                            "it ends at offset {}, and the next segment {begins}",
                            place.offset
                        );
                        return Err(segment.broken(place.position, &what));
                    }
                },
            }
        }
    }

    /// Takes records of the frame, those from `next` on and before `end`; says where to go on.
    fn take(
        &mut self,
        mut next: Offset,
        end: Offset,
        max_bytes: usize,
        batch: &mut RecordBatch,
    ) -> Result<Offset, LogError> {
        let Some(frame) = &mut self.frame else {
            return Ok(next);
        };
        let count = frame.header.body_bytes as usize;
        let body = self
            .walk
            .bytes(frame.body_at, count)
            .map_err(|error| self.segment.unreadable(&error))?;
        let mut reader = Reader::new(
            body.get(frame.read..).unwrap_or_default(),
            "record of the embedded log",
        );
        while frame.offset < frame.header.next() {
            if next >= end || (!batch.is_empty() && cost(batch) >= max_bytes) {
                return Ok(next);
            }
            let stored = record::read(&mut reader).map_err(|error| {
                self.segment
                    .broken(frame.body_at + frame.read as u64, &error.to_string())
            })?;
            if frame.offset >= next {
                batch.push(Record {
                    offset: frame.offset,
                    append_ms: frame.header.append_ms,
                    key: stored.key,
                    value: stored.value,
                    origin: stored.origin,
                    kind: stored.kind,
                    redrive: stored.redrive,
                    trace: stored.trace,
                });
                next = frame.offset.next();
            }
            frame.offset = frame.offset.next();
            frame.read = count - reader.remaining();
        }
        self.frame = None;
        Ok(next)
    }
}
