//! What a lane writes to `events` itself, and schemas from the registry: the things for which a lane needs others.
//!
//! It writes copies of misplaced records, copies of held records whose upload was released, and word to other partitions that
//! they have such records. Each only after the commit record that calls for it was read back. It may be written twice: of
//! copies, dedup absorbs that, and of words to others the first counts.

use super::held::{Held, Phase};
use super::{Ended, Lane};
use crate::decide::{Decision, decide};
use crate::fold::{Misplaced, Work, misplaced};
use crate::source::Unsent;
use crate::uploads::{Call, Release};
use log::batch::{Kind, Origin};
use log::{AppendError, Chunk, LogError};
use schemas::upload::{Fact, What};
use schemas::{Offset, Partition};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// How long to leave the registry alone after a question.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long to leave the log alone after it refused copies.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes to read at once when looking for records of a former owner, or for held ones.
const READ_BYTES: usize = 1024 * 1024;

impl Lane {
    /// Writes what is due, oldest batch first: of a release a slice in each turn, so that the lane goes on meanwhile.
    pub(super) fn send_due(&mut self) -> Result<(), Ended> {
        let partitions: Vec<Partition> = self.held.keys().copied().collect();
        for partition in partitions {
            if self.held.get(&partition).is_some_and(Held::may_write) {
                self.send_due_of(partition)?;
            }
        }
        Ok(())
    }

    fn send_due_of(&mut self, partition: Partition) -> Result<(), Ended> {
        let Some(held) = self.held.get(&partition) else {
            return Ok(());
        };
        let release = match held.source.due().next() {
            None => return Ok(()),
            Some(Work::Call(Call::Release(release))) => Some(release.clone()),
            Some(_) => None,
        };
        let (chunks, done) = match release {
            Some(release) => match self.slice(partition, &release)? {
                Some((chunk, next)) => (vec![chunk], Done::Released(next, release.to)),
                None => return Ok(()),
            },
            None => {
                let due = held.source.due();
                let due = due.take_while(|work| !matches!(work, Work::Call(Call::Release(_))));
                let chunks: Vec<Vec<Chunk>> = due.map(|work| chunks(partition, work)).collect();
                let done = Done::All(chunks.len());
                (chunks.into_iter().flatten().collect(), done)
            }
        };
        let records = chunks.iter().map(Chunk::len).sum();
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        let appends: Vec<_> = chunks.map(|chunk| self.parts.appender.append(chunk)).collect();
        let written = self
            .tools
            .runtime
            .block_on(futures::future::try_join_all(appends));
        let Some(held) = self.held.get_mut(&partition) else {
            return Ok(());
        };
        match written {
            Ok(_) => {
                self.tools.metrics.copied(partition, records);
                match done {
                    Done::Released(next, to) if next < to => held.source.released(next),
                    Done::Released(..) => held.source.done(1),
                    Done::All(count) => held.source.done(count),
                }
                // The next commit record says so, even if nothing else comes.
                self.opened.get_or_insert_with(Instant::now);
            }
            Err(AppendError::Unavailable(reason) | AppendError::Refused(reason)) => {
                tracing::warn!(lane = self.settings.name, %partition, reason, "copies are late");
                held.outbox_after = Some(Instant::now() + RETRY_AFTER);
            }
        }
        Ok(())
    }

