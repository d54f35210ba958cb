//! `GET /v1/days` and `GET /v1/days/{date}`: counts and sums per bucket of a zone and type.
//!
//! The way of one question: what is asked, what the view reflects, the rows of each UTC day that has part in it, their sum,
//! and a last look whether the view is still the one that was asked.

use crate::QueryApi;
use crate::asked::{Range, Types};
use crate::buckets::Width;
use crate::caller::Caller;
use crate::described::{
    self, AS_OF, After, Bucket, Date, FORM, Form, Known, PARAMS, PATH, RANGE, RECEIPT, SIZE, Span, TAG, VIEW,
    Zone,
};
use crate::export::Exports;
use crate::format::Format;
use crate::lines::{Lines, Reads, Rows};
use crate::params::{self, Params, RawQuery, invalid};
use crate::reads::{ANSWER_DEADLINE, EXPORT_READS_AT_ONCE, READS_AT_ONCE};
use crate::reflected::{AsOf, ENDS_AGE};
use crate::reply::Reply;
use crate::tag::Tag;
use crate::tally::{Line, Tally};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::NaiveDate;
use chrono_tz::Tz;
use futures::stream::{self, StreamExt};
use schemas::Day;
use schemas::row::View;
use serde::Serialize;
use service::http::Problem;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Totals by bucket and type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Days)]
pub(crate) struct Answer {
    tz: &'static str,
    as_of: AsOf,
    #[serde(flatten)]
    lines: Totals,
}

/// The lines, in a list that says what they are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = DaysLines)]
enum Totals {
    Days {
        days: Vec<Line>,
    },
    Buckets {
        #[schema(example = "1h")]
        bucket: &'static str,
        buckets: Vec<Line>,
    },
}

/// What is asked, whichever way the days are named.
struct Asked {
    caller: Caller,
    headers: HeaderMap,
    params: Params,
    format: Format,
    range: Range,
}

/// `GET /v1/days?from&to&tz&bucket&type&format&after&wait`.
#[utoipa::path(
    get, path = "/v1/days", tag = "Counts",
    summary = "Counts and sums of some days, by bucket and type",
    params(Span, Bucket, described::Types, Form, After, Known),
    responses(
        (status = 200, description = "Lines of the buckets that have events.", content(
            (Answer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")
        )),
        (status = 304, description = "The client has the newest answer."),
    ),
    extensions(
        ("x-problems" = json!([PARAMS, RANGE, SIZE, FORM, RECEIPT, VIEW])),
        ("x-headers" = json!([AS_OF, TAG])),
    ),
)]
pub(crate) async fn range(
    State(api): State<Arc<QueryApi>>,
    State(exports): State<Exports>,
    caller: Caller,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let known = ["from", "to", "tz", "bucket", "type", "format", "after", "wait"];
    let params = Params::of(query, &known)?;
    let format = Format::read(&params, &headers)?;
    let range = Range::read(&params, format, &api.limits, (api.clock)())?;
    let asked = Asked {
        caller,
        headers,
        params,
        format,
        range,
    };
    answer(api, exports, asked).await
}

/// `GET /v1/days/{date}?tz&bucket&type&format&after&wait`.
#[utoipa::path(
    get, path = "/v1/days/{date}", tag = "Counts",
    summary = "Counts and sums of one day, by bucket and type",
    params(Date, Zone, Bucket, described::Types, Form, After, Known),
    responses(
        (status = 200, description = "Lines of the buckets that have events.", content(
            (Answer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")
        )),
        (status = 304, description = "The client has the newest answer."),
    ),
    extensions(
        ("x-problems" = json!([PATH, PARAMS, RANGE, SIZE, FORM, RECEIPT, VIEW])),
        ("x-headers" = json!([AS_OF, TAG])),
    ),
)]
pub(crate) async fn one(
    State(api): State<Arc<QueryApi>>,
    State(exports): State<Exports>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let Path(date) = path?;
    let params = Params::of(query, &["tz", "bucket", "type", "format", "after", "wait"])?;
    let date = params::date(&date).ok_or_else(|| invalid("date", "must be a date such as 2025-11-04"))?;
    let asked = Asked {
        caller,
        format: Format::read(&params, &headers)?,
        range: Range::day(date, &params)?,
        headers,
        params,
    };
    answer(api, exports, asked).await
}

