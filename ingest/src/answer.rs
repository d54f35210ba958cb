//! What a client is told in the end. Whatever went wrong, it says how much of the request is durable, and the keys that
//! were made, so that sending it again counts nothing twice.

use crate::appends::Appends;
use crate::intake::Intake;
use crate::outcomes::{Counted, RowOutcome, Sums};
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
    /// With `wait=counted`: whether every view reflects them.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<bool>,
    /// With `wait=counted`: how many had each outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<Sums>,
    /// Rows that are not valid or were refused, and with `wait=counted` those that did not count; the first 1,000.
    results: Vec<Listed>,
    results_left_out: u64,
    /// Keys that were made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<FreshKey>,
    #[serde(skip_serializing_if = "is_zero")]
    keys_left_out: u64,
}

/// A row that is listed in an answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Listed {
    /// It was not accepted.
    Result(RowResult),
    /// It was, and not counted.
    Outcome(RowOutcome),
}

impl Listed {
    fn row(&self) -> u64 {
        match self {
            Self::Result(result) => result.row,
            Self::Outcome(outcome) => outcome.row,
        }
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<Sums>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<RowOutcome>,
}

// Serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Makes the answer. All chunks must be decided. `validate` says that nothing was to be recorded, `counted` what became of the events,
/// where that was waited for.
pub(crate) fn answer(
    ending: Ending,
    mut intake: Intake,
    appends: Appends,
    validate: bool,
    counted: Option<Counted>,
) -> Response {
    intake.tally.finish(&appends.refused_rows, appends.refused);
    match ending {
        Ending::Stopped(problem) => stopped(problem, intake, appends).into_response(),
        Ending::Done if intake.is_single() => single(intake, appends, validate, counted),
        Ending::Done => listed(intake, appends, validate, None, counted),
    }
}

/// Makes the answer to a batch. `upload` says which upload it was.
pub(crate) fn batch(intake: Intake, appends: Appends, validate: bool, upload: Option<Named>) -> Response {
    listed(intake, appends, validate, upload, None)
}

fn listed(
    intake: Intake,
    appends: Appends,
    validate: bool,
    upload: Option<Named>,
    counted: Option<Counted>,
) -> Response {
    let limit = intake.tally.limit();
    let tally = intake.tally;
    let mut results: Vec<Listed> = tally.results.into_iter().map(Listed::Result).collect();
    let (counted, outcomes) = match counted {
        None => (None, None),
        Some(told) => {
            results.extend(told.rows.into_iter().map(Listed::Outcome));
            results.sort_by_key(Listed::row);
            (Some(told.counted), Some(told.outcomes))
        }
    };
    let results_left_out = tally.results_left_out + results.len().saturating_sub(limit) as u64;
    results.truncate(limit);
    Json(Batch {
        upload,
        accepted: if validate { tally.valid } else { appends.accepted },
        invalid: tally.invalid,
        refused: appends.refused,
        recorded: validate.then_some(false),
        receipt: (!validate).then(|| appends.receipt.to_string()),
        counted,
        outcomes,
        results,
        results_left_out,
        // A key of an event that was not recorded is of no use.
        keys: if validate { Vec::new() } else { tally.keys },
        keys_left_out: if validate { 0 } else { tally.keys_left_out },
    })
    .into_response()
}

fn single(intake: Intake, appends: Appends, validate: bool, counted: Option<Counted>) -> Response {
    if let Some(result) = intake.tally.results.into_iter().next() {
        return Problem::bad_request("invalid_event", "The event is not valid")
            .detail(format!("{} {}", result.field, result.message))
            .with("code", result.code)
            .with("field", result.field)
            .into_response();
    }
    let status = match &counted {
        Some(told) if told.counted => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    let body = Single {
        accepted: if validate { 1 } else { appends.accepted },
        recorded: validate.then_some(false),
        idempotency_key: intake.single_key.unwrap_or_default(),
        receipt: (!validate).then(|| appends.receipt.to_string()),
        counted: counted.as_ref().map(|told| told.counted),
        outcomes: counted.as_ref().map(|told| told.outcomes),
        results: counted.map(|told| told.rows).unwrap_or_default(),
    };
    (status, Json(body)).into_response()
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
