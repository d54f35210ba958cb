//! `GET /v1/uploads/{id}`: where an upload stands.

use super::{Shown, id};
use crate::QueryApi;
use crate::caller::Caller;
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

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    upload: Shown,
    as_of: AsOf,
}

/// `GET /v1/uploads/{id}?after&wait`. Without `after`, `wait` is how long to wait for an upload that has just begun.
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
