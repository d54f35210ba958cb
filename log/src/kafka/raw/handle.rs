//! A native client without rdkafka's event queue: it logs from librdkafka's own threads, and its delivery reports (if it
//! wants them) are a callback. Closing it never waits for the network.

use super::super::advice::with_advice;
use super::super::settings::STATISTICS_MS;
use super::super::statistics::{ClientKind, Statistics};
use super::login::{Enrolled, Login};
use super::produce::delivered;
use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// librdkafka's word for lines that say why a connection could not be made or broke.
const FAILED: &str = "FAIL";
/// OpenSSL's words for a certificate that is not believed: [`believed`] has noted why.
const DOUBTED: &str = "certificate verify failed";
/// For how long what was said explains what fails.
const RECENT: Duration = Duration::from_secs(30);

/// A client of librdkafka.
#[derive(Debug)]
pub(in crate::kafka) struct Handle {
    client: NonNull<native::rd_kafka_t>,
    /// Gone before the client goes.
    enrolled: Option<Enrolled>,
    /// The client talks to it until it is gone.
    heard: Arc<Heard>,
}

/// Who looks after a client.
pub(in crate::kafka) struct Watched {
    pub(in crate::kafka) login: Option<Arc<Login>>,
    pub(in crate::kafka) statistics: Option<(Arc<Statistics>, ClientKind)>,
}

/// What a client says of itself.
#[derive(Debug)]
struct Heard {
    /// Why a broker cannot be talked to, as it said last.
    failure: Mutex<Option<(Instant, String)>>,
    statistics: Option<(Arc<Statistics>, ClientKind)>,
}

impl Heard {
    fn note_failure(&self, text: &str) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), text.to_owned()));
    }

    fn recent_failure(&self) -> Option<String> {
        let said = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_ref()
            .filter(|(at, _)| at.elapsed() < RECENT)
            .map(|(_, text)| text.clone())
    }
}

