//! `GET /v1/users/{id}/events`: the events behind a user's number, newest first, in pages.
//!
//! Where they lie on the log is remembered with the number itself, for the newest of a UTC day and source partition
//! ([`schemas::positions`]); those beyond are looked for in the chain, backwards and within bounds. A reversal is an event
//! too: it is shown beside the one that it took back, on the day of that one.

use crate::QueryApi;
use crate::asked::Types;
use crate::caller::Caller;
use crate::cursor;
use crate::described::{
    AS_OF, After, CURSOR, Cursor, PARAMS, PATH, RECEIPT, Types as TypesParam, User, VIEW,
};
use crate::digest::Digest;
use crate::params::{Params, RawQuery, invalid};
use crate::reflected::{AsOf, ENDS_AGE};
use crate::reply::Reply;
use crate::users::user;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use line::Line;
use page::Page;
use place::Place;
use schemas::Day;
use schemas::row::View;
use serde::Serialize;
use service::http::Problem;
use std::sync::Arc;
use utoipa::ToSchema;

/// One event as it is shown.
mod line;
/// Where a page ended.
mod place;
/// Some events of a day that are put in order of time together.
mod window;
/// One page.
mod page;

/// Events of a page, unless told otherwise.
const LIMIT: usize = 20;
/// Events of a page at most: each is a record that is read from the log.
const LIMIT_MAX: usize = 100;

/// Some events of a user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserEvents)]
struct Answer {
    user_id: String,
    as_of: AsOf,
    /// By UTC day and then by time, newest first.
    events: Vec<Line>,
    /// Whether the page holds all that it was asked for: if not, some lie beyond what is remembered and were not found
    /// within the bounds of one request.
    complete: bool,
    /// For `cursor`; null at the end. A page may hold fewer than `limit` and still have one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// `GET /v1/users/{id}/events?from&to&type&limit&cursor&after&wait`. Days are UTC days; without `from` and `to` it is all of them.
#[utoipa::path(
    get, path = "/v1/users/{id}/events", tag = "Counts",
    summary = "The events behind a user's number, newest first",
    params(
        User,
        ("from" = Option<String>, Query, description = "The first UTC day; without it all days."),
        ("to" = Option<String>, Query, description = "The last UTC day, in the answer; without it all days."),
        TypesParam,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Events of a page; 20 without it."),
        Cursor, After,
    ),
    responses((status = 200, description = "A page.", body = Answer)),
    extensions(
        ("x-problems" = json!([PATH, PARAMS, CURSOR, RECEIPT, VIEW, [400, "cursor_outdated"], [400, "range_invalid"], [503, "too_many_scans"]])),
        ("x-headers" = json!(AS_OF)),
    ),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Result<Response, Problem> {
    let user_id = user(path)?;
    let known = ["from", "to", "type", "limit", "cursor", "after", "wait"];
    let params = Params::of(query, &known)?;
    let days = days(&params)?;
    let types = Types::read(&params)?;
    let limit = params.limit(LIMIT_MAX)?.unwrap_or(LIMIT);
    let question = question(&params, &caller, &user_id, &types)?;
    let begin = params.one("cursor")?;
    let begin = begin
        .map(|text| Place::decode(&cursor::decode(text, &question)?, api.generation.partitions))
        .transpose()?;
    let after = api.after(&params)?;
    let reflected = api.reflected(View::Users, after.as_ref(), ENDS_AGE).await?;
    let as_of = api.as_of(&reflected);
    let _place = api.events.place()?;
    let mut page = Page::new(&api, &caller, &user_id, &types, limit);
    if let Some(days) = reflected.within(Some(days)) {
        page.fill(days, begin).await?;
    }
    let (events, complete, next) = page.done();
    api.confirm(View::Users, &reflected).await?;
    let answer = Answer {
        as_of,
        complete,
        next_cursor: next.map(|next| cursor::encode(&question, &next.encode())),
        events,
        user_id,
    };
    Ok(Reply::one_form(&answer.as_of).json(&answer))
}

/// The UTC days that are asked for.
fn days(params: &Params) -> Result<(Day, Day), Problem> {
    let day = |name| -> Result<Option<Day>, Problem> {
        let Some(date) = params.date(name)? else {
            return Ok(None);
        };
        let day = Day::from_date(date).filter(|day| day.year() <= schemas::limits::LAST_YEAR);
        day.map(Some)
            .ok_or_else(|| invalid(name, "must be in the years 1970 to 2200"))
    };
    let (from, to) = (day("from")?, day("to")?);
    let (from, to) = (from.unwrap_or(Day(0)), to.unwrap_or(Day(u32::MAX)));
    match from <= to {
        true => Ok((from, to)),
        false => Err(
            Problem::bad_request("range_invalid", "The range ends before it begins")
                .detail(format!("from {from} is later than to {to}")),
        ),
    }
}

/// What a cursor is of: all that decides which events there are, as it was asked for.
fn question(params: &Params, caller: &Caller, user: &str, types: &Types) -> Result<Digest, Problem> {
    let mut question = Digest::of("user events").and(caller.tenant.as_bytes()).and(user);
    for name in ["from", "to"] {
        question = question.and(params.one(name)?.unwrap_or_default());
    }
    Ok(question.and(types.text()))
}
