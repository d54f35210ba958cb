//! What one batch call took from a queue: records, ends of partitions, and failures, in the order of the log.

use super::handle::text;
use super::topic::Topic;
use crate::batch::{KIND_HEADER, Kind, ORIGIN_HEADER, Origin, REDRIVE_HEADER, Record, TRACE_HEADER};
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode as Code;
use schemas::Offset;
use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// Messages that were taken and not yet looked at.
#[derive(Debug)]
pub(in crate::kafka) struct Messages {
    taken: std::vec::IntoIter<*mut native::rd_kafka_message_t>,
    /// The one looked at; destroyed when the next is asked for.
    current: *mut native::rd_kafka_message_t,
    origin: CString,
    kind: CString,
    redrive: CString,
    trace: CString,
    /// Messages must go before the client that fetched them.
    _topic: Arc<Topic>,
}

// SAFETY: a message belongs to whoever took it and may be read and destroyed by any one thread.
unsafe impl Send for Messages {}

/// One of them.
#[derive(Debug)]
pub(in crate::kafka) enum Seen<'a> {
    /// A record, and the leader epoch it was fetched under (-1 where unknown).
    Record(Record<'a>, i32),
    /// All before this next offset was seen, gaps included; only with `enable.partition.eof`.
    End(Offset),
    /// Reading this partition failed.
    Failed(Code, String),
}

impl Messages {
    pub(super) fn new(taken: Vec<*mut native::rd_kafka_message_t>, topic: Arc<Topic>) -> Self {
        // A name of ours has no zero byte.
        let name = |name: &str| CString::new(name).unwrap_or_default();
        Self {
            taken: taken.into_iter(),
            current: null_mut(),
            origin: name(ORIGIN_HEADER),
            kind: name(KIND_HEADER),
            redrive: name(REDRIVE_HEADER),
            trace: name(TRACE_HEADER),
            _topic: topic,
        }
    }

    /// How many are left.
    pub(in crate::kafka) fn len(&self) -> usize {
        self.taken.len()
    }

    /// The next one.
    pub(in crate::kafka) fn next(&mut self) -> Option<Seen<'_>> {
        self.drop_current();
        self.current = self.taken.next()?;
        // SAFETY: the batch call fills what it counts with messages that are ours until destroyed; the borrow
        // of self keeps this one alive, since only `next` and `drop` destroy it.
        let message = unsafe { &*self.current };
        match Code::from(message.err) {
            Code::NoError => Some(self.record(message)),
            Code::PartitionEOF => Some(Seen::End(offset(message.offset))),
            // SAFETY: the message is alive; the text lives as long and is copied.
            code => Some(Seen::Failed(
                code,
                text(unsafe { native::rd_kafka_message_errstr(message) }),
            )),
        }
    }

    fn record<'a>(&self, message: &'a native::rd_kafka_message_t) -> Seen<'a> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive and `kind` is ours.
        let (append_ms, epoch) = unsafe {
            (
                native::rd_kafka_message_timestamp(message, &mut kind),
                native::rd_kafka_message_leader_epoch(message),
            )
        };
        let headers = headers(message);
        let record = Record {
            offset: offset(message.offset),
            append_ms,
            key: bytes(message.key, message.key_len),
            value: bytes(message.payload, message.len),
            origin: headers
                .and_then(|headers| header(headers, &self.origin))
                .and_then(Origin::decode),
            kind: headers
                .and_then(|headers| header(headers, &self.kind))
                .map_or(Kind::Event, Kind::of_word),
            redrive: headers.and_then(|headers| header(headers, &self.redrive)),
            trace: headers.and_then(|headers| header(headers, &self.trace)),
        };
        Seen::Record(record, epoch)
    }

    fn drop_current(&mut self) {
        if !self.current.is_null() {
            // SAFETY: the message is ours, and the pointer is forgotten at once.
            unsafe { native::rd_kafka_message_destroy(self.current) };
            self.current = null_mut();
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        while !self.current.is_null() || self.taken.len() > 0 {
            self.drop_current();
            self.current = self.taken.next().unwrap_or(null_mut());
        }
    }
}

/// A message's headers, which stay its own.
#[derive(Clone, Copy)]
struct Headers<'a> {
    list: *mut native::rd_kafka_headers_t,
    _message: &'a native::rd_kafka_message_t,
}

fn headers(message: &native::rd_kafka_message_t) -> Option<Headers<'_>> {
    let mut list = null_mut();
    // SAFETY: the message is alive; the headers stay its own. Without headers this is one comparison.
    let code = unsafe { native::rd_kafka_message_headers(message, &mut list) };
    (Code::from(code) == Code::NoError).then_some(Headers {
        list,
        _message: message,
    })
}

/// The last value under a name; it lives as long as the message.
fn header<'a>(headers: Headers<'a>, name: &CString) -> Option<&'a [u8]> {
    let (mut value, mut size): (*const c_void, usize) = (null(), 0);
    // SAFETY: headers and name are alive; value and size are ours.
    let code =
        unsafe { native::rd_kafka_header_get_last(headers.list, name.as_ptr(), &mut value, &mut size) };
    match Code::from(code) {
        Code::NoError => bytes(value.cast_mut(), size),
        _ => None,
    }
}

fn offset(raw: i64) -> Offset {
    Offset(u64::try_from(raw).unwrap_or(0))
}

/// Bytes of a message; they live as long as it does.
fn bytes<'a>(start: *mut c_void, len: usize) -> Option<&'a [u8]> {
    match (start.is_null(), len) {
        (true, 0) => None,
        (true, _) => Some(&[]),
        // SAFETY: librdkafka gives start and length of one allocation, which the caller's borrow of the message keeps.
        (false, _) => Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) }),
    }
}
