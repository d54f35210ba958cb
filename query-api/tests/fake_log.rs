//! A log that a test fills, and that can be away.

use crate::fixture::{NOW_MS, PARTITIONS};
use futures::future::BoxFuture;
use log::batch::{Kind, Origin};
use log::{AppendError, Appended, Appender, Chunk, LogError, LogReader, Record, RecordBatch};
use query_api::{AskRetention, OpenReader, Retention};
use schemas::{Offset, Partition};
use std::sync::{Arc, Mutex};

#[derive(Default)]
pub struct FakeLog(Mutex<State>);

#[derive(Default)]
struct State {
    records: Vec<Stored>,
    ends: [u64; PARTITIONS as usize],
    is_away: bool,
    refuses: Vec<u32>,
    looks: usize,
    chunk_bytes: Vec<usize>,
}

struct Stored {
    partition: u32,
    offset: u64,
    append_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    origin: Option<Origin>,
    redrive: Option<Vec<u8>>,
    kind: Kind,
}

/// A redriven copy on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub partition: u32,
    pub offset: u64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub origin: Option<Origin>,
    pub redrive: Vec<u8>,
}

impl FakeLog {
    /// Records are kept for three days.
    pub fn retention(self: &Arc<Self>) -> AskRetention {
        let log = Arc::clone(self);
        Box::new(move || match log.0.lock().unwrap().is_away {
            true => Err(LogError::Away("10.0.0.8 refused".to_owned())),
            false => Ok(Retention::Bounded(Some(3 * 24 * 3_600_000))),
        })
    }

    pub fn open(self: &Arc<Self>) -> OpenReader {
        let log = Arc::clone(self);
        Box::new(move || Ok(Box::new(FakeReader(Arc::clone(&log)))))
    }

    pub fn append(&self, partition: u32, append_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
        self.append_copy(partition, append_ms, key, value, None)
    }

    pub fn append_copy(
        &self,
        partition: u32,
        append_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        origin: Option<Origin>,
    ) -> u64 {
        let mut state = self.0.lock().unwrap();
        let offset = state.ends[partition as usize];
        state.ends[partition as usize] += 1;
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        state.records.push(Stored {
            partition,
            offset,
            append_ms,
            key,
            value,
            origin,
            redrive: None,
            kind: Kind::Event,
        });
        offset
    }

    /// Says what the record that was appended last is.
    pub fn set_kind(&self, kind: Kind) {
        self.0.lock().unwrap().records.last_mut().unwrap().kind = kind;
    }

    /// What was redriven, in order.
    pub fn copies(&self) -> Vec<Copy> {
        let state = self.0.lock().unwrap();
        let copies = state.records.iter().filter_map(|record| {
            Some(Copy {
                partition: record.partition,
                offset: record.offset,
                key: record.key.clone(),
                value: record.value.clone(),
                origin: record.origin,
                redrive: record.redrive.clone()?,
            })
        });
        copies.collect()
    }

    /// Bytes of each chunk that was appended.
    pub fn chunk_bytes(&self) -> Vec<usize> {
        self.0.lock().unwrap().chunk_bytes.clone()
    }

    /// Appends of this partition fail from now on.
    pub fn refuse_appends(&self, partition: u32) {
        self.0.lock().unwrap().refuses.push(partition);
    }

    /// Has another value at a place, or nothing there any more.
    pub fn replace(&self, partition: u32, offset: u64, with: Option<(Vec<u8>, Option<Origin>)>) {
        let mut state = self.0.lock().unwrap();
        let is_there = |record: &Stored| (record.partition, record.offset) == (partition, offset);
        match with {
            None => state.records.retain(|record| !is_there(record)),
            Some((value, origin)) => {
                let record = state.records.iter_mut().find(|record| is_there(record)).unwrap();
                (record.value, record.origin) = (Some(value), origin);
            }
        }
    }

    pub fn set_end(&self, partition: u32, end: u64) {
        self.0.lock().unwrap().ends[partition as usize] = end;
    }

    pub fn set_away(&self, is_away: bool) {
        self.0.lock().unwrap().is_away = is_away;
    }

    /// Where the log of a partition ends.
    pub fn end(&self, partition: u32) -> u64 {
        self.0.lock().unwrap().ends[partition as usize]
    }

    /// Values of a partition.
    pub fn values(&self, partition: u32) -> Vec<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let there = state
            .records
            .iter()
            .filter(|record| record.partition == partition);
        there.filter_map(|record| record.value.clone()).collect()
    }

    pub fn looks(&self) -> usize {
        self.0.lock().unwrap().looks
    }
}

impl Appender for FakeLog {
    fn append(&self, chunk: Chunk) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let refused = {
            let state = self.0.lock().unwrap();
            state.is_away || state.refuses.contains(&chunk.partition.0)
        };
        if refused {
            return Box::pin(async { Err(AppendError::Unavailable("10.0.0.8 refused".to_owned())) });
        }
        self.0.lock().unwrap().chunk_bytes.push(chunk.bytes());
        let append = |(index, bytes)| {
            let (key, value) = chunk.sent(index, bytes);
            let offset = self.append_copy(chunk.partition.0, NOW_MS, key, value, chunk.origin(index));
            let redrive = chunk.redrive(index).map(<[u8]>::to_vec);
            self.0.lock().unwrap().records.last_mut().unwrap().redrive = redrive;
            offset
        };
        let offsets: Vec<u64> = chunk.iter().enumerate().map(append).collect();
        let appended = Appended {
            first: Offset(offsets[0]),
            next: Offset(offsets[offsets.len() - 1] + 1),
        };
        Box::pin(async move { Ok(appended) })
    }
}

struct FakeReader(Arc<FakeLog>);

impl LogReader for FakeReader {
    fn range(&mut self, partition: Partition) -> Result<(Offset, Offset), LogError> {
        let mut state = self.0.0.lock().unwrap();
        state.looks += 1;
        match state.is_away {
            true => Err(LogError::Away("10.0.0.8 refused".to_owned())),
            false => Ok((Offset(0), Offset(state.ends[partition.0 as usize]))),
        }
    }

    fn read(
        &mut self,
        partition: Partition,
        next: Offset,
        end: Offset,
        _: usize,
    ) -> Result<RecordBatch, LogError> {
        let state = self.0.0.lock().unwrap();
        let mut batch = RecordBatch::new(partition);
        let there = state
            .records
            .iter()
            .filter(|record| record.partition == partition.0);
        for record in there.filter(|record| (next.0..end.0).contains(&record.offset)) {
            batch.push(Record {
                offset: Offset(record.offset),
                append_ms: record.append_ms,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                origin: record.origin,
                kind: record.kind,
                redrive: record.redrive.as_deref(),
                trace: None,
            });
        }
        Ok(batch)
    }
}
