//! The generation record on its compacted topic, and the comparison of what is there with what it says.
//!
//! `migrate` alone writes it. Whoever starts reads it and refuses to start on any difference, with a word on what to do:
//! a fold over another log than the one its chain stands for would be silently wrong.

use super::admin::Admin;
use super::failure::append_error;
use super::raw::{Handle, Seen, Signal, Ticket, Topic};
use super::reading::{Reading, read_error};
use super::topics::Plan;
use crate::batch::Chunk;
use crate::ports::LogError;
use schemas::Partition;
use schemas::generation::{FOLD_VERSION, Generation, PARTITIONER};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The record's key.
const KEY: &[u8] = b"generation";
/// The topic's only partition.
const PARTITION: Partition = Partition(0);
/// What to do where the log is another one, or the fold is. Under the same names `migrate` finds this generation again, and refuses it as well.
const ANEW: &str = "begin anew by `tidemark migrate` under another kafka.prefix, kafka.group and store.keyspace (docs/operations.md, The log)";
/// How long one look for the report of a write waits.
const LOOK: Duration = Duration::from_millis(50);

impl Admin {
    /// The newest generation record; `None` if none was ever written.
    pub fn generation(&self) -> Result<Option<Generation>, LogError> {
        let topic = &self.settings.generations;
        // To a question for its ends librdkafka has no answer but that nobody leads it.
        if self.facts(topic)?.is_none() {
            return Ok(None);
        }
        let signal = Arc::new(Signal::default());
        let mut reading = Reading::new(&self.settings, topic, true, None, &signal)?;
        let (first, end) = reading.edges().range(PARTITION)?;
        reading.start(PARTITION, first)?;
        let (mut newest, mut reached, began) = (None, first, Instant::now());
        while reached < end {
            let left = self.settings.read_deadline().saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(LogError::Away(format!("{topic} could not be read in time")));
            }
            let seen = reading.next(|partition, seen| {
                match seen {
                    Seen::Record(record, _) => {
                        if record.key == Some(KEY) {
                            newest = record.value.map(<[u8]>::to_vec);
                        }
                        reached = record.offset.next();
                    }
                    Seen::End(next) => reached = next,
                    Seen::Failed(code, text) => {
                        if let Some(error) = read_error(topic, partition, code, &text) {
                            return Err(error);
                        }
                    }
                }
                Ok(true)
            });
            if seen.transpose()?.is_none() {
                signal.wait(left.min(LOOK));
            }
        }
        let Some(bytes) = newest else { return Ok(None) };
        let wrong = |error| {
            LogError::Wrong(format!(
                "the generation record on {topic} cannot be read: {error}"
            ))
        };
        serde_json::from_slice(&bytes).map(Some).map_err(wrong)
    }

    /// Writes the generation record, durably. `migrate` alone may.
    pub fn write_generation(&self, generation: &Generation) -> Result<(), LogError> {
        let value = serde_json::to_vec(generation).map_err(|error| LogError::Wrong(error.to_string()))?;
        let mut chunk = Chunk::new(PARTITION);
        chunk.push(KEY, &value);
        let wrong = |failure| LogError::Wrong(format!("settings of Kafka: {failure}"));
        let handle = Arc::new(
            Handle::producer(&self.settings.appender(), self.settings.watched(None), true).map_err(wrong)?,
        );
        let topic = Topic::new(&handle, &self.settings.generations).map_err(wrong)?;
        let (done, report) = sync_channel(1);
        topic.produce(&chunk, Ticket::new(move |fate| drop(done.try_send(fate))));
        // Ends at the latest with the record's own timeout, which is the produce deadline.
        let fate = loop {
            handle.poll(LOOK);
            if let Ok(fate) = report.try_recv() {
                break fate;
            }
        };
        fate.map(|_| ())
            .map_err(|failure| LogError::Away(append_error(&failure).to_string()))
    }

    /// Whether the log is still the one that this generation stands on.
    pub fn check(&self, generation: &Generation) -> Result<(), LogError> {
        let wrong = |text: String| Err(LogError::Wrong(text));
        if generation.fold_version != FOLD_VERSION {
            let (number, version) = (generation.number, generation.fold_version);
            return wrong(format!(
                "generation {number} was folded by version {version} and this release has {FOLD_VERSION}: start the release that made it, or {ANEW}"
            ));
        }
        if generation.partitioner != PARTITIONER {
            let (number, partitioner) = (generation.number, &generation.partitioner);
            return wrong(format!(
                "generation {number} has the partitioner {partitioner}, this release has {PARTITIONER}: {ANEW}"
            ));
        }
        let (events, changelog) = (
            Plan::events(&self.settings, generation.partitions),
            Plan::changelog(&self.settings, generation.partitions),
        );
        self.check_topic(
            generation,
            &events,
            generation.events_id,
            "the log of events is another one",
        )?;
        self.check_topic(
            generation,
            &changelog,
            generation.changelog_id,
            "the chain is lost",
        )
    }

    fn check_topic(
        &self,
        generation: &Generation,
        plan: &Plan,
        id: Uuid,
        meaning: &str,
    ) -> Result<(), LogError> {
        let (name, number) = (&plan.name, generation.number);
        let wrong = |text: String| Err(LogError::Wrong(text));
        let Some(found) = self.describe(name)? else {
            return wrong(format!("the topic {name} is not there: restore it, or {ANEW}"));
        };
        if found.id != id {
            let is = found.id;
            return wrong(format!(
                "the topic {name} was re-created (its id is {is}, generation {number} stands on {id}), so {meaning}: {ANEW}"
            ));
        }
        if found.partitions != plan.partitions {
            let (is, was) = (found.partitions, plan.partitions);
            return wrong(format!(
                "the topic {name} has {is} partitions and generation {number} stands on {was}, so keys go elsewhere now: {ANEW}"
            ));
        }
        match plan.faults(&found).as_slice() {
            [] => Ok(()),
            faults => wrong(format!(
                "the topic {name} {}: records may be missing or wrongly stamped; set it back, and audit",
                faults.join(" and ")
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kafka::Settings;
    use schemas::key::Secret;

    #[test]
    fn another_fold_is_refused_with_what_helps() {
        // Nobody is asked before the versions are compared.
        let admin = Admin::new(&Settings::new("127.0.0.1:1", 1)).unwrap();
        let refused = admin.check(&Generation {
            layout: 1,
            number: 1,
            partitions: 1,
            events_id: Uuid::nil(),
            changelog_id: Uuid::nil(),
            partitioner: PARTITIONER.to_owned(),
            secret: Secret([7; 32]),
            user_buckets: 1,
            fold_version: FOLD_VERSION - 1,
            schema_id: None,
            schema_digest: String::new(),
        });
        let words = refused.unwrap_err().to_string();
        for helps in ["start the release that made it", "another kafka.prefix"] {
            assert!(words.contains(helps), "{words}");
        }
    }
}
