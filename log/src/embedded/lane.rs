//! A lane's handle on the embedded log. The lanes are threads of one process and their number is fixed, so lane i of n
//! simply has every partition p with p mod n = i for as long as it lives; nothing is ever revoked.

use super::EmbeddedLog;
use super::bell::Bell;
use super::cursor::Cursor;
use super::folder::of_partition;
use super::frame::BODY_BYTES;
use super::queue::{Answer, Entry, Failure, Queue, Reply};
use super::record::Payload;
use crate::ports::{CommitError, Lane, LaneEvent, LogError, PartCommit, Transaction};
use schemas::{Offset, Partition};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Bytes of records that one poll gives.
const POLL_BYTES: usize = 1024 * 1024;
/// How long a commit waits for the disk.
const COMMIT_DEADLINE: Duration = Duration::from_secs(30);

/// A lane's handle.
pub(super) struct EmbeddedLane {
    log: Arc<EmbeddedLog>,
    partitions: Vec<Partition>,
    told: bool,
    bell: Arc<Bell>,
    /// Partitions that are read, the one to look at next in front.
    reading: Vec<(Partition, Cursor)>,
}

impl EmbeddedLane {
    /// The handle of lane `index` of `count`.
    pub(super) fn new(log: Arc<EmbeddedLog>, index: u32, count: u32) -> Self {
        let partitions: Vec<Partition> = (0..log.partitions())
            .filter(|p| p % count.max(1) == index)
            .map(Partition)
            .collect();
        let bell = Arc::new(Bell::default());
        let folder = &log.folder;
        for partition in &partitions {
            for log in [&folder.events, &folder.changelog]
                .into_iter()
                .flat_map(|topic| of_partition(topic, *partition))
            {
                log.watch(&bell);
            }
        }
        folder.dead_letters.watch(&bell);
        Self {
            log,
            partitions,
            told: false,
            bell,
            reading: Vec::new(),
        }
    }

    /// A lane whose commits cannot be written any more is told so at once, not by one refused commit after the other.
    fn check(&self) -> Result<(), LogError> {
        let changelog = self
            .partitions
            .iter()
            .flat_map(|p| of_partition(&self.log.folder.changelog, *p));
        match changelog
            .chain([&self.log.folder.dead_letters])
            .find_map(|log| log.failed())
        {
            Some(why) => Err(LogError::Wrong(format!("{why}; start the process again"))),
            None => Ok(()),
        }
    }

    fn records(&mut self) -> Result<Option<LaneEvent>, LogError> {
        let Some(at) = self.reading.iter().position(|(_, cursor)| cursor.has_more()) else {
            return Ok(None);
        };
        // Whoever was just read goes to the back: a full partition does not starve the others.
        self.reading.rotate_left(at + 1);
        let Some((_, cursor)) = self.reading.last_mut() else {
            return Ok(None);
        };
        let batch = cursor.read(Offset(u64::MAX), POLL_BYTES)?;
        Ok(Some(LaneEvent::Records(batch)))
    }
}

impl Lane for EmbeddedLane {
    fn poll(&mut self, timeout: Duration) -> Result<LaneEvent, LogError> {
        if !std::mem::replace(&mut self.told, true) {
            return Ok(LaneEvent::Assigned(self.partitions.clone()));
        }
        let deadline = Instant::now() + timeout;
        loop {
            let seen = self.bell.rings();
            self.check()?;
            if let Some(event) = self.records()? {
                return Ok(event);
            }
            if !self.bell.wait(seen, deadline) {
                return Ok(LaneEvent::Idle);
            }
        }
    }

    fn seek(&mut self, partition: Partition, next: Offset) -> Result<(), LogError> {
        if !self.partitions.contains(&partition) {
            return Err(LogError::Fatal(format!(
                "partition {partition} is not this lane's"
            )));
        }
        let log = of_partition(&self.log.folder.events, partition)?.clone();
        log.check_next(next)?;
        self.pause(partition)?;
        self.reading.push((partition, Cursor::new(log, next)));
        Ok(())
    }

    fn pause(&mut self, partition: Partition) -> Result<(), LogError> {
        self.reading.retain(|(reading, _)| *reading != partition);
        Ok(())
    }

    fn release(&mut self, _partitions: &[Partition]) -> Result<(), LogError> {
        Ok(())
    }

    fn end(&mut self, partition: Partition) -> Result<Offset, LogError> {
        Ok(of_partition(&self.log.folder.events, partition)?.end())
    }

    /// Dead letters first: a dead letter that the chain names is then always there, and one that is there twice, since
    /// the commit behind it failed, has the same key twice.
    fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        let deadline = Instant::now() + COMMIT_DEADLINE;
        if !transaction.dead_letters.is_empty() {
            let payload = Payload::DeadLetters(transaction.dead_letters.clone());
            wait(&send(&self.log.queues.dead_letters, payload)?, deadline)?;
        }
        let queues = &self.log.queues.changelog;
        let sent: Vec<Receiver<Answer>> = transaction
            .commits
            .iter()
            .map(
                |PartCommit { partition, parts, .. }| match queues.get(partition.0 as usize) {
                    Some(queue) => send(queue, Payload::Parts(parts.clone())),
                    None => Err(CommitError::Fatal(format!("there is no partition {partition}"))),
                },
            )
            .collect::<Result<_, _>>()?;
        // All are waited for, even behind a failure: no write of this commit may be under way when it returns.
        let answers: Vec<Result<(), CommitError>> =
            sent.iter().map(|answer| wait(answer, deadline)).collect();
        answers.into_iter().collect()
    }

    fn close(self: Box<Self>) {}
}

fn send(queue: &Arc<Queue>, payload: Payload) -> Result<Receiver<Answer>, CommitError> {
    if payload.bytes() > BODY_BYTES {
        return Err(CommitError::Fatal(format!(
            "a commit of {} bytes is larger than a frame",
            payload.bytes()
        )));
    }
    let (sender, answer) = sync_channel(1);
    queue.push(Entry {
        payload,
        reply: Reply::Thread(sender),
        room: None,
    });
    Ok(answer)
}

fn wait(answer: &Receiver<Answer>, deadline: Instant) -> Result<(), CommitError> {
    match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Failure::NotWritten(why))) => Err(CommitError::Aborted(why)),
        Ok(Err(failure)) => Err(CommitError::Fatal(failure.to_string())),
        Err(_) => Err(CommitError::Aborted("the disk did not answer in time".to_owned())),
    }
}
