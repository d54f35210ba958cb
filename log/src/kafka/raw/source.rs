//! One partition being read from an explicit offset into a queue of its own.
//!
//! Every start makes a new queue, so a record fetched for an earlier start can never come out of a later one: it
//! lies in a queue that is gone. (librdkafka's own version barrier does the same; this does not rest on it.)

use super::handle::Failure;
use super::messages::Messages;
use super::signal::Signal;
use super::topic::Topic;
use rdkafka::bindings as native;
use schemas::{Offset, Partition};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

/// A partition that is being read. Dropping it stops the reading.
#[derive(Debug)]
pub(in crate::kafka) struct Source {
    queue: NonNull<native::rd_kafka_queue_t>,
    topic: Arc<Topic>,
    partition: i32,
    started: bool,
    /// Whom the queue's callback tells; here so that it outlives the queue.
    _signal: Arc<Signal>,
}

// SAFETY: queues may be used by any thread; this one is used by its owner only.
unsafe impl Send for Source {}

impl Source {
    /// Starts reading at `next`. The signal is raised when there is something to take.
    pub(in crate::kafka) fn start(
        topic: &Arc<Topic>,
        partition: Partition,
        next: Offset,
        signal: &Arc<Signal>,
    ) -> Result<Self, Failure> {
        let wrong = |_| {
            Failure::local(format!(
                "partition {partition} or offset {next} is beyond Kafka's range"
            ))
        };
        let offset = i64::try_from(next.0).map_err(wrong)?;
        let number = i32::try_from(partition.0).map_err(wrong)?;
        // SAFETY: the client is alive.
        let queue = NonNull::new(unsafe { native::rd_kafka_queue_new(topic.handle().ptr()) })
            .ok_or_else(|| Failure::local("no queue".to_owned()))?;
        let opaque = Arc::as_ptr(signal).cast_mut().cast::<c_void>();
        // SAFETY: the signal is held by the source and so outlives the queue; the callback is taken off before the end.
        unsafe { native::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(woke), opaque) };
        let mut source = Self {
            queue,
            topic: topic.clone(),
            partition: number,
            started: false,
            _signal: signal.clone(),
        };
        // SAFETY: topic and queue are alive.
        let started = unsafe {
            native::rd_kafka_consume_start_queue(topic.ptr(), number, offset, source.queue.as_ptr())
        };
        if started != 0 {
            // SAFETY: reads this thread's last error.
            return Err(Failure::of(unsafe { native::rd_kafka_last_error() }));
        }
        source.started = true;
        Ok(source)
    }

    /// Takes what is there, at most `most` records, without waiting.
    pub(in crate::kafka) fn take(&self, most: usize) -> Messages {
        let mut taken = vec![null_mut(); most];
        // SAFETY: the queue is alive, carries no events (only what was fetched), and the array has room for `most`.
        let count =
            unsafe { native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, taken.as_mut_ptr(), most) };
        taken.truncate(usize::try_from(count).unwrap_or(0));
        Messages::new(taken, self.topic.clone())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: topic and queue are alive until the last of these calls; the callback is off before the signal goes.
        unsafe {
            if self.started {
                native::rd_kafka_consume_stop(self.topic.ptr(), self.partition);
            }
            native::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, null_mut());
            native::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

extern "C" fn woke(_client: *mut native::rd_kafka_t, signal: *mut c_void) {
    // SAFETY: the source holds the signal for as long as its queue has this callback.
    unsafe { &*signal.cast::<Signal>() }.raise();
}
