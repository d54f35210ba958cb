//! What is known of one partition: its segments and how far it is durable. The writer says so, readers look and are woken.

use super::bell::{Bell, hold};
use super::frame::Salt;
use super::recover::Recovered;
use super::segment::Segment;
use crate::ports::LogError;
use schemas::{Offset, Partition};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

/// One partition of one topic.
#[derive(Debug)]
pub(super) struct PartitionLog {
    /// Its number.
    pub(super) partition: Partition,
    /// `topic/partition`, for people.
    pub(super) name: String,
    /// Where its segments lie.
    pub(super) folder: PathBuf,
    /// What its checksums start from.
    pub(super) salt: Salt,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// In order of base offsets.
    segments: Vec<Arc<Segment>>,
    end: Offset,
    failed: Option<String>,
    readers: Vec<Weak<Bell>>,
}

impl PartitionLog {
    /// A partition as it was found.
    pub(super) fn new(
        topic: &str,
        partition: Partition,
        folder: PathBuf,
        salt: Salt,
        found: &Recovered,
    ) -> Self {
        let state = State {
            segments: found.segments.clone(),
            end: found.end,
            failed: None,
            readers: Vec::new(),
        };
        Self {
            partition,
            name: format!("{topic}/{partition}"),
            folder,
            salt,
            state: Mutex::new(state),
        }
    }

    /// The next offset behind all that is durable.
    pub(super) fn end(&self) -> Offset {
        hold(&self.state).end
    }

    /// Why it takes nothing more, if so.
    pub(super) fn failed(&self) -> Option<String> {
        hold(&self.state).failed.clone()
    }

    /// The segment that holds `next`, and the base of the one behind it. `None` if there is no segment at all.
    pub(super) fn segment_of(&self, next: Offset) -> Option<(Arc<Segment>, Option<Offset>)> {
        let state = hold(&self.state);
        let behind = state.segments.partition_point(|segment| segment.base <= next);
        let segment = state.segments.get(behind.checked_sub(1)?)?;
        Some((
            segment.clone(),
            state.segments.get(behind).map(|segment| segment.base),
        ))
    }

    /// Refuses an offset that is not there yet.
    pub(super) fn check_next(&self, next: Offset) -> Result<(), LogError> {
        let end = self.end();
        if next <= end {
            return Ok(());
        }
        Err(LogError::Wrong(format!(
            "{} ends at offset {end}, yet {next} is asked for: it is not the log that it was, or lost its end",
            self.name
        )))
    }

    /// Rings this bell whenever more becomes durable, as long as the bell lives.
    pub(super) fn watch(&self, bell: &Arc<Bell>) {
        let mut state = hold(&self.state);
        state.readers.retain(|reader| reader.strong_count() > 0);
        state.readers.push(Arc::downgrade(bell));
    }

    /// Adds the segment that the next records go to.
    pub(super) fn add_segment(&self, segment: Arc<Segment>) {
        hold(&self.state).segments.push(segment);
    }

    /// Everything before `end` is durable.
    pub(super) fn advance(&self, end: Offset) {
        let mut state = hold(&self.state);
        state.end = end;
        state.ring();
    }

    /// It takes nothing more. Readers are woken, so that a lane learns of it.
    pub(super) fn fail(&self, why: String) {
        let mut state = hold(&self.state);
        state.failed.get_or_insert(why);
        state.ring();
    }
}

impl State {
    fn ring(&mut self) {
        self.readers
            .retain(|reader| reader.upgrade().inspect(|bell| bell.ring()).is_some());
    }
}
