//! `GET /userEvents/{userId}`, for unchanged clients of the older service that kept revenue per user: an array of one, the revenue a
//! number, and a 404 in plain text where there is nothing. The revenue is the sum of all amounts of the user, exact to the last digit;
//! what a client makes of a long JSON number is its own affair, so new ones should ask `GET /v1/users/{id}`.

use crate::QueryApi;
use crate::caller::Caller;
use crate::described::{PATH, User, VIEW};
use crate::reflected::ENDS_AGE;
use crate::users;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemas::row::View;
use serde::Serialize;
use serde_json::value::RawValue;
use service::http::Problem;
use std::sync::Arc;
use utoipa::ToSchema;

/// What the older service answers for a user that it does not know.
const NOT_FOUND: &str = "User not found";

/// The sum of all amounts of a user.
#[derive(Debug, Serialize, ToSchema)]
struct Revenue {
    user_id: String,
    #[schema(value_type = f64)]
    revenue: Box<RawValue>,
}

#[utoipa::path(
    get, path = "/userEvents/{id}", tag = "Older: revenue",
    summary = "The revenue of a user",
    description = "As the older service had it: an array of one.",
    params(User),
    responses(
        (status = 200, description = "The revenue, exact to the last digit.", body = [Revenue]),
        (status = 404, description = "There is no such user.", body = String, content_type = "text/plain"),
    ),
    extensions(("x-problems" = json!([PATH, VIEW]))),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let user_id = users::user(path)?;
    let reflected = api.reflected(View::Users, None, ENDS_AGE).await?;
    let (total, _) = users::sums(&api, &caller, &user_id, reflected.days()).await?;
    api.confirm(View::Users, &reflected).await?;
    if total.count == 0 {
        return Ok((StatusCode::NOT_FOUND, NOT_FOUND).into_response());
    }
    let sum = total.sum.to_string();
    // Its numbers have no zeros at their end.
    let shortest = match sum.contains('.') {
        true => sum.trim_end_matches('0').trim_end_matches('.'),
        false => &sum,
    };
    let revenue = RawValue::from_string(shortest.to_owned()).map_err(|error| {
        tracing::error!(%error, "a sum is no JSON number");
        Problem::internal()
    })?;
    Ok(Json([Revenue { user_id, revenue }]).into_response())
}
