//! `GET /v1/users/{id}/days`: what one user did, by day, whole, in pages or as an export.

use crate::QueryApi;
use crate::asked::{Range, Types};
use crate::buckets::{Buckets, Width};
use crate::caller::Caller;
use crate::cursor::Place;
use crate::described::{
    self, AS_OF, After, CURSOR, Cursor, FORM, Form, Known, PARAMS, PATH, RANGE, RECEIPT, SIZE, Span, TAG,
    User, VIEW,
};
use crate::digest::Digest;
use crate::export::Exports;
use crate::format::Format;
use crate::lines::{Lines, Reads, Rows};
use crate::params::{Params, RawQuery, invalid};
use crate::reads::ANSWER_DEADLINE;
use crate::reflected::{AsOf, ENDS_AGE, Reflected};
use crate::reply::Reply;
use crate::tag::Tag;
use crate::tally::{Line, Tally};
use crate::users::user;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, StreamExt};
use schemas::row::View;
use schemas::{Day, Quarter};
use serde::Serialize;
use service::http::Problem;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Lines of a page at most.
const LIMIT_MAX: usize = 1000;
/// UTC days of a user that one call of the store brings.
const CALL_DAYS: u32 = 100;
/// Such calls at one time.
const CALLS_AT_ONCE: usize = 4;

/// A user's totals by day and type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserDays)]
pub(crate) struct ByDay {
    user_id: String,
    tz: &'static str,
    as_of: AsOf,
    days: Vec<Line>,
    /// Where pages are asked for: the cursor of the next one, null at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next_cursor: Option<Option<String>>,
}

/// `GET /v1/users/{id}/days?from&to&tz&type&format&limit&cursor&after&wait`. Without `limit` it is the whole answer.
#[utoipa::path(
    get, path = "/v1/users/{id}/days", tag = "Counts",
    summary = "What one user did, by day and type",
    description = "Without `limit` it is the whole answer.",
    params(
        User, Span,
        described::Types, Form,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Lines of a page; all without it."),
        Cursor, After, Known,
    ),
    responses(
        (status = 200, description = "Lines of the days that have events.", content(
            (ByDay = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")
        )),
        (status = 304, description = "The client has the newest answer."),
    ),
    extensions(
        ("x-problems" = json!([PATH, PARAMS, RANGE, SIZE, CURSOR, FORM, RECEIPT, VIEW])),
        ("x-headers" = json!([AS_OF, TAG])),
    ),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    State(exports): State<Exports>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let user_id = user(path)?;
    let known = [
        "from", "to", "tz", "type", "format", "limit", "cursor", "after", "wait",
    ];
    let params = Params::of(query, &known)?;
    let format = Format::read(&params, &headers)?;
    let range = Range::read(&params, format, &api.limits, (api.clock)())?;
    let types = Types::read(&params)?;
    let page = Page::read(&params, &caller, &user_id, &types)?;
    if format.is_export() {
        params.no_pages()?;
    }
    let after = api.after(&params)?;
    let reflected = api.reflected(View::Users, after.as_ref(), ENDS_AGE).await?;
    let as_of = api.as_of(&reflected);
    let (range_text, types_text) = (range.text(), types.text());
    let question = [
        "user days",
        &user_id,
        format.word(),
        &range_text,
        &types_text,
        &page.text,
    ];
    let tag = Tag::new(&api, &caller, View::Users, &reflected, &as_of, &question);
    let reply = match Reply::new(format, &as_of).tagged(tag, &headers) {
        ControlFlow::Continue(reply) => reply,
        ControlFlow::Break(not_modified) => return Ok(not_modified),
    };
    let is_export = format.is_export();
    let mut lines = lines(&api, &caller, &user_id, reflected, (range.buckets, types), &page);
    if is_export {
        lines.deadline = None;
        // Without the user's id, which may hold anything.
        let name = format!("user-days-{}-{}", range.from, range.to);
        return Ok(reply.export(&name, Width::Day.columns(), lines.stream(), exports.place()?));
    }
    let (days, next_cursor) = match page.limit {
        Some(limit) => {
            let (days, has_more) = lines.page(page.after.as_ref(), limit).await?;
            let last = days.last().filter(|_| has_more).map(Line::place);
            (days, Some(last.map(|last| last.encode(&page.question))))
        }
        None => (lines.all().await?, None),
    };
    Ok(reply.json(&ByDay {
        user_id,
        tz: range.zone.name(),
        as_of,
        days,
        next_cursor,
    }))
}

/// The lines that a page may be of.
fn lines(
    api: &Arc<QueryApi>,
    caller: &Caller,
    user: &str,
    reflected: Reflected,
    (buckets, types): (Buckets, Types),
    page: &Page,
) -> Lines {
    let span = reflected.within(buckets.days().utc_days());
    Lines {
        reads: Some(reads(api, caller, user, span.and_then(|span| page.within(span)))),
        api: Arc::clone(api),
        view: View::Users,
        reflected,
        buckets,
        types,
        deadline: Some(Instant::now() + ANSWER_DEADLINE),
        tally: Tally::default(),
    }
}

/// Which page is asked for.
struct Page {
    /// What a cursor is of: all that decides which lines there are, as it was asked for.
    question: Digest,
    after: Option<Place>,
    /// None where the whole answer is asked for.
    limit: Option<usize>,
    /// All that the answer depends on of it.
    text: String,
}

impl Page {
    /// Reads `limit` and `cursor`.
    fn read(params: &Params, caller: &Caller, user: &str, types: &Types) -> Result<Self, Problem> {
        let mut question = Digest::of("user days").and(caller.tenant.as_bytes()).and(user);
        for name in ["from", "to", "tz"] {
            question = question.and(params.one(name)?.unwrap_or_default());
        }
        question = question.and(types.text());
        let limit = params.limit(LIMIT_MAX)?;
        let cursor = params.one("cursor")?;
        let after = cursor.map(|text| Place::decode(text, &question)).transpose()?;
        if after.is_some() && limit.is_none() {
            return Err(invalid("cursor", "needs a limit"));
        }
        Ok(Self {
            question,
            after,
            limit,
            text: format!("{limit:?} {cursor:?}"),
        })
    }

    /// The part of `span` in which this page's lines lie.
    fn within(&self, (first, last): (Day, Day)) -> Option<(Day, Day)> {
        let begin = self.after.as_ref().map_or(0, |after| after.start.max(0));
        let begin = Quarter(u32::try_from(begin).ok()?).day();
        (begin <= last).then(|| (first.max(begin), last))
    }
}

/// The rows of one user, some days at a time.
fn reads(api: &QueryApi, caller: &Caller, user: &str, span: Option<(Day, Day)>) -> Reads {
    let Some((first, last)) = span else {
        return stream::empty().boxed();
    };
    let (store, tenant): (_, Arc<str>) = (api.store.clone(), Arc::clone(&caller.tenant));
    let user: Arc<str> = Arc::from(user);
    let firsts = (first.0..=last.0).step_by(CALL_DAYS as usize);
    let reads = stream::iter(firsts).map(move |first| {
        let (store, tenant, user) = (store.clone(), Arc::clone(&tenant), Arc::clone(&user));
        async move {
            let behind = Day(first.saturating_add(CALL_DAYS));
            let last = last.min(Day(behind.0 - 1));
            let rows = store.user_rows(&tenant, &user, Day(first), last).await?;
            Ok(Rows { behind, rows })
        }
    });
    reads.buffered(CALLS_AT_ONCE).boxed()
}
