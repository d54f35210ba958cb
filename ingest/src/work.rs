//! The work on one body, from its first byte to the log: what `POST /v1/events` and `POST /v1/uploads` have in common.
//!
//! The body is read a piece at a time; each piece becomes records before the next is read, and complete chunks go to
//! the log meanwhile. So memory does not grow with the body. If the log is slow the body is not read, and the client
//! feels it. Success is said only when everything is durable.
//!
//! A body that breaks off, or whose frame is broken, leaves what was appended before; what was not is dropped. The
//! client sends all of it again, with the same keys.

use crate::Ingest;
use crate::appends::Appends;
use crate::body::Reader;
use crate::chunks::Chunks;
use crate::diary::Diary;
use crate::events::{busy, log_unavailable, seconds};
use crate::intake::{Intake, Request};
use crate::outcomes;
use crate::room::Room;
use crate::rows::{Broken, Format, Rows};
use crate::tally::Tally;
use service::access::Caller;
use service::http::Problem;
use std::sync::Arc;

/// The work on one request.
pub(crate) struct Work<'i> {
    ingest: &'i Ingest,
    caller: &'i Caller,
    /// Events of this request that the caller's quota knows of.
    spent: u64,
    pub(crate) intake: Intake,
    pub(crate) appends: Appends,
    /// What is written down of an upload.
    pub(crate) diary: Option<Diary>,
    /// Nothing is appended before all of the body was read.
    whole: bool,
    room: Room,
    /// Bytes that the request holds whatever it reads.
    fixed_bytes: usize,
}

impl<'i> Work<'i> {
    pub(crate) fn new(
        ingest: &'i Ingest,
        caller: &'i Caller,
        request: Request,
        format: Option<Format>,
        room: Room,
        fixed_bytes: usize,
    ) -> Self {
        let limits = &ingest.limits;
        let chunks = Chunks::new(ingest.partitions, ingest.schema_id, limits.chunk_bytes);
        let rows = Rows::new(format, limits.row_bytes);
        let appender = Arc::clone(&ingest.appender);
        let metrics = ingest.metrics.clone();
        Self {
            ingest,
            caller,
            spent: 0,
            intake: Intake::new(request, rows, chunks, Tally::new(limits.results)),
            appends: Appends::new(appender, ingest.topic_id, limits, metrics),
            diary: None,
            whole: false,
            room,
            fixed_bytes,
        }
    }

    /// Where each row lies will be asked for: nothing is appended before the body was read, and of so much as can be held.
    pub(crate) fn keep_rows(&mut self) {
        self.whole = true;
        self.intake.chunks.set_limit(usize::MAX);
        self.appends.keep_rows();
    }

    /// Reads the body to its end, and hands all of it to the log.
    pub(crate) async fn read_all(&mut self, reader: &mut Reader) -> Result<(), Problem> {
        let read = self.read_on(reader).await;
        if read.is_err() {
            reader.discard().await;
        }
        read
    }

    async fn read_on(&mut self, reader: &mut Reader) -> Result<(), Problem> {
        self.check_quota()?;
        loop {
            let last = reader.read(&mut self.intake.buffer).await.map_err(|fault| {
                self.ingest.metrics.broken.get(&[fault.reason]).inc();
                fault.problem
            })?;
            self.intake
                .feed(last, (self.ingest.clock)())
                .map_err(|broken| self.broken(broken))?;
            if let Some(diary) = &mut self.diary {
                let kept = diary.keep_up(self.ingest, &mut self.intake.tally).await;
                kept.map_err(|_| log_unavailable(self.ingest))?;
            }
            if self.whole {
                self.hold()?;
            }
            if last {
                break;
            }
            if !self.whole {
                self.move_on().await?;
            }
            self.check_quota()?;
            // Bytes that are there already would be taken without end, and others would wait.
            tokio::task::yield_now().await;
        }
        while let Some(open) = self.intake.chunks.take_largest() {
            let room = self.room.split(open.chunk.bytes());
            self.appends.hand_over(open, room).await;
        }
        self.appends.finish().await;
        self.check()
    }

    /// Keeps all that was read, or says that it is too much.
    fn hold(&mut self) -> Result<(), Problem> {
        if self.intake.tally.valid > outcomes::EVENTS || self.intake.chunks.open_bytes() > outcomes::BYTES {
            return Err(outcomes::too_much());
        }
        let held = self.held_bytes();
        self.room
            .try_resize(held)
            .map_err(|_| outcomes::no_room(self.ingest))
    }

    /// Hands over complete chunks, and makes room for the rest.
    async fn move_on(&mut self) -> Result<(), Problem> {
        if self.appends.bytes >= self.ingest.limits.bulk_after_bytes {
            self.intake.chunks.set_limit(self.ingest.limits.bulk_chunk_bytes);
        }
        let has_room = self.room.try_resize(self.held_bytes()).is_ok();
        while let Some(open) = self.intake.chunks.take_full() {
            let room = self.room.split(open.chunk.bytes());
            self.appends.hand_over(open, room).await;
        }
        if !has_room {
            while let Some(open) = self.intake.chunks.take_largest() {
                let room = self.room.split(open.chunk.bytes());
                self.appends.hand_over(open, room).await;
            }
            self.room
                .resize(self.held_bytes())
                .await
                .map_err(|_| busy(self.ingest))?;
        }
        self.check()
    }

    fn held_bytes(&self) -> usize {
        self.fixed_bytes + self.intake.buffer.len() + self.intake.chunks.open_bytes()
    }

    fn check(&self) -> Result<(), Problem> {
        match self.appends.failed() {
            false => Ok(()),
            true => Err(log_unavailable(self.ingest)),
        }
    }

    /// Counts what became durable, and stops a request whose caller may send no more today.
    fn check_quota(&mut self) -> Result<(), Problem> {
        let now_s = self.spend();
        self.caller.check_quota(now_s)
    }

    fn spend(&mut self) -> u64 {
        let now_s = seconds((self.ingest.clock)());
        self.caller.spend(self.appends.accepted - self.spent, now_s);
        self.spent = self.appends.accepted;
        now_s
    }

    fn broken(&self, broken: Broken) -> Problem {
        self.ingest.metrics.broken.get(&["format"]).inc();
        let title = match broken.code {
            "json_invalid" => "The body is not the JSON expected",
            "csv_invalid" => "The body is not the CSV expected",
            _ => "The body is empty",
        };
        Problem::bad_request(broken.code, title).detail(broken.message)
    }

    /// Waits until all that was handed over is decided. Also of a request that was stopped the answer says how much is durable.
    pub(crate) async fn settle(&mut self) {
        self.appends.finish().await;
        self.spend();
        for (code, count) in &self.intake.tally.codes {
            self.ingest.metrics.invalid.get(&[code]).inc_by(*count);
        }
        let refused = self.appends.refused;
        self.ingest.metrics.invalid.get(&["refused"]).inc_by(refused);
    }
}
