//! The chunks of one request on their way to the log, and what is known of each.
//!
//! A chunk is awaited, never an event. Each has a task of its own, so that it reaches the log and is counted also when
//! the client has gone; no answer is given before all of them are decided.

use crate::chunks::Open;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::room::Room;
use log::{AppendError, Appender, Placed};
use schemas::receipt::Receipt;
use schemas::{Offset, Partition};
use service::telemetry::traces;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};
use uuid::Uuid;

/// What is known of one request's chunks.
pub(crate) struct Appends {
    appender: Arc<dyn Appender>,
    metrics: Metrics,
    /// Most chunks in flight.
    limit: usize,
    /// With the number of events of each.
    in_flight: VecDeque<(u64, JoinHandle<Decided>)>,
    /// By partition: told when its last chunk is decided.
    turns: BTreeMap<Partition, oneshot::Receiver<()>>,
    /// Where the durable ones lie.
    pub(crate) receipt: Receipt,
    /// Where each of them lies, if that is to be kept.
    pub(crate) rows: Option<BTreeMap<Partition, Vec<Row>>>,
    /// By partition: the first offset of them.
    pub(crate) firsts: BTreeMap<Partition, Offset>,
    /// Events that are durable.
    pub(crate) accepted: u64,
    /// Events that may be durable or not.
    pub(crate) unknown: u64,
    /// Events that the log will never take.
    pub(crate) refused: u64,
    /// The rows of the first of these.
    pub(crate) refused_rows: Vec<u64>,
    /// Most rows in that list.
    rows_limit: usize,
    /// Bytes of records handed over.
    pub(crate) bytes: usize,
}

/// Where the event of a row lies in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) offset: Offset,
}

struct Decided {
    partition: Partition,
    rows: Vec<u64>,
    result: Result<Placed, AppendError>,
}

impl Appends {
    pub(crate) fn new(
        appender: Arc<dyn Appender>,
        topic_id: Uuid,
        limits: &Limits,
        metrics: Metrics,
    ) -> Self {
        Self {
            appender,
            metrics,
            limit: limits.chunks_in_flight.max(1),
            in_flight: VecDeque::new(),
            turns: BTreeMap::new(),
            receipt: Receipt::new(topic_id),
            rows: None,
            firsts: BTreeMap::new(),
            accepted: 0,
            unknown: 0,
            refused: 0,
            refused_rows: Vec::new(),
            rows_limit: limits.results,
            bytes: 0,
        }
    }

    /// From now on it is kept where each row lies.
    pub(crate) fn keep_rows(&mut self) {
        self.rows = Some(BTreeMap::new());
    }

    /// Hands a chunk to the log; waits for the oldest if too many are in flight. `room` is what the chunk takes.
    pub(crate) async fn hand_over(&mut self, mut open: Open, room: Option<Room>) {
        while self.in_flight.len() >= self.limit || self.oldest_is_decided() {
            self.settle_oldest().await;
        }
        self.bytes += open.chunk.bytes();
        let events = open.rows.len() as u64;
        // Of two rows of one key the first in the file is to be the first on the log: a chunk waits for the one before it.
        let (done, next_turn) = oneshot::channel();
        let turn = self.turns.insert(open.chunk.partition, next_turn);
        // One chunk of each partition stands for the others of a request that is traced.
        let span = match &turn {
            None => traces::append(open.chunk.partition, open.chunk.len()),
            Some(_) => Span::none(),
        };
        if let Some(traceparent) = traces::traceparent(&span) {
            open.chunk.set_trace(traceparent);
        }
        let with_offsets = self.rows.is_some();
        let append = append(
            Arc::clone(&self.appender),
            open,
            room,
            self.metrics.clone(),
            with_offsets,
        );
        let task = async move {
            if let Some(turn) = turn {
                // An error says that it was decided too: its task ended without a word.
                let _ = turn.await;
            }
            let decided = append.await;
            let _ = done.send(());
            decided
        };
        self.in_flight
            .push_back((events, tokio::spawn(task.instrument(span))));
    }

    /// Waits until each chunk is decided.
    pub(crate) async fn finish(&mut self) {
        while !self.in_flight.is_empty() {
            self.settle_oldest().await;
        }
    }

