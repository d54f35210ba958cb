//! Copies of misplaced records, and schemas from the registry: the two things for which a lane needs others.
//!
//! A copy is written only after the commit record that says `rerouted` was read back. It may be written twice; dedup absorbs that.

use super::held::Phase;
use super::{Ended, Lane};
use crate::fold::{Misplaced, misplaced};
use log::batch::{ORIGIN_HEADER, Origin};
use log::{AppendError, Chunk, LogError};
use schemas::{Offset, Partition};
use std::time::{Duration, Instant};

/// How long to leave the registry alone after a question.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long to leave the log alone after it refused copies.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes to read at once when looking for records of a former owner.
const READ_BYTES: usize = 1024 * 1024;

impl Lane {
    /// Writes the copies that are due, oldest batch first.
    pub(super) fn send_reroutes(&mut self) {
        for (partition, held) in &mut self.held {
            if held.reroute_after.is_some_and(|after| Instant::now() < after) {
                continue;
            }
            held.reroute_after = None;
            let Some(due) = held.source.to_reroute() else {
                continue;
            };
            let appends: Vec<_> = due
                .misplaced
                .iter()
                .map(|record| self.parts.appender.append(copy(*partition, record)))
                .collect();
            let count = appends.len();
            match self
                .tools
                .runtime
                .block_on(futures::future::try_join_all(appends))
            {
                Ok(_) => {
                    self.tools.metrics.copied(*partition, count);
                    held.source.rerouted();
                    // The next commit record says so, even if nothing else comes.
                    self.opened.get_or_insert_with(Instant::now);
                }
                Err(AppendError::Unavailable(reason) | AppendError::Refused(reason)) => {
                    tracing::warn!(lane = self.settings.name, %partition, reason, "copies of misplaced records are late");
                    held.reroute_after = Some(Instant::now() + RETRY_AFTER);
                }
            }
        }
    }

    /// Puts the records in the outbox that a former owner rerouted and may not have copied.
    pub(super) fn resend(
        &mut self,
        partition: Partition,
        unsent: &[(Offset, Partition)],
    ) -> Result<(), Ended> {
        let (Some((first, _)), Some((last, _))) = (unsent.first(), unsent.last()) else {
            return Ok(());
        };
        let (mut next, end) = (*first, last.next());
        let mut found = Vec::new();
        let mut wanted = unsent.iter().peekable();
        while next < end {
            let batch = self.parts.reader.read(partition, next, end, READ_BYTES)?;
            for record in batch.iter() {
                while wanted.next_if(|(offset, _)| *offset < record.offset).is_some() {}
                if let Some((_, to)) = wanted.next_if(|(offset, _)| *offset == record.offset) {
                    found.push(misplaced(&record, *to));
                }
                next = record.offset.next();
            }
            if batch.is_empty() {
                break;
            }
        }
        if found.len() != unsent.len() {
            let missing = unsent.len() - found.len();
            return Err(LogError::Wrong(format!(
                "`events` {partition} lacks {missing} records that were rerouted and not copied: restore them"
            ))
            .into());
        }
        if let Some(held) = self.held.get_mut(&partition) {
            held.source.resend(found);
        }
        Ok(())
    }

    /// Asks for schemas that are needed, and lets partitions go on whose schema came.
    pub(super) fn learn_schemas(&mut self) -> Result<(), Ended> {
        while let Ok((id, answer)) = self.parts.answers.try_recv() {
            let known = self.schemas.learn(id, &answer);
            self.tools.metrics.registry(known);
        }
        for (partition, held) in &mut self.held {
            let Phase::NeedsSchema { id, asked } = &mut held.phase else {
                continue;
            };
            if self.schemas.foreign(*id).is_some() {
                held.phase = Phase::Running;
                self.parts.member.seek(*partition, held.source.next())?;
            } else if asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
                *asked = Some(Instant::now());
                // A full queue means that questions are on their way already.
                let _ = self.parts.questions.try_send(*id);
            }
        }
        let waiting = self
            .held
            .values()
            .filter(|held| matches!(held.phase, Phase::NeedsSchema { .. }))
            .count();
        self.tools.metrics.waiting_for_schema(waiting);
        Ok(())
    }
}

/// The chunk that carries one misplaced record to where it belongs, naming its origin.
fn copy(from: Partition, record: &Misplaced) -> Chunk {
    let mut chunk = Chunk::new(record.to);
    chunk.push(&record.key, &record.value);
    let origin = Origin {
        partition: from,
        offset: record.offset,
        append_ms: record.append_ms,
    };
    chunk.set_headers(vec![(ORIGIN_HEADER.to_owned(), origin.encode())]);
    chunk
}
