//! The work of a redrive: looks at each letter and its bytes, and writes copies, slice by slice, no faster than was asked.

use super::asked::{Asked, CALL_SECONDS, Which};
use super::{Tally, read};
use crate::QueryApi;
use crate::caller::Caller;
use crate::cursor::Position;
use crate::decoded::decode;
use crate::letters::LogRecord;
use crate::params::invalid;
use crate::tries::{Letter, State};
use log::Chunk;
use log::batch::{Kind, Origin};
use schemas::event::check_time;
use schemas::input::{KeyContext, Raw};
use schemas::limits::RECORD_BYTES;
use schemas::receipt::Receipt;
use schemas::redrive::Redrive;
use schemas::{Invalid, Offset, Partition, Timestamp, avro, key};
use service::http::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Letters that are looked at together.
pub(super) const SLICE: usize = 256;
/// Bytes of records that are in memory at one time, but for what one read brings beyond; their copies take as much again.
const SLICE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that a copy has more than its original, at most: headers and their framing.
const ROOM_BYTES: usize = 1024;
/// Longest time after which a slice is begun: what keeping the rate may take, and as long again for a log that is slow.
const CALL_TIME: Duration = Duration::from_secs(2 * CALL_SECONDS as u64);
/// Seconds until a log that is away may be there again.
const AWAY_RETRY_S: u32 = 5;

/// A redrive under way.
pub(super) struct Work<'a> {
    api: &'a QueryApi,
    caller: &'a Caller,
    asked: &'a Asked,
    tally: Tally,
    receipt: Receipt,
    /// Copies of which it is not known whether they are durable.
    unknown: u64,
    began: Instant,
    /// Letters that were looked at.
    seen: u64,
    is_done: bool,
}

impl Drop for Work<'_> {
    /// Also of a call that failed, or whose client went away, it is said who wrote what.
    fn drop(&mut self) {
        if !self.is_done && self.tally.redriven + self.unknown > 0 {
            self.say();
        }
    }
}

/// Copies on their way, by partition.
type Chunks = BTreeMap<Partition, Chunk>;

impl<'a> Work<'a> {
    pub(super) fn new(api: &'a QueryApi, caller: &'a Caller, asked: &'a Asked, tally: Tally) -> Self {
        Self {
            api,
            caller,
            asked,
            tally,
            receipt: Receipt::new(api.generation.events_id),
            unknown: 0,
            began: Instant::now(),
            seen: 0,
            is_done: false,
        }
    }

    /// Redrives letters in their order; says behind which it stopped, if its time was over before the last.
    ///
    /// Errors: 503 `log_away`; those of a mended event. They say how many copies are durable, if there may be any.
    pub(super) async fn run(&mut self, letters: &[Letter]) -> Result<Option<Position>, Problem> {
        let ran = self.slices(letters).await;
        ran.map_err(
            |problem| match (self.tally.redriven + self.unknown, self.asked.dry_run) {
                (0, _) | (_, true) => problem,
                _ => self.cut_short(problem),
            },
        )
    }

    /// A problem that came when copies were written already.
    fn cut_short(&self, problem: Problem) -> Problem {
        let problem = problem
            .detail("what is redriven is durable, what is unknown may be; call again: no letter has its effect twice")
            .with("redriven", self.tally.redriven)
            .with("unknown", self.unknown);
        match self.receipt() {
            Some(receipt) => problem.with("receipt", receipt),
            None => problem,
        }
    }

    async fn slices(&mut self, letters: &[Letter]) -> Result<Option<Position>, Problem> {
        let slice = SLICE.min(self.asked.rate as usize).max(1);
        let mut last = None;
        for letters in letters.chunks(slice) {
            // By id there is no way to go on, and the ids are few.
            let is_over = self.began.elapsed() > CALL_TIME && matches!(self.asked.which, Which::Filter(..));
            if is_over && last.is_some() {
                return Ok(last);
            }
            let mut waiting = letters.iter().collect();
            while self.some(&mut waiting).await? {}
            last = letters.last().map(|letter| letter.at);
        }
        Ok(None)
    }

    /// Redrives some of the letters, at least one: as many as their bytes allow. False if none is left.
    async fn some(&mut self, waiting: &mut Vec<&Letter>) -> Result<bool, Problem> {
        let mut records = self.records(waiting).await?;
        let mut chunks = Chunks::new();
        for letter in std::mem::take(waiting) {
            let place = (letter.at.partition, letter.at.offset);
            match records.remove(&place) {
                None if self.may(letter) => waiting.push(letter),
                record => {
                    self.look(letter, record.flatten(), &mut chunks)?;
                    self.seen += 1;
                }
            }
        }
        if self.asked.dry_run {
            self.tally.redriven += chunks.values().map(|chunk| chunk.len() as u64).sum::<u64>();
        } else {
            self.append(chunks).await?;
            self.pace().await;
        }
        Ok(!waiting.is_empty())
    }

