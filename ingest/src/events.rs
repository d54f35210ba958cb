//! `POST /v1/events`: the way of one request, from its head to its answer.
//!
//! The body is read a piece at a time; each piece becomes records before the next is read, and complete chunks go to
//! the log meanwhile. So memory does not grow with the body. If the log is slow the body is not read, and the client
//! feels it. Success is said only when everything is durable.
//!
//! A body that breaks off, or whose frame is broken, leaves what was appended before; what was not is dropped. The
//! client sends all of it again, with the same keys.

use crate::Ingest;
use crate::answer::{Ending, answer};
use crate::appends::Appends;
use crate::body::{Encoding, PIECE_BYTES, Reader};
use crate::chunks::Chunks;
use crate::head::Head;
use crate::intake::{Intake, Request};
use crate::room::Room;
use crate::rows::{Broken, Rows};
use crate::tally::Tally;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use service::http::Problem;
use std::sync::Arc;

/// Whose events come without a credential.
pub(crate) const DEFAULT_TENANT: &str = "default";
/// What a body may take in its decoder: the largest window of zstd.
const DECODER_BYTES: u64 = 8 * 1024 * 1024;

pub(crate) async fn post(State(ingest): State<Arc<Ingest>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let response = handle(&ingest, &parts, body)
        .await
        .unwrap_or_else(Problem::into_response);
    ingest.metrics.requests.get(&[response.status().as_str()]).inc();
    response
}

async fn handle(ingest: &Ingest, parts: &Parts, body: Body) -> Result<Response, Problem> {
    let head = Head::read(&parts.uri, &parts.headers)?;
    let fixed_bytes =
        PIECE_BYTES + decoder_bytes(head.encoding, head.length, ingest.limits.decompression_ratio);
    let room = ingest.rooms.enter(fixed_bytes).map_err(|_| busy(ingest))?;
    let mut reader = Reader::new(body, head.encoding, &ingest.limits);
    let mut work = Work::new(ingest, &head, room, fixed_bytes);
    let ending = match work.read_all(&mut reader).await {
        Ok(()) => Ending::Done,
        Err(problem) => {
            reader.discard().await;
            Ending::Stopped(problem)
        }
    };
    ingest.metrics.body_bytes.inc_by(reader.received_bytes());
    Ok(work.finish(ending, head.validate).await)
}

/// What a decoder keeps: its window, which is touched only as far as the body goes.
pub(crate) fn decoder_bytes(encoding: Encoding, length: Option<u64>, ratio: u32) -> usize {
    if encoding != Encoding::Zstd {
        return 0;
    }
    let decoded = length.map_or(DECODER_BYTES, |length| length.saturating_mul(u64::from(ratio)));
    usize::try_from(decoded.min(DECODER_BYTES)).unwrap_or(usize::MAX)
}

/// What is answered where there is no room.
pub(crate) fn busy(ingest: &Ingest) -> Problem {
    Problem::unavailable(
        "too_busy",
        "Too many requests are being worked on",
        ingest.limits.retry_after_s,
    )
}

/// What is answered where something is not known to be durable.
pub(crate) fn log_unavailable(ingest: &Ingest) -> Problem {
    let title = "The event log does not take events now";
    Problem::unavailable("log_unavailable", title, ingest.limits.retry_after_s)
        .detail("send the request again with the same keys: what is recorded already counts once")
}

/// The work on one request.
struct Work<'i> {
    ingest: &'i Ingest,
    intake: Intake,
    appends: Appends,
    room: Room,
    /// Bytes that the request holds whatever it reads.
    fixed_bytes: usize,
}

impl<'i> Work<'i> {
    fn new(ingest: &'i Ingest, head: &Head, room: Room, fixed_bytes: usize) -> Self {
        let limits = &ingest.limits;
        let request = Request {
            tenant: DEFAULT_TENANT.to_owned(),
            idempotency_key: head.idempotency_key.clone(),
            row_limit_bytes: limits.row_bytes,
            validate: head.validate,
        };
        let chunks = Chunks::new(ingest.partitions, ingest.schema_id, limits.chunk_bytes);
        let rows = Rows::new(head.format, limits.row_bytes);
        let appender = Arc::clone(&ingest.appender);
        let metrics = ingest.metrics.clone();
        Self {
            ingest,
            intake: Intake::new(request, rows, chunks, Tally::new(limits.results)),
            appends: Appends::new(appender, ingest.topic_id, limits, metrics),
            room,
            fixed_bytes,
        }
    }

    /// Reads the body to its end, and hands all of it to the log.
    async fn read_all(&mut self, reader: &mut Reader) -> Result<(), Problem> {
        loop {
            let last = reader.read(&mut self.intake.buffer).await.map_err(|fault| {
                self.ingest.metrics.broken.get(&[fault.reason]).inc();
                fault.problem
            })?;
            self.intake
                .feed(last, (self.ingest.clock)())
                .map_err(|broken| self.broken(broken))?;
            if last {
                break;
            }
            self.move_on().await?;
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

    fn broken(&self, broken: Broken) -> Problem {
        self.ingest.metrics.broken.get(&["format"]).inc();
        let title = match broken.code {
            "json_invalid" => "The body is not the JSON expected",
            "csv_invalid" => "The body is not the CSV expected",
            _ => "The body is empty",
        };
        Problem::bad_request(broken.code, title).detail(broken.message)
    }

    async fn finish(mut self, ending: Ending, validate: bool) -> Response {
        // Also of a request that was stopped the answer says how much is durable.
        self.appends.finish().await;
        for (code, count) in &self.intake.tally.codes {
            self.ingest.metrics.invalid.get(&[code]).inc_by(*count);
        }
        self.ingest
            .metrics
            .invalid
            .get(&["refused"])
            .inc_by(self.appends.refused);
        answer(ending, self.intake, self.appends, validate)
    }
}
