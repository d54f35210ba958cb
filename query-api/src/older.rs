//! `GET /api/metrics` and `GET /api/queues/{queue}/dlq`, for unchanged clients of the older service that counts events per day. Bodies and
//! statuses are that service's own; its errors get their form in `service::http`.
//!
//! Its days were those of its server's zone; ours are UTC. Its queue of failed jobs is filled from the dead letters. It knew a key of its
//! own for that queue: where keys are needed here, it must be one of ours that may see dead letters, and where none are, any will do.

use crate::QueryApi;
use crate::caller::Caller;
use crate::described::{PARAMS, PATH, SIZE, VIEW};
use crate::params::{self, RawQuery};
use crate::tries::Letter;
use crate::waiting::too_many;
use crate::watch::{Seen, WaitEnd};
use crate::{days, dead_letters};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDate};
use schemas::Offset;
use schemas::row::View;
use serde_json::{Value, json};
use service::access::{self, API_KEY, Scope};
use service::http::Problem;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;

/// The one queue there is.
const QUEUE: &str = "event-processing";
/// Failed jobs of an answer, unless told otherwise.
const JOBS: usize = 100;
/// Failed jobs of an answer at most.
const JOBS_MAX: usize = 1000;

/// The counts of a day.
#[derive(ToSchema)]
#[schema(as = OlderMetrics)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Metrics {
    #[schema(format = Date)]
    date: String,
    metrics: Vec<Metric>,
}

/// The count of a type.
#[derive(ToSchema)]
#[schema(as = OlderMetric, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Metric {
    event_type: String,
    count: u64,
}

/// Failed jobs.
#[derive(ToSchema)]
#[schema(as = OlderFailed, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Failed {
    queue_name: String,
    failed_jobs: Vec<Job>,
}

/// A dead letter as a failed job.
#[derive(ToSchema)]
#[schema(as = OlderJob, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Job {
    id: String,
    data: JobData,
    /// The reason of the dead letter.
    error: String,
    failed_reason: String,
    /// Milliseconds since 1970.
    timestamp: i64,
}

/// What failed.
#[derive(ToSchema)]
#[schema(as = OlderJobData, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct JobData {
    user_id: String,
    /// Where the dead letter is.
    dead_letter: String,
}

/// How long a client waits for a view that is being made from the log.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits while `view` does not hold a partition that has events, as it is for a moment behind the first events of all: clients of that
/// service know no answer that says so. Where it is in vain, or the log does not say, the query itself will tell.
///
/// Errors: 503 where too many wait, and those of the store.
pub(crate) async fn ready(api: &QueryApi, view: View) -> Result<(), Problem> {
    let progress = api.progress(view).await?;
    if api
        .partitions()
        .all(|partition| progress.contains_key(&partition))
    {
        return Ok(());
    }
    let Ok(ends) = api.ends.ends(Duration::ZERO).await else {
        return Ok(());
    };
    let holds = |seen: &Seen| {
        let rows = seen.get(&view);
        let mut ends = ends.iter();
        ends.all(|(partition, end)| {
            *end == Offset(0) || rows.is_some_and(|rows| rows.contains_key(partition))
        })
    };
    match api.progress.wait(&[view], Instant::now() + PATIENCE, holds).await {
        WaitEnd::TooMany => Err(too_many()),
        WaitEnd::Seen | WaitEnd::TimeOver | WaitEnd::Stopping => Ok(()),
    }
}

/// `GET /api/metrics?date`.
#[utoipa::path(
    get, path = "/api/metrics", tag = "Older: counts per day",
    summary = "Counts of a UTC day by type",
    params(("date" = Option<String>, Query, format = Date, description = "Today without it.")),
    responses((status = 200, description = "The counts.", body = Metrics)),
    extensions(("x-problems" = json!([PARAMS, SIZE, VIEW, [503, "too_many_waiters"]]))),
)]
pub(crate) async fn metrics(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    query: RawQuery,
) -> Result<Response, Problem> {
    let date = match parameter(query, "date")? {
        Some(text) => params::date(&text).ok_or_else(wrong_date)?,
        None => today(&api)?,
    };
    ready(&api, View::Days).await?;
    let counts = days::counts(api, &caller, date).await?.into_iter();
    let metrics: Vec<Value> = counts
        .map(|(event_type, count)| json!({"eventType": event_type, "count": count}))
        .collect();
    Ok(Json(json!({"date": date.to_string(), "metrics": metrics})).into_response())
}

