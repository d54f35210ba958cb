//! Queries, and the log lines of the process.
//!
//! The limits of queries bound what one request can cost the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::Targets;

use super::check::Checks;

/// Section `query`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Milliseconds that a query may wait for a receipt at most.
    /// Default 30,000; `TIDEMARK_QUERY__WAIT_LIMIT_MS`.
    pub wait_limit_ms: u64,
    /// Days that one query may span.
    /// Default 3700; `TIDEMARK_QUERY__RANGE_LIMIT_DAYS`.
    pub range_limit_days: u32,
    /// Buckets that users are hashed into when a generation is made; 512 per expected million users.
    /// Default 512; `TIDEMARK_QUERY__USER_BUCKETS`.
    pub user_buckets: u32,
    /// Readers of live totals at one time; one more gets a 503 with `Retry-After`.
    /// Default 128; `TIDEMARK_QUERY__LIVE_READERS`.
    pub live_readers: usize,
    /// Milliseconds after which a reader of live totals hears something when nothing changed.
    /// Default 15,000; `TIDEMARK_QUERY__LIVE_HEARTBEAT_MS`.
    pub live_heartbeat_ms: u64,
    /// Milliseconds that a reader of live totals may leave unread what waits for it; then it is cut off.
    /// Default 10,000; `TIDEMARK_QUERY__LIVE_PATIENCE_MS`.
    pub live_patience_ms: u64,
    /// Tries to redrive a dead letter that may fail; then it is redriven only where that is forced.
    /// Default 5; `TIDEMARK_QUERY__REDRIVE_TRIES`.
    pub redrive_tries: u32,
    /// Milliseconds between two canaries of a partition: records that count for nothing, by which `query` measures how long the way of an
    /// event takes and notices when it is broken; 0: none. `run` sends none.
    /// Default 5000; `TIDEMARK_QUERY__CANARY_INTERVAL_MS`.
    pub canary_interval_ms: u64,
    /// Milliseconds that a canary is waited for: one that was acknowledged and is not in the views by then is lost. At most 120,000, since
    /// TidemarkCanaryLost looks for two of one partition within five minutes.
    /// Default 60,000; `TIDEMARK_QUERY__CANARY_PATIENCE_MS`.
    pub canary_patience_ms: u64,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            wait_limit_ms: 30_000,
            range_limit_days: 3700,
            user_buckets: 512,
            live_readers: 128,
            live_heartbeat_ms: 15_000,
            live_patience_ms: 10_000,
            redrive_tries: 5,
            canary_interval_ms: 5000,
            canary_patience_ms: 60_000,
        }
    }
}

impl Query {
    /// [`Query::live_patience_ms`] as a duration.
    #[must_use]
    pub fn live_patience(&self) -> Duration {
        Duration::from_millis(self.live_patience_ms)
    }

    /// [`Query::live_heartbeat_ms`] as a duration.
    #[must_use]
    pub fn live_heartbeat(&self) -> Duration {
        Duration::from_millis(self.live_heartbeat_ms)
    }

    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        checks.range("query.wait_limit_ms", self.wait_limit_ms, 1, 3_600_000);
        // Times of events span the years 1970 to 2200.
        checks.range("query.range_limit_days", self.range_limit_days, 1, 84_371);
        checks.range("query.user_buckets", self.user_buckets, 1, 1_048_576);
        // Each holds a connection, a task and at most some hundred kilobytes.
        checks.range("query.live_readers", self.live_readers, 1, 10_000);
        checks.range("query.live_heartbeat_ms", self.live_heartbeat_ms, 100, 3_600_000);
        checks.range("query.redrive_tries", self.redrive_tries, 1, 1000);
        // A partition waits for one at a time. Two that are lost must lie within the five minutes of TidemarkCanaryLost, and one that the log
        // takes within the two of TidemarkCanaryRefused.
        checks.range("query.canary_interval_ms", self.canary_interval_ms, 0, 60_000);
        checks.range("query.canary_patience_ms", self.canary_patience_ms, 100, 120_000);
        checks.range("query.live_patience_ms", self.live_patience_ms, 100, 3_600_000);
    }
}

/// Section `log`: the lines on stderr.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Form of the lines: `text` or `json`.
    /// Default `text`; `TIDEMARK_LOG__FORMAT`.
    pub format: LogFormat,
    /// What is logged, as in `info,aggregator=debug`.
    /// Default `info`; `TIDEMARK_LOG__FILTER`, or `TIDEMARK_LOG` for short.
    pub filter: String,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

impl Log {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let fits = self.filter.parse::<Targets>().is_ok();
        checks.that(
            fits,
            "log.filter",
            &self.filter,
            "must be levels by target, as in info,aggregator=debug",
        );
    }
}
