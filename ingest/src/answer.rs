//! What a client is told in the end. Whatever went wrong, it says how much of the request is durable, and the keys that
//! were made, so that sending it again counts nothing twice.

use crate::appends::Appends;
use crate::intake::Intake;
use crate::tally::{FreshKey, RowResult};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use service::http::Problem;
use utoipa::ToSchema;
use uuid::Uuid;

/// How the work on a body ended.
pub(crate) enum Ending {
    /// It was read to its end, and all of it was decided.
    Done,
    /// It was not, for this reason.
    Stopped(Problem),
}

/// The answer to a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Batch {
    // `described::Uploaded` says it where it is there.
    #[serde(flatten)]
    #[schema(ignore)]
    upload: Option<Named>,
    /// Events that are durable; with `validate`, that are valid.
    accepted: u64,
    /// Rows that are not valid.
    invalid: u64,
    /// Events that the log refused.
    #[serde(skip_serializing_if = "is_zero")]
    refused: u64,
    /// False with `validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    /// Rows that are not valid or were refused, the first 1,000.
    results: Vec<RowResult>,
    results_left_out: u64,
    /// Keys that were made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<FreshKey>,
    #[serde(skip_serializing_if = "is_zero")]
    keys_left_out: u64,
}

/// An upload, and where it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadNamed)]
pub(crate) struct Named {
    #[schema(value_type = String, format = "uuid")]
    pub(crate) upload: Uuid,
    /// `held` or `processing`.
    pub(crate) status: &'static str,
}

/// The answer to a single event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Single {
    accepted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<bool>,
    idempotency_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

// Serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Makes the answer. All chunks must be decided. `validate` says that nothing was to be recorded.
pub(crate) fn answer(ending: Ending, mut intake: Intake, appends: Appends, validate: bool) -> Response {
    intake.tally.finish(&appends.refused_rows, appends.refused);
    match ending {
        Ending::Stopped(problem) => stopped(problem, intake, appends).into_response(),
        Ending::Done if intake.is_single() => single(intake, appends, validate),
        Ending::Done => batch(intake, appends, validate, None),
    }
}

/// Makes the answer to a batch. `upload` says which upload it was.
pub(crate) fn batch(intake: Intake, appends: Appends, validate: bool, upload: Option<Named>) -> Response {
    let tally = intake.tally;
    Json(Batch {
        upload,
        accepted: if validate { tally.valid } else { appends.accepted },
        invalid: tally.invalid,
        refused: appends.refused,
        recorded: validate.then_some(false),
        receipt: (!validate).then(|| appends.receipt.to_string()),
        results: tally.results,
        results_left_out: tally.results_left_out,
        // A key of an event that was not recorded is of no use.
        keys: if validate { Vec::new() } else { tally.keys },
        keys_left_out: if validate { 0 } else { tally.keys_left_out },
    })
    .into_response()
}

fn single(intake: Intake, appends: Appends, validate: bool) -> Response {
    if let Some(result) = intake.tally.results.into_iter().next() {
        return Problem::bad_request("invalid_event", "The event is not valid")
            .detail(format!("{} {}", result.field, result.message))
            .with("code", result.code)
            .with("field", result.field)
            .into_response();
    }
    let body = Single {
        accepted: if validate { 1 } else { appends.accepted },
        recorded: validate.then_some(false),
        idempotency_key: intake.single_key.unwrap_or_default(),
        receipt: (!validate).then(|| appends.receipt.to_string()),
    };
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

/// Adds to a problem what is known of the rows before it.
pub(crate) fn stopped(problem: Problem, intake: Intake, appends: Appends) -> Problem {
    let is_single = intake.is_single();
    let tally = intake.tally;
    let mut problem = problem
        .with("accepted", appends.accepted)
        .with("unknown", appends.unknown)
        .with("invalid", tally.invalid)
        .with("receipt", appends.receipt.to_string());
    if is_single {
        return match intake.single_key {
            Some(key) => problem.with("idempotency_key", key),
            None => problem,
        };
    }
    if !tally.results.is_empty() {
        problem = problem
            .with("results", list(&tally.results))
            .with("results_left_out", tally.results_left_out);
    }
    if !tally.keys.is_empty() {
        problem = problem
            .with("keys", list(&tally.keys))
            .with("keys_left_out", tally.keys_left_out);
    }
    problem
}

fn list<T: Serialize>(items: &[T]) -> Value {
    // Numbers and texts always have a JSON form.
    serde_json::to_value(items).unwrap_or_default()
}
