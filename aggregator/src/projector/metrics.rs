//! What the projector tells of itself. Labels are partitions only.

use prometheus::{Histogram, IntCounter, IntGauge};
use schemas::{Offset, Partition};
use service::metrics::{Error as MetricsError, Family, Label, Registry, SECONDS};
use std::time::Duration;

/// What the projector tells of itself; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    rows: IntCounter,
    dirty: IntGauge,
    seconds: Histogram,
    emptied: IntCounter,
    next: Family<IntGauge>,
    behind: Family<IntGauge>,
}

impl Metrics {
    /// Makes the metrics for `partitions` source partitions.
    pub fn new(registry: &Registry, partitions: u32) -> Result<Self, MetricsError> {
        let partition = || {
            [Label::new(
                "partition",
                (0..partitions).map(|partition| partition.to_string()),
            )]
        };
        Ok(Self {
            rows: registry.counter(
                "tidemark_projector_written_rows_total",
                "Rows written to the view store.",
            )?,
            dirty: registry.gauge("tidemark_projector_dirty_rows", "Rows of the last flush.")?,
            seconds: registry.histogram("tidemark_projector_flush_seconds", "Time of a flush.", &SECONDS)?,
            emptied: registry.counter(
                "tidemark_projector_emptied_total",
                "Tables found emptied and projected again.",
            )?,
            next: registry.gauges(
                "tidemark_projector_projected_offset",
                "Next offset that the views reflect.",
                &partition(),
            )?,
            behind: registry.gauges(
                "tidemark_projector_behind_records",
                "Records on the chain that the views do not reflect.",
                &partition(),
            )?,
        })
    }

    pub(super) fn dirty(&self, rows: usize) {
        self.dirty.set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    pub(super) fn flushed(&self, rows: usize, took: Duration) {
        self.rows.inc_by(rows as u64);
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn emptied(&self) {
        self.emptied.inc();
    }

    pub(super) fn projected(&self, partition: Partition, next: Offset) {
        set(self.next.get(&[&partition.to_string()]), next.0);
    }

    pub(super) fn behind(&self, partition: Partition, records: u64) {
        set(self.behind.get(&[&partition.to_string()]), records);
    }

    /// A partition that is another's now is nowhere here, and has nothing behind.
    pub(super) fn forget(&self, partition: Partition) {
        self.behind(partition, 0);
        self.projected(partition, Offset(0));
    }
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
