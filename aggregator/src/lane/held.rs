//! A source partition in the hands of a lane, and what it is waiting for.

use crate::source::Source;
use schemas::Offset;
use schemas::commit::BatchId;
use std::time::{Duration, Instant};

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
    /// How far the chain is read, and since when, while a mark is waited for.
    pub(super) still: Option<(Offset, Instant)>,
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
            still: None,
            warned: false,
        }
    }

    /// The place on the changelog that must be reached before this partition goes on.
    pub(super) fn mark(&self) -> Option<Offset> {
        match self.phase {
            Phase::Restoring { mark } => mark,
            _ => self.waiting.as_ref()?.mark,
        }
    }

    /// How long a mark was waited for while nothing came on the chain.
    pub(super) fn still(&mut self) -> Duration {
        let read = self.source.chain.changelog;
        match (self.mark(), self.still) {
            (Some(mark), Some((place, since))) if read < mark && place == read => since.elapsed(),
            (Some(mark), _) if read < mark => {
                self.still = Some((read, Instant::now()));
                Duration::ZERO
            }
            _ => {
                self.still = None;
                Duration::ZERO
            }
        }
    }

    pub(super) fn is_restoring(&self) -> bool {
        matches!(self.phase, Phase::Restoring { .. })
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Rules;
    use crate::spill::Spill;
    use schemas::Partition;
    use std::sync::Arc;

    #[test]
    fn a_partition_is_still_only_while_nothing_comes_and_its_mark_lies_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let rules = Arc::new(Rules {
            generation: 1,
            partitions: 1,
            hashing: schemas::key::Hashing::new(&schemas::key::Secret([3; 32])),
        });
        let spill = Spill::open(folder.path()).unwrap();
        let mut held = Held::restoring(Source::new(Partition(0), rules, 1 << 20, spill));
        let pause = || std::thread::park_timeout(Duration::from_millis(20));
        let still = |held: &mut Held| {
            held.still();
            pause();
            held.still() >= Duration::from_millis(20)
        };
        assert!(!still(&mut held), "no mark is known yet");
        held.phase = Phase::Restoring {
            mark: Some(Offset(5)),
        };
        assert!(still(&mut held));
        held.source.chain.reached(Offset(3));
        assert_eq!(held.still(), Duration::ZERO, "it went on");
        assert!(still(&mut held));
        held.source.chain.reached(Offset(5));
        assert!(!still(&mut held), "the mark is reached");
    }
}
