//! When a batch is closed, and how it is sent. The answer of commit is a hint; the chain decides.

use super::held::{Held, Phase};
use super::{BATCH_BYTES, Ended, Lane};
use crate::chain::Rule;
use crate::source::new_batch_id;
use log::{CommitError, Transaction};
use schemas::Partition;
use std::time::{Duration, Instant};

/// How often the end of a partition is asked for.
const LAG_EVERY: Duration = Duration::from_secs(1);
/// Age of what was sent and not read back at which the others are not made to wait any more for a partition that is full.
const HELD_BACK: Duration = Duration::from_secs(1);

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Of the partitions of which not too much is on its way. One whose chain is held back, as by a transaction of another team that stays
    /// open, holds up no other.
    Due,
    /// All that is in hand.
    All,
}

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
        let full = self
            .held
            .values()
            .any(|held| self.has_room(held) && self.is_whole(held));
        let aged = self
            .opened
            .is_some_and(|opened| opened.elapsed() >= self.interval());
        full || aged && self.may_send()
    }

    /// Whether anything may be sent at all.
    pub(super) fn may_send(&self) -> bool {
        self.held
            .values()
            .any(|held| self.has_room(held) && !held.is_restoring())
    }

    /// Whether more of a partition may be on its way.
    fn has_room(&self, held: &Held) -> bool {
        held.source.in_flight() < self.settings.pipeline
    }

    /// Whether its open batch is as large as one may be.
    fn is_whole(&self, held: &Held) -> bool {
        let (records, bytes) = held.source.open();
        records >= self.settings.batch_records || bytes >= BATCH_BYTES
    }

    /// Whether nothing more may be folded until something is read back.
    pub(super) fn is_full(&self) -> bool {
        self.held
            .values()
            .any(|held| held.is_running() && self.takes_no_more(held))
    }

    fn takes_no_more(&self, held: &Held) -> bool {
        !self.has_room(held) && self.is_whole(held)
    }

    /// Takes no more of a partition that is full and whose chain is held back, until it goes on.
    pub(super) fn wait_for_held_back(&mut self) -> Result<(), Ended> {
        let (mut stop, mut go_on) = (Vec::new(), Vec::new());
        for (partition, held) in &self.held {
            let since = held.waiting.as_ref().map(|waiting| waiting.since.elapsed());
            match held.phase {
                Phase::Running
                    if self.takes_no_more(held) && since.is_some_and(|since| since >= HELD_BACK) =>
                {
                    stop.push(*partition);
                }
                Phase::HeldBack if self.has_room(held) => go_on.push(*partition),
                _ => {}
            }
        }
        for partition in stop {
            if let Some(held) = self.held.get_mut(&partition) {
                tracing::warn!(lane = self.settings.name, %partition, "its chain is held back: the others go on without it");
                held.phase = Phase::HeldBack;
                self.parts.member.pause(partition)?;
            }
        }
        for partition in go_on {
            if let Some(held) = self.held.get_mut(&partition) {
                held.phase = Phase::Running;
                self.parts.member.seek(partition, held.source.next())?;
            }
        }
        Ok(())
    }

    /// Closes the batches of partitions and sends them in one transaction.
    pub(super) fn commit(&mut self, what: What) -> Result<(), Ended> {
        self.opened = None;
        let mut transaction = Transaction::default();
        let pipeline = self.settings.pipeline;
        for held in self.held.values_mut() {
            if held.is_restoring() {
                continue;
            }
            if what == What::Due && held.source.in_flight() >= pipeline {
                // Looked at again in a while.
                self.opened = Some(Instant::now());
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
            // Not behind what was folded: of a chain that is held back that would never say anything.
            let concluded = held.source.chain.next;
            self.tools
                .metrics
                .lag(*partition, end.0.saturating_sub(concluded.0));
        }
    }
}
