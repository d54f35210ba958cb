//! When a batch is closed, and how it is sent. The answer of commit is a hint; the chain decides.

use super::{BATCH_BYTES, Ended, Lane};
use crate::chain::Rule;
use crate::source::new_batch_id;
use log::{CommitError, Transaction};
use schemas::Partition;
use std::time::{Duration, Instant};

/// How often the end of a partition is asked for.
const LAG_EVERY: Duration = Duration::from_secs(1);

impl Lane {
    /// Age at which the open batches are closed.
    pub(super) fn interval(&self) -> Duration {
        let lag = self.held.values().map(|held| held.lag).max().unwrap_or(0);
        match lag > self.settings.bulk_lag_records {
            true => self.settings.bulk_commit_interval,
            false => self.settings.commit_interval,
        }
    }

    /// Whether what is in hand should be sent now.
    pub(super) fn is_due(&self) -> bool {
        let full = self.held.values().any(|held| {
            let (records, bytes) = held.source.open();
            records >= self.settings.batch_records || bytes >= BATCH_BYTES
        });
        let aged = self
            .opened
            .is_some_and(|opened| opened.elapsed() >= self.interval());
        (full || aged)
            && !self
                .held
                .values()
                .any(|held| held.source.in_flight() >= self.settings.pipeline)
    }

    /// Whether nothing more may be folded until something is read back.
    pub(super) fn is_full(&self) -> bool {
        self.held.values().any(|held| {
            let (records, bytes) = held.source.open();
            held.source.in_flight() >= self.settings.pipeline
                && (records >= self.settings.batch_records || bytes >= BATCH_BYTES)
        })
    }

    /// Closes the batches of all partitions and sends them in one transaction.
    pub(super) fn commit(&mut self) -> Result<(), Ended> {
        self.opened = None;
        let mut transaction = Transaction::default();
        for held in self.held.values_mut() {
            if held.is_restoring() {
                continue;
            }
            if let Some((commit, dead_letters)) = held.source.close(new_batch_id(), &self.settings.name) {
                transaction.commits.push(commit);
                transaction.dead_letters.extend(dead_letters);
            }
        }
        if transaction.commits.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let result = self.parts.member.commit(&transaction);
        self.tools
            .metrics
            .committed(&transaction, started.elapsed(), result.is_ok());
        match result {
            Ok(()) => {
                if !Rule::ReadBack.holds() {
                    self.held.values_mut().for_each(|held| held.source.believe());
                }
                Ok(())
            }
            Err(CommitError::Aborted(reason)) => {
                tracing::warn!(
                    lane = self.settings.name,
                    reason,
                    "a transaction was not committed: reading the chain again"
                );
                let partitions: Vec<Partition> = transaction
                    .commits
                    .iter()
                    .map(|commit| commit.partition)
                    .collect();
                self.begin_again(&partitions)
            }
            Err(CommitError::Fatal(reason)) => Err(Ended::Again(reason)),
        }
    }

    /// Ends what this lane's producer left hanging, now and then, whoever has the partition by now.
    pub(super) fn end_hanging(&mut self) -> Result<(), Ended> {
        if self.hanging_looked.elapsed() < self.settings.hanging_after {
            return Ok(());
        }
        let ended = self.parts.member.end_hanging();
        self.hanging_looked = Instant::now();
        match ended {
            Ok(()) => Ok(()),
            Err(CommitError::Aborted(reason)) => {
                tracing::warn!(
                    lane = self.settings.name,
                    reason,
                    "hanging transactions could not be ended"
                );
                Ok(())
            }
            Err(CommitError::Fatal(reason)) => Err(Ended::Again(reason)),
        }
    }

    /// Asks how far behind the partitions are, now and then; also where nothing comes, else the last answer would stand for ever.
    pub(super) fn ask_lag(&mut self) {
        for (partition, held) in &mut self.held {
            if held.lag_asked.is_some_and(|asked| asked.elapsed() < LAG_EVERY) {
                continue;
            }
            held.lag_asked = Some(Instant::now());
            // Brokers that do not answer for one partition are not asked for the next, each time up to their deadline.
            let Ok(end) = self.parts.member.end(*partition) else {
                return;
            };
            held.lag = end.0.saturating_sub(held.source.next().0);
            self.tools.metrics.lag(*partition, held.lag);
        }
    }
}
