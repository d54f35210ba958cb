//! What is written down of an upload while it goes on: its facts, each durable before the next, in the partition of its id.
//!
//! The first stands before its first row and the last behind its last one, so whoever reads them knows what there must be
//! between. A fact that was not acknowledged may be there all the same; the first of two that exclude each other holds.

use crate::Ingest;
use crate::tally::Tally;
use log::batch::Kind;
use log::{AppendError, Appended, Chunk};
use schemas::Partition;
use schemas::input::RowError;
use schemas::upload::{self, Fact, What};
use std::time::Instant;
use uuid::Uuid;

/// A fact with errors is complete at about so many bytes: the log takes 1 MiB, and a reader holds one at a time.
const ERRORS_BYTES: usize = 192 * 1024;
/// What an error takes in a fact beside its texts, roughly.
const ERROR_OVERHEAD: usize = 64;

/// The facts of one upload.
#[derive(Debug)]
pub(crate) struct Diary {
    tenant: String,
    upload: Uuid,
    pub(crate) home: Partition,
    /// When the last fact was written.
    wrote: Instant,
    errors: Vec<RowError>,
    errors_bytes: usize,
}

impl Diary {
    pub(crate) fn new(tenant: &str, upload: Uuid, partitions: u32) -> Self {
        Self {
            tenant: tenant.to_owned(),
            upload,
            home: upload::home(upload, partitions),
            wrote: Instant::now(),
            errors: Vec::new(),
            errors_bytes: 0,
        }
    }

    /// Writes a fact; resolves when it is durable.
    pub(crate) async fn write(&mut self, ingest: &Ingest, what: What) -> Result<Appended, AppendError> {
        let at_ms = (ingest.clock)().0.div_euclid(1000);
        let fact = Fact::new(self.tenant.as_str(), self.upload, at_ms, what);
        let mut chunk = Chunk::new(self.home);
        chunk.set_kind(Kind::Fact);
        chunk.push(fact.key().as_bytes(), &fact.encode());
        let written = ingest.appender.append(chunk).await;
        if let Err(cause) = &written {
            tracing::warn!(partition = %self.home, %cause, "a fact of an upload was not acknowledged");
        }
        self.wrote = Instant::now();
        written
    }

    /// Takes over the errors of a tally, and writes what is due.
    pub(crate) async fn keep_up(&mut self, ingest: &Ingest, tally: &mut Tally) -> Result<(), AppendError> {
        let is_late = self.wrote.elapsed() >= ingest.limits.going_interval;
        self.take_errors(ingest, tally, is_late).await?;
        if self.wrote.elapsed() >= ingest.limits.going_interval {
            let rows = tally.valid.saturating_add(tally.invalid);
            self.write(ingest, What::Going { rows }).await?;
        }
        Ok(())
    }

    /// Writes all errors of a tally that are not written yet.
    pub(crate) async fn finish_errors(
        &mut self,
        ingest: &Ingest,
        tally: &mut Tally,
    ) -> Result<(), AppendError> {
        self.take_errors(ingest, tally, true).await
    }

    async fn take_errors(
        &mut self,
        ingest: &Ingest,
        tally: &mut Tally,
        write_rest: bool,
    ) -> Result<(), AppendError> {
        for error in std::mem::take(&mut tally.errors) {
            self.errors_bytes += error.message.len() + error.code.len() + error.field.len() + ERROR_OVERHEAD;
            self.errors.push(error);
            if self.errors_bytes >= ERRORS_BYTES {
                self.write_errors(ingest).await?;
            }
        }
        match write_rest && !self.errors.is_empty() {
            true => self.write_errors(ingest).await,
            false => Ok(()),
        }
    }

    async fn write_errors(&mut self, ingest: &Ingest) -> Result<(), AppendError> {
        self.errors_bytes = 0;
        let rows = std::mem::take(&mut self.errors);
        self.write(ingest, What::Errors { rows }).await.map(|_| ())
    }
}
