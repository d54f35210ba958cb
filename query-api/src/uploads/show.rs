//! `GET /v1/uploads/{id}`: where an upload stands.

use super::{Shown, id};
use crate::QueryApi;
use crate::caller::Caller;
use crate::described::{AS_OF, PARAMS, PATH, RECEIPT, UploadId, VIEW};
use crate::params::{Params, RawQuery};
use crate::reflected::AsOf;
use crate::reply::Reply;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use schemas::row::View;
use serde::Serialize;
use service::http::Problem;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadStanding)]
struct Answer {
    #[serde(flatten)]
    upload: Shown,
    as_of: AsOf,
}

/// `GET /v1/uploads/{id}?after&wait`. Without `after`, `wait` is how long to wait for an upload that has just begun.
#[utoipa::path(
    get, path = "/v1/uploads/{id}", tag = "Uploads",
    summary = "Where an upload stands, and what became of its rows",
    params(
        UploadId,
        ("after" = Option<String>, Query, description = "A receipt: the answer reflects it, or is a 503 `not_yet`."),
        ("wait" = Option<String>, Query, pattern = "^[0-9]{1,6}(ms|s)?$", description = "How long to wait for `after`; without that, for an upload that has just begun. `query.wait_limit_ms` (30 s) at most."),
    ),
    responses((status = 200, description = "The upload.", body = Answer)),
    extensions(
        ("x-problems" = json!([PATH, PARAMS, RECEIPT, VIEW, [404, "not_found"]])),
        ("x-headers" = json!(AS_OF)),
    ),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Result<Response, Problem> {
    let id = id(path)?;
    let params = Params::of(query, &["after", "wait"])?;
    let after = match params.one("after")? {
        Some(_) => api.after(&params)?,
        None => None,
    };
    let wait = params.duration("wait")?;
    let (found, reflected) = api.upload(&caller, id, after.as_ref(), wait).await?;
    let projected = api.progress(View::Progress).await?;
    api.confirm(View::Uploads, &reflected).await?;
    let as_of = api.as_of(&reflected);
    let upload = api.show(id, &found, &reflected, &projected);
    Ok(Reply::one_form(&as_of).json(&Answer { upload, as_of }))
}
