//! `GET /v1/distinct-users`: how many users had events, by UTC day and type, and in all.
//!
//! Estimates: a sketch holds no users, so that those of several days, types and source partitions can be counted each once
//! however many there are. Bounds stand beside each number; the true one lies within them in 95 of 100 cases. A user whose
//! events were all taken back is counted still, since a sketch cannot forget.

use crate::QueryApi;
use crate::asked::{Range, Types};
use crate::caller::Caller;
use crate::described::{AS_OF, After, Known, PARAMS, RANGE, RECEIPT, SIZE, TAG, Types as TypesParam, VIEW};
use crate::format::Format;
use crate::params::{Params, RawQuery};
use crate::reads::{ANSWER_DEADLINE, ANSWER_ROWS, READS_AT_ONCE, malformed, too_large};
use crate::reflected::{AsOf, ENDS_AGE};
use crate::reply::Reply;
use crate::tag::Tag;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, StreamExt, TryStreamExt};
use schemas::Day;
use schemas::distinct::{Distinct, ERROR_PERCENT, Estimate, Union};
use schemas::row::{Row, RowKey, View};
use serde::Serialize;
use service::http::Problem;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Distinct users by day and type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DistinctUsers)]
struct Answer {
    /// Days are UTC days: sketches hold no hours.
    tz: &'static str,
    as_of: AsOf,
    /// How far an estimate is off, in percent: one standard deviation.
    error_percent: f64,
    days: Vec<Line>,
    /// Each user once, whatever days and types it had.
    total: Users,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DistinctUsersOfDay)]
struct Line {
    day: String,
    event_type: String,
    #[serde(flatten)]
    users: Users,
}

/// An estimate and its bounds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsersEstimate)]
struct Users {
    users: u64,
    low: u64,
    high: u64,
}

impl From<Estimate> for Users {
    fn from(estimate: Estimate) -> Self {
        let Estimate { users, low, high } = estimate;
        Self { users, low, high }
    }
}

/// `GET /v1/distinct-users?from&to&type&after&wait`. Without a range it is the last seven days.
#[utoipa::path(
    get, path = "/v1/distinct-users", tag = "Counts",
    summary = "How many users had events, by UTC day and type, and in all",
    description = "Estimates with their bounds: the true number lies within them in 95 of 100 cases. A user whose events were all taken back is counted still.",
    params(
        ("from" = Option<String>, Query, description = "The first UTC day; without it the last seven days up to `to`."),
        ("to" = Option<String>, Query, description = "The last UTC day, in the answer; without it today."),
        TypesParam, After, Known,
    ),
    responses((status = 200, description = "Estimates by day and type.", body = Answer), (status = 304, description = "Nothing was counted since.")),
    extensions(
        ("x-problems" = json!([PARAMS, RANGE, SIZE, RECEIPT, VIEW])),
        ("x-headers" = json!([AS_OF, TAG])),
    ),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let params = Params::of(query, &["from", "to", "type", "after", "wait"])?;
    let range = Range::read(&params, Format::Json, &api.limits, (api.clock)())?;
    let types = Types::read(&params)?;
    let after = api.after(&params)?;
    let reflected = api.reflected(View::Distinct, after.as_ref(), ENDS_AGE).await?;
    let as_of = api.as_of(&reflected);
    let question = ["distinct users", &range.text(), &types.text()];
    let tag = Tag::new(&api, &caller, View::Distinct, &reflected, &as_of, &question);
    let reply = match Reply::one_form(&as_of).tagged(tag, &headers) {
        ControlFlow::Continue(reply) => reply,
        ControlFlow::Break(not_modified) => return Ok(not_modified),
    };
    let span = reflected.within(range.buckets.days().utc_days());
    let (days, total) = match span {
        Some(span) => lines(&api, &caller, span, &types).await?,
        None => (Vec::new(), Union::default()),
    };
    api.confirm(View::Distinct, &reflected).await?;
    Ok(reply.json(&Answer {
        tz: "UTC",
        as_of,
        error_percent: ERROR_PERCENT,
        days,
        total: total.estimate().into(),
    }))
}

/// The lines of some days, in order, and all their users.
async fn lines(
    api: &QueryApi,
    caller: &Caller,
    (first, last): (Day, Day),
    types: &Types,
) -> Result<(Vec<Line>, Union), Problem> {
    let (mut lines, mut total) = (Vec::new(), Union::default());
    let reads = stream::iter(first.0..=last.0).map(|day| async move {
        let rows = api.store.distinct_rows(&caller.tenant, Day(day)).await?;
        Ok((Day(day), rows))
    });
    let mut days = reads.buffered(READS_AT_ONCE);
    let deadline = Instant::now() + ANSWER_DEADLINE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some((day, rows)) = api.read(left, days.try_next()).await? else {
            return Ok((lines, total));
        };
        for (event_type, union) in by_type(&rows, types)? {
            total.merge(&union);
            lines.push(Line {
                day: day.to_string(),
                event_type: event_type.to_owned(),
                users: union.estimate().into(),
            });
        }
        if lines.len() > ANSWER_ROWS {
            return Err(too_large());
        }
        // A day of many types is some work: others have their turn.
        tokio::task::yield_now().await;
    }
}

/// A day's users by type, over all source partitions.
fn by_type<'a>(rows: &'a [Row], types: &Types) -> Result<BTreeMap<&'a str, Union>, Problem> {
    let mut by_type: BTreeMap<&str, Union> = BTreeMap::new();
    for row in rows {
        if let RowKey::Distinct { event_type, .. } = &row.key
            && types.has(event_type)
        {
            let sketch = Distinct::decode(&row.value).map_err(|cause| malformed(&cause))?;
            by_type.entry(event_type).or_default().add(&sketch);
        }
    }
    Ok(by_type)
}
