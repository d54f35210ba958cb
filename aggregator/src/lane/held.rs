//! A source partition in the hands of a lane, and what it is waiting for.

use crate::schema::Schemas;
use crate::source::Source;
use schemas::commit::BatchId;
use schemas::{Offset, Partition};
use service::telemetry::traces;
use std::collections::VecDeque;
use std::time::Instant;
use tracing::Span;

/// Traced records of a partition that may be on their way to the chain; of more nothing is traced.
const TRACED: usize = 128;

/// One held partition.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) source: Source,
    pub(super) phase: Phase,
    /// The oldest batch in flight when it was last looked at, and since when.
    pub(super) waiting: Option<Waiting>,
    /// Records behind the end of the log, when last asked.
    pub(super) lag: u64,
    pub(super) lag_asked: Option<Instant>,
    pub(super) outbox_after: Option<Instant>,
    /// A schema that held records needed before they could be released.
    pub(super) outbox_schema: Option<u32>,
    /// Whether it was said that the dedup index is nearly full.
    pub(super) warned: bool,
    /// Traced records that were folded and are not on the chain yet.
    traced: VecDeque<Traced>,
}

/// Records with one header, one behind the other: those of one chunk of a request.
#[derive(Debug)]
struct Traced {
    last: Offset,
    traceparent: Box<[u8]>,
    span: Span,
}

/// What a partition is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its state is being read from the chain, up to `mark`.
    Restoring { mark: Option<Offset> },
    /// It folds what comes.
    Running,
    /// It is full, and waits until what was sent of it is read back.
    HeldBack,
    /// It needs a schema from the registry first.
    NeedsSchema { id: u32, asked: Option<Instant> },
}

/// A batch that should be read back soon.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: BatchId,
    pub(super) since: Instant,
    /// Once in doubt: a reader that reached this place has seen the batch if it was ever committed.
    pub(super) mark: Option<Offset>,
}

impl Held {
    pub(super) fn restoring(source: Source) -> Self {
        Self {
            source,
            phase: Phase::Restoring { mark: None },
            waiting: None,
            lag: 0,
            lag_asked: None,
            outbox_after: None,
            outbox_schema: None,
            warned: false,
            traced: VecDeque::new(),
        }
    }

    /// A record was folded whose header names a trace.
    pub(super) fn folded_traced(&mut self, partition: Partition, offset: Offset, traceparent: &[u8]) {
        let before = self.traced.back_mut();
        if let Some(before) = before.filter(|before| *before.traceparent == *traceparent) {
            before.last = offset;
            return;
        }
        if self.traced.len() < TRACED
            && let Some(span) = traces::count(traceparent, partition, offset)
        {
            self.traced.push_back(Traced {
                last: offset,
                traceparent: traceparent.into(),
                span,
            });
        }
    }

    /// The chain went on: what it concludes is counted, or whatever became of it.
    pub(super) fn end_traced(&mut self) {
        let (next, id) = (self.source.chain.next, self.source.chain.last);
        while let Some(traced) = self.traced.pop_front_if(|traced| traced.last < next) {
            traces::counted(&traced.span, id);
        }
    }

    /// Whether something of it waits for the registry.
    pub(super) fn needs_schema(&self, schemas: &Schemas) -> bool {
        let outbox = self.outbox_schema;
        matches!(self.phase, Phase::NeedsSchema { .. })
            || outbox.is_some_and(|id| schemas.foreign(id).is_none())
    }

    pub(super) fn is_restoring(&self) -> bool {
        matches!(self.phase, Phase::Restoring { .. })
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }
}
