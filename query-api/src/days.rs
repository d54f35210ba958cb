//! `GET /v1/days` and `GET /v1/days/{date}`: counts and sums per day of a zone and type.
//!
//! The way of one question: what is asked, what the view reflects, the rows of each UTC day that has part in it, their sum,
//! and a last look whether the view is still the one that was asked.

use crate::QueryApi;
use crate::asked::{Range, Types};
use crate::caller::Caller;
use crate::params::{self, Params, RawQuery, invalid};
use crate::reads::{ANSWER_DEADLINE, ANSWER_ROWS, READS_AT_ONCE, malformed, too_large};
use crate::reflected::{AsOf, ENDS_AGE};
use crate::tally::{DayLine, Tally};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use futures::stream::{self, StreamExt, TryStreamExt};
use schemas::Day;
use schemas::partial::DayPartial;
use schemas::row::{Row, RowKey, View};
use serde::Serialize;
use service::http::Problem;
use std::sync::Arc;

/// Totals by day and type.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    tz: &'static str,
    as_of: AsOf,
    days: Vec<DayLine>,
}

/// `GET /v1/days?from&to&tz&type&after&wait`.
pub(crate) async fn range(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    query: RawQuery,
) -> Result<Json<Answer>, Problem> {
    let params = Params::of(query, &["from", "to", "tz", "type", "after", "wait"])?;
    let range = Range::read(&params, &api.limits, (api.clock)())?;
    answer(&api, &caller, &params, range).await
}

/// `GET /v1/days/{date}?tz&type&after&wait`.
pub(crate) async fn one(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Result<Json<Answer>, Problem> {
    let Path(date) = path?;
    let params = Params::of(query, &["tz", "type", "after", "wait"])?;
    let date = params::date(&date).ok_or_else(|| invalid("date", "must be a date such as 2025-11-04"))?;
    let range = Range::day(date, &params)?;
    answer(&api, &caller, &params, range).await
}

async fn answer(
    api: &QueryApi,
    caller: &Caller,
    params: &Params,
    range: Range,
) -> Result<Json<Answer>, Problem> {
    let types = Types::read(params)?;
    let after = api.after(params)?;
    let reflected = api.reflected(View::Days, after.as_ref(), ENDS_AGE).await?;
    let mut tally = Tally::default();
    if let Some((first, last)) = reflected.within(range.days.utc_days()) {
        let mut rows = stream::iter(first.0..=last.0)
            .map(|day| {
                let (store, tenant) = (api.store.clone(), Arc::clone(&caller.tenant));
                async move { store.day_rows(&tenant, Day(day)).await }
            })
            .buffer_unordered(READS_AT_ONCE);
        let deadline = tokio::time::Instant::now() + ANSWER_DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let Some(rows) = api.read(left, rows.try_next()).await? else {
                break;
            };
            add(&mut tally, &rows, &range, &types)?;
            if tally.lines() > ANSWER_ROWS {
                return Err(too_large());
            }
        }
    }
    api.confirm(View::Days, &reflected).await?;
    Ok(Json(Answer {
        tz: range.zone.name(),
        as_of: api.as_of(&reflected),
        days: tally.into_lines(&range.days),
    }))
}

fn add(tally: &mut Tally, rows: &[Row], range: &Range, types: &Types) -> Result<(), Problem> {
    for row in rows {
        if let RowKey::Day { day, event_type, .. } = &row.key {
            let cells = DayPartial::decode(&row.value).map_err(|cause| malformed(&cause))?;
            tally.add(*day, event_type, &cells, &range.days, types);
        }
    }
    Ok(())
}
