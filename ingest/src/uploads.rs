//! `POST /v1/uploads`: a file with an identity. It goes the same way as `POST /v1/events`; beside it, the facts of its life are
//! written: that it began, before its first row; what is wrong with its rows, as they come; and how it ended.
//!
//! Where it is to be held, its rows are records that count only when the upload is released; the last fact says where they lie. An upload
//! that is cut short says so if it still can. If not, its facts end without an end, and whoever looks sees that it was interrupted.

use crate::Ingest;
use crate::answer::{Named, batch, stopped};
use crate::appends::Appends;
use crate::batches;
use crate::body::{PIECE_BYTES, Reader};
use crate::cloud_events::Shape;
use crate::described::{Events, FORM, FileForm, HEAD, Key, Packed, ROWS, Uploaded};
use crate::diary::Diary;
use crate::events::{busy, decoder_bytes, log_unavailable};
use crate::intake::{Intake, Request};
use crate::room::Room;
use crate::upload_head::{Asked, File};
use crate::work::Work;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::upload::{Begun, OLDER_DOOR, Totals, What};
use schemas::{Offset, Partition};
use service::access::Caller;
use service::http::Problem;
use std::sync::Arc;
use tracing::Instrument;
use uuid::Uuid;

/// The header that names the upload, in every answer.
const UPLOAD_ID: HeaderName = HeaderName::from_static("x-upload-id");

#[utoipa::path(
    post, path = "/v1/uploads", tag = "Uploads",
    summary = "Takes a file with an id, a status and a ledger of its own",
    description = "As a body, or as the field `file` of a form. Every answer names the upload in `X-Upload-Id`.",
    params(
        ("hold" = Option<bool>, Query, description = "Its rows wait until it is released; they count for nothing before."),
        ("atomic" = Option<bool>, Query, description = "Its rows count only if all of them are valid; else 422, and nothing counts."),
        ("map" = Option<String>, Query, description = "`theirs:ours,...`: other names of columns or fields; a comma, a colon or a backslash of a name stands behind a backslash."),
        ("key" = Option<String>, Query, pattern = "^row$", description = "`row`, with `file`: each row without a key of its own is an event of its own, by `file` and its number."),
        ("file" = Option<String>, Query, pattern = "^[!-~]{1,256}$", description = "With `key=row`: the digest of the file, or any text for it."),
        ("format" = Option<String>, Query, pattern = "^lines-a$", description = "`lines-a`: its rows are lines of the older revenue service, by the rules of `POST /liveEvent`."),
        ("name" = Option<String>, Query, min_length = 1, max_length = 512, description = "Its name; without it, that of the file."),
        Key, Packed,
    ),
    request_body(content(
        (FileForm = "multipart/form-data"), (String = "text/csv"), (String = "application/x-ndjson"), (Events = "application/json"),
    )),
    responses((status = 201, description = "All valid rows are durable.", body = Uploaded, headers(
        ("Location" = String, description = "Where it can be asked for."),
        ("X-Upload-Id" = String, description = "Its id."),
    ))),
    extensions(("x-problems" = json!([HEAD, FORM, ROWS, [422, "rows_invalid"]]))),
)]
pub(crate) async fn post(
    State(ingest): State<Arc<Ingest>>,
    caller: Caller,
    request: axum::extract::Request,
) -> Response {
    let upload = Uuid::now_v7();
    let (parts, body) = request.into_parts();
    // A task of its own, so that an upload whose client has gone still says how it ended.
    let at = Arc::clone(&ingest);
    let working = async move { handle(&at, &caller, upload, &parts, body).await };
    let mut response = apart(&ingest, working).await;
    if let Ok(id) = HeaderValue::from_str(&upload.to_string()) {
        response.headers_mut().insert(UPLOAD_ID, id);
    }
    response
}

/// Does the work in a task of its own.
pub(crate) async fn apart(
    ingest: &Ingest,
    working: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Response {
    let response = match tokio::spawn(working.in_current_span()).await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(error) => {
            tracing::error!(%error, "the work on an upload ended without an answer");
            Problem::internal().into_response()
        }
    };
    ingest.metrics.requests.get(&[response.status().as_str()]).inc();
    response
}

