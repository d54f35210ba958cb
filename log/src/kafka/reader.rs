//! Reads `events` at chosen places: for reroutes, for a look at dead letters, for the audit. Read_committed, as the lanes
//! read it, so all see the same records.
//!
//! Successive reads of one partition go on where the last one ended, without a new start. A read blocks until it has a
//! batch, knows that nothing is left before the end asked for, or the deadline passes.

use super::raw::{Seen, Signal};
use super::reading::{Reading, read_error};
use super::settings::Settings;
use crate::batch::RecordBatch;
use crate::ports::{LogError, LogReader, Place};
use schemas::{Offset, Partition};
use std::sync::Arc;
use std::time::Instant;

/// Reads records of `events` by their place.
#[derive(Debug)]
pub struct KafkaReader {
    settings: Settings,
    reading: Reading,
    signal: Arc<Signal>,
    /// Where the reading under way goes on.
    at: Option<Place>,
}

/// How far one look filled a batch.
enum Filled {
    /// It is full, or nothing is left before its end.
    Done,
    /// Something came; look again.
    More,
    /// Nothing is there yet.
    NothingCame,
}

impl KafkaReader {
    /// A reader of the events that the settings name. Asks nothing of the brokers yet.
    pub fn new(settings: &Settings) -> Result<Self, LogError> {
        let signal = Arc::new(Signal::default());
        let reading = Reading::new(settings, &settings.events, true, None, &signal)?;
        Ok(Self {
            settings: settings.clone(),
            reading,
            signal,
            at: None,
        })
    }

    /// Moves the reading to a place, unless it is there.
    fn go(&mut self, place: Place) -> Result<(), LogError> {
        if self.at == Some(place) {
            return Ok(());
        }
        if let Some(before) = self.at.take() {
            self.reading.stop(before.partition);
        }
        self.reading.start(place.partition, place.next)?;
        self.at = Some(place);
        Ok(())
    }

    /// Adds what came.
    fn fill(&mut self, batch: &mut RecordBatch, end: Offset, max_bytes: usize) -> Result<Filled, LogError> {
        let topic = &self.settings.events;
        let mut at = None;
        let mut past = false;
        let answer = self.reading.next(|partition, seen| {
            match seen {
                // Beyond the range: it is consumed, so the next read must start anew.
                Seen::Record(record, _) if record.offset >= end => {
                    past = true;
                    at = None;
                    return Ok(false);
                }
                Seen::Record(record, epoch) => {
                    batch.leader_epoch = epoch;
                    batch.push(record);
                    at = Some(record.offset.next());
                }
                Seen::End(next) => at = Some(next),
                Seen::Failed(code, text) => {
                    if let Some(error) = read_error(topic, partition, code, &text) {
                        return Err(error);
                    }
                }
            }
            Ok(batch.bytes() < max_bytes && at.is_none_or(|next| next < end))
        });
        let Some(partition) = answer.transpose()? else {
            return Ok(Filled::NothingCame);
        };
        if past {
            self.reading.stop(partition);
            self.at = None;
        } else if let Some(next) = at {
            self.at = Some(Place { partition, next });
        }
        let reached = self.at.is_none_or(|place| place.next >= end);
        let full = !batch.is_empty() && batch.bytes() >= max_bytes;
        Ok(if reached || full {
            Filled::Done
        } else {
            Filled::More
        })
    }
}

impl LogReader for KafkaReader {
    fn range(&mut self, partition: Partition) -> Result<(Offset, Offset), LogError> {
        self.reading.edges().range(partition)
    }

    fn read(
        &mut self,
        partition: Partition,
        next: Offset,
        end: Offset,
        max_bytes: usize,
    ) -> Result<RecordBatch, LogError> {
        let mut batch = RecordBatch::new(partition);
        if next >= end {
            return Ok(batch);
        }
        self.go(Place { partition, next })?;
        let began = Instant::now();
        loop {
            match self
                .fill(&mut batch, end, max_bytes)
                .inspect_err(|_| self.at = None)?
            {
                Filled::Done => return Ok(batch),
                Filled::NothingCame if !batch.is_empty() => return Ok(batch),
                Filled::More | Filled::NothingCame => {}
            }
            let left = self.settings.read_deadline().saturating_sub(began.elapsed());
            if left.is_zero() && batch.is_empty() {
                // An end beyond the log's, an open transaction before it, or brokers that are away.
                return Err(LogError::Away(format!(
                    "nothing of partition {partition} before {end} within the deadline"
                )));
            }
            if batch.is_empty() {
                self.signal.wait(left);
            }
        }
    }
}
