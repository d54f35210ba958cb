//! `/api/batches`, for unchanged clients of the older service that counts events per day: the uploads that came through its door, as it
//! showed them. `POST /api/batches/{id}/process` releases one, and only then it counts.
//!
//! A file that was refused left nothing there, so an upload that failed is no batch. All rows are released at once, however many.

use super::list::{first_of, page};
use super::{Found, decide};
use crate::QueryApi;
use crate::caller::Caller;
use crate::described::{UploadId, VIEW};
use crate::older::ready;
use crate::reflected::{ByPartition, ENDS_AGE};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemas::Timestamp;
use schemas::row::View;
use schemas::upload::{OLDER_DOOR, Stage, What};
use serde::Serialize;
use serde_json::json;
use service::http::Problem;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Events of one of the older service's jobs.
const JOB_EVENTS: u64 = 100;
/// Batches of a list at most.
const BATCHES: usize = 500;
/// Uploads of all doors that one list looks through at most, in pages: the newest ten thousand.
const PAGES: usize = 20;
const PAGE_UPLOADS: usize = 500;
/// How far back a list goes: 30 days.
const BACK_MS: i64 = 30 * 24 * 3_600_000;
/// How far the clock of ingest may be ahead of ours.
const AHEAD_MS: i64 = 3_600_000;

/// An upload of the older service.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OlderBatch)]
struct Batch {
    #[schema(value_type = String, format = "uuid")]
    batch_id: Uuid,
    #[schema(required = true)]
    file_name: Option<String>,
    total_events: u64,
    processed_events: u64,
    /// `uploaded`, `processing`, `completed` or `failed`.
    status: &'static str,
    #[schema(format = DateTime)]
    uploaded_at: String,
    #[schema(required = true, format = DateTime)]
    processed_at: Option<String>,
}

/// The newest first.
#[derive(ToSchema)]
#[schema(as = OlderBatches)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Batches {
    batches: Vec<Batch>,
}

/// What was released.
#[derive(ToSchema)]
#[schema(as = OlderProcessed, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Processed {
    #[schema(format = "uuid")]
    batch_id: String,
    /// A hundredth of its events, rounded up.
    jobs_enqueued: u64,
    message: String,
}

impl Batch {
    /// None where the older service would have none.
    fn of(id: Uuid, found: &Found, projected: &ByPartition) -> Option<Self> {
        let upload = found.upload(id);
        if upload.begun.door != OLDER_DOOR {
            return None;
        }
        let total_events = upload.totals?.accepted;
        let concluded = found.ledger.concluded();
        let is_shown = found.versions.iter().all(|(partition, version)| {
            let row = projected.get(partition);
            row.is_some_and(|row| row.next >= *version)
        });
        let status = match upload.stage {
            Stage::Receiving | Stage::Failed => return None,
            Stage::Held => "uploaded",
            Stage::Counting if concluded >= total_events && is_shown => "completed",
            Stage::Counting => "processing",
            Stage::Discarded => "failed",
        };
        let at = |ms| Timestamp::from_millis(ms).rfc3339();
        Some(Self {
            batch_id: id,
            total_events,
            processed_events: concluded.min(total_events),
            status,
            uploaded_at: at(upload.begun_ms),
            // Its release is its newest fact.
            processed_at: (status == "completed").then(|| at(upload.newest_ms)),
            file_name: upload.begun.name,
        })
    }
}

/// Whether the older service would have it.
fn is_batch(id: Uuid, found: &Found) -> bool {
    let upload = found.upload(id);
    let is_seen = !matches!(upload.stage, Stage::Receiving | Stage::Failed);
    is_seen && upload.begun.door == OLDER_DOOR
}

