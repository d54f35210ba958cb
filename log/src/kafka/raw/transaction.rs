//! The transactional calls, and the group metadata that goes with the offsets.

use super::handle::{Failure, Handle, millis};
use rdkafka::TopicPartitionList;
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use std::ptr::NonNull;
use std::time::Duration;

/// What the broker needs to know to fence a former member: generation, member id, instance id, as of one moment.
pub(in crate::kafka) struct Membership {
    metadata: NonNull<native::rd_kafka_consumer_group_metadata_t>,
}

impl Membership {
    /// As of now; `None` for a consumer without a group.
    pub(in crate::kafka) fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Self> {
        // SAFETY: the consumer is alive; what is returned is a copy that is ours.
        let metadata = unsafe { native::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
        NonNull::new(metadata).map(|metadata| Self { metadata })
    }

    /// The group's generation; negative before the member has joined. The broker does *not* fence a negative one.
    pub(in crate::kafka) fn generation(&self) -> i32 {
        // SAFETY: the metadata is ours.
        unsafe { native::rd_kafka_consumer_group_metadata_generation_id(self.metadata.as_ptr()) }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: the metadata is ours, and this is its end.
        unsafe { native::rd_kafka_consumer_group_metadata_destroy(self.metadata.as_ptr()) };
    }
}

impl Handle {
    /// Fences every older producer with this transactional id and ends what it left open.
    pub(in crate::kafka) fn init_transactions(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: the client is alive.
        let begun = Failure::take(unsafe { native::rd_kafka_init_transactions(self.ptr(), millis(timeout)) });
        begun.map_err(|failure| self.explained(failure))
    }

    pub(in crate::kafka) fn begin(&self) -> Result<(), Failure> {
        // SAFETY: the client is alive.
        Failure::take(unsafe { native::rd_kafka_begin_transaction(self.ptr()) })
    }

    /// Adds the group's offsets to the transaction.
    pub(in crate::kafka) fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        membership: &Membership,
        timeout: Duration,
    ) -> Result<(), Failure> {
        // SAFETY: client, list and metadata are alive; the call copies what it keeps.
        Failure::take(unsafe {
            native::rd_kafka_send_offsets_to_transaction(
                self.ptr(),
                offsets.ptr(),
                membership.metadata.as_ptr(),
                millis(timeout),
            )
        })
    }

    /// Sends what is queued, waits for all of it, and commits. Without a delivery callback (as here) records that failed
    /// are counted by librdkafka and make this call fail.
    pub(in crate::kafka) fn commit(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: the client is alive.
        Failure::take(unsafe { native::rd_kafka_commit_transaction(self.ptr(), millis(timeout)) })
    }

    /// Sends what is queued and waits for all of it.
    pub(in crate::kafka) fn flush(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: the client is alive.
        match unsafe { native::rd_kafka_flush(self.ptr(), millis(timeout)) } {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Failure::of(code)),
        }
    }

    /// Gives up the transaction and all records of it.
    pub(in crate::kafka) fn abort(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: the client is alive.
        Failure::take(unsafe { native::rd_kafka_abort_transaction(self.ptr(), millis(timeout)) })
    }
}
