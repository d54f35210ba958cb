//! Appends that wait for one partition's writer. What comes while an fsync runs is taken together at the next one: so
//! the disk itself sets the size of a group, and nobody tunes it.
//!
//! Bounded by whoever pushes: events hold a permit of the log's buffer, a lane waits for its one commit.

use super::bell::hold;
use super::record::Payload;
use futures::channel::oneshot;
use schemas::Offset;
use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// A group takes no more when it has this many bytes: enough that an fsync is cheap beside the write.
pub(super) const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Why an append did not become durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It was taken back whole; another try may succeed.
    #[error("{0}")]
    NotWritten(String),
    /// This partition takes nothing more until the process starts again.
    #[error("{0}; this partition takes nothing more until the process is started again")]
    Broken(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// The next offset behind what was appended, or why not.
pub(super) type Answer = Result<Offset, Failure>;

/// Who waits for an append.
#[derive(Debug)]
pub(super) enum Reply {
    /// A future.
    Task(oneshot::Sender<Answer>),
    /// A thread; its channel has room for the one answer.
    Thread(SyncSender<Answer>),
}

impl Reply {
    /// Answers. Whoever has stopped waiting is not missed.
    pub(super) fn send(self, answer: Answer) {
        match self {
            Self::Task(sender) => drop(sender.send(answer)),
            Self::Thread(sender) => drop(sender.try_send(answer)),
        }
    }
}

/// One append that waits.
#[derive(Debug)]
pub(super) struct Entry {
    /// What is to be appended.
    pub(super) payload: Payload,
    /// Who waits.
    pub(super) reply: Reply,
    /// Its room in the log's buffer, given back when it is answered.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// The appends that wait for one writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    closed: Option<Failure>,
}

impl Queue {
    /// Adds an append, or answers at once that nothing is taken any more.
    pub(super) fn push(&self, entry: Entry) {
        let bytes = entry.payload.bytes();
        let mut waiting = hold(&self.waiting);
        if let Some(failure) = waiting.closed.clone() {
            drop(waiting);
            return entry.reply.send(Err(failure));
        }
        waiting.bytes += bytes;
        waiting.entries.push_back((entry, bytes));
        let wake = waiting.entries.len() == 1 || waiting.bytes >= GROUP_BYTES;
        drop(waiting);
        if wake {
            self.work.notify_one();
        }
    }

    /// Takes what waits, at least one append and about [`GROUP_BYTES`] at most. Waits for the first one, and then until
    /// `not_before` unless a whole group is there. `None` when the queue is closed and empty.
    pub(super) fn take(&self, not_before: Option<Instant>) -> Option<Vec<Entry>> {
        let mut waiting = hold(&self.waiting);
        loop {
            let left = not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            let ripe = left.is_zero() || waiting.closed.is_some() || waiting.bytes >= GROUP_BYTES;
            if waiting.entries.is_empty() {
                if waiting.closed.is_some() {
                    return None;
                }
                waiting = self.work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            } else if ripe {
                return Some(waiting.group());
            } else {
                (waiting, _) = self
                    .work
                    .wait_timeout(waiting, left)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Takes nothing more: later appends get this answer. What waits already is still to be taken.
    pub(super) fn close(&self, why: Failure) {
        let mut waiting = hold(&self.waiting);
        waiting.closed.get_or_insert(why);
        drop(waiting);
        self.work.notify_all();
    }
}

impl Waiting {
    fn group(&mut self) -> Vec<Entry> {
        let mut group = Vec::with_capacity(self.entries.len());
        let mut bytes = 0;
        while let Some((_, more)) = self.entries.front() {
            if !group.is_empty() && bytes + more > GROUP_BYTES {
                break;
            }
            let Some((entry, more)) = self.entries.pop_front() else {
                break;
            };
            bytes += more;
            group.push(entry);
        }
        self.bytes -= bytes;
        group
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn entry(bytes: usize) -> (Entry, std::sync::mpsc::Receiver<Answer>) {
        let (sender, receiver) = sync_channel(1);
        (
            Entry {
                payload: Payload::Parts(vec![vec![0; bytes]]),
                reply: Reply::Thread(sender),
                room: None,
            },
            receiver,
        )
    }

    #[test]
    fn what_waits_is_taken_together_up_to_a_group() {
        let queue = Queue::default();
        for bytes in [10, 10, GROUP_BYTES, 10] {
            queue.push(entry(bytes).0);
        }
        let sizes: Vec<usize> = (0..3).map(|_| queue.take(None).unwrap().len()).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_refuses_the_rest() {
        let queue = Queue::default();
        queue.push(entry(1).0);
        queue.close(Failure::Closed);
        let (late, answer) = entry(1);
        queue.push(late);
        assert_eq!(answer.recv().unwrap(), Err(Failure::Closed));
        assert_eq!(
            queue
                .take(Some(Instant::now() + Duration::from_secs(60)))
                .unwrap()
                .len(),
            1
        );
        assert!(queue.take(None).is_none());
    }

    #[test]
    fn a_group_waits_for_its_time_unless_it_is_full() {
        let queue = Queue::default();
        let started = Instant::now();
        queue.push(entry(1).0);
        queue.take(Some(started + Duration::from_millis(30))).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(30));
        queue.push(entry(GROUP_BYTES).0);
        queue.take(Some(started + Duration::from_secs(600))).unwrap();
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
