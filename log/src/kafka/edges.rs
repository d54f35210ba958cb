//! Where partitions begin and end, as read_uncommitted sees them. A leader that moves, or is not yet chosen for a topic made
//! a moment ago, is asked again until the deadline.

use super::failure::log_error;
use super::raw::{Ask, Edge, Failure, Handle};
use crate::ports::LogError;
use rdkafka::error::RDKafkaErrorCode as Code;
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long to wait before asking again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long to ask who leads, before the question itself is asked again.
const LEADERS: Duration = Duration::from_secs(1);

/// Asks for edges of one topic's partitions.
pub(super) struct Edges<'a> {
    /// Any client will do.
    pub(super) handle: &'a Handle,
    /// The topic.
    pub(super) topic: &'a str,
    /// When to give up.
    pub(super) deadline: Duration,
}

impl Edges<'_> {
    /// The next offset behind the last record of one partition, committed or not.
    pub(super) fn next(&self, partition: Partition) -> Result<Offset, LogError> {
        self.one(partition, Edge::Next)
    }

    /// The first offset still there and the next offset behind the last record of one partition.
    pub(super) fn range(&self, partition: Partition) -> Result<(Offset, Offset), LogError> {
        Ok((
            self.one(partition, Edge::First)?,
            self.one(partition, Edge::Next)?,
        ))
    }

    /// The ranges of these partitions, in their order.
    pub(super) fn ranges(&self, partitions: &[Partition]) -> Result<Vec<(Offset, Offset)>, LogError> {
        let (firsts, nexts) = (
            self.ask(partitions, Edge::First)?,
            self.ask(partitions, Edge::Next)?,
        );
        let of = |edges: &BTreeMap<_, _>, partition| {
            edges
                .get(partition)
                .copied()
                .ok_or_else(|| self.silent(*partition))
        };
        partitions
            .iter()
            .map(|partition| Ok((of(&firsts, partition)?, of(&nexts, partition)?)))
            .collect()
    }

    /// The topic's partitions.
    pub(super) fn partitions(&self) -> Result<Vec<Partition>, LogError> {
        let failed =
            |failure: Failure| log_error(&format!("asking for the partitions of {}", self.topic), &failure);
        let mut topics = self
            .question(self.deadline)
            .topics(&[self.topic])
            .map_err(failed)?;
        let facts = topics
            .pop()
            .ok_or_else(|| LogError::Away(format!("no answer for {}", self.topic)))?;
        Ok((0..facts.map_err(failed)?.partitions).map(Partition).collect())
    }

    /// Where the first open transaction begins, of those partitions that have one. A partition whose leader does not answer is left out.
    pub(super) fn open(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Offset>, LogError> {
        // In this order: what is written between the two questions must not look open.
        let nexts = self.answered(partitions, Edge::Next)?;
        let mut stables = self.answered(partitions, Edge::Stable)?;
        stables.retain(|partition, stable| nexts.get(partition).is_some_and(|next| *stable < *next));
        Ok(stables)
    }

    /// The edges of those partitions that have an answer now.
    fn answered(
        &self,
        partitions: &[Partition],
        edge: Edge,
    ) -> Result<BTreeMap<Partition, Offset>, LogError> {
        let question = self.question(self.deadline);
        let answers = question
            .edges(self.topic, partitions, edge)
            .map_err(|failure| self.failed(&failure))?;
        if answers.iter().any(Result::is_err) {
            // For the next time.
            let _ = question.leaders(self.topic);
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn one(&self, partition: Partition, edge: Edge) -> Result<Offset, LogError> {
        self.ask(&[partition], edge)?
            .get(&partition)
            .copied()
            .ok_or_else(|| self.silent(partition))
    }

    fn ask(&self, partitions: &[Partition], edge: Edge) -> Result<BTreeMap<Partition, Offset>, LogError> {
        let began = Instant::now();
        loop {
            let left = self.deadline.saturating_sub(began.elapsed());
            let edges = self.question(left).edges(self.topic, partitions, edge);
            match edges.and_then(|edges| edges.into_iter().collect()) {
                Ok(edges) => return Ok(edges),
                Err(failure) if moves(&failure) && left > AGAIN => {
                    std::thread::park_timeout(AGAIN);
                    // Where it fails, so does the next question, which says why.
                    let _ = self.question(left.min(LEADERS)).leaders(self.topic);
                }
                Err(failure) => return Err(self.failed(&failure)),
            }
        }
    }

    fn question(&self, timeout: Duration) -> Ask<'_> {
        Ask {
            handle: self.handle,
            timeout,
        }
    }

    fn failed(&self, failure: &Failure) -> LogError {
        log_error(&format!("asking for the ends of {}", self.topic), failure)
    }

    fn silent(&self, partition: Partition) -> LogError {
        LogError::Away(format!("no answer for the end of {} {partition}", self.topic))
    }
}

/// Whether another leader may answer soon.
fn moves(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::ReplicaNotAvailable
            | Code::BrokerTransportFailure
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
    )
}