/// `GET /api/queues/{queue}/dlq?limit`.
#[utoipa::path(
    get, path = "/api/queues/{queue}/dlq", tag = "Older: counts per day",
    summary = "Dead letters of the last seven days as failed jobs, oldest first",
    description = "While there are no keys, any `X-API-Key` will do.",
    params(
        ("queue" = String, Path, description = "`event-processing`; there is no other."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Jobs of the answer; 100 without it."),
    ),
    responses((status = 200, description = "The jobs.", body = Failed)),
    security(("key" = ["admin"]), ("bearer" = ["admin"])),
    extensions(("x-problems" = json!([
        PATH, PARAMS, VIEW, [400, "queue_unknown"], [401, "key_missing"], [403, "scope_missing"], [503, "too_many_waiters"]
    ]))),
)]
pub(crate) async fn failed(
    State(api): State<Arc<QueryApi>>,
    who: Option<access::Caller>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let caller = admitted(who, &headers)?;
    let Path(queue) = path?;
    if queue != QUEUE {
        let problem = Problem::bad_request("queue_unknown", "Invalid Queue Name");
        return Err(problem.detail(format!("The only queue is {QUEUE}")));
    }
    let limit = match parameter(query, "limit")? {
        None => JOBS,
        Some(text) => {
            let number = text.parse().ok().filter(|number| (1..=JOBS_MAX).contains(number));
            number.ok_or_else(|| {
                Problem::bad_request("parameter_invalid", "Invalid Limit")
                    .detail(format!("limit must be a number from 1 to {JOBS_MAX}"))
            })?
        }
    };
    ready(&api, View::DeadLetters).await?;
    let letters = dead_letters::recent(&api, &caller, limit).await?;
    let jobs: Vec<Value> = letters.into_iter().map(job).collect();
    Ok(Json(json!({"queueName": QUEUE, "failedJobs": jobs})).into_response())
}

/// Who may see the queue.
fn admitted(who: Option<access::Caller>, headers: &HeaderMap) -> Result<Caller, Problem> {
    let has_shown = headers.get(API_KEY).is_some_and(|key| !key.is_empty());
    match who {
        Some(who) if who.has_key() => {
            who.check_scope(&[Scope::Admin])?;
            Ok(Caller::of(who))
        }
        Some(who) if has_shown => Ok(Caller::of(who)),
        _ => Err(
            Problem::new(StatusCode::UNAUTHORIZED, "key_missing", "Unauthorized")
                .detail("A valid key is needed in the header X-API-Key"),
        ),
    }
}

fn job(letter: Letter) -> Value {
    let (id, row) = (letter.id(), letter.row);
    json!({
        "data": {"userId": row.user, "deadLetter": format!("/v1/dead-letters/{id}")},
        "id": id,
        "error": row.reason.word(),
        "failedReason": row.detail,
        "timestamp": letter.at.accepted_ms,
    })
}

/// A parameter; others were ignored there and are here.
fn parameter(query: RawQuery, name: &str) -> Result<Option<String>, Problem> {
    let axum::extract::Query(pairs) = query?;
    let mut values = pairs.into_iter().filter(|(other, _)| other == name);
    Ok(values.next().map(|(_, value)| value))
}

fn today(api: &QueryApi) -> Result<NaiveDate, Problem> {
    let now = DateTime::from_timestamp_millis((api.clock)().millis());
    now.map(|now| now.date_naive()).ok_or_else(Problem::internal)
}

fn wrong_date() -> Problem {
    Problem::bad_request("parameter_invalid", "Invalid Date Format").detail("Use YYYY-MM-DD")
}
