//! What is counted of queries, beside what every HTTP port counts of its requests.

use crate::live::End;
use prometheus::{IntCounter, IntGauge};
use service::metrics::{Error, Family, Label, Registry};

/// The metrics of queries. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) failures: Family<IntCounter>,
    pub(crate) waiters: IntGauge,
    pub(crate) polls: IntCounter,
    pub(crate) live: IntGauge,
    pub(crate) live_ends: Family<IntCounter>,
    pub(crate) live_reads: IntCounter,
}

impl Metrics {
    /// Makes the metrics `tidemark_query_...`. Once per registry.
    ///
    /// # Errors
    /// If they are made already.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            failures: registry.counters(
                "tidemark_query_failures_total",
                "Looks at the view store or the log that failed, of queries and of the poller.",
                &[Label::new("part", ["store", "log"])],
            )?,
            waiters: registry.gauge(
                "tidemark_query_progress_waiters",
                "Requests that wait for a receipt now.",
            )?,
            polls: registry.counter(
                "tidemark_query_progress_polls_total",
                "Looks at how far the views are, by the one poller.",
            )?,
            live: registry.gauge("tidemark_query_live_connections", "Readers of live totals now.")?,
            live_ends: registry.counters(
                "tidemark_query_live_ends_total",
                "Readers of live totals that get no more, by why.",
                &[Label::new("reason", End::ALL.map(End::word))],
            )?,
            live_reads: registry.counter(
                "tidemark_query_live_reads_total",
                "Days read from the view store for live totals, once for all readers.",
            )?,
        })
    }
}