// SAFETY: librdkafka's clients may be used by any thread, and by several at once (its INTRODUCTION.md, "Threads and callbacks").
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// A producer; with `reports`, each record's fate is told to its [`super::Ticket`] by whoever polls.
    pub(in crate::kafka) fn producer(
        config: &ClientConfig,
        watched: Watched,
        reports: bool,
    ) -> Result<Self, Failure> {
        Self::new(
            config,
            watched,
            native::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            reports,
        )
    }

    /// A consumer without a group.
    pub(in crate::kafka) fn consumer(config: &ClientConfig, watched: Watched) -> Result<Self, Failure> {
        Self::new(config, watched, native::rd_kafka_type_t::RD_KAFKA_CONSUMER, false)
    }

    fn new(
        config: &ClientConfig,
        watched: Watched,
        kind: native::rd_kafka_type_t,
        reports: bool,
    ) -> Result<Self, Failure> {
        let heard = Arc::new(Heard {
            failure: Mutex::new(None),
            statistics: watched.statistics,
        });
        let mut config = config.clone();
        if heard.statistics.is_some() {
            config.set("statistics.interval.ms", STATISTICS_MS);
        }
        let settings = config
            .create_native_config()
            .map_err(|error| Failure::local(error.to_string()))?;
        let mut why = [0 as c_char; 512];
        // SAFETY: the configuration is alive; the callbacks are functions of this program, which are never unloaded; what hears them outlives the
        // client, which is destroyed before its fields are dropped.
        unsafe {
            native::rd_kafka_conf_set_log_cb(settings.ptr(), Some(log));
            native::rd_kafka_conf_set_opaque(settings.ptr(), Arc::as_ptr(&heard).cast_mut().cast());
            native::rd_kafka_conf_set_stats_cb(settings.ptr(), Some(measured));
            native::rd_kafka_conf_set_ssl_cert_verify_cb(settings.ptr(), Some(believed));
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
                Ok(Self {
                    client,
                    enrolled: watched.login.map(|login| login.enrol(client)),
                    heard,
                })
            }
            None => Err(Failure::local(text(why.as_ptr()))),
        }
    }

    pub(super) fn ptr(&self) -> *mut native::rd_kafka_t {
        self.client.as_ptr()
    }

    /// The failure, and why no broker could be talked to, if it may be that.
    pub(in crate::kafka) fn explained(&self, failure: Failure) -> Failure {
        let is_silence = matches!(
            failure.code,
            Code::OperationTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::LeaderNotAvailable
                | Code::Resolve
                | Code::SSL
                | Code::Authentication
        );
        match self.heard.recent_failure().filter(|_| is_silence) {
            Some(words) => Failure {
                text: format!("{}; {words}", failure.text),
                ..failure
            },
            None => failure,
        }
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
        drop(self.enrolled.take());
        if let Some((statistics, _)) = &self.heard.statistics {
            // SAFETY: the client is alive, and its name lives as long.
            statistics.forget(&text(unsafe { native::rd_kafka_name(self.ptr()) }));
        }
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

/// librdkafka's statistics; 0 lets it free the text.
extern "C" fn measured(
    client: *mut native::rd_kafka_t,
    json: *mut c_char,
    length: usize,
    heard: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka calls with a client that is alive, with what that client was given, and with a text that is as long as said.
    let (name, heard, json) = unsafe {
        (
            text(native::rd_kafka_name(client)),
            heard.cast::<Heard>().as_ref(),
            std::slice::from_raw_parts(json.cast::<u8>(), length),
        )
    };
    if let Some((statistics, kind)) = heard.and_then(|heard| heard.statistics.as_ref()) {
        statistics.say(&name, *kind, json);
    }
    0
}

/// Asked for each certificate that a broker shows; 1 believes it. OpenSSL has judged it already: this keeps what was wrong with it, which
/// librdkafka does not say otherwise.
extern "C" fn believed(
    _client: *mut native::rd_kafka_t,
    broker: *const c_char,
    _number: i32,
    judgement: *mut c_int,
    _depth: c_int,
    _der: *const c_char,
    _length: usize,
    why: *mut c_char,
    room: usize,
    heard: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka calls with a judgement to be read, and with what the client was given.
    let (code, heard) = unsafe { (*judgement, heard.cast::<Heard>().as_ref()) };
    if code == 0 {
        return 1;
    }
    let words = fault_of_certificate(code);
    if let Some(heard) = heard {
        let said = format!("{}: {}", text(broker), words.to_string_lossy());
        heard.note_failure(&with_advice(&said));
    }
    let length = words.to_bytes_with_nul().len();
    if length <= room {
        // SAFETY: there is room for so many bytes, and the words have as many.
        unsafe { why.copy_from_nonoverlapping(words.as_ptr(), length) };
    }
    0
}

/// What OpenSSL's `x509_vfy.h` means, in its words where advice goes by them.
fn fault_of_certificate(code: c_int) -> &'static CStr {
    match code {
        9 => c"certificate is not yet valid",
        10 => c"certificate has expired",
        62 => c"hostname mismatch",
        64 => c"IP address mismatch",
        2 | 18..=21 => c"certificate of an authority that is not known",
        _ => c"certificate is not valid",
    }
}

extern "C" fn log(
    client: *const native::rd_kafka_t,
    level: i32,
    facility: *const c_char,
    line: *const c_char,
) {
    let facility = text(facility);
    let said = with_advice(&text(line));
    if facility == FAILED && !said.contains(DOUBTED) && !client.is_null() {
        // SAFETY: the client is alive during the call, and so is what it was given.
        let heard = unsafe { native::rd_kafka_opaque(client).cast::<Heard>().as_ref() };
        if let Some(heard) = heard {
            heard.note_failure(&said);
        }
    }
    let name = match client.is_null() {
        true => String::new(),
        // SAFETY: librdkafka calls with a client that is alive, and its name lives as long.
        false => text(unsafe { native::rd_kafka_name(client) }),
    };
    super::super::trace::line(level, &name, &facility, &said);
}
