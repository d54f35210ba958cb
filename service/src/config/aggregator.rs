//! The lanes that count, and the log and store of `tidemark run`.
//!
//! The intervals trade freshness for cost; the memory limits are budgets that the lanes keep, not hints.

use serde::{Deserialize, Serialize};

use super::check::Checks;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
const TIB: i128 = 1024 * 1024 * 1024 * 1024;
/// Longest of any interval here: a minute. Longer ones are mistakes of unit.
const MINUTE_MS: i128 = 60_000;

/// Section `aggregator`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregator {
    /// Lanes (threads that each own some partitions) in this process.
    /// Default 1; `TIDEMARK_AGGREGATOR__LANES`.
    pub lanes: u32,
    /// Milliseconds between commits while the lane is fresh.
    /// Default 100; `TIDEMARK_AGGREGATOR__COMMIT_INTERVAL_MS`.
    pub commit_interval_ms: u64,
    /// Milliseconds between commits while the lane catches up.
    /// Default 500; `TIDEMARK_AGGREGATOR__BULK_COMMIT_INTERVAL_MS`.
    pub bulk_commit_interval_ms: u64,
    /// Records of lag above which a lane is catching up (bulk) and not fresh.
    /// Default 20,000; `TIDEMARK_AGGREGATOR__BULK_LAG_RECORDS`.
    pub bulk_lag_records: u64,
    /// Records in one batch at most.
    /// Default 50,000; `TIDEMARK_AGGREGATOR__BATCH_RECORDS`.
    pub batch_records: usize,
    /// Bytes of memory for the dedup index; the older part moves to disk beyond it.
    /// Default 1 GiB; `TIDEMARK_AGGREGATOR__DEDUP_MEMORY_BYTES`.
    pub dedup_memory_bytes: u64,
    /// Idempotency keys remembered at most, each partition its share of them: warns at 80 % of a share; at 100 % the process ends rather than
    /// forget, and so does whoever takes the partition over; 0: unbounded.
    /// Default 0; `TIDEMARK_AGGREGATOR__DEDUP_MAX_KEYS`.
    pub dedup_max_keys: u64,
    /// Bytes of memory for rows that are not yet projected.
    /// Default 512 MiB; `TIDEMARK_AGGREGATOR__ROWS_MEMORY_BYTES`.
    pub rows_memory_bytes: u64,
    /// Milliseconds between projections while fresh.
    /// Default 100; `TIDEMARK_AGGREGATOR__FLUSH_INTERVAL_MS`.
    pub flush_interval_ms: u64,
    /// Milliseconds between projections at most: so long while catching up, or where much waits; else as long as the last one kept the store
    /// busy, up to this. Where nothing more comes, what is there is projected at once.
    /// Default 2000; `TIDEMARK_AGGREGATOR__BULK_FLUSH_INTERVAL_MS`.
    pub bulk_flush_interval_ms: u64,
    /// Batches committed but not yet read back at most.
    /// Default 4; `TIDEMARK_AGGREGATOR__PIPELINE`.
    pub pipeline: usize,
}

impl Default for Aggregator {
    fn default() -> Self {
        Self {
            lanes: 1,
            commit_interval_ms: 100,
            bulk_commit_interval_ms: 500,
            bulk_lag_records: 20_000,
            batch_records: 50_000,
            dedup_memory_bytes: GIB,
            dedup_max_keys: 0,
            rows_memory_bytes: 512 * MIB,
            flush_interval_ms: 100,
            bulk_flush_interval_ms: 2000,
            pipeline: 4,
        }
    }
}

impl Aggregator {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let memory_min = i128::from(MIB);
        checks.range("aggregator.lanes", self.lanes, 1, 1024);
        checks.range(
            "aggregator.commit_interval_ms",
            self.commit_interval_ms,
            1,
            MINUTE_MS,
        );
        checks.range(
            "aggregator.bulk_commit_interval_ms",
            self.bulk_commit_interval_ms,
            1,
            MINUTE_MS,
        );
        checks.range(
            "aggregator.batch_records",
            self.batch_records as u64,
            1,
            10_000_000,
        );
        checks.range(
            "aggregator.dedup_memory_bytes",
            self.dedup_memory_bytes,
            memory_min,
            TIB,
        );
        checks.range(
            "aggregator.rows_memory_bytes",
            self.rows_memory_bytes,
            memory_min,
            TIB,
        );
        checks.range(
            "aggregator.flush_interval_ms",
            self.flush_interval_ms,
            1,
            MINUTE_MS,
        );
        checks.range(
            "aggregator.bulk_flush_interval_ms",
            self.bulk_flush_interval_ms,
            1,
            MINUTE_MS,
        );
        checks.range("aggregator.pipeline", self.pipeline as u64, 1, 64);
    }
}

/// Section `embedded`: the log and store of `tidemark run`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    /// Partitions when the folder is created; afterwards the generation says.
    /// Default 4; `TIDEMARK_EMBEDDED__PARTITIONS`.
    pub partitions: u32,
    /// Milliseconds that appends wait for company before one fsync makes them all durable; 0: none.
    /// Default 5; `TIDEMARK_EMBEDDED__FSYNC_INTERVAL_MS`.
    pub fsync_interval_ms: u32,
    /// Bytes after which a new segment of the log is begun.
    /// Default 256 MiB; `TIDEMARK_EMBEDDED__SEGMENT_BYTES`.
    pub segment_bytes: u64,
}

impl Default for Embedded {
    fn default() -> Self {
        Self {
            partitions: 4,
            fsync_interval_ms: 5,
            segment_bytes: 256 * MIB,
        }
    }
}

impl Embedded {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        checks.range("embedded.partitions", self.partitions, 1, 1024);
        checks.range("embedded.fsync_interval_ms", self.fsync_interval_ms, 0, 10_000);
        checks.range(
            "embedded.segment_bytes",
            self.segment_bytes,
            i128::from(MIB),
            i128::from(64 * GIB),
        );
    }
}
