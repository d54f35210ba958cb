//! A log and a changelog in memory. The changelog has gaps, as markers leave them.

use log::batch::{Kind, Origin};
use log::{ChainEvent, ChainReader, LogError, LogReader, Place, Record, RecordBatch};
use schemas::{Offset, Partition};
use std::time::Duration;

/// A record as the log holds it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub origin: Option<Origin>,
    pub append_ms: i64,
    /// The header of a redriven copy.
    pub redrive: Option<Vec<u8>>,
}

/// The key of a record that is one.
pub const CANARY: &[u8] = b"canary";

/// Offsets of the changelog that each record of it takes: itself and a gap.
pub const STRIDE: u64 = 2;

/// `events` by partition; a partition's records are given out few at a time.
#[derive(Clone, Debug, Default)]
pub struct Log(pub Vec<Vec<Stored>>);

impl LogReader for Log {
    fn range(&mut self, partition: Partition) -> Result<(Offset, Offset), LogError> {
        Ok((Offset(0), Offset(self.0[partition.0 as usize].len() as u64)))
    }

    fn read(
        &mut self,
        partition: Partition,
        next: Offset,
        end: Offset,
        _max_bytes: usize,
    ) -> Result<RecordBatch, LogError> {
        let mut batch = RecordBatch::new(partition);
        let records = self.0[partition.0 as usize]
            .iter()
            .zip(0..)
            .skip(next.0 as usize)
            .take(3);
        for (stored, offset) in records.filter(|(_, offset)| *offset < end.0) {
            batch.push(Record {
                offset: Offset(offset),
                append_ms: stored.append_ms,
                key: stored.key.as_deref(),
                value: stored.value.as_deref(),
                origin: stored.origin,
                kind: match stored.key.as_deref() {
                    Some(CANARY) => Kind::Canary,
                    _ => Kind::Event,
                },
                redrive: stored.redrive.as_deref(),
                trace: None,
            });
        }
        Ok(batch)
    }
}

/// The changelog by partition. With `hidden` = (shown, looks), records behind the first `shown` of each partition are there only
/// once its end was asked for `looks` times.
#[derive(Clone, Debug, Default)]
pub struct Changelog {
    pub records: Vec<Vec<Vec<u8>>>,
    pub hidden: Option<(usize, u32)>,
    at: Option<Place>,
}

impl Changelog {
    pub fn new(records: Vec<Vec<Vec<u8>>>) -> Self {
        Self {
            records,
            hidden: None,
            at: None,
        }
    }

    fn shown(&self, partition: Partition) -> usize {
        let all = self.records[partition.0 as usize].len();
        self.hidden.map_or(all, |(shown, _)| shown.min(all))
    }
}

impl ChainReader for Changelog {
    fn assign(&mut self, places: &[Place]) -> Result<(), LogError> {
        self.at = Some(places[0]);
        Ok(())
    }

    fn poll(&mut self, _timeout: Duration) -> Result<Vec<ChainEvent>, LogError> {
        let Some(Place { partition, next }) = self.at else {
            return Ok(Vec::new());
        };
        let shown = self.shown(partition);
        let index = next.0.div_ceil(STRIDE) as usize;
        if index >= shown {
            let next = Offset(shown as u64 * STRIDE);
            self.at = None;
            return Ok(vec![ChainEvent::Reached(Place { partition, next })]);
        }
        let offset = Offset(index as u64 * STRIDE);
        self.at = Some(Place {
            partition,
            next: offset.next(),
        });
        let bytes = self.records[partition.0 as usize][index].clone();
        Ok(vec![ChainEvent::Part {
            partition,
            offset,
            bytes,
        }])
    }

    fn mark(&mut self, partition: Partition) -> Result<Offset, LogError> {
        if let Some((_, looks)) = &mut self.hidden {
            match looks.checked_sub(1) {
                Some(fewer) => *looks = fewer,
                None => self.hidden = None,
            }
        }
        Ok(Offset(self.shown(partition) as u64 * STRIDE))
    }
}
