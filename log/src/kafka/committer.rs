//! A lane's transactional producer: one transaction at a time, on the lane's own thread.
//!
//! Only the answer of commit counts: records and flushes of a fenced producer succeed silently (COSTS.md, E0 b). And even that
//! answer is a hint; the chain decides.

use super::failure::{fatal, log_error};
use super::raw::{Copy, Failure, Handle, Membership, Topic};
use super::statistics::ClientKind;
use super::settings::{FRAME_BYTES, Settings};
use crate::ports::{CommitError, DeadLetterCopy, LogError, Transaction};
use rdkafka::{Offset as RawOffset, TopicPartitionList};
use schemas::Partition;
use schemas::limits::{DEAD_LETTER_BYTES, RECORD_BYTES};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Copies of dead letters go to the topic's first partition by default.
const DEAD_LETTERS: Partition = Partition(0);
/// What the last step of a transaction gets when its time is used up; with it a commit takes so much longer at most.
const LAST: Duration = Duration::from_millis(500);
/// Framing of a batch of one record, and some room.
const FRAME_ROOM: usize = 128;

/// Sends transactions.
#[derive(Debug)]
pub(super) struct Committer {
    changelog: Topic,
    dead_letters: Topic,
    handle: Arc<Handle>,
    events: String,
    timeout: Duration,
}

impl Committer {
    /// Fences every older producer of this transactional id and ends what it left open; about half a second.
    pub(super) fn new(settings: &Settings) -> Result<Self, LogError> {
        let wrong = |failure: Failure| LogError::Wrong(format!("settings of Kafka: {failure}"));
        let handle = Arc::new(Handle::producer(&settings.committer(), settings.watched(Some(ClientKind::Committer)), false).map_err(wrong)?);
        let changelog = Topic::new(&handle, &settings.changelog).map_err(wrong)?;
        let dead_letters = Topic::new(&handle, &settings.dead_letters).map_err(wrong)?;
        handle
            .init_transactions(settings.read_deadline().max(settings.transaction_timeout()))
            .map_err(|failure| {
                log_error(
                    &format!("becoming producer {}", settings.transactional_id),
                    &failure,
                )
            })?;
        let timeout = settings.transaction_timeout();
        Ok(Self {
            changelog,
            dead_letters,
            handle,
            events: settings.events.clone(),
            timeout,
        })
    }

    /// Takes what the client says of itself.
    pub(super) fn serve(&self) {
        self.handle.poll(Duration::ZERO);
    }

    /// One transaction.
    pub(super) fn commit(&self, transaction: &Transaction, fence: &Membership) -> Result<(), CommitError> {
        fit(transaction)?;
        let began = Instant::now();
        self.handle
            .begin()
            .map_err(|failure| fatal("beginning", &failure))?;
        let left = || self.timeout.saturating_sub(began.elapsed()).max(LAST);
        if let Err(failure) = self.fill(transaction, fence) {
            return Err(self.abort("filling a transaction", &failure, left()));
        }
        match self.handle.commit(left()) {
            Ok(()) => Ok(()),
            Err(failure) if failure.fatal => Err(fatal("committing", &failure)),
            Err(failure) if failure.abort => Err(self.abort("committing", &failure, left())),
            // Not answered in time: it may still be committed. Only a new producer can end this one's state.
            Err(failure) => Err(fatal("committing, with an unknown end", &failure)),
        }
    }

    fn fill(&self, transaction: &Transaction, fence: &Membership) -> Result<(), Failure> {
        let mut offsets = TopicPartitionList::new();
        for commit in &transaction.commits {
            for part in &commit.parts {
                let copy = Copy {
                    partition: commit.partition,
                    key: None,
                    value: Some(part),
                    headers: &[],
                };
                self.changelog.produce_copy(copy)?;
            }
            let wrong = |error: &dyn std::fmt::Display| Failure::local(error.to_string());
            let partition = i32::try_from(commit.partition.0).map_err(|error| wrong(&error))?;
            let next = i64::try_from(commit.next.0).map_err(|error| wrong(&error))?;
            offsets
                .add_partition_offset(&self.events, partition, RawOffset::Offset(next))
                .map_err(|error| wrong(&error))?;
        }
        for letter in &transaction.dead_letters {
            self.dead_letters.produce_copy(Copy {
                partition: DEAD_LETTERS,
                key: Some(letter.key.as_bytes()),
                value: letter.value.as_deref(),
                headers: &letter.headers,
            })?;
        }
        if transaction.commits.is_empty() {
            return Ok(());
        }
        self.handle.send_offsets(&offsets, fence, self.timeout)
    }

    fn abort(&self, doing: &str, failure: &Failure, left: Duration) -> CommitError {
        if let Some(end) = self.handle.fatal() {
            return fatal(doing, &end);
        }
        match self.handle.abort(left) {
            Ok(()) => CommitError::Aborted(format!("{doing}: {failure}")),
            Err(end) => CommitError::Fatal(format!("{doing}: {failure}; and then the abort: {end}")),
        }
    }
}

/// Refuses what the broker would refuse: there it would also break the producer's sequence, so that the next
/// transaction fails too.
fn fit(transaction: &Transaction) -> Result<(), CommitError> {
    let parts = transaction
        .commits
        .iter()
        .flat_map(|commit| &commit.parts)
        .map(Vec::len)
        .max()
        .unwrap_or(0);
    let letters = transaction
        .dead_letters
        .iter()
        .map(letter_bytes)
        .max()
        .unwrap_or(0);
    if parts > RECORD_BYTES - FRAME_ROOM {
        return Err(CommitError::Aborted(format!(
            "a part of {parts} bytes; the changelog takes {RECORD_BYTES}"
        )));
    }
    if letters > DEAD_LETTER_BYTES + FRAME_BYTES - FRAME_ROOM {
        return Err(CommitError::Aborted(format!(
            "a dead letter of {letters} bytes; its topic takes {DEAD_LETTER_BYTES}"
        )));
    }
    Ok(())
}

fn letter_bytes(letter: &DeadLetterCopy) -> usize {
    let headers: usize = letter
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 10)
        .sum();
    letter.key.len() + letter.value.as_ref().map_or(0, Vec::len) + headers
}
