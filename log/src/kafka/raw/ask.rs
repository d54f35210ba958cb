//! Questions to the brokers that rdkafka's safe interface has not: the ends of partitions as read_uncommitted sees them
//! (a read_committed consumer's own watermarks stop at the first open transaction), and topics with their ids.

use super::handle::{Failure, Handle, millis, text};
use rdkafka::TopicPartitionList;
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode as Code;
use schemas::{Offset, Partition};
use std::ffi::CString;
use std::ptr::{NonNull, null, null_mut};
use std::time::Duration;
use uuid::Uuid;

/// Which end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Edge {
    /// The first offset still there.
    First,
    /// The next offset behind the last record, committed or not (the high watermark).
    Next,
    /// The offset before which no transaction is open (the last stable offset): what read_committed readers get to.
    Stable,
}

/// One partition's edge, or why it has none.
pub(in crate::kafka) type EdgeAnswer = Result<(Partition, Offset), Failure>;

/// What the brokers say of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct TopicFacts {
    pub(in crate::kafka) name: String,
    pub(in crate::kafka) id: Uuid,
    pub(in crate::kafka) partitions: u32,
}

/// A question; its answer is waited for.
pub(in crate::kafka) struct Ask<'a> {
    /// Any client will do.
    pub(in crate::kafka) handle: &'a Handle,
    /// How long to wait for the answer.
    pub(in crate::kafka) timeout: Duration,
}

impl Ask<'_> {
    /// An edge of each of these partitions, or why it has none.
    pub(in crate::kafka) fn edges(
        &self,
        topic: &str,
        partitions: &[Partition],
        edge: Edge,
    ) -> Result<Vec<EdgeAnswer>, Failure> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let spec = match edge {
                Edge::First => rdkafka::Offset::Beginning,
                Edge::Next | Edge::Stable => rdkafka::Offset::End,
            };
            let number = i32::try_from(partition.0).map_err(|error| Failure::local(error.to_string()))?;
            list.add_partition_offset(topic, number, spec)
                .map_err(|error| Failure::local(error.to_string()))?;
        }
        let answer = self.send(
            native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
            |options, queue| {
                // SAFETY: all four are alive; the calls copy what they keep. Read uncommitted is the default.
                unsafe {
                    if edge == Edge::Stable {
                        let committed =
                            native::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
                        native::rd_kafka_error_destroy(native::rd_kafka_AdminOptions_set_isolation_level(
                            options.cast_mut(),
                            committed,
                        ));
                    }
                    native::rd_kafka_ListOffsets(self.handle.ptr(), list.ptr(), options, queue);
                }
            },
        )?;
        let mut count = 0;
        // SAFETY: the event is alive, and its type was asked for; the infos live as long as it does.
        let infos = unsafe {
            let result = native::rd_kafka_event_ListOffsets_result(answer.event.as_ptr());
            native::rd_kafka_ListOffsets_result_infos(result, &mut count)
        };
        // SAFETY: as above; the array has `count` infos, each with a partition.
        let places = unsafe {
            pointers(infos.cast(), count).map(|info: *const native::rd_kafka_ListOffsetsResultInfo_t| {
                &*native::rd_kafka_ListOffsetsResultInfo_topic_partition(info)
            })
        };
        let answered = places.map(|place| {
            let edge = edge_of(place.partition, place.offset, place.err);
            edge.map_err(|failure| self.handle.explained(failure))
        });
        let answered: Vec<_> = answered.collect();
        match answered.len() == partitions.len() {
            true => Ok(answered),
            false => Err(self.handle.explained(no_answer("some partitions"))),
        }
    }

    /// Has the client learn anew who leads the partitions of a topic, and since which epoch. A client that reads nothing would go on
    /// asking by what it knew for minutes: librdkafka 2.12 learns nothing from a refusal of its old epoch here.
    pub(in crate::kafka) fn leaders(&self, topic: &str) -> Result<(), Failure> {
        let name = CString::new(topic).map_err(|error| Failure::local(error.to_string()))?;
        let mut found = null();
        // SAFETY: the client is alive and the name a C string; the topic object is ours until it is destroyed, once, below.
        let code = unsafe {
            let topic = native::rd_kafka_topic_new(self.handle.ptr(), name.as_ptr(), null_mut());
            if topic.is_null() {
                return Err(Failure::of(native::rd_kafka_last_error()));
            }
            let code =
                native::rd_kafka_metadata(self.handle.ptr(), 0, topic, &mut found, millis(self.timeout));
            native::rd_kafka_topic_destroy(topic);
            code
        };
        if !found.is_null() {
            // SAFETY: what the call gave is ours; what matters of it lies in the client.
            unsafe { native::rd_kafka_metadata_destroy(found) };
        }
        match Code::from(code) {
            Code::NoError => Ok(()),
            _ => Err(Failure::of(code)),
        }
    }

    /// Each of these topics, or why there is nothing to say of it.
    pub(in crate::kafka) fn topics(
        &self,
        names: &[&str],
    ) -> Result<Vec<Result<TopicFacts, Failure>>, Failure> {
        let names: Result<Vec<_>, _> = names.iter().map(|name| CString::new(*name)).collect();
        let names = names.map_err(|error| Failure::local(error.to_string()))?;
        let mut pointers_of: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the strings are alive; the collection copies them.
        let topics =
            unsafe { native::rd_kafka_TopicCollection_of_topic_names(pointers_of.as_mut_ptr(), names.len()) };
        let answer = self.send(
            native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            |options, queue| {
                // SAFETY: all four are alive; the call copies what it keeps.
                unsafe { native::rd_kafka_DescribeTopics(self.handle.ptr(), topics, options, queue) };
            },
        );
        // SAFETY: ours, and not used again.
        unsafe { native::rd_kafka_TopicCollection_destroy(topics) };
        let answer = answer?;
        let mut count = 0;
        // SAFETY: the event is alive, and its type was asked for; the descriptions live as long as it does.
        let found = unsafe {
            let result = native::rd_kafka_event_DescribeTopics_result(answer.event.as_ptr());
            native::rd_kafka_DescribeTopics_result_topics(result, &mut count)
        };
        // SAFETY: as above; the array has `count` descriptions.
        Ok(unsafe { pointers(found.cast(), count) }.map(facts).collect())
    }

    pub(super) fn send(
        &self,
        kind: native::rd_kafka_admin_op_t,
        call: impl FnOnce(*const native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
    ) -> Result<Answer, Failure> {
        // SAFETY: the client is alive, and both objects are destroyed below or by the answer.
        let (options, queue) = unsafe {
            (
                native::rd_kafka_AdminOptions_new(self.handle.ptr(), kind),
                native::rd_kafka_queue_new(self.handle.ptr()),
            )
        };
        let timeout = millis(self.timeout).max(1);
        // SAFETY: options and queue are alive; an error text is not asked for.
        let event = unsafe {
            native::rd_kafka_AdminOptions_set_request_timeout(options, timeout, null_mut(), 0);
            call(options, queue);
            native::rd_kafka_AdminOptions_destroy(options);
            // The request's own timeout answers first; the margin is for a machine that is busy.
            native::rd_kafka_queue_poll(queue, timeout.saturating_add(1_000))
        };
        let Some(event) = NonNull::new(event) else {
            // SAFETY: ours; an answer that comes later keeps the inner queue alive itself.
            unsafe { native::rd_kafka_queue_destroy(queue) };
            return Err(self.handle.explained(Failure::of(
                native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT,
            )));
        };
        let answer = Answer { event, queue };
        // SAFETY: the event is alive.
        let (code, why) = unsafe {
            (
                native::rd_kafka_event_error(answer.event.as_ptr()),
                text(native::rd_kafka_event_error_string(answer.event.as_ptr())),
            )
        };
        match Code::from(code) {
            Code::NoError => Ok(answer),
            code => Err(self.handle.explained(Failure {
                code,
                text: why,
                fatal: false,
                abort: false,
            })),
        }
    }
}

