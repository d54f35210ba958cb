//! A lane's transactional producer: one transaction at a time, on the lane's own thread.
//!
//! Only the answer of commit counts: records and flushes of a fenced producer succeed silently (COSTS.md, E0 b). And even that
//! answer is a hint; the chain decides.

use super::edges::Edges;
use super::failure::{fatal, log_error};
use super::hanging::{Hanging, Place, Written};
use super::raw::{Copy, Failure, Handle, Membership, Topic};
use super::settings::{FRAME_BYTES, Settings};
use super::statistics::ClientKind;
use crate::ports::{CommitError, DeadLetterCopy, LogError, Transaction};
use rdkafka::{Offset as RawOffset, TopicPartitionList};
use schemas::Partition;
use schemas::limits::{DEAD_LETTER_BYTES, RECORD_BYTES};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Copies of dead letters go to the topic's first partition by default.
const DEAD_LETTERS: Partition = Partition(0);
/// What the last step of a transaction gets when its time is used up; with it a commit takes so much longer at most.
const LAST: Duration = Duration::from_millis(500);
/// Framing of a batch of one record, and some room.
const FRAME_ROOM: usize = 128;

/// A transaction that is open for so long right after a start is none that is just being committed.
const OPEN: Duration = Duration::from_millis(500);
/// For one question of a look for hanging transactions: it holds up the lane.
const LOOK: Duration = Duration::from_secs(2);

/// Sends transactions.
#[derive(Debug)]
pub(super) struct Committer {
    changelog: Topic,
    dead_letters: Topic,
    handle: Arc<Handle>,
    settings: Settings,
    hanging: Hanging,
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
        let mut committer = Self {
            changelog,
            dead_letters,
            handle,
            settings: settings.clone(),
            hanging: Hanging::default(),
        };
        // What it waits for now, nobody waits for yet: a transaction that is still open then is none that is just being committed.
        if committer.look() {
            std::thread::park_timeout(OPEN);
            committer.end_hanging().map_err(|error| match error {
                CommitError::Aborted(what) => LogError::Away(what),
                CommitError::Fatal(what) => LogError::Fatal(what),
            })?;
        }
        Ok(committer)
    }

    /// Ends transactions of this producer that hang: their records are there, but the broker's coordinator believes that they ended,
    /// so that readers of committed records stop before them for ever. Kafka 4.3 and 4.4 leave such behind when a broker dies while
    /// it ends a transaction and starts again before its partitions have a leader (KAFKA-20734); older ones by a late record.
    ///
    /// What is open since the look before is held to hang: call it more rarely than transactions last. A partition has one open
    /// transaction per producer id, and a producer keeps its id under its transactional id. So a new one that is aborted takes
    /// with it what hung before it. What aborting leaves out is folded again: the chain decides.
    pub(super) fn end_hanging(&mut self) -> Result<(), CommitError> {
        self.look();
        let hanging = self.hanging.untried();
        if hanging.is_empty() {
            return Ok(());
        }
        let places: Vec<_> = hanging.iter().map(ToString::to_string).collect();
        tracing::warn!(
            ?places,
            "transactions that nobody ends hold up readers: ending what is this lane's own"
        );
        let doing = "ending hanging transactions";
        self.handle.begin().map_err(|failure| fatal(doing, &failure))?;
        let timeout = self.settings.transaction_timeout();
        let touch = || {
            for place in &hanging {
                self.topic(place.topic).produce_copy(Copy {
                    partition: place.partition,
                    key: Some(b"never committed"),
                    value: None,
                    headers: &[],
                })?;
            }
            self.handle.flush(timeout)
        };
        touch().map_err(|failure| self.abort(doing, &failure, timeout))?;
        self.handle
            .abort(timeout)
            .map_err(|failure| fatal(doing, &failure))?;
        self.hanging.tried(&hanging);
        Ok(())
    }

    /// Looks for open transactions, its own or others'; whether there is any. What cannot be asked now is asked the next time.
    fn look(&mut self) -> bool {
        let mut open = BTreeMap::new();
        for topic in [Written::Changelog, Written::DeadLetters] {
            let name = match topic {
                Written::Changelog => &self.settings.changelog,
                Written::DeadLetters => &self.settings.dead_letters,
            };
            let edges = Edges {
                handle: &self.handle,
                topic: name,
                deadline: LOOK.min(self.settings.read_deadline()),
            };
            match edges.partitions().and_then(|partitions| edges.open(&partitions)) {
                Ok(found) => {
                    let place = |partition| Place { topic, partition };
                    open.extend(
                        found
                            .into_iter()
                            .map(|(partition, stable)| (place(partition), stable)),
                    );
                }
                Err(error) => {
                    tracing::debug!(%error, "no look for hanging transactions");
                }
            }
        }
        self.hanging.saw(open)
    }

    fn topic(&self, written: Written) -> &Topic {
        match written {
            Written::Changelog => &self.changelog,
            Written::DeadLetters => &self.dead_letters,
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
