//! A lane's membership of the group: who owns which partition, and nothing else. It never reads a record: its partitions
//! are paused as soon as they are assigned, and the lane reads them by a client of its own.
//!
//! Why two clients: batch reads on a subscribed consumer's queue swallow rebalance events and break the membership for
//! good (COSTS.md, E0 h), and moving a partition's queue elsewhere after its assignment is a race. Apart, neither can be.
//!
//! rdkafka calls [`Changes::rebalance`] from within `poll`; it only notes what is to change. The lane's thread answers when
//! it is ready: partitions are given up by [`Member::give_up`] and not a moment before.

use super::advice::with_advice;
use super::failure::NO_RIGHT;
use super::orphans::Orphans;
use super::raw::{Enrolled, Membership, Signal};
use super::settings::Settings;
use super::statistics::{ClientKind, Statistics};
use super::trace;
use crate::ports::LogError;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset as RawOffset, TopicPartitionList};
use schemas::Partition;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most events served in one look; the rest comes at the next.
const SERVED: usize = 64;

/// What the group wants of this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Take these.
    Take(Vec<Partition>),
    /// Give these up when they are done with.
    GiveUp(Vec<Partition>),
    /// These are another's already.
    Lost(Vec<Partition>),
}

/// Notes changes until the lane's thread takes them.
struct Changes {
    waiting: Mutex<VecDeque<Change>>,
    /// Set when the lane is gone: then partitions are given up at once, since nobody else will.
    closing: AtomicBool,
    statistics: Option<Arc<Statistics>>,
    /// By what name it says them.
    name: String,
}

impl ClientContext for Changes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        trace::line(level as i32, "member", facility, &with_advice(text));
    }

    fn stats_raw(&self, said: &[u8]) {
        if let Some(statistics) = &self.statistics {
            statistics.say(&self.name, ClientKind::Member, said);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, "{}", with_advice(reason));
    }
}

impl ConsumerContext for Changes {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            let done = match code {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => consumer.incremental_assign(list),
                _ => consumer.incremental_unassign(list),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "a partition could not be given up while leaving the group");
            }
            return;
        }
        let partitions = partitions(list);
        let change = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Take(partitions),
            _ if consumer.assignment_lost() => Change::Lost(partitions),
            _ => Change::GiveUp(partitions),
        };
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(change);
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(statistics) = &self.statistics {
            statistics.forget(&self.name);
        }
    }
}

/// A member of the group.
pub(super) struct Member {
    // Before the consumer: it must be told nothing once it goes.
    _enrolled: Option<Enrolled>,
    consumer: BaseConsumer<Changes>,
    topic: String,
    orphans: Option<Orphans>,
}

impl Member {
    /// Joins the group in the background; the signal is raised when there is something to serve.
    pub(super) fn join(settings: &Settings, signal: &Arc<Signal>) -> Result<Self, LogError> {
        let changes = Changes {
            waiting: Mutex::new(VecDeque::new()),
            closing: AtomicBool::new(false),
            statistics: settings.statistics.clone(),
            name: format!("member {}", settings.transactional_id),
        };
        let mut consumer = BaseConsumer::from_config_and_context(&settings.member(), changes)
            .map_err(|error| LogError::Wrong(format!("settings of Kafka: {error}")))?;
        let signal = signal.clone();
        consumer.set_nonempty_callback(move || signal.raise());
        consumer
            .subscribe(&[&settings.events])
            .map_err(|error| LogError::Fatal(format!("joining the group {}: {error}", settings.group)))?;
        let client = NonNull::new(consumer.client().native_ptr());
        let enrolled = settings.login.as_ref().zip(client);
        Ok(Self {
            _enrolled: enrolled.map(|(login, client)| login.enrol(client)),
            consumer,
            topic: settings.events.clone(),
            orphans: Orphans::of(settings),
        })
    }

    /// Serves what the group said meanwhile. Must be called at least every few minutes, or the group drops the member.
    pub(super) fn serve(&self) -> Result<(), LogError> {
        for _ in 0..SERVED {
            match self.consumer.poll(Duration::ZERO) {
                // A record fetched between assignment and pause: nobody wants it here.
                Some(Ok(_)) => {}
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(LogError::Fatal(format!("the group refuses this member: {code}")));
                }
                Some(Err(error)) => self.judge(&error)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Looks now and then whether the group gives each partition to somebody.
    pub(super) fn look(&mut self) {
        if let Some(orphans) = &mut self.orphans {
            orphans.look(&self.consumer);
        }
    }

    fn judge(&self, error: &KafkaError) -> Result<(), LogError> {
        match error.rdkafka_error_code() {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => Err(
                LogError::Wrong(format!("the topic {} is not there: run migrate", self.topic)),
            ),
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
                Err(LogError::Wrong(format!(
                    "not allowed to read {} in the group: {error}: {NO_RIGHT}",
                    self.topic
                )))
            }
            Some(Code::InconsistentGroupProtocol) => Err(LogError::Wrong(format!(
                "the group has members that are no lanes of this release (another assignment strategy): {error}"
            ))),
            _ => {
                tracing::warn!(%error, "the group's member reports an error; it goes on by itself");
                Ok(())
            }
        }
    }

    /// What changed, one at a time.
    pub(super) fn change(&self) -> Option<Change> {
        self.consumer
            .context()
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// Takes partitions over, paused.
    pub(super) fn take(&self, partitions: &[Partition]) -> Result<(), LogError> {
        // An explicit place, so that librdkafka does not ask for committed offsets: the chain knows the place.
        let list = self.list(partitions)?;
        let failed = |error: KafkaError| LogError::Fatal(format!("taking partitions over: {error}"));
        self.consumer.incremental_assign(&list).map_err(failed)?;
        self.consumer.pause(&list).map_err(failed)
    }

    /// Gives partitions up: from here on they are another's.
    pub(super) fn give_up(&self, partitions: &[Partition]) -> Result<(), LogError> {
        let list = self.list(partitions)?;
        self.consumer
            .incremental_unassign(&list)
            .map_err(|error| LogError::Fatal(format!("giving partitions up: {error}")))
    }

    /// The group's fence as of now, if the member has joined and has lost nothing.
    pub(super) fn fence(&self) -> Option<Membership> {
        Membership::of(&self.consumer)
            .filter(|membership| membership.generation() >= 0 && !self.consumer.assignment_lost())
    }

    fn list(&self, partitions: &[Partition]) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let number = i32::try_from(partition.0).map_err(|error| LogError::Wrong(error.to_string()))?;
            list.add_partition_offset(&self.topic, number, RawOffset::End)
                .map_err(|error| LogError::Fatal(error.to_string()))?;
        }
        Ok(list)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let context = self.consumer.context();
        context.closing.store(true, Ordering::Release);
        // Nobody else answers what was noted and not taken. (librdkafka 2.12 closes without it too, but promises nothing.)
        for change in context
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            if let Change::GiveUp(partitions) | Change::Lost(partitions) = change
                && let Err(error) = self.give_up(&partitions)
            {
                tracing::warn!(%error, "a partition could not be given up while leaving the group");
            }
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements()
        .iter()
        .filter_map(|place| u32::try_from(place.partition()).ok())
        .map(Partition)
        .collect()
}
