//! `POST /api/uploads`, for unchanged clients of the older service that counts events per day from CSV files. The file goes the way of a
//! held upload, and is one: it counts only after `POST /api/batches/{id}/process`.
//!
//! All rows are looked at. If one is not valid the upload ends as failed: nothing of it will ever count, and the answer lists every bad
//! row, the header being row 1. Bodies and statuses are that service's own; errors get its form in `service::http`.
//!
//! Its losses are not kept: two different events of one user at one moment both count, and a file may be of any size that the port takes.

/// Ten a minute from one address.
mod pace;

pub(crate) use pace::Pace;

use crate::Ingest;
use crate::described::{FORM, FileForm, HEAD, OlderUploaded, ROWS};
use crate::events::busy;
use crate::intake::Request;
use crate::rows::Format;
use crate::tally::RowResult;
use crate::upload_head::{Asked, File};
use crate::uploads::{self, Received};
use crate::{body::PIECE_BYTES, events::decoder_bytes};
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use schemas::upload::{Begun, OLDER_DOOR};
use serde_json::{Value, json};
use service::access::Caller;
use service::http::Problem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Bad rows listed in one answer: all of a file that the older service took, but for the oddest. With their texts some 20 MB.
const DETAILS: usize = 100_000;

#[utoipa::path(
    post, path = "/api/uploads", tag = "Older: counts per day",
    summary = "Takes a CSV file, which counts when it is processed",
    description = "Columns `userId`, `eventType`, `timestamp`; others are metadata. A file with a bad row is refused whole, and `details` lists each. \
                   Ten a minute from one address.",
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses((status = 201, description = "All rows are durable, and wait.", body = OlderUploaded)),
    extensions(("x-problems" = json!([HEAD, FORM, ROWS, [400, "file_not_csv"], [429, "too_many_uploads"]]))),
)]
pub(crate) async fn post(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    caller: Caller,
    request: axum::extract::Request,
) -> Response {
    if let Err(wait_s) = ingest.pace.take(peer.ip(), Instant::now()) {
        let response = too_many(wait_s).into_response();
        ingest.metrics.requests.get(&[response.status().as_str()]).inc();
        return response;
    }
    let upload = Uuid::now_v7();
    let (parts, body) = request.into_parts();
    let at = Arc::clone(&ingest);
    uploads::apart(
        &ingest,
        async move { handle(&at, &caller, upload, parts, body).await },
    )
    .await
}

async fn handle(
    ingest: &Ingest,
    caller: &Caller,
    upload: Uuid,
    mut parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    // That service knows no parameters here.
    parts.uri = Uri::from_static("/api/uploads");
    let asked = Asked::read(&parts)?;
    if !asked.is_form() {
        return Err(no_file());
    }
    let mut room = ingest.rooms.enter(PIECE_BYTES).map_err(|_| busy(ingest))?;
    let file = asked.file(body).await.map_err(|problem| match problem.code() {
        "file_missing" => no_file(),
        _ => problem,
    })?;
    if file.format != Some(Format::Csv) {
        return Err(
            Problem::bad_request("file_not_csv", "Invalid File Type").detail("Only CSV files are allowed")
        );
    }
    let decoder = decoder_bytes(file.encoding, asked.length, ingest.limits.decompression_ratio);
    room.try_resize(PIECE_BYTES + decoder).map_err(|_| busy(ingest))?;
    let request = Request {
        idempotency_key: asked.key,
        upload_id: Some(upload),
        older: true,
        ..Request::new(caller.tenant().as_ref(), &ingest.limits)
    };
    let begun = Begun {
        name: file.name.clone(),
        hold: true,
        atomic: false,
        door: OLDER_DOOR.to_owned(),
    };
    let received = Received {
        file: File { name: None, ..file },
        begun,
        request,
        details: Some(DETAILS),
    };
    let (end, ended) =
        uploads::receive(ingest, caller, upload, (room, PIECE_BYTES + decoder), received).await?;
    // A file without a row is an error there.
    let ended = ended.and_then(|()| match end.rows() {
        0 => Err(Problem::bad_request("body_empty", "The body is empty").detail("the file has no events")),
        _ => Ok(()),
    });
    let (end, ended) = end.settle(ended).await;
    match ended {
        Ok(_) => Ok(created(upload, end.totals().accepted)),
        Err(problem) => Err(end.refusal(problem)),
    }
}

fn created(upload: Uuid, events: u64) -> Response {
    let body = json!({
        "batchId": upload.to_string(),
        "totalEvents": events,
        "message": format!("Successfully uploaded {events} events"),
    });
    (StatusCode::CREATED, Json(body)).into_response()
}

/// The older answer to a file with bad rows; any other problem as it is.
pub(crate) fn refusal(problem: Problem, results: &[RowResult], left_out: u64) -> Problem {
    let details: Vec<Value> = match problem.code() {
        "rows_invalid" | "csv_invalid" if !results.is_empty() => results.iter().map(detail).collect(),
        // Nothing is known of a row: it is the file itself.
        "csv_invalid" | "body_empty" => {
            vec![json!({"row": 0, "field": "file", "message": problem.text()})]
        }
        _ => return problem,
    };
    let message = match left_out {
        0 => format!("{} rows are not valid; nothing of the file counts", details.len()),
        more => format!(
            "{} rows are not valid and listed, {more} more are not listed; nothing of the file counts",
            details.len()
        ),
    };
    Problem::bad_request("csv_invalid", "CSV Validation Failed")
        .detail(message)
        .with("details", details)
}

fn detail(result: &RowResult) -> Value {
    let field = match result.field {
        "user_id" => "userId",
        "event_type" => "eventType",
        "event" => "row",
        other => other,
    };
    let message = match result.row {
        0 => result.message.clone(),
        _ => format!("{field} {}", result.message),
    };
    json!({"row": result.row, "field": field, "message": message})
}

fn no_file() -> Problem {
    Problem::bad_request("file_missing", "No File Uploaded")
        .detail("Send a CSV file as the field `file` of a form (multipart/form-data)")
}

fn too_many(wait_s: u32) -> Problem {
    Problem::too_many("too_many_uploads", "Too Many Requests", wait_s)
        .detail("Too many uploads from this address, try again later")
}
