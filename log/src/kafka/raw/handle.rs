//! A native client without rdkafka's event queue: it logs from librdkafka's own threads, and its delivery reports (if it
//! wants them) are a callback. Closing it never waits for the network.

use super::produce::delivered;
use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::ffi::{CStr, c_char};
use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

/// A client of librdkafka.
#[derive(Debug)]
pub(in crate::kafka) struct Handle {
    client: NonNull<native::rd_kafka_t>,
}

// SAFETY: librdkafka's clients may be used by any thread, and by several at once (its INTRODUCTION.md, "Threads and callbacks").
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// A producer; with `reports`, each record's fate is told to its [`super::Ticket`] by whoever polls.
    pub(in crate::kafka) fn producer(config: &ClientConfig, reports: bool) -> Result<Self, Failure> {
        Self::new(config, native::rd_kafka_type_t::RD_KAFKA_PRODUCER, reports)
    }

    /// A consumer without a group.
    pub(in crate::kafka) fn consumer(config: &ClientConfig) -> Result<Self, Failure> {
        Self::new(config, native::rd_kafka_type_t::RD_KAFKA_CONSUMER, false)
    }

    fn new(config: &ClientConfig, kind: native::rd_kafka_type_t, reports: bool) -> Result<Self, Failure> {
        let settings = config
            .create_native_config()
            .map_err(|error| Failure::local(error.to_string()))?;
        let mut why = [0 as c_char; 512];
        // SAFETY: the configuration is alive; the callbacks are functions of this program, which are never unloaded.
        unsafe {
            native::rd_kafka_conf_set_log_cb(settings.ptr(), Some(log));
            if reports {
                native::rd_kafka_conf_set_dr_msg_cb(settings.ptr(), Some(delivered));
            }
        }
        // SAFETY: `why` is as long as said.
        let client = unsafe { native::rd_kafka_new(kind, settings.ptr(), why.as_mut_ptr(), why.len()) };
        match NonNull::new(client) {
            Some(client) => {
                // The client owns its configuration from here on; only after a failure is it still ours to drop.
                std::mem::forget(settings);
                Ok(Self { client })
            }
            None => Err(Failure::local(text(why.as_ptr()))),
        }
    }

    pub(super) fn ptr(&self) -> *mut native::rd_kafka_t {
        self.client.as_ptr()
    }

    /// Serves delivery reports; waits at most `timeout` for the first.
    pub(in crate::kafka) fn poll(&self, timeout: Duration) {
        // SAFETY: the client is alive.
        unsafe { native::rd_kafka_poll(self.ptr(), millis(timeout)) };
    }

    /// The error that ended this client for good, if there is one.
    pub(in crate::kafka) fn fatal(&self) -> Option<Failure> {
        let mut why = [0 as c_char; 512];
        // SAFETY: the client is alive and `why` is as long as said.
        let code = unsafe { native::rd_kafka_fatal_error(self.ptr(), why.as_mut_ptr(), why.len()) };
        let code = Code::from(code);
        (code != Code::NoError).then(|| Failure {
            code,
            text: text(why.as_ptr()),
            fatal: true,
            abort: false,
        })
    }

    /// Records and reports not yet served.
    pub(in crate::kafka) fn waiting(&self) -> usize {
        // SAFETY: the client is alive.
        let waiting = unsafe { native::rd_kafka_outq_len(self.ptr()) };
        usize::try_from(waiting).unwrap_or(0)
    }

    /// Gives up all records, sent or not; their reports say so.
    pub(in crate::kafka) fn purge(&self) {
        let all = native::RD_KAFKA_PURGE_F_QUEUE | native::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is alive. The result only says that a consumer cannot purge.
        unsafe { native::rd_kafka_purge(self.ptr(), all) };
    }

    /// Makes the client fail for good, as a broker's refusal would.
    #[cfg(test)]
    pub(in crate::kafka) fn break_for_test(&self) {
        let code = native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        // SAFETY: the client is alive and the text is a C string.
        unsafe { native::rd_kafka_test_fatal_error(self.ptr(), code, c"a fault of a test".as_ptr()) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: whatever was made from this client holds it by `Arc`, so nothing of it is left.
        unsafe { native::rd_kafka_destroy(self.ptr()) };
    }
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct Failure {
    /// Kafka's or librdkafka's code.
    pub(in crate::kafka) code: Code,
    /// In words.
    pub(in crate::kafka) text: String,
    /// The client is dead.
    pub(in crate::kafka) fatal: bool,
    /// The transaction must be aborted before the client is of use again.
    pub(in crate::kafka) abort: bool,
}

impl Failure {
    /// A failure of a call that left no more than a code.
    pub(in crate::kafka) fn of(code: native::rd_kafka_resp_err_t) -> Self {
        let code = Code::from(code);
        Self {
            code,
            text: code.to_string(),
            fatal: code == Code::Fatal,
            abort: false,
        }
    }

    /// A failure on our side, such as a setting that librdkafka does not take.
    pub(in crate::kafka) fn local(text: String) -> Self {
        Self {
            code: Code::InvalidArgument,
            text,
            fatal: true,
            abort: false,
        }
    }

    /// Takes what a transactional or group call returned; null is success.
    pub(super) fn take(error: *mut native::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: the error is ours until it is destroyed, once, below.
        let failure = unsafe {
            Self {
                code: Code::from(native::rd_kafka_error_code(error)),
                text: text(native::rd_kafka_error_string(error)),
                fatal: native::rd_kafka_error_is_fatal(error) != 0,
                abort: native::rd_kafka_error_txn_requires_abort(error) != 0,
            }
        };
        // SAFETY: as above.
        unsafe { native::rd_kafka_error_destroy(error) };
        Err(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.text, self.code)
    }
}

/// A copy of a C string of librdkafka's; empty for null.
pub(super) fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka ends its strings, and the callers hold what owns them.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// A timeout as librdkafka takes it.
pub(super) fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

extern "C" fn log(
    client: *const native::rd_kafka_t,
    level: i32,
    facility: *const c_char,
    line: *const c_char,
) {
    let name = match client.is_null() {
        true => String::new(),
        // SAFETY: librdkafka calls with a client that is alive, and its name lives as long.
        false => text(unsafe { native::rd_kafka_name(client) }),
    };
    super::super::trace::line(level, &name, &text(facility), &text(line));
}