    /// Whether something is not known to be durable, so that to go on is of no use.
    pub(crate) fn failed(&self) -> bool {
        self.unknown > 0
    }

    fn oldest_is_decided(&self) -> bool {
        self.in_flight.front().is_some_and(|(_, task)| task.is_finished())
    }

    async fn settle_oldest(&mut self) {
        let Some((events, oldest)) = self.in_flight.pop_front() else {
            return;
        };
        match oldest.await {
            Ok(Decided {
                partition,
                result: Ok(Placed { appended, offsets }),
                rows,
            }) => {
                self.accepted += events;
                if let Some(kept) = &mut self.rows {
                    let placed = rows.into_iter().zip(offsets);
                    let placed = placed.map(|(number, offset)| Row { number, offset });
                    kept.entry(partition).or_default().extend(placed);
                }
                self.receipt.extend(partition, appended.next);
                let first = self.firsts.entry(partition).or_insert(appended.first);
                *first = appended.first.min(*first);
            }
            Ok(Decided {
                result: Err(AppendError::Refused(_)),
                rows,
                ..
            }) => {
                self.refused += events;
                let left = self.rows_limit.saturating_sub(self.refused_rows.len());
                self.refused_rows.extend(rows.into_iter().take(left));
            }
            // A task itself fails only if the appender panics: then nothing is known of its chunk either.
            Ok(Decided {
                result: Err(AppendError::Unavailable(_)),
                ..
            })
            | Err(_) => self.unknown += events,
        }
    }
}

async fn append(
    appender: Arc<dyn Appender>,
    open: Open,
    room: Option<Room>,
    metrics: Metrics,
    with_offsets: bool,
) -> Decided {
    let Open { chunk, rows } = open;
    let partition = chunk.partition;
    metrics.in_flight.inc();
    let start = Instant::now();
    let result = match with_offsets {
        true => appender.append_placed(chunk).await,
        false => appender.append(chunk).await.map(|appended| Placed {
            appended,
            offsets: Vec::new(),
        }),
    };
    metrics.append_seconds.observe(start.elapsed().as_secs_f64());
    metrics.in_flight.dec();
    drop(room);
    match &result {
        Ok(_) => metrics.accepted.inc_by(rows.len() as u64),
        Err(AppendError::Unavailable(cause)) => {
            tracing::warn!(%partition, events = rows.len(), cause, "the log did not acknowledge a chunk");
        }
        Err(AppendError::Refused(cause)) => {
            tracing::error!(%partition, events = rows.len(), cause, "the log refused a chunk");
        }
    }
    Decided {
        partition,
        rows,
        result,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::future::BoxFuture;
    use log::{Appended, Chunk};
    use std::sync::Mutex;
    use std::time::Duration;

    /// Takes the earlier chunks longer than the later ones.
    struct Uneven(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Appender for Uneven {
        fn append(&self, chunk: Chunk) -> BoxFuture<'static, Result<Appended, AppendError>> {
            let order = Arc::clone(&self.0);
            Box::pin(async move {
                let key = chunk.iter().next().unwrap().0.to_vec();
                let number = u64::from(*key.first().unwrap());
                tokio::time::sleep(Duration::from_millis(20 - 2 * number)).await;
                order.lock().unwrap().push(key);
                Ok(Appended {
                    first: Offset(number),
                    next: Offset(number + 1),
                })
            })
        }
    }

    #[tokio::test]
    async fn chunks_of_a_partition_reach_the_log_in_the_order_of_the_file() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let limits = Limits::default();
        let metrics = Metrics::new(&service::metrics::Registry::new().unwrap()).unwrap();
        let mut appends = Appends::new(Arc::new(Uneven(order.clone())), Uuid::nil(), &limits, metrics);
        for number in 0..8_u8 {
            let mut chunk = Chunk::new(Partition(0));
            chunk.push(&[number], b"value");
            appends
                .hand_over(
                    Open {
                        chunk,
                        rows: vec![u64::from(number)],
                    },
                    None,
                )
                .await;
        }
        appends.finish().await;
        assert_eq!(appends.accepted, 8);
        let expected: Vec<Vec<u8>> = (0..8_u8).map(|number| vec![number]).collect();
        assert_eq!(*order.lock().unwrap(), expected);
    }
}
