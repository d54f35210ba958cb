//! A lane's transactional producer: one transaction at a time, on the lane's own thread.
//!
//! Only the answer of commit counts: records and flushes of a fenced producer succeed silently (COSTS.md, E0 b). And even that
//! answer is a hint; the chain decides.

use super::edges::Edges;
use super::failure::{fatal, log_error};
use super::raw::{Copy, Failure, Handle, Membership, Topic};
use super::settings::{FRAME_BYTES, Settings};
use super::statistics::ClientKind;
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
    settings: Settings,
}

impl Committer {
    /// Fences every older producer of this transactional id and ends what it left open; about half a second.
    pub(super) fn new(settings: &Settings) -> Result<Self, LogError> {
        let wrong = |failure: Failure| LogError::Wrong(format!("settings of Kafka: {failure}"));
        let handle = Arc::new(
            Handle::producer(
                &settings.committer(),
                settings.watched(Some(ClientKind::Committer)),
                false,
            )
            .map_err(wrong)?,
        );
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
        let committer = Self {
            changelog,
            dead_letters,
            handle,
            settings: settings.clone(),
        };
        let hanging = committer.hanging()?;
        committer.end(&hanging).map_err(|error| match error {
            CommitError::Aborted(what) => LogError::Away(what),
            CommitError::Fatal(what) => LogError::Fatal(what),
        })?;
        Ok(committer)
    }

    /// Ends transactions of this producer that hang: their records are there, but the broker's coordinator believes that they ended,
    /// so that readers of committed records stop before them for ever. Kafka 4.3 and 4.4 leave such behind when a broker dies while
    /// it ends a transaction and starts again before its partitions have a leader (KAFKA-20734); older ones by a late record.
    ///
    /// A partition has one open transaction per producer id, and a producer keeps its id under its transactional id. So a new one
    /// that is aborted takes with it what hung before it. What aborting leaves out is folded again: the chain decides.
    pub(super) fn end_hanging(&self) -> Result<(), CommitError> {
        let hanging = self
            .hanging()
            .map_err(|error| CommitError::Aborted(error.to_string()))?;
        self.end(&hanging)
    }

    /// Partitions that an open transaction holds up, its own or another's.
    fn hanging(&self) -> Result<Vec<(&Topic, Partition)>, LogError> {
        let topics = [
            (&self.changelog, &self.settings.changelog),
            (&self.dead_letters, &self.settings.dead_letters),
        ];
        let mut hanging = Vec::new();
        for (topic, name) in topics {
            let edges = Edges {
                handle: &self.handle,
                topic: name,
                deadline: self.settings.read_deadline(),
            };
            let held_up = edges.held_up(&edges.partitions()?)?;
            if !held_up.is_empty() {
                tracing::warn!(topic = name, partitions = ?held_up, "an open transaction holds up readers: it ends if it is this producer's own");
            }
            hanging.extend(held_up.into_iter().map(|partition| (topic, partition)));
        }
        Ok(hanging)
    }

    fn end(&self, hanging: &[(&Topic, Partition)]) -> Result<(), CommitError> {
        if hanging.is_empty() {
            return Ok(());
        }
        let doing = "ending hanging transactions";
        self.handle.begin().map_err(|failure| fatal(doing, &failure))?;
        let timeout = self.settings.transaction_timeout();
        let touch = || {
            for (topic, partition) in hanging {
                topic.produce_copy(Copy {
                    partition: *partition,
                    key: Some(b"never committed"),
                    value: None,
                    headers: &[],
                })?;
            }
            self.handle.flush(timeout)
        };
        match touch() {
            Ok(()) => self
                .handle
                .abort(timeout)
                .map_err(|failure| fatal(doing, &failure)),
            Err(failure) => Err(self.abort(doing, &failure, timeout)),
        }
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
        let timeout = self.settings.transaction_timeout();
        let left = || timeout.saturating_sub(began.elapsed()).max(LAST);
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
                .add_partition_offset(&self.settings.events, partition, RawOffset::Offset(next))
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
        self.handle
            .send_offsets(&offsets, fence, self.settings.transaction_timeout())
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
