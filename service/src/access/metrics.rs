//! What is counted of access. No label names a key or a tenant.

use prometheus::{IntCounter, IntGauge};

use crate::metrics::{Error, Family, Label, Registry};

/// The codes of problems that are refusals of access.
pub(super) const REFUSALS: [&str; 6] = [
    "key_missing",
    "key_unknown",
    "key_revoked",
    "scope_missing",
    "rate_exceeded",
    "quota_exceeded",
];

#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) refused: Family<IntCounter>,
    pub(super) keys: IntGauge,
    pub(super) damaged: IntGauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            refused: registry.counters(
                "tidemark_access_refused_requests_total",
                "Requests refused for their key, by reason.",
                &[Label::new("reason", REFUSALS)],
            )?,
            keys: registry.gauge(
                "tidemark_access_current_keys",
                "Keys that hold; 0 also where none are needed.",
            )?,
            damaged: registry.gauge(
                "tidemark_access_damaged_files",
                "1 while the file of keys cannot be read, and those read last hold.",
            )?,
        })
    }
}