/// Counts by type of a UTC day, by type.
pub(crate) async fn counts(
    api: Arc<QueryApi>,
    caller: &Caller,
    date: NaiveDate,
) -> Result<Vec<(String, u64)>, Problem> {
    let buckets = Range::days(date, date, Tz::UTC)?.buckets;
    let reflected = api.reflected(View::Days, None, ENDS_AGE).await?;
    let span = reflected.within(buckets.days().utc_days());
    let mut lines = Lines {
        reads: Some(reads(&api, caller, span, READS_AT_ONCE)),
        api,
        view: View::Days,
        reflected,
        buckets,
        types: Types::default(),
        deadline: Some(Instant::now() + ANSWER_DEADLINE),
        tally: Tally::default(),
    };
    let lines = lines.all().await?.into_iter();
    Ok(lines.map(|line| (line.event_type, line.total.count)).collect())
}

async fn answer(api: Arc<QueryApi>, exports: Exports, asked: Asked) -> Result<Response, Problem> {
    let Asked {
        caller,
        headers,
        params,
        format,
        range,
    } = asked;
    let types = Types::read(&params)?;
    let after = api.after(&params)?;
    let reflected = api.reflected(View::Days, after.as_ref(), ENDS_AGE).await?;
    let as_of = api.as_of(&reflected);
    let question = ["days", format.word(), &range.text(), &types.text()];
    let tag = Tag::new(&api, &caller, View::Days, &reflected, &as_of, &question);
    let reply = match Reply::new(format, &as_of).tagged(tag, &headers) {
        ControlFlow::Continue(reply) => reply,
        ControlFlow::Break(not_modified) => return Ok(not_modified),
    };
    let width = range.buckets.width();
    let span = reflected.within(range.buckets.days().utc_days());
    let is_export = format.is_export();
    let at_once = if is_export {
        EXPORT_READS_AT_ONCE
    } else {
        READS_AT_ONCE
    };
    let mut lines = Lines {
        reads: Some(reads(&api, &caller, span, at_once)),
        api,
        view: View::Days,
        reflected,
        buckets: range.buckets,
        types,
        deadline: (!is_export).then(|| Instant::now() + ANSWER_DEADLINE),
        tally: Tally::default(),
    };
    if is_export {
        let name = format!("days-{}-{}", range.from, range.to);
        return Ok(reply.export(&name, width.columns(), lines.stream(), exports.place()?));
    }
    let lines = lines.all().await?;
    Ok(reply.json(&Answer {
        tz: range.zone.name(),
        as_of,
        lines: match width {
            Width::Day => Totals::Days { days: lines },
            _ => Totals::Buckets {
                bucket: width.word(),
                buckets: lines,
            },
        },
    }))
}

/// The rows of each UTC day, several days at one time.
fn reads(api: &QueryApi, caller: &Caller, span: Option<(Day, Day)>, at_once: usize) -> Reads {
    let Some((first, last)) = span else {
        return stream::empty().boxed();
    };
    let (store, tenant) = (api.store.clone(), Arc::clone(&caller.tenant));
    let reads = stream::iter(first.0..=last.0).map(move |day| {
        let (store, tenant) = (store.clone(), Arc::clone(&tenant));
        async move {
            let rows = store.day_rows(&tenant, Day(day)).await?;
            let behind = Day(day.saturating_add(1));
            Ok(Rows { behind, rows })
        }
    });
    reads.buffered(at_once).boxed()
}
