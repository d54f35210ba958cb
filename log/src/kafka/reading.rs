//! Partitions of one topic being read by one client, each from an explicit offset: what lanes, chain readers and log
//! readers have in common. It has no group and commits nothing.
//!
//! What was taken from a queue and not yet looked at belongs to the partition's reading: it goes with it when the
//! partition is started elsewhere or stopped, so nothing older than the last `start` ever comes out.

use super::edges::Edges;
use super::failure::log_error;
use super::raw::{Failure, Handle, Messages, Seen, Signal, Source, Topic};
use super::settings::Settings;
use super::statistics::ClientKind;
use crate::ports::LogError;
use rdkafka::error::RDKafkaErrorCode as Code;
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Most records taken from a queue at a time; COSTS.md, E1 has 1.1 us a record at 1,000.
pub(super) const TAKE: usize = 1_000;

/// The partitions being read.
#[derive(Debug)]
pub(super) struct Reading {
    sources: BTreeMap<Partition, Flow>,
    /// The partition whose turn was last.
    turn: Partition,
    topic: Arc<Topic>,
    name: String,
    deadline: Duration,
    signal: Arc<Signal>,
}

/// One partition being read.
#[derive(Debug)]
struct Flow {
    // Before the source: messages go first.
    taken: Option<Messages>,
    source: Source,
}

impl Reading {
    /// A client for a topic; with `ends`, it also says where the log ends. The signal is raised when something came. With a `kind` it says
    /// what it measures, and must be served.
    pub(super) fn new(
        settings: &Settings,
        name: &str,
        ends: bool,
        kind: Option<ClientKind>,
        signal: &Arc<Signal>,
    ) -> Result<Self, LogError> {
        let wrong = |failure: Failure| LogError::Wrong(format!("settings of Kafka: {failure}"));
        let handle =
            Arc::new(Handle::consumer(&settings.reader(ends), settings.watched(kind)).map_err(wrong)?);
        let topic = Arc::new(Topic::new(&handle, name).map_err(wrong)?);
        Ok(Self {
            sources: BTreeMap::new(),
            turn: Partition(0),
            topic,
            name: name.to_owned(),
            deadline: settings.read_deadline(),
            signal: signal.clone(),
        })
    }

    /// Takes what the client says of itself.
    pub(super) fn serve(&self) {
        self.topic.handle().poll(Duration::ZERO);
    }

    /// Asks where partitions begin and end.
    pub(super) fn edges(&self) -> Edges<'_> {
        Edges {
            handle: self.topic.handle(),
            topic: &self.name,
            deadline: self.deadline,
        }
    }

    /// Reads a partition from `next` on, wherever it was read before.
    pub(super) fn start(&mut self, partition: Partition, next: Offset) -> Result<(), LogError> {
        self.stop(partition);
        let source = Source::start(&self.topic, partition, next, &self.signal)
            .map_err(|failure| log_error(&format!("reading partition {partition} from {next}"), &failure))?;
        self.sources.insert(partition, Flow { taken: None, source });
        Ok(())
    }

    /// Stops reading a partition; what was fetched of it is gone.
    pub(super) fn stop(&mut self, partition: Partition) {
        self.sources.remove(&partition);
    }

    /// The partitions being read.
    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.sources.keys().copied()
    }

    /// Shows what came of the partition whose turn it is, until `look` has enough (returns false). `None` if nothing
    /// came of any.
    pub(super) fn next(
        &mut self,
        mut look: impl FnMut(Partition, Seen<'_>) -> Result<bool, LogError>,
    ) -> Option<Result<Partition, LogError>> {
        let after = self
            .sources
            .range(Partition(self.turn.0.saturating_add(1))..)
            .map(|(partition, _)| *partition);
        let before = self.sources.range(..=self.turn).map(|(partition, _)| *partition);
        let order: Vec<_> = after.chain(before).collect();
        for partition in order {
            let Some(flow) = self.sources.get_mut(&partition) else {
                continue;
            };
            let left = flow.taken.take().filter(|taken| taken.len() > 0);
            let mut taken = left.unwrap_or_else(|| flow.source.take(TAKE));
            if taken.len() == 0 {
                continue;
            }
            self.turn = partition;
            while let Some(seen) = taken.next() {
                match look(partition, seen) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return Some(Err(error)),
                }
            }
            flow.taken = Some(taken);
            return Some(Ok(partition));
        }
        None
    }
}

/// What a failed read of a partition means; `None` where librdkafka goes on by itself.
pub(super) fn read_error(topic: &str, partition: Partition, code: Code, text: &str) -> Option<LogError> {
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Some(LogError::Wrong(format!(
            "{topic} {partition} no longer has the offset asked for ({text}): the log was cut or re-created"
        ))),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Some(LogError::Wrong(
            format!("{topic} {partition} is not there: {text}"),
        )),
        Code::TopicAuthorizationFailed => {
            Some(LogError::Wrong(format!("{topic}: not allowed to read: {text}")))
        }
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => Some(LogError::Wrong(format!(
            "{topic} {partition} cannot be read: {text}"
        ))),
        code => {
            tracing::warn!(topic, %partition, ?code, "{text}");
            None
        }
    }
}