async fn handle(
    ingest: &Ingest,
    caller: &Caller,
    upload: Uuid,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let asked = Asked::read(parts)?;
    let mut room = ingest.rooms.enter(PIECE_BYTES).map_err(|_| busy(ingest))?;
    let file = asked.file(body).await?;
    let decoder = decoder_bytes(file.encoding, asked.length, ingest.limits.decompression_ratio);
    let fixed_bytes = PIECE_BYTES + decoder;
    room.try_resize(fixed_bytes).map_err(|_| busy(ingest))?;
    let request = Request {
        idempotency_key: asked.key,
        renames: asked.renames,
        upload_id: Some(upload),
        by_row: asked.by_row,
        shape: match asked.lines_a {
            true => Shape::Revenue,
            false => Shape::Plain,
        },
        ..Request::new(caller.tenant().as_ref(), &ingest.limits)
    };
    let begun = Begun {
        name: file.name.clone(),
        hold: asked.hold,
        atomic: asked.atomic,
        door: String::new(),
    };
    let received = Received {
        file,
        begun,
        request,
        details: None,
    };
    let (end, ended) = receive(ingest, caller, upload, (room, fixed_bytes), received).await?;
    Ok(end.conclude(ended).await)
}

/// An upload whose head was read.
pub(crate) struct Received {
    pub(crate) file: File,
    pub(crate) begun: Begun,
    pub(crate) request: Request,
    /// Bad rows that the answer lists, if not as many as any answer does.
    pub(crate) details: Option<usize>,
}

/// Writes that it began, and brings its rows to the log. Says with what it ended, which is not written yet.
///
/// # Errors
/// If that it began cannot be written.
pub(crate) async fn receive<'i>(
    ingest: &'i Ingest,
    caller: &'i Caller,
    upload: Uuid,
    (room, fixed_bytes): (Room, usize),
    received: Received,
) -> Result<(End<'i>, Result<(), Problem>), Problem> {
    let Received {
        file,
        begun,
        request,
        details,
    } = received;
    let mut reader = Reader::new(file.body, file.encoding, &ingest.limits);
    let mut work = Work::new(ingest, caller, request, file.format, room, fixed_bytes);
    work.intake.tally.list_errors(ingest.limits.listed_errors);
    if let Some(details) = details {
        work.intake.tally.list_results(details);
    }
    if begun.waits() {
        work.intake.chunks.hold();
    }
    let mut diary = Diary::new(caller.tenant().as_ref(), upload, ingest.partitions);
    let written = diary.write(ingest, What::Begun(begun.clone())).await;
    written.map_err(|_| log_unavailable(ingest).with("upload", upload.to_string()))?;
    work.diary = Some(diary);
    let ended = work.read_all(&mut reader).await;
    ingest.metrics.body_bytes.inc_by(reader.received_bytes());
    work.settle().await;
    let Work {
        intake,
        appends,
        diary,
        ..
    } = work;
    let diary = diary.ok_or_else(Problem::internal)?;
    let end = End {
        ingest,
        upload,
        begun,
        diary,
        intake,
        appends,
        unknown: 0,
    };
    Ok((end, ended))
}

/// An upload whose rows are all decided.
pub(crate) struct End<'i> {
    ingest: &'i Ingest,
    upload: Uuid,
    begun: Begun,
    diary: Diary,
    intake: Intake,
    appends: Appends,
    /// Rows that were released if a fact that nobody acknowledged is on the log.
    unknown: u64,
}