    /// What was done; of `letters` that were asked for those that were not looked at are no part of it.
    pub(super) fn done(mut self, letters: usize) -> Tally {
        self.tally.matched -= (letters as u64).saturating_sub(self.seen);
        self.is_done = true;
        self.say();
        std::mem::take(&mut self.tally)
    }

    /// Who did what, for the log.
    fn say(&self) {
        if !self.asked.dry_run {
            let (who, tenant, done) = (self.caller.id(), &self.caller.tenant, self.is_done);
            let (redriven, unknown) = (self.tally.redriven, self.unknown);
            tracing::info!(who, %tenant, redriven, unknown, done, "dead letters were redriven");
        }
    }

    /// Where the copies lie.
    pub(super) fn receipt(&self) -> Option<String> {
        (!self.receipt.next.is_empty()).then(|| self.receipt.to_string())
    }

    /// The bytes of letters that may be redriven, of at least one if there is one.
    async fn records(
        &self,
        letters: &[&Letter],
    ) -> Result<BTreeMap<(Partition, Offset), Option<LogRecord>>, Problem> {
        let mut wanted: BTreeMap<Partition, BTreeSet<Offset>> = BTreeMap::new();
        for letter in letters.iter().filter(|letter| self.may(letter)) {
            wanted
                .entry(letter.at.partition)
                .or_default()
                .insert(letter.at.offset);
        }
        let (mut records, mut bytes) = (BTreeMap::new(), 0);
        for (partition, offsets) in wanted {
            let mut rest: Vec<Offset> = offsets.into_iter().collect();
            while !rest.is_empty() && bytes < SLICE_BYTES {
                let found = read(self.api.letters.as_ref(), self.api, partition, rest.clone()).await?;
                rest.drain(..found.len().min(rest.len()));
                let read = found.iter().filter_map(|(_, record)| record.as_ref());
                bytes += read.map(size).sum::<usize>();
                records.extend(
                    found
                        .into_iter()
                        .map(|(offset, record)| ((partition, offset), record)),
                );
            }
        }
        Ok(records)
    }

    /// Whether the tries so far leave room for another.
    fn may(&self, letter: &Letter) -> bool {
        match letter.state(self.api.limits.redrive_tries) {
            State::Open => true,
            State::Quarantined => self.asked.force,
            State::Redriven => false,
        }
    }

    /// Looks at one letter: its copy goes to `chunks`, or it is counted among those that are skipped.
    fn look(
        &mut self,
        letter: &Letter,
        record: Option<LogRecord>,
        chunks: &mut Chunks,
    ) -> Result<(), Problem> {
        let skipped = &mut self.tally.skipped;
        match letter.state(self.api.limits.redrive_tries) {
            State::Redriven => skipped.redriven += 1,
            State::Quarantined if !self.asked.force => skipped.quarantined += 1,
            State::Open | State::Quarantined => match record {
                None => skipped.bytes_gone += 1,
                Some(record) if record.kind != Kind::Event => skipped.held += 1,
                Some(record) => {
                    if self.asked.event.is_none() && size(&record) + ROOM_BYTES > RECORD_BYTES {
                        skipped.too_large += 1;
                        return Ok(());
                    }
                    self.copy(letter, &record, chunks)?;
                    *self.tally.by_reason.entry(letter.row.reason.word()).or_default() += 1;
                }
            },
        }
        Ok(())
    }

    /// Adds the copy of a letter.
    fn copy(&self, letter: &Letter, record: &LogRecord, chunks: &mut Chunks) -> Result<(), Problem> {
        let partitions = self.api.generation.partitions;
        let origin = Origin {
            partition: letter.at.partition,
            offset: letter.at.offset,
            append_ms: letter.at.accepted_ms,
            held: false,
        };
        let redrive = Redrive {
            tenant: &letter.tenant,
            who: self.caller.id(),
            at_ms: (self.api.clock)().millis(),
            edited: self.asked.event.is_some(),
        };
        let mended = match &self.asked.event {
            Some(event) => Some(self.mend(letter, record, event.get().as_bytes())?),
            None => None,
        };
        let (key, value) = match &mended {
            Some((key, value)) => (Some(key.as_bytes()), Some(value.as_slice())),
            None => (record.key.as_deref(), record.value.as_deref()),
        };
        let to = key.map_or(letter.at.partition, |key| key::partition(key, partitions));
        let chunk = chunks.entry(to).or_insert_with(|| Chunk::new(to));
        chunk.push_redrive(key, value, origin, redrive.encode());
        Ok(())
    }

