//! Reads the changelog, read_committed, and says how far it has seen.
//!
//! librdkafka shows no control records and no aborted ones, and its `position()` does not move over them: a log that ends
//! in a marker would look unfinished for ever. Its end-of-partition event does carry the offset behind them, so that
//! is what `Reached` comes from (read_committed: the last stable offset, which an open transaction holds back).

use super::raw::{Seen, Signal};
use super::reading::{Reading, read_error};
use super::settings::Settings;
use crate::ports::{ChainEvent, ChainReader, LogError, Place};
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most bytes of parts in one answer; a single part may exceed it.
const POLL_BYTES: usize = 4 * 1024 * 1024;

/// Reads partitions of the changelog.
#[derive(Debug)]
pub struct KafkaChainReader {
    settings: Settings,
    reading: Reading,
    signal: Arc<Signal>,
    /// Next offset of each partition: all before it was given out.
    next: BTreeMap<Partition, Offset>,
}

impl KafkaChainReader {
    /// A reader of the changelog that the settings name. Asks nothing of the brokers yet.
    pub fn new(settings: &Settings) -> Result<Self, LogError> {
        let signal = Arc::new(Signal::default());
        let reading = Reading::new(settings, &settings.changelog, true, None, &signal)?;
        Ok(Self {
            settings: settings.clone(),
            reading,
            signal,
            next: BTreeMap::new(),
        })
    }

    /// What is there now, at most about [`POLL_BYTES`].
    fn take(&mut self) -> Result<Vec<ChainEvent>, LogError> {
        let mut events = Vec::new();
        let mut bytes_left = POLL_BYTES;
        let topic = &self.settings.changelog;
        while bytes_left > 0 {
            let mut reached = None;
            let answer = self.reading.next(|partition, seen| {
                match seen {
                    Seen::Record(record, _) => {
                        let bytes = record.value.unwrap_or_default().to_vec();
                        bytes_left = bytes_left.saturating_sub(bytes.len());
                        reached = Some(record.offset.next());
                        events.push(ChainEvent::Part {
                            partition,
                            offset: record.offset,
                            bytes,
                        });
                    }
                    Seen::End(next) => reached = Some(next),
                    Seen::Failed(code, text) => {
                        if let Some(error) = read_error(topic, partition, code, &text) {
                            return Err(error);
                        }
                    }
                }
                Ok(bytes_left > 0)
            });
            let Some(partition) = answer.transpose()? else {
                break;
            };
            if let Some(next) = reached {
                self.next.insert(partition, next);
                events.push(ChainEvent::Reached(Place { partition, next }));
            }
        }
        Ok(events)
    }
}

impl ChainReader for KafkaChainReader {
    fn assign(&mut self, places: &[Place]) -> Result<(), LogError> {
        let goes_on = |partition: Partition| {
            let next = self.next.get(&partition);
            places
                .iter()
                .any(|place| place.partition == partition && Some(&place.next) == next)
        };
        let stop: Vec<_> = self
            .reading
            .partitions()
            .filter(|partition| !goes_on(*partition))
            .collect();
        for partition in stop {
            self.reading.stop(partition);
            self.next.remove(&partition);
        }
        for place in places {
            if !self.next.contains_key(&place.partition) {
                self.reading.start(place.partition, place.next)?;
                self.next.insert(place.partition, place.next);
            }
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Vec<ChainEvent>, LogError> {
        let began = Instant::now();
        loop {
            let events = self.take()?;
            let left = timeout.saturating_sub(began.elapsed());
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            self.signal.wait(left);
        }
    }

    fn mark(&mut self, partition: Partition) -> Result<Offset, LogError> {
        self.reading.edges().next(partition)
    }
}
