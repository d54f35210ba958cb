//! Records on their way out, and the reports of what became of them.
//!
//! A chunk has one ticket. Each of its records carries the ticket's address; each report counts it down, and the last
//! one ends it: one allocation and one atomic step per record, whatever waits for the chunk.

use super::handle::Failure;
use super::topic::Topic;
use crate::batch::Chunk;
use crate::ports::{Appended, Placed};
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode as Code;
use schemas::{Offset, Partition};
use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Records of one batch call: enough to spread its locks thin, few enough for a small array.
const SLICE: usize = 500;

/// What became of a chunk: where it lies, or why one of its records is not known to be on the log.
pub(in crate::kafka) type Report = Result<Placed, Failure>;

/// Waits for the reports of one chunk.
pub(in crate::kafka) struct Ticket {
    /// Reports not yet in, and one for the call that sends.
    left: AtomicUsize,
    /// Smallest offset reported.
    first: AtomicI64,
    /// Largest offset reported; negative while there is none.
    last: AtomicI64,
    /// All offsets reported, where they are wanted.
    offsets: Option<Mutex<Vec<Offset>>>,
    /// The first failure.
    failed: Mutex<Option<Failure>>,
    done: Box<dyn FnOnce(Report) + Send>,
}

impl Ticket {
    /// Calls `done` once when every record's fate is known, from a thread that polls the producer.
    pub(in crate::kafka) fn new(done: impl FnOnce(Report) + Send + 'static) -> Self {
        Self {
            left: AtomicUsize::new(0),
            first: AtomicI64::new(i64::MAX),
            last: AtomicI64::new(-1),
            offsets: None,
            failed: Mutex::new(None),
            done: Box::new(done),
        }
    }

    /// The report is to say where each of so many records lies.
    pub(in crate::kafka) fn keep_offsets(&mut self, records: usize) {
        self.offsets = Some(Mutex::new(Vec::with_capacity(records)));
    }

    fn report(&self, result: Result<i64, Failure>) {
        let failure = match result {
            Ok(offset) if offset >= 0 => {
                self.first.fetch_min(offset, Ordering::Relaxed);
                self.last.fetch_max(offset, Ordering::Relaxed);
                if let Some(offsets) = &self.offsets {
                    let mut offsets = offsets.lock().unwrap_or_else(PoisonError::into_inner);
                    offsets.push(Offset(offset.unsigned_abs()));
                }
                return;
            }
            // A broker that has forgotten a repeated batch acknowledges it without its offset. Nobody could say then
            // where the chunk begins and ends.
            Ok(_) => no_offset(),
            Err(failure) => failure,
        };
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(failure);
    }

    /// Counts one report down; the last one ends the ticket.
    ///
    /// # Safety
    /// `ticket` came from `Box::into_raw`, and this call stands for one of those that `left` counts.
    unsafe fn settle(ticket: *mut Self) {
        // SAFETY: alive, since `left` still counts this call.
        // Acquire and release: what the other reports wrote is seen by the last.
        if unsafe { (*ticket).left.fetch_sub(1, Ordering::AcqRel) } > 1 {
            return;
        }
        // SAFETY: no other report is left, so nobody else has the address any more.
        let ticket = unsafe { Box::from_raw(ticket) };
        let ends = (
            u64::try_from(ticket.first.into_inner()),
            u64::try_from(ticket.last.into_inner()),
        );
        let offsets = ticket.offsets.map(Mutex::into_inner);
        let mut offsets = offsets.map_or_else(Vec::new, |offsets| {
            offsets.unwrap_or_else(PoisonError::into_inner)
        });
        // An idempotent producer keeps the order of a partition's records, so the n-th offset is that of the n-th record.
        offsets.sort_unstable();
        let report = match (
            ticket.failed.into_inner().unwrap_or_else(PoisonError::into_inner),
            ends,
        ) {
            // Some of it is on the log: nobody may take it for refused as a whole.
            (Some(failure), (_, Ok(_))) => Err(Failure {
                code: Code::MessageTimedOut,
                text: format!("acknowledged in part: {failure}"),
                ..failure
            }),
            (Some(failure), _) => Err(failure),
            (None, (Ok(first), Ok(last))) => Ok(Placed {
                appended: Appended {
                    first: Offset(first),
                    next: Offset(last).next(),
                },
                offsets,
            }),
            (None, _) => Err(no_offset()),
        };
        (ticket.done)(report);
    }
}

fn no_offset() -> Failure {
    Failure {
        code: Code::NoOffset,
        text: "acknowledged, but without an offset".to_owned(),
        fatal: false,
        abort: false,
    }
}

/// One record with headers of its own.
#[derive(Clone, Copy, Debug)]
pub(in crate::kafka) struct Copy<'a> {
    /// Its partition.
    pub(in crate::kafka) partition: Partition,
    /// Its key.
    pub(in crate::kafka) key: Option<&'a [u8]>,
    /// Its value.
    pub(in crate::kafka) value: Option<&'a [u8]>,
    /// Its headers.
    pub(in crate::kafka) headers: &'a [(String, Vec<u8>)],
}

impl Topic {
    /// Queues a chunk; its fate comes by the ticket. Copies the records, so the chunk may go at once.
    pub(in crate::kafka) fn produce(&self, chunk: &Chunk, mut ticket: Ticket) {
        *ticket.left.get_mut() = chunk.len() + 1;
        let ticket = Box::into_raw(Box::new(ticket));
        if chunk.is_plain() {
            self.produce_plain(chunk, ticket);
        } else {
            for (index, bytes) in chunk.iter().enumerate() {
                let (key, value) = chunk.sent(index, bytes);
                let copy = Copy {
                    partition: chunk.partition,
                    key,
                    value,
                    headers: &chunk.headers_of(index),
                };
                if let Err(failure) = self.send(copy, ticket.cast()) {
                    // SAFETY: this record will have no other report.
                    unsafe {
                        (*ticket).report(Err(failure));
                        Ticket::settle(ticket);
                    }
                }
            }
        }
        // SAFETY: the one that was counted for this call.
        unsafe { Ticket::settle(ticket) };
    }