impl End<'_> {
    /// Writes how it ended, and answers.
    async fn conclude(self, ended: Result<(), Problem>) -> Response {
        match self.settle(ended).await {
            (end, Ok(status)) => end.created(status),
            (end, Err(problem)) => end.stopped(problem),
        }
    }

    /// Writes how it ended; says where it stands behind that, or what to answer.
    pub(crate) async fn settle(
        mut self,
        ended: Result<(), Problem>,
    ) -> (Self, Result<&'static str, Problem>) {
        let tally = &mut self.intake.tally;
        tally.finish(&self.appends.refused_rows, self.appends.refused);
        let listed = self.diary.finish_errors(self.ingest, tally).await;
        let unavailable = |_| log_unavailable(self.ingest);
        let ended = ended
            .and(listed.map_err(unavailable))
            .and_then(|()| self.check_all_valid());
        let (what, status) = match &ended {
            Err(problem) => (self.failed(problem), "failed"),
            Ok(()) if self.begun.waits() => {
                (self.held(), if self.begun.hold { "held" } else { "processing" })
            }
            Ok(()) => (What::Sent(self.totals()), "processing"),
        };
        let releases = matches!(what, What::Held { release: true, .. });
        let written = self.diary.write(self.ingest, what).await;
        if releases && written.is_err() {
            self.unknown = self.totals().accepted;
        }
        // Behind this the upload stands where the answer says.
        if let Ok(appended) = &written {
            self.appends.receipt.extend(self.diary.home, appended.next);
        }
        let written = written.map_err(|_| log_unavailable(self.ingest));
        let settled = ended.and(written).map(|_| status);
        (self, settled)
    }

    /// What a client of the older service is told.
    pub(crate) fn refusal(&self, problem: Problem) -> Problem {
        let tally = &self.intake.tally;
        batches::refusal(problem, &tally.results, tally.results_left_out)
    }

    /// Rows that were read.
    pub(crate) fn rows(&self) -> u64 {
        let tally = &self.intake.tally;
        tally.valid.saturating_add(tally.invalid)
    }

    pub(crate) fn totals(&self) -> Totals {
        let tally = &self.intake.tally;
        Totals {
            accepted: self.appends.accepted,
            invalid: tally.invalid.saturating_add(self.appends.refused),
            unlisted: tally.unlisted,
            unknown: self.appends.unknown,
        }
    }

    fn check_all_valid(&self) -> Result<(), Problem> {
        let needs_all = self.begun.atomic || self.begun.door == OLDER_DOOR;
        if !needs_all || self.totals().invalid == 0 {
            return Ok(());
        }
        let title = "Some rows are not valid, and all had to be";
        Err(
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "rows_invalid", title)
                .detail("nothing of this upload counts; mend the rows and send all of it again"),
        )
    }

    fn failed(&self, problem: &Problem) -> What {
        What::Failed {
            totals: self.totals(),
            code: problem.code().to_owned(),
            detail: problem.text().to_owned(),
        }
    }

    fn held(&self) -> What {
        let next = |partition: &Partition| self.appends.receipt.next.get(partition).copied();
        let places = self.appends.firsts.iter();
        let places: Vec<(Partition, Offset, Offset)> = places
            .filter_map(|(partition, first)| Some((*partition, *first, next(partition)?)))
            .collect();
        What::Held {
            totals: self.totals(),
            places,
            release: !self.begun.hold,
        }
    }

    fn created(self, status: &'static str) -> Response {
        let upload = self.upload;
        let named = Named { upload, status };
        let answer = batch(self.intake, self.appends, false, Some(named));
        let location = [(header::LOCATION, format!("/v1/uploads/{upload}"))];
        (StatusCode::CREATED, location, answer).into_response()
    }

    /// A problem with how far it got. Of a held upload that failed nothing will count, whatever is durable.
    fn stopped(self, problem: Problem) -> Response {
        let rows = self.rows();
        let (upload, hold, unknown) = (self.upload, self.begun.waits(), self.unknown);
        let mut problem = stopped(problem, self.intake, self.appends)
            .with("upload", upload.to_string())
            .with("rows", rows);
        if hold {
            problem = problem.with("accepted", 0).with("unknown", unknown);
        }
        let location = [(header::LOCATION, format!("/v1/uploads/{upload}"))];
        (location, problem).into_response()
    }
}
