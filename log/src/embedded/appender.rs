//! Appends to `events`, for ingest. Memory is bounded by the log's buffer: a chunk waits outside the queue until
//! there is room, and at most until the append's deadline.

use super::EmbeddedLog;
use super::queue::{Answer, Entry, Queue, Reply};
use super::record::Payload;
use crate::batch::Chunk;
use crate::ports::{AppendError, Appended, Appender};
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, FutureExt, ready, select};
use futures_timer::Delay;
use schemas::Offset;
use schemas::limits::RECORD_BYTES;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

/// Largest chunk, in bytes of keys and values.
pub(super) const CHUNK_BYTES: usize = 64 * 1024 * 1024;

/// The appender of an embedded log.
pub(super) struct EmbeddedAppender(pub(super) Arc<EmbeddedLog>);

impl Appender for EmbeddedAppender {
    /// Takes its place in line when it is called, if the buffer has room.
    fn append(&self, chunk: Chunk) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let Some(queue) = self.0.queues.events.get(chunk.partition.0 as usize) else {
            return refused(format!("there is no partition {}", chunk.partition));
        };
        let largest = chunk.iter().map(|(key, value)| key.len() + value.len()).max();
        if largest.is_some_and(|bytes| bytes > RECORD_BYTES) || chunk.bytes() > CHUNK_BYTES {
            return refused(format!(
                "a record may have {RECORD_BYTES} bytes and a chunk {CHUNK_BYTES}"
            ));
        }
        let queue = queue.clone();
        let deadline = self.0.append_deadline;
        let records = chunk.len() as u64;
        let payload = Payload::Events(chunk);
        let room = self.0.room.clone();
        // A chunk larger than the whole buffer takes all of it.
        let bytes = payload.bytes().min(self.0.buffer_bytes) as u32;
        match room.clone().try_acquire_many_owned(bytes) {
            Ok(room) => in_time(enqueue(&queue, payload, records, room), deadline).boxed(),
            Err(_) => {
                let append = async move {
                    let room = room.acquire_many_owned(bytes).await.map_err(closed)?;
                    enqueue(&queue, payload, records, room).await
                };
                in_time(append.boxed(), deadline).boxed()
            }
        }
    }
}

fn refused(why: String) -> BoxFuture<'static, Result<Appended, AppendError>> {
    ready(Err(AppendError::Refused(why))).boxed()
}

fn closed(_: AcquireError) -> AppendError {
    AppendError::Unavailable("the log is closed".to_owned())
}

fn enqueue(
    queue: &Queue,
    payload: Payload,
    records: u64,
    room: OwnedSemaphorePermit,
) -> impl Future<Output = Result<Appended, AppendError>> + Send + Unpin + 'static {
    let (sender, receiver) = oneshot::channel::<Answer>();
    queue.push(Entry {
        payload,
        reply: Reply::Task(sender),
        room: Some(room),
    });
    receiver.map(move |answer| match answer {
        // An entry's records lie one behind another in one frame.
        Ok(Ok(next)) => Ok(Appended {
            first: Offset(next.0.saturating_sub(records)),
            next,
        }),
        Ok(Err(failure)) => Err(AppendError::Unavailable(failure.to_string())),
        Err(oneshot::Canceled) => Err(AppendError::Unavailable("the log's writer is gone".to_owned())),
    })
}

async fn in_time(
    append: impl Future<Output = Result<Appended, AppendError>> + Unpin,
    deadline: Duration,
) -> Result<Appended, AppendError> {
    match select(append, Delay::new(deadline)).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => Err(AppendError::Unavailable(format!(
            "no fsync ended within {} ms",
            deadline.as_millis()
        ))),
    }
}