/// `GET /api/batches`: those of the last 30 days, newest first.
#[utoipa::path(
    get, path = "/api/batches", tag = "Older: counts per day",
    summary = "Batches of the last 30 days, newest first; 500 at most",
    responses((status = 200, description = "The batches.", body = Batches)),
    extensions(("x-problems" = json!([VIEW, [503, "too_many_waiters"]]))),
)]
pub(crate) async fn list(State(api): State<Arc<QueryApi>>, caller: Caller) -> Result<Response, Problem> {
    let now_ms = api.now_ms();
    ready(&api, View::Uploads).await?;
    let reflected = api.reflected(View::Uploads, None, ENDS_AGE).await?;
    let (mut before, from_ms) = (
        first_of(now_ms.saturating_add(AHEAD_MS)),
        now_ms.saturating_sub(BACK_MS),
    );
    let mut all = Vec::new();
    for _ in 0..PAGES {
        let page = page(&api, &caller, before, from_ms, PAGE_UPLOADS).await?;
        // Those of other doors, and those that failed, must not take the place of batches.
        let batches = page.uploads.into_iter();
        all.extend(batches.filter(|(id, found)| is_batch(*id, found)));
        match page.next {
            Some(next) if all.len() < BATCHES => before = next,
            _ => break,
        }
    }
    all.truncate(BATCHES);
    let projected = api.progress(View::Progress).await?;
    api.confirm(View::Uploads, &reflected).await?;
    let batches = all
        .iter()
        .filter_map(|(id, found)| Batch::of(*id, found, &projected));
    let batches: Vec<Batch> = batches.collect();
    Ok(Json(json!({ "batches": batches })).into_response())
}

/// `GET /api/batches/{id}`.
#[utoipa::path(
    get, path = "/api/batches/{id}", tag = "Older: counts per day",
    summary = "One batch",
    params(UploadId),
    responses((status = 200, description = "The batch.", body = Batch)),
    extensions(("x-problems" = json!([VIEW, [404, "not_found"], [503, "too_many_waiters"]]))),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (id, found) = settled(&api, &caller, path).await?;
    let projected = api.progress(View::Progress).await?;
    let batch = Batch::of(id, &found, &projected).ok_or_else(unknown)?;
    Ok(Json(batch).into_response())
}

/// `POST /api/batches/{id}/process`.
#[utoipa::path(
    post, path = "/api/batches/{id}/process", tag = "Older: counts per day",
    summary = "Releases a batch: its events count from now on",
    params(UploadId),
    responses(
        (status = 200, description = "Nothing is left to release.", body = Processed),
        (status = 202, description = "It is released.", body = Processed),
    ),
    extensions(("x-problems" = json!([VIEW, [404, "not_found"], [503, "too_many_waiters"]]))),
)]
pub(crate) async fn process(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (id, found) = settled(&api, &caller, path).await?;
    let upload = found.upload(id);
    let stage = match upload.stage {
        Stage::Receiving | Stage::Failed => return Err(unknown()),
        Stage::Held => decide::decide(&api, &caller, id, What::Released).await?,
        // Nothing is left.
        Stage::Counting | Stage::Discarded => return Ok(answer(StatusCode::OK, id, 0)),
    };
    // Somebody else's discard was first.
    if stage == Stage::Discarded {
        return Ok(answer(StatusCode::OK, id, 0));
    }
    let events = upload.totals.map_or(0, |totals| totals.accepted);
    Ok(answer(StatusCode::ACCEPTED, id, events.div_ceil(JOB_EVENTS)))
}

/// A batch whose end shows. Of an id that is none there is no batch, as there.
async fn settled(
    api: &QueryApi,
    caller: &Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<(Uuid, Found), Problem> {
    let id = super::id(path).map_err(|_| unknown())?;
    ready(api, View::Uploads).await?;
    let found = decide::settled(api, caller, id)
        .await
        .map_err(|problem| match problem.status() {
            StatusCode::NOT_FOUND => unknown(),
            _ => problem,
        })?;
    match found.upload(id).begun.door == OLDER_DOOR {
        true => Ok((id, found)),
        false => Err(unknown()),
    }
}

fn answer(status: StatusCode, id: Uuid, jobs: u64) -> Response {
    let message = match jobs {
        0 => "No events left to process".to_owned(),
        jobs => format!("Enqueued {jobs} jobs for processing"),
    };
    let body = json!({"batchId": id.to_string(), "jobsEnqueued": jobs, "message": message});
    (status, Json(body)).into_response()
}

fn unknown() -> Problem {
    Problem::not_found("There is no such batch")
}
