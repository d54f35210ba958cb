//! What one request, and all requests together, may take. Every bound has a name here.

use service::config;
use std::time::Duration;

/// The limits of ingest.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body after decompression, in bytes. `http.decompressed_limit_bytes`, 20 GiB.
    pub decompressed_bytes: u64,
    /// How many times larger a body may become by decompression, beyond its first MiB.
    /// `http.decompression_ratio_limit`, 200.
    pub decompression_ratio: u32,
    /// Largest row, in bytes. `http.row_limit_bytes`, 1 MiB.
    pub row_bytes: usize,
    /// Rows listed in one answer, and keys listed in one answer. `http.results_limit`, 1000.
    pub results: usize,
    /// A chunk is appended when it has so many bytes: 256 KiB, one good batch of the log.
    pub chunk_bytes: usize,
    /// The same for a request that has appended [`Limits::bulk_after_bytes`]: 1 MiB, as throughput counts there.
    pub bulk_chunk_bytes: usize,
    /// When a request is bulk, in bytes of records appended: 4 MiB.
    pub bulk_after_bytes: usize,
    /// Chunks of one request that wait for the log at one time: 8. One more waits for the oldest.
    pub chunks_in_flight: usize,
    /// Bytes that all requests together may hold, in chunks and in rows that are not complete: 256 MiB. Where less than
    /// a piece is left, a new request gets a 503; one that has begun waits.
    pub held_bytes: usize,
    /// How long a request that has begun waits for room among [`Limits::held_bytes`]: 10 s. Longer than the log should
    /// ever take for a chunk, so that only a log that stands still ends it.
    pub room_timeout: Duration,
    /// Rows that are not valid of which an upload's facts say what is wrong: 10,000, under 2 MB.
    pub listed_errors: usize,
    /// How often an upload that goes on says so: 10 s.
    pub going_interval: Duration,
    /// Uploads of the older service that one address may send within a minute: 10, as there.
    pub older_uploads: u32,
    /// `Retry-After` of a 503, in seconds: 1.
    pub retry_after_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&config::Http::default())
    }
}

impl From<&config::Http> for Limits {
    fn from(http: &config::Http) -> Self {
        Self {
            decompressed_bytes: http.decompressed_limit_bytes,
            decompression_ratio: http.decompression_ratio_limit,
            row_bytes: http.row_limit_bytes,
            results: http.results_limit,
            chunk_bytes: 256 * 1024,
            bulk_chunk_bytes: 1024 * 1024,
            bulk_after_bytes: 4 * 1024 * 1024,
            chunks_in_flight: 8,
            held_bytes: 256 * 1024 * 1024,
            room_timeout: Duration::from_secs(10),
            listed_errors: 10_000,
            going_interval: Duration::from_secs(10),
            older_uploads: 10,
            retry_after_s: service::http::RETRY_AFTER_S,
        }
    }
}
