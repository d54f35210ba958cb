//! A source partition in the hands of a lane, and what it is waiting for.

use crate::source::Source;
use schemas::Offset;
use schemas::commit::BatchId;
use std::time::Instant;

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
    /// Whether it was said that the dedup index is nearly full.
    pub(super) warned: bool,
}

/// What a partition is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its state is being read from the chain, up to `mark`.
    Restoring { mark: Option<Offset> },
    /// It folds what comes.
    Running,
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
            warned: false,
        }
    }

    pub(super) fn is_restoring(&self) -> bool {
        matches!(self.phase, Phase::Restoring { .. })
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }
}
