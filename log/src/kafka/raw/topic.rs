//! A topic as one client knows it.

use super::handle::{Failure, Handle};
use rdkafka::bindings as native;
use std::ffi::CString;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

/// A topic of a client.
#[derive(Debug)]
pub(in crate::kafka) struct Topic {
    topic: NonNull<native::rd_kafka_topic_t>,
    handle: Arc<Handle>,
}

// SAFETY: topic objects are as thread safe as the client they belong to.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    /// A topic by its name; nothing is asked of the broker.
    pub(in crate::kafka) fn new(handle: &Arc<Handle>, name: &str) -> Result<Self, Failure> {
        let name = CString::new(name).map_err(|error| Failure::local(error.to_string()))?;
        // SAFETY: the client is alive and the name is a C string; null for the client's own topic settings.
        let topic = unsafe { native::rd_kafka_topic_new(handle.ptr(), name.as_ptr(), null_mut()) };
        // SAFETY: reads this thread's last error.
        let topic =
            NonNull::new(topic).ok_or_else(|| Failure::of(unsafe { native::rd_kafka_last_error() }))?;
        Ok(Self {
            topic,
            handle: handle.clone(),
        })
    }

    /// The client it belongs to.
    pub(in crate::kafka) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(super) fn ptr(&self) -> *mut native::rd_kafka_topic_t {
        self.topic.as_ptr()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the object is ours, and its client is still alive: the field outlives this call.
        unsafe { native::rd_kafka_topic_destroy(self.ptr()) };
    }
}