    /// The mended event, through the one door: its key and its bytes. Without a time of its own it has that of the event in the letter, or, where
    /// that has none or cannot be read, that at which the letter was accepted.
    fn mend(&self, letter: &Letter, record: &LogRecord, sent: &[u8]) -> Result<(String, Vec<u8>), Problem> {
        let tenant = match (&*letter.tenant, &self.asked.tenant) {
            ("", Some(named)) => named.as_str(),
            ("", None) => {
                return Err(invalid(
                    "tenant",
                    "is needed: the letter does not say whose it is",
                ));
            }
            (known, None) => known,
            (known, Some(named)) if known == named => known,
            (_, Some(_)) => return Err(invalid("tenant", "must be left out: the letter says whose it is")),
        };
        let place = (letter.at.partition, letter.at.offset);
        let key = key::redrive_key(place, self.api.generation.partitions);
        let mut no_key = String::new;
        let mut context = KeyContext {
            tenant,
            accepted_at: Timestamp::from_millis(letter.at.accepted_ms),
            batch_key: None,
            single: true,
            row: 1,
            fresh_key: &mut no_key,
            upload_id: None,
        };
        let mut raw = Raw::from_json(sent).map_err(|wrong| event_invalid(&wrong))?;
        raw.idempotency_key = Some(key.as_str().into());
        let event = raw.into_event(&mut context);
        let mut event = event.map_err(|wrong| event_invalid(&wrong))?;
        let own_schema = self.api.generation.schema_id;
        let was = decode(
            record.key.as_deref(),
            record.value.as_deref(),
            context.accepted_at,
            own_schema,
        )
        .ok();
        let was = was.filter(|was| {
            !was.occurred_at_assigned && check_time(was.occurred_at, context.accepted_at).is_ok()
        });
        if let (true, Some(was)) = (event.occurred_at_assigned, was) {
            (event.occurred_at, event.occurred_at_assigned) = (was.occurred_at, false);
        }
        if let Some((upload, row)) = letter.row.upload {
            event.upload_id = Some(upload);
            event.row = i64::try_from(row).ok().filter(|row| *row > 0);
        }
        let Some(schema_id) = self.api.generation.schema_id else {
            tracing::error!("the generation names no schema of events");
            return Err(Problem::internal());
        };
        let mut value = Vec::with_capacity(256);
        avro::encode(&event, schema_id, &mut value);
        drop(event);
        Ok((key, value))
    }

    /// Writes copies, and counts those that are durable.
    async fn append(&mut self, chunks: Chunks) -> Result<(), Problem> {
        let appends = chunks.into_iter().map(|(partition, chunk)| {
            let records = chunk.len() as u64;
            let append = self.api.appender.append(chunk);
            async move { (partition, records, append.await) }
        });
        let mut failure = None;
        for (partition, records, appended) in futures::future::join_all(appends).await {
            match appended {
                Ok(appended) => {
                    self.tally.redriven += records;
                    self.receipt.extend(partition, appended.next);
                }
                Err(cause) => {
                    self.unknown += records;
                    failure = Some(cause);
                }
            }
        }
        let Some(cause) = failure else { return Ok(()) };
        tracing::warn!(%cause, redriven = self.tally.redriven, unknown = self.unknown, "a redrive was cut short: the event log is away");
        self.api.metrics.failures.get(&["log"]).inc();
        Err(Problem::unavailable(
            "log_away",
            "The event log does not answer",
            AWAY_RETRY_S,
        ))
    }

    /// Waits until no more than `rate` records a second were written.
    async fn pace(&self) {
        let due = Duration::from_secs_f64(self.tally.redriven as f64 / f64::from(self.asked.rate));
        tokio::time::sleep_until(self.began + due).await;
    }
}

/// Bytes of a record.
fn size(record: &LogRecord) -> usize {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    bytes(&record.key) + bytes(&record.value)
}

/// 400 `event_invalid`.
fn event_invalid(wrong: &Invalid) -> Problem {
    Problem::bad_request("event_invalid", "The mended event is not valid")
        .detail(wrong.to_string())
        .with("parameter", "event")
        .with("field", wrong.field.name())
        .with("code", wrong.code)
}