    /// The copies of the next held records of a release, and the next offset behind them; none where the log is away.
    fn slice(&mut self, partition: Partition, release: &Release) -> Result<Option<(Chunk, Offset)>, Ended> {
        let read = self.parts.reader.range(partition).and_then(|(first, _)| {
            if first > release.from {
                // Nothing can bring them back: the upload never completes, and says so; the others go on.
                tracing::error!(%partition, upload = %release.upload, from = %release.from, %first,
                    "held records are gone from `events` before they were released");
            }
            let from = release.from.max(first);
            self.parts.reader.read(partition, from, release.to, READ_BYTES)
        });
        let batch = match read {
            Ok(batch) => batch,
            Err(LogError::Away(reason)) => {
                tracing::warn!(lane = self.settings.name, %partition, reason, "the event log is away");
                self.wait_with_outbox(partition);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let mut chunk = Chunk::new(partition);
        let mut next = release.to;
        for record in batch.iter() {
            next = record.offset.next();
            if record.kind != Kind::Held {
                continue;
            }
            let event = match decide(&record, partition, self.rules.partitions, &self.schemas) {
                Decision::Held(event) => event,
                Decision::NeedsSchema(id) => {
                    ask(&self.parts.questions, id)?;
                    if let Some(held) = self.held.get_mut(&partition) {
                        held.outbox_schema = Some(id);
                    }
                    self.wait_with_outbox(partition);
                    return Ok(None);
                }
                _ => continue,
            };
            if event.tenant == release.tenant && event.upload_id == Some(release.upload) {
                let origin = Origin {
                    partition,
                    offset: record.offset,
                    append_ms: record.append_ms,
                    held: true,
                };
                chunk.push_copy(
                    record.key.unwrap_or_default(),
                    record.value.unwrap_or_default(),
                    origin,
                );
            }
        }
        if let Some(held) = self.held.get_mut(&partition) {
            held.outbox_schema = None;
        }
        Ok(Some((chunk, next)))
    }

    fn wait_with_outbox(&mut self, partition: Partition) {
        if let Some(held) = self.held.get_mut(&partition) {
            held.outbox_after = Some(Instant::now() + RETRY_AFTER);
        }
    }

    /// Puts in the outbox what a former owner left undone: misplaced records are read again.
    pub(super) fn resend(&mut self, partition: Partition, unsent: &[(Offset, Unsent)]) -> Result<(), Ended> {
        let rerouted = || {
            unsent
                .iter()
                .filter(|(_, unsent)| matches!(unsent, Unsent::Reroute(_)))
        };
        let mut found = Vec::new();
        if let (Some((first, _)), Some((last, _))) = (rerouted().next(), rerouted().next_back()) {
            found = self.misplaced(partition, *first, last.next(), rerouted())?;
        }
        let mut found = found.into_iter().map(Work::Reroute);
        let work = unsent.iter().filter_map(|(_, unsent)| match unsent {
            Unsent::Reroute(_) => found.next(),
            Unsent::Call(call) => Some(Work::Call(call.clone())),
        });
        let work: Vec<Work> = work.collect();
        if work.len() != unsent.len() {
            let missing = unsent.len() - work.len();
            return Err(LogError::Wrong(format!(
                "`events` {partition} lacks {missing} records that were rerouted and not copied: restore them"
            ))
            .into());
        }
        if let Some(held) = self.held.get_mut(&partition) {
            held.source.resend(work);
        }
        Ok(())
    }

    /// The records of [next, end) that were rerouted.
    fn misplaced<'u>(
        &mut self,
        partition: Partition,
        mut next: Offset,
        end: Offset,
        unsent: impl Iterator<Item = &'u (Offset, Unsent)>,
    ) -> Result<Vec<Misplaced>, Ended> {
        let mut found = Vec::new();
        let mut wanted = unsent.peekable();
        while next < end {
            let batch = self.parts.reader.read(partition, next, end, READ_BYTES)?;
            for record in batch.iter() {
                while wanted.next_if(|(offset, _)| *offset < record.offset).is_some() {}
                if let Some((_, Unsent::Reroute(to))) = wanted.next_if(|(offset, _)| *offset == record.offset)
                {
                    found.push(misplaced(&record, *to));
                }
                next = record.offset.next();
            }
            if batch.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Asks for schemas that are needed, and lets partitions go on whose schema came.
    pub(super) fn learn_schemas(&mut self) -> Result<(), Ended> {
        while let Ok((id, answer)) = self.parts.answers.try_recv() {
            let known = self.schemas.learn(id, &answer, Instant::now());
            self.tools.metrics.registry(known);
            self.waits.heard(answer);
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
                ask(&self.parts.questions, *id)?;
            }
        }
        let held = self.held.values();
        self.waits
            .count(held.filter(|held| held.needs_schema(&self.schemas)).count());
        Ok(())
    }
}

/// What is done when some chunks are durable.
enum Done {
    /// So much of what is due.
    All(usize),
    /// A slice of a release: the next offset behind it, and the release's end.
    Released(Offset, Offset),
}

impl Held {
    /// Whether anything may be written now.
    fn may_write(&self) -> bool {
        self.is_running() && self.outbox_after.is_none_or(|after| Instant::now() >= after)
    }
}

/// The chunks of what is due at once, apart from releases.
fn chunks(partition: Partition, work: &Work) -> Vec<Chunk> {
    match work {
        Work::Reroute(record) => vec![copy(partition, record)],
        Work::Call(Call::Tell {
            tenant,
            upload,
            at_ms,
            places,
        }) => {
            let word = |(to, from, end): &(Partition, Offset, Offset)| {
                let what = What::Copy {
                    from: *from,
                    to: *end,
                };
                let fact = Fact::new(tenant, *upload, *at_ms, what);
                let mut chunk = Chunk::new(*to);
                chunk.set_kind(Kind::Fact);
                chunk.push(fact.key().as_bytes(), &fact.encode());
                chunk
            };
            places.iter().map(word).collect()
        }
        Work::Call(Call::Release(_)) => Vec::new(),
    }
}

/// The chunk that carries one misplaced record to where it belongs, naming its origin.
fn copy(from: Partition, record: &Misplaced) -> Chunk {
    let mut chunk = Chunk::new(record.to);
    let origin = Origin {
        partition: from,
        offset: record.offset,
        append_ms: record.append_ms,
        held: false,
    };
    chunk.push_copy(&record.key, &record.value, origin);
    chunk
}

/// Asks the registry for a schema. A full queue means that questions are on their way already.
fn ask(questions: &SyncSender<u32>, id: u32) -> Result<(), Ended> {
    match questions.try_send(id) {
        Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
        Err(TrySendError::Disconnected(_)) => Err(Ended::Again("nobody asks the registry any more".into())),
    }
}