    fn produce_plain(&self, chunk: &Chunk, ticket: *mut Ticket) {
        let mut records = chunk.iter();
        let mut slice = Vec::with_capacity(SLICE.min(chunk.len()));
        let partition = i32::try_from(chunk.partition.0).unwrap_or(i32::MAX);
        while records.len() > 0 {
            slice.clear();
            slice.extend(
                records
                    .by_ref()
                    .take(SLICE)
                    .map(|(key, value)| native::rd_kafka_message_t {
                        err: native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                        rkt: null_mut(),
                        partition,
                        payload: value.as_ptr().cast_mut().cast(),
                        len: value.len(),
                        key: key.as_ptr().cast_mut().cast(),
                        key_len: key.len(),
                        offset: 0,
                        _private: ticket.cast(),
                    }),
            );
            let count = i32::try_from(slice.len()).unwrap_or(i32::MAX);
            // SAFETY: the array has `count` messages whose bytes the chunk keeps alive; with F_COPY librdkafka copies them.
            unsafe {
                native::rd_kafka_produce_batch(
                    self.ptr(),
                    partition,
                    native::RD_KAFKA_MSG_F_COPY,
                    slice.as_mut_ptr(),
                    count,
                );
            }
            for refused in slice
                .iter()
                .filter(|message| Code::from(message.err) != Code::NoError)
            {
                // SAFETY: a record that was not taken has no other report.
                unsafe {
                    (*ticket).report(Err(Failure::of(refused.err)));
                    Ticket::settle(ticket);
                }
            }
        }
    }

    /// Queues one record that nobody waits for by itself: the transaction tells its fate.
    pub(in crate::kafka) fn produce_copy(&self, copy: Copy<'_>) -> Result<(), Failure> {
        self.send(copy, null_mut())
    }

    fn send(&self, copy: Copy<'_>, opaque: *mut c_void) -> Result<(), Failure> {
        use native::rd_kafka_vtype_t as kind;
        let names: Result<Vec<_>, _> = copy
            .headers
            .iter()
            .map(|(name, _)| CString::new(name.as_str()))
            .collect();
        let names = names.map_err(|error| Failure::local(error.to_string()))?;
        let bytes = |bytes: Option<&[u8]>| native::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: bytes.map_or(null_mut(), |bytes| bytes.as_ptr().cast_mut().cast()),
            size: bytes.map_or(0, <[u8]>::len),
        };
        let partition = i32::try_from(copy.partition.0).unwrap_or(i32::MAX);
        let mut fields = vec![
            field(
                kind::RD_KAFKA_VTYPE_RKT,
                native::rd_kafka_vu_s__bindgen_ty_1 { rkt: self.ptr() },
            ),
            field(
                kind::RD_KAFKA_VTYPE_PARTITION,
                native::rd_kafka_vu_s__bindgen_ty_1 { i32_: partition },
            ),
            field(
                kind::RD_KAFKA_VTYPE_KEY,
                native::rd_kafka_vu_s__bindgen_ty_1 { mem: bytes(copy.key) },
            ),
            field(
                kind::RD_KAFKA_VTYPE_VALUE,
                native::rd_kafka_vu_s__bindgen_ty_1 {
                    mem: bytes(copy.value),
                },
            ),
            field(
                kind::RD_KAFKA_VTYPE_OPAQUE,
                native::rd_kafka_vu_s__bindgen_ty_1 { ptr: opaque },
            ),
            field(
                kind::RD_KAFKA_VTYPE_MSGFLAGS,
                native::rd_kafka_vu_s__bindgen_ty_1 {
                    i: native::RD_KAFKA_MSG_F_COPY,
                },
            ),
        ];
        fields.extend(names.iter().zip(copy.headers).map(|(name, (_, value))| {
            let header = native::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
                name: name.as_ptr(),
                val: value.as_ptr().cast(),
                size: isize::try_from(value.len()).unwrap_or(0),
            };
            field(
                kind::RD_KAFKA_VTYPE_HEADER,
                native::rd_kafka_vu_s__bindgen_ty_1 { header },
            )
        }));
        // SAFETY: every pointer in `fields` is alive during the call; with F_COPY librdkafka copies value, key and headers.
        Failure::take(unsafe {
            native::rd_kafka_produceva(self.handle().ptr(), fields.as_ptr(), fields.len())
        })
    }
}

fn field(vtype: native::rd_kafka_vtype_t, u: native::rd_kafka_vu_s__bindgen_ty_1) -> native::rd_kafka_vu_t {
    native::rd_kafka_vu_t { vtype, u }
}

/// librdkafka's delivery callback.
pub(super) extern "C" fn delivered(
    _client: *mut native::rd_kafka_t,
    message: *const native::rd_kafka_message_t,
    _opaque: *mut c_void,
) {
    // SAFETY: librdkafka calls with a message that is alive during the call.
    let message = unsafe { &*message };
    let ticket = message._private.cast::<Ticket>();
    if ticket.is_null() {
        return;
    }
    let result = match Code::from(message.err) {
        Code::NoError => Ok(message.offset),
        _ => Err(Failure::of(message.err)),
    };
    // SAFETY: the address was given with the record, and its report comes once.
    unsafe {
        (*ticket).report(result);
        Ticket::settle(ticket);
    }
}
