//! `GET /v1/days/{date}/users`: who has the most events of a day, or of some days.
//!
//! The views hold each user with all its days, and no list of users by day. So this looks through the users of the tenant, up to
//! a bound of rows and time, and `complete` says whether these were all of them. Where they were not, those that are
//! listed have the totals that are shown, but others may have more. It is a look for people, so few run at one time.

use crate::QueryApi;
use crate::asked::{Range, Types, span, zone};
use crate::buckets::Buckets;
use crate::caller::Caller;
use crate::described::{self, AS_OF, After, Date, Known, PARAMS, PATH, RANGE, RECEIPT, TAG, VIEW, Zone};
use crate::params::{self, Params, RawQuery, invalid};
use crate::reads::{CALL_DEADLINE, malformed};
use crate::reflected::{AsOf, ENDS_AGE};
use crate::reply::Reply;
use crate::tag::Tag;
use crate::tally::Total;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, StreamExt, TryStreamExt};
use schemas::Day;
use schemas::partial::UserPartial;
use schemas::row::{RowKey, View};
use serde::Serialize;
use service::http::{Problem, RETRY_AFTER_S};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use utoipa::ToSchema;

/// Users of an answer, unless told otherwise.
const LIMIT: usize = 10;
/// Users of an answer at most.
const LIMIT_MAX: usize = 1000;
/// Days of a range at most: a month.
const DAYS: u32 = 31;
/// Rows that one request looks at, about: a second of the store's work.
const ROWS: usize = 100_000;
/// Time that one request looks for.
const TIME: Duration = Duration::from_secs(10);
/// Parts of the users that are looked through at one time.
const PARTS_AT_ONCE: usize = 8;
/// Such requests at one time.
const REQUESTS: usize = 2;

/// The places for these requests. Clones are the same places.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(REQUESTS)))
    }

    /// Errors: 503 `too_many_scans`.
    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            Problem::unavailable("too_many_scans", "Too many look through the users", RETRY_AFTER_S)
                .detail(format!("{REQUESTS} requests may do so at one time"))
                .with("limit_requests", REQUESTS)
        })
    }
}

/// The users with the most events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TopUsers)]
struct Answer {
    #[schema(format = Date)]
    from: String,
    #[schema(format = Date)]
    to: String,
    tz: &'static str,
    as_of: AsOf,
    /// Whether all users were looked at.
    complete: bool,
    /// Most events first.
    users: Vec<UserLine>,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserLine {
    user_id: String,
    #[serde(flatten)]
    total: Total,
}

/// `GET /v1/days/{date}/users?to&tz&type&limit&after&wait`.
#[utoipa::path(
    get, path = "/v1/days/{date}/users", tag = "Counts",
    summary = "Who had the most events of a day, or of some days",
    description = "It looks through the users, up to a bound of rows and time; `complete` says whether these were all of them.",
    params(
        Date,
        ("to" = Option<String>, Query, format = Date, description = "The last day; 31 days at most. Without it the day itself."),
        Zone, described::Types,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Users of the answer; 10 without it."),
        After, Known,
    ),
    responses(
        (status = 200, description = "Most events first.", body = Answer),
        (status = 304, description = "The client has the newest answer."),
    ),
    extensions(
        ("x-problems" = json!([PATH, PARAMS, RANGE, RECEIPT, VIEW, [503, "too_many_scans"]])),
        ("x-headers" = json!([AS_OF, TAG])),
    ),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    State(places): State<Places>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let Path(date) = path?;
    let params = Params::of(query, &["to", "tz", "type", "limit", "after", "wait"])?;
    let from = params::date(&date).ok_or_else(|| invalid("date", "must be a date such as 2025-11-04"))?;
    let to = params.date("to")?.unwrap_or(from);
    span(from, to, DAYS)?;
    let range = Range::days(from, to, zone(&params)?)?;
    let types = Types::read(&params)?;
    let limit = params.limit(LIMIT_MAX)?.unwrap_or(LIMIT);
    let after = api.after(&params)?;
    let reflected = api.reflected(View::Users, after.as_ref(), ENDS_AGE).await?;
    let as_of = api.as_of(&reflected);
    let question = ["top users", &range.text(), &types.text(), &limit.to_string()];
    let tag = Tag::new(&api, &caller, View::Users, &reflected, &as_of, &question);
    let reply = match Reply::one_form(&as_of).tagged(tag, &headers) {
        ControlFlow::Continue(reply) => reply,
        ControlFlow::Break(not_modified) => return Ok(not_modified),
    };
    let _place = places.place()?;
    let (totals, complete) = match reflected.within(range.buckets.days().utc_days()) {
        Some(days) => totals(&api, &caller, days, &range.buckets, &types).await?,
        None => (HashMap::new(), true),
    };
    api.confirm(View::Users, &reflected).await?;
    Ok(reply.json(&Answer {
        from: from.to_string(),
        to: to.to_string(),
        tz: range.zone.name(),
        as_of,
        complete,
        users: top(totals, limit),
    }))
}

/// The totals of users, and whether of all of them.
async fn totals(
    api: &QueryApi,
    caller: &Caller,
    (first, last): (Day, Day),
    buckets: &Buckets,
    types: &Types,
) -> Result<(HashMap<String, Total>, bool), Problem> {
    let parts = stream::iter(0..api.store.user_parts())
        .map(|part| api.store.user_part(&caller.tenant, part, first, last));
    let mut pages = parts.flatten_unordered(PARTS_AT_ONCE);
    let (mut totals, mut looked_at) = (HashMap::<String, Total>::new(), 0);
    let deadline = Instant::now() + TIME;
    while let Some(page) = api.read(CALL_DEADLINE, pages.try_next()).await? {
        for row in page.rows {
            let partial = UserPartial::decode(&row.value).map_err(|cause| malformed(&cause))?;
            if let RowKey::User { user, day, .. } = row.key {
                totals
                    .entry(user)
                    .or_default()
                    .merge(&total(&partial, day, buckets, types));
            }
        }
        looked_at += page.looked_at;
        if looked_at >= ROWS || Instant::now() >= deadline {
            return Ok((totals, false));
        }
    }
    Ok((totals, true))
}

/// What of a user's UTC day is asked for.
fn total(partial: &UserPartial, day: Day, buckets: &Buckets, types: &Types) -> Total {
    let mut total = Total::default();
    let asked = partial.types().iter().filter(|(name, _)| types.has(name));
    for cell in asked.flat_map(|(_, cells)| cells.cells()) {
        if buckets.index(day.quarter(cell.of_day)).is_some() {
            total.add(cell);
        }
    }
    total
}

fn top(totals: HashMap<String, Total>, limit: usize) -> Vec<UserLine> {
    let users = totals.into_iter().filter(|(_, total)| total.count > 0);
    let mut users: Vec<_> = users
        .map(|(user_id, total)| UserLine { user_id, total })
        .collect();
    users.sort_unstable_by(|a, b| {
        (Reverse(a.total.count), &a.user_id).cmp(&(Reverse(b.total.count), &b.user_id))
    });
    users.truncate(limit);
    users
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_more_look_than_there_may_be_is_told_to_come_back() {
        let places = Places::new();
        let mut held: Vec<_> = (0..REQUESTS).map(|_| places.place().unwrap()).collect();
        assert_eq!(places.place().unwrap_err().code(), "too_many_scans");
        held.pop();
        assert!(places.place().is_ok());
    }
}
