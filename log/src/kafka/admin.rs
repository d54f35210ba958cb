//! Makes and describes topics. Blocking; for `migrate` and for starts, not for hot paths.
//!
//! It never alters or deletes what is there: a topic that is not as it should be is a person's to look at.

use super::edges::Edges;
use super::failure::{NO_RIGHT, log_error};
use super::raw::{Ask, Handle, TopicFacts};
use super::rights::Role;
use super::settings::Settings;
use super::topics::{Found, Plan};
use super::trace::Traced;
use crate::ports::LogError;
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often to look whether a new topic is known to the brokers yet.
const LOOK: Duration = Duration::from_millis(50);

/// Administers Kafka for one generation's settings.
pub struct Admin {
    client: AdminClient<Traced>,
    pub(super) handle: Handle,
    pub(super) settings: Settings,
}

impl Admin {
    /// A client; nothing is asked of the brokers yet.
    pub fn new(settings: &Settings) -> Result<Self, LogError> {
        let wrong = |text: String| LogError::Wrong(format!("settings of Kafka: {text}"));
        let client = AdminClient::from_config_and_context(&settings.client(), Traced)
            .map_err(|error| wrong(error.to_string()))?;
        let handle = Handle::consumer(&settings.client(), settings.watched(None))
            .map_err(|failure| wrong(failure.to_string()))?;
        Ok(Self {
            client,
            handle,
            settings: settings.clone(),
        })
    }

    /// Makes the topics that are not there, with this many copies (`None`: the broker's default), and checks those that
    /// are. Safe to repeat, and by several at once. Returns all of them as they are.
    pub fn create(&self, plans: &[Plan], copies: Option<u16>) -> Result<Vec<Found>, LogError> {
        let topics: Vec<_> = plans.iter().map(|plan| new_topic(plan, copies)).collect();
        let options = AdminOptions::new().operation_timeout(Some(self.settings.read_deadline()));
        let results = block_on(self.client.create_topics(&topics, &options))
            .map_err(|error| away("creating topics", &error))?;
        for result in results {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))) => {
                    return Err(LogError::Wrong(format!(
                        "not allowed to create the topic {name}: {code}: {NO_RIGHT}"
                    )));
                }
                Err((
                    name,
                    code @ (Code::InvalidReplicationFactor | Code::InvalidConfig | Code::PolicyViolation),
                )) => {
                    return Err(LogError::Wrong(format!(
                        "the brokers refuse the topic {name}: {code}"
                    )));
                }
                Err((name, code)) => {
                    return Err(LogError::Away(format!("creating the topic {name}: {code}")));
                }
            }
        }
        plans.iter().map(|plan| self.as_planned(plan)).collect()
    }

    /// A topic that must be there as planned. Waits for one that was made a moment ago.
    fn as_planned(&self, plan: &Plan) -> Result<Found, LogError> {
        let began = Instant::now();
        let found = loop {
            match self.describe(&plan.name)? {
                Some(found) => break found,
                None if began.elapsed() > self.settings.read_deadline() => {
                    return Err(LogError::Away(format!("the topic {} does not appear", plan.name)));
                }
                None => std::thread::park_timeout(LOOK),
            }
        };
        match plan.faults(&found).as_slice() {
            [] => Ok(found),
            faults => Err(LogError::Wrong(format!(
                "the topic {} {}",
                plan.name,
                faults.join(" and ")
            ))),
        }
    }

    /// A topic as it is; `None` if there is none of that name.
    pub fn describe(&self, name: &str) -> Result<Option<Found>, LogError> {
        let doing = || format!("describing the topic {name}");
        let Some(facts) = self.facts(name)? else {
            return Ok(None);
        };
        let options = AdminOptions::new().request_timeout(Some(self.settings.read_deadline()));
        let resources = block_on(
            self.client
                .describe_configs(&[ResourceSpecifier::Topic(name)], &options),
        )
        .map_err(|error| away(&doing(), &error))?;
        let mut config = BTreeMap::new();
        for resource in resources {
            let resource = match resource {
                Ok(resource) => resource,
                Err(Code::UnknownTopicOrPartition) => return Ok(None),
                Err(code) => return Err(LogError::Away(format!("{}: {code}", doing()))),
            };
            config.extend(
                resource
                    .entries
                    .into_iter()
                    .filter_map(|entry| Some((entry.name, entry.value?))),
            );
        }
        Ok(Some(Found {
            name: facts.name,
            id: facts.id,
            partitions: facts.partitions,
            config,
        }))
    }

    /// What the brokers know of a topic; `None` if there is none of that name. Asks for no right but to see it.
    pub(super) fn facts(&self, name: &str) -> Result<Option<TopicFacts>, LogError> {
        let doing = || format!("looking for the topic {name}");
        let topics = self
            .ask()
            .topics(&[name])
            .map_err(|failure| log_error(&doing(), &failure))?;
        match topics.into_iter().next() {
            Some(Ok(facts)) => Ok(Some(facts)),
            Some(Err(failure)) if failure.code == Code::UnknownTopicOrPartition => Ok(None),
            Some(Err(failure)) => Err(log_error(&doing(), &failure)),
            None => Err(LogError::Away(format!("{}: no answer", doing()))),
        }
    }

    /// The first offset still there and the next offset behind the last record (read uncommitted) of each of a topic's
    /// first `partitions` partitions.
    pub fn ranges(&self, topic: &str, partitions: u32) -> Result<Vec<(Offset, Offset)>, LogError> {
        let all: Vec<_> = (0..partitions).map(Partition).collect();
        Edges {
            handle: &self.handle,
            topic,
            deadline: self.settings.read_deadline(),
        }
        .ranges(&all)
    }

    /// Gives a principal (`User:...`) the rights that a role needs; those that are there stay. How many there are.
    pub fn allow(&self, role: Role, principal: &str) -> Result<usize, LogError> {
        let acls = role.acls(&self.settings, principal);
        let doing = format!("giving {principal} the rights of {role}");
        self.ask()
            .allow(&acls)
            .map_err(|failure| log_error(&doing, &failure))?;
        Ok(acls.len())
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            handle: &self.handle,
            timeout: self.settings.read_deadline(),
        }
    }
}

fn new_topic(plan: &Plan, copies: Option<u16>) -> NewTopic<'_> {
    let partitions = i32::try_from(plan.partitions).unwrap_or(i32::MAX);
    // KIP-464: -1 asks for the broker's default.
    let copies = copies.map_or(-1, i32::from);
    let topic = NewTopic::new(&plan.name, partitions, TopicReplication::Fixed(copies));
    plan.config
        .iter()
        .fold(topic, |topic, (name, value, _)| topic.set(name, value))
}

fn away(doing: &str, error: &KafkaError) -> LogError {
    LogError::Away(format!("{doing}: {error}"))
}
