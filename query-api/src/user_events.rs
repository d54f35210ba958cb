//! `GET /userEvents/{userId}`, for unchanged clients of the older service that kept revenue per user: an array of one, the revenue a
//! number, and a 404 in plain text where there is nothing. The revenue is the sum of all amounts of the user, exact to the last digit;
//! what a client makes of a long JSON number is its own affair, so new ones should ask `GET /v1/users/{id}`.

use crate::QueryApi;
use crate::caller::Caller;
use crate::params::RawQuery;
use crate::users;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// What the older service answers for a user that it does not know.
const NOT_FOUND: &str = "User not found";

#[derive(Debug, Serialize)]
struct Revenue {
    user_id: String,
    revenue: Box<RawValue>,
}

pub(crate) async fn show(
    api: State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Response {
    let Json(totals) = match users::total(api, caller, path, query).await {
        Ok(totals) => totals,
        Err(problem) => return problem.into_response(),
    };
    if totals.total.count == 0 {
        return (StatusCode::NOT_FOUND, NOT_FOUND).into_response();
    }
    let sum = totals.total.sum.to_string();
    // Its numbers have no zeros at their end.
    let shortest = match sum.contains('.') {
        true => sum.trim_end_matches('0').trim_end_matches('.'),
        false => &sum,
    };
    match RawValue::from_string(shortest.to_owned()) {
        Ok(revenue) => Json([Revenue {
            user_id: totals.user_id,
            revenue,
        }])
        .into_response(),
        Err(error) => {
            tracing::error!(%error, "a sum is no JSON number");
            service::http::Problem::internal().into_response()
        }
    }
}
