//! A lane on Kafka: its membership, its reading of `events`, its transactional producer. One thread uses it.
//!
//! Records come only for partitions that are assigned and were sought since, from the place that was sought. Commits
//! are refused here for partitions that are not this lane's and while the member has no generation, since the broker
//! would accept both (COSTS.md, E0 d). None of this makes counts exact (the chain does); it saves vain work.

use super::committer::Committer;
use super::member::{Change, Member};
use super::raw::{Seen, Signal};
use super::reading::{Reading, read_error};
use super::settings::Settings;
use super::statistics::ClientKind;
use crate::batch::RecordBatch;
use crate::ports::{CommitError, Lane, LaneEvent, LogError, Transaction};
use schemas::{Offset, Partition};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest single wait: a bound on the harm if a wake-up were ever missed.
const LOOK: Duration = Duration::from_millis(100);
/// A member that may not commit waits this long, so that its lane does not spin.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// How often the clients are asked for what they say of themselves.
const SERVE_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of records in one batch; a single record may exceed it.
const BATCH_BYTES: usize = 1024 * 1024;

/// One lane's handle.
pub struct KafkaLane {
    // In this order they go: first stop reading, then leave the group, then end the producer.
    reading: Reading,
    member: Member,
    committer: Committer,
    settings: Settings,
    signal: Arc<Signal>,
    owned: BTreeSet<Partition>,
    /// Revoked and not yet given up, and how much of it was released.
    leaving: Vec<Partition>,
    released: BTreeSet<Partition>,
    served: Instant,
}

impl KafkaLane {
    /// Fences older lanes of this transactional id, then joins the group. Takes about half a second; assignments come by
    /// `poll`.
    pub fn open(settings: &Settings) -> Result<Self, LogError> {
        let signal = Arc::new(Signal::default());
        let committer = Committer::new(settings)?;
        let reading = Reading::new(
            settings,
            &settings.events,
            false,
            Some(ClientKind::Reader),
            &signal,
        )?;
        let member = Member::join(settings, &signal)?;
        let settings = settings.clone();
        let (owned, leaving, released) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        Ok(Self {
            reading,
            member,
            committer,
            settings,
            signal,
            owned,
            leaving,
            released,
            served: Instant::now(),
        })
    }

    /// What the group wants, if anything.
    fn change(&mut self) -> Result<Option<LaneEvent>, LogError> {
        self.member.serve()?;
        self.member.look();
        while let Some(change) = self.member.change() {
            match change {
                Change::Take(partitions) => {
                    self.member.take(&partitions)?;
                    self.owned.extend(&partitions);
                    if !partitions.is_empty() {
                        return Ok(Some(LaneEvent::Assigned(partitions)));
                    }
                }
                Change::GiveUp(partitions) => {
                    for partition in &partitions {
                        self.reading.stop(*partition);
                    }
                    if partitions.is_empty() {
                        self.member.give_up(&partitions)?;
                    } else {
                        self.leaving.clone_from(&partitions);
                        self.released.clear();
                        return Ok(Some(LaneEvent::Revoked(partitions)));
                    }
                }
                Change::Lost(partitions) => {
                    for partition in &partitions {
                        self.reading.stop(*partition);
                        self.owned.remove(partition);
                    }
                    self.member.give_up(&partitions)?;
                    if !partitions.is_empty() {
                        return Ok(Some(LaneEvent::Lost(partitions)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Records of the partition whose turn it is.
    fn records(&mut self) -> Result<Option<RecordBatch>, LogError> {
        let mut batch = RecordBatch::new(Partition(0));
        let topic = &self.settings.events;
        loop {
            let answer = self.reading.next(|partition, seen| {
                match seen {
                    Seen::Record(record, epoch) => {
                        batch.leader_epoch = epoch;
                        batch.push(record);
                    }
                    Seen::End(_) => {}
                    Seen::Failed(code, text) => {
                        if let Some(error) = read_error(topic, partition, code, &text) {
                            return Err(error);
                        }
                    }
                }
                Ok(batch.bytes() < BATCH_BYTES)
            });
            match answer.transpose()? {
                Some(partition) if !batch.is_empty() => {
                    batch.partition = partition;
                    return Ok(Some(batch));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn owns(&self, partition: Partition) -> Result<(), LogError> {
        match self.owned.contains(&partition) {
            true => Ok(()),
            false => Err(LogError::Away(format!(
                "partition {partition} is not this lane's"
            ))),
        }
    }
}

impl Drop for KafkaLane {
    fn drop(&mut self) {
        // librdkafka 2.12 leaves the group without this answer too, but promises nothing of the kind.
        if !self.leaving.is_empty()
            && let Err(error) = self.member.give_up(&self.leaving)
        {
            tracing::warn!(%error, "revoked partitions could not be given up by a lane that ends");
        }
    }
}

impl Lane for KafkaLane {
    fn poll(&mut self, timeout: Duration) -> Result<LaneEvent, LogError> {
        let began = Instant::now();
        if self.served.elapsed() >= SERVE_EVERY {
            self.served = began;
            self.committer.serve();
            self.reading.serve();
        }
        loop {
            if let Some(event) = self.change()? {
                return Ok(event);
            }
            if let Some(batch) = self.records()? {
                return Ok(LaneEvent::Records(batch));
            }
            let left = timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(LaneEvent::Idle);
            }
            self.signal.wait(left.min(LOOK));
        }
    }

    fn seek(&mut self, partition: Partition, next: Offset) -> Result<(), LogError> {
        self.owns(partition)?;
        if self.leaving.contains(&partition) {
            return Ok(()); // It would be read for nobody.
        }
        self.reading.start(partition, next)
    }

    fn pause(&mut self, partition: Partition) -> Result<(), LogError> {
        self.reading.stop(partition);
        Ok(())
    }

    fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.released.extend(
            partitions
                .iter()
                .filter(|partition| self.leaving.contains(partition)),
        );
        if self.leaving.is_empty() || self.released.len() < self.leaving.len() {
            return Ok(());
        }
        let gone = std::mem::take(&mut self.leaving);
        for partition in &gone {
            self.owned.remove(partition);
        }
        self.released.clear();
        self.member.give_up(&gone)
    }

    fn end(&mut self, partition: Partition) -> Result<Offset, LogError> {
        self.reading.edges().next(partition)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        self.member
            .serve()
            .map_err(|error| CommitError::Fatal(error.to_string()))?;
        let foreign = transaction
            .commits
            .iter()
            .find(|commit| !self.owned.contains(&commit.partition));
        if let Some(commit) = foreign {
            return Err(CommitError::Aborted(format!(
                "partition {} is not this lane's",
                commit.partition
            )));
        }
        let Some(fence) = self.member.fence() else {
            self.signal.wait(REFUSED_PAUSE);
            return Err(CommitError::Aborted(
                "the lane is in no generation of its group".to_owned(),
            ));
        };
        self.committer.commit(transaction, &fence)
    }

    fn end_hanging(&mut self) -> Result<(), CommitError> {
        self.committer.end_hanging()
    }

    fn close(self: Box<Self>) {
        // Dropping stops the reading, leaves the group (a static member stays in it), and ends the producer.
    }
}