/// One partition's answer. While a broker is away librdkafka answers without an error and with offset -1: taken for a
/// number, it would say that there is nothing to wait for.
fn edge_of(
    partition: i32,
    offset: i64,
    code: native::rd_kafka_resp_err_t,
) -> Result<(Partition, Offset), Failure> {
    if Code::from(code) != Code::NoError {
        return Err(Failure::of(code));
    }
    match (u32::try_from(partition), u64::try_from(offset)) {
        (Ok(partition), Ok(offset)) => Ok((Partition(partition), Offset(offset))),
        _ => Err(no_answer(&format!("partition {partition}"))),
    }
}

fn no_answer(whose: &str) -> Failure {
    let text = format!("no answer for {whose}: its broker may be away");
    Failure {
        code: Code::LeaderNotAvailable,
        text,
        fatal: false,
        abort: false,
    }
}

/// An answer, and the queue it came by.
pub(super) struct Answer {
    event: NonNull<native::rd_kafka_event_t>,
    queue: *mut native::rd_kafka_queue_t,
}

impl Answer {
    pub(super) fn event(&self) -> *mut native::rd_kafka_event_t {
        self.event.as_ptr()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: both are ours, and nothing borrowed from them is left.
        unsafe {
            native::rd_kafka_event_destroy(self.event.as_ptr());
            native::rd_kafka_queue_destroy(self.queue);
        }
    }
}

fn facts(topic: *const native::rd_kafka_TopicDescription_t) -> Result<TopicFacts, Failure> {
    // SAFETY: the description is alive while its event is; all that is read from it is copied here.
    unsafe {
        let name = text(native::rd_kafka_TopicDescription_name(topic));
        let error = native::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && Code::from(native::rd_kafka_error_code(error)) != Code::NoError {
            let code = Code::from(native::rd_kafka_error_code(error));
            return Err(Failure {
                code,
                text: format!("topic {name}: {code}"),
                fatal: false,
                abort: false,
            });
        }
        let id = native::rd_kafka_TopicDescription_topic_id(topic);
        let high = native::rd_kafka_Uuid_most_significant_bits(id) as u64;
        let low = native::rd_kafka_Uuid_least_significant_bits(id) as u64;
        let mut partitions = 0;
        native::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        Ok(TopicFacts {
            name,
            id: Uuid::from_u64_pair(high, low),
            partitions,
        })
    }
}

/// The pointers of a C array.
///
/// # Safety
/// `array` must point to `count` pointers, or `count` be 0, for as long as the iterator is used.
pub(super) unsafe fn pointers<T>(array: *const *const T, count: usize) -> impl Iterator<Item = *const T> {
    // SAFETY: the caller's duty.
    (0..count).map(move |place| unsafe { *array.add(place) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_an_offset_is_a_failure_and_never_offset_zero() {
        let fine = native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        let away = native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        assert!(matches!(edge_of(3, 0, fine), Ok((Partition(3), Offset(0)))));
        assert!(edge_of(3, -1, fine).is_err());
        assert!(edge_of(3, 5, away).is_err());
    }
}
