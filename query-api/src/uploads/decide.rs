//! `POST /v1/uploads/{id}/process` and `DELETE /v1/uploads/{id}`: a held upload is released, or shall never count.
//!
//! Each appends a fact. Of a release and a discard the first on the log holds, whoever was told what meanwhile, so the answer
//! waits until the fact shows and says what then is. Either may be called again, also after a call that was not answered.

use super::{Found, id, word};
use crate::QueryApi;
use crate::caller::Caller;
use crate::described::{PARAMS, PATH, UploadId, VIEW};
use crate::params::{Params, RawQuery};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use log::Chunk;
use log::batch::Kind;
use schemas::upload::{Fact, Stage, What, home};
use schemas::{Offset, Partition};
use serde_json::json;
use service::http::Problem;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

/// Where an upload stands behind a release or a discard.
#[derive(ToSchema)]
#[schema(as = UploadDecided)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Decided {
    #[schema(format = "uuid")]
    upload: String,
    /// `held`, `processing` or `discarded`.
    status: String,
}

/// How long to wait for a fact to show: longer than rows are left unwritten by default while the store is busy.
const PATIENCE: Duration = Duration::from_secs(6);
/// The same for the end of an upload that is being received still, which may not come.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// `POST /v1/uploads/{id}/process`.
#[utoipa::path(
    post, path = "/v1/uploads/{id}/process", tag = "Uploads",
    summary = "Releases a held upload: its rows count from now on",
    description = "It may be called again.",
    params(UploadId),
    responses(
        (status = 200, description = "It was released before.", body = Decided),
        (status = 202, description = "It is released.", body = Decided),
    ),
    extensions(("x-problems" = json!([PATH, PARAMS, VIEW, [404, "not_found"], [409, "upload_not_held"], [503, "too_many_waiters"]]))),
)]
pub(crate) async fn process(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Result<Response, Problem> {
    let id = id(path)?;
    Params::of(query, &[])?;
    match settled(&api, &caller, id).await?.upload(id).stage {
        Stage::Counting => Ok(answer(StatusCode::OK, id, Stage::Counting)),
        Stage::Held => match decide(&api, &caller, id, What::Released).await? {
            Stage::Discarded => Err(not_held(id, Stage::Discarded)),
            stage => Ok(answer(StatusCode::ACCEPTED, id, stage)),
        },
        stage => Err(not_held(id, stage)),
    }
}

/// `DELETE /v1/uploads/{id}`.
#[utoipa::path(
    delete, path = "/v1/uploads/{id}", tag = "Uploads",
    summary = "Discards a held upload: its rows shall never count",
    description = "It may be called again.",
    params(UploadId),
    responses(
        (status = 200, description = "It is discarded.", body = Decided),
        (status = 202, description = "That it is discarded is recorded and does not show yet.", body = Decided),
    ),
    extensions(("x-problems" = json!([PATH, PARAMS, VIEW, [404, "not_found"], [409, "upload_not_held"], [503, "too_many_waiters"]]))),
)]
pub(crate) async fn discard(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Result<Response, Problem> {
    let id = id(path)?;
    Params::of(query, &[])?;
    match settled(&api, &caller, id).await?.upload(id).stage {
        Stage::Discarded => Ok(answer(StatusCode::OK, id, Stage::Discarded)),
        Stage::Held => match decide(&api, &caller, id, What::Discarded).await? {
            Stage::Counting => Err(not_held(id, Stage::Counting)),
            Stage::Discarded => Ok(answer(StatusCode::OK, id, Stage::Discarded)),
            stage => Ok(answer(StatusCode::ACCEPTED, id, stage)),
        },
        stage => Err(not_held(id, stage)),
    }
}

/// What is known of an upload, and so where it stands. One whose end is not reflected yet is waited for: its client may know already that it is held.
pub(super) async fn settled(api: &QueryApi, caller: &Caller, id: Uuid) -> Result<Found, Problem> {
    let (mut found, reflected) = api.upload(caller, id, None, None).await?;
    let home = home(id, api.generation.partitions);
    let mut next = reflected.progress.get(&home).map_or(Offset(0), |row| row.next);
    let deadline = Instant::now() + END_PATIENCE;
    loop {
        let upload = found.upload(id);
        let is_settled = upload.stage != Stage::Receiving || api.is_silent(id, &upload, &reflected);
        if is_settled || !api.reached(home, next.next(), deadline).await? {
            return Ok(found);
        }
        (found, next) = look(api, caller, id, home).await?;
    }
}

/// Appends a fact, and says where the upload stands behind it; as before where it does not show in time.
pub(super) async fn decide(api: &QueryApi, caller: &Caller, id: Uuid, what: What) -> Result<Stage, Problem> {
    let home = home(id, api.generation.partitions);
    let fact = Fact::new(caller.tenant.as_ref(), id, api.now_ms(), what);
    let mut chunk = Chunk::new(home);
    chunk.set_kind(Kind::Fact);
    chunk.push(fact.key().as_bytes(), &fact.encode());
    let appended = api.appender.append(chunk).await;
    let appended = appended.map_err(|cause| api.log_away(&crate::LogAway(cause.to_string())))?;
    let deadline = Instant::now() + PATIENCE;
    // Also when the time is over: the last look is the one that counts.
    api.reached(home, appended.next, deadline).await?;
    let (found, _) = look(api, caller, id, home).await?;
    Ok(found.upload(id).stage)
}

/// What the view holds, and up to where it surely does.
async fn look(
    api: &QueryApi,
    caller: &Caller,
    id: Uuid,
    home: Partition,
) -> Result<(Found, Offset), Problem> {
    let progress = api.progress(schemas::row::View::Uploads).await?;
    let next = progress.get(&home).map_or(Offset(0), |row| row.next);
    Ok((api.found(caller, id).await?, next))
}

fn answer(status: StatusCode, id: Uuid, stage: Stage) -> Response {
    let body = json!({"upload": id.to_string(), "status": word(stage)});
    (status, Json(body)).into_response()
}

fn not_held(id: Uuid, stage: Stage) -> Problem {
    let title = "The upload is not held";
    Problem::new(StatusCode::CONFLICT, "upload_not_held", title)
        .detail("only an upload that is held can be released or discarded, and only once")
        .with("upload", id.to_string())
        .with("upload_status", word(stage))
}
