//! What ingest counts, for Prometheus.

use prometheus::{Histogram, IntCounter, IntGauge};
use service::metrics::{Error, Family, Label, Registry, SECONDS};

/// Every code of [`schemas::Invalid`], and those of a row's frame.
const CODES: [&str; 20] = [
    "missing",
    "too_long",
    "control_character",
    "not_a_time",
    "out_of_range",
    "in_future",
    "not_a_number",
    "not_a_boolean",
    "too_many",
    "not_text",
    "twice",
    "not_an_object",
    "not_json",
    "not_utf8",
    "columns",
    "not_supported",
    "not_base64",
    "not_known",
    "not_csv",
    "refused",
];
/// Every status that ingest answers with.
const STATUSES: [&str; 13] = [
    "200", "201", "202", "400", "403", "405", "408", "413", "415", "422", "429", "500", "503",
];
/// Why a body was not read to its end.
const FAULTS: [&str; 6] = [
    "incomplete",
    "too_slow",
    "too_large",
    "encoding",
    "bomb",
    "format",
];

/// The metrics of ingest. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) accepted: IntCounter,
    pub(crate) invalid: Family<IntCounter>,
    pub(crate) body_bytes: IntCounter,
    pub(crate) requests: Family<IntCounter>,
    pub(crate) broken: Family<IntCounter>,
    pub(crate) waited: Family<IntCounter>,
    pub(crate) append_seconds: Histogram,
    pub(crate) in_flight: IntGauge,
    pub(crate) held_bytes: IntGauge,
}

impl Metrics {
    /// Makes the metrics `tidemark_ingest_...`. Once per registry.
    ///
    /// # Errors
    /// If they are made already.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            accepted: registry.counter(
                "tidemark_ingest_accepted_events_total",
                "Events that the log has.",
            )?,
            invalid: registry.counters(
                "tidemark_ingest_invalid_events_total",
                "Rows that were not accepted, by code.",
                &[Label::new("code", CODES)],
            )?,
            body_bytes: registry.counter(
                "tidemark_ingest_body_bytes_total",
                "Bytes of bodies, as they were sent.",
            )?,
            requests: registry.counters(
                "tidemark_ingest_requests_total",
                "Requests that bring events, by status.",
                &[Label::new("status", STATUSES)],
            )?,
            broken: registry.counters(
                "tidemark_ingest_broken_requests_total",
                "Requests whose body was not read to its end, by what was wrong with it.",
                &[Label::new("reason", FAULTS)],
            )?,
            waited: registry.counters(
                "tidemark_ingest_waited_requests_total",
                "Requests that waited for what becomes of their events, by how that ended.",
                &[Label::new("end", ["counted", "time_over"])],
            )?,
            append_seconds: registry.histogram(
                "tidemark_ingest_append_seconds",
                "Time until the log has a chunk.",
                &SECONDS,
            )?,
            in_flight: registry.gauge(
                "tidemark_ingest_in_flight_batches",
                "Chunks that wait for the log now.",
            )?,
            held_bytes: registry.gauge(
                "tidemark_ingest_held_bytes",
                "Bytes that requests hold now in chunks and in rows that are not complete.",
            )?,
        })
    }
}
