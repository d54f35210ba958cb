//! `GET /v1/uploads`: uploads, newest first, in pages.
//!
//! Ids rise with the time at which they were made, so the store is read backwards an hour at a time, and a request looks at a
//! bounded number of hours: a page may hold fewer than was asked for, even none, and still have a cursor.

use super::{Found, Shown};
use crate::QueryApi;
use crate::caller::Caller;
use crate::cursor;
use crate::described::{AS_OF, After, CURSOR, Cursor, PARAMS, RECEIPT, VIEW};
use crate::digest::Digest;
use crate::params::{Params, RawQuery, invalid};
use crate::reads::{CALL_DEADLINE, EXPORT_READS_AT_ONCE};
use crate::reflected::{AsOf, ENDS_AGE};
use crate::reply::Reply;
use axum::extract::State;
use axum::response::Response;
use chrono::NaiveTime;
use futures::stream::{self, StreamExt, TryStreamExt};
use schemas::row::View;
use schemas::upload::day;
use serde::Serialize;
use service::http::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Uploads of a page, unless told otherwise.
const LIMIT: usize = 50;
/// Uploads of a page at most.
const LIMIT_MAX: usize = 500;
const HOUR_MS: i64 = 3_600_000;
/// Hours that one request looks at: those of 31 days.
const HOURS: i64 = 744;
/// How far back a list goes that names no beginning: 30 days.
const DEFAULT_MS: i64 = 30 * 24 * HOUR_MS;
/// How far the clock of ingest may be ahead of ours.
const CLOCK_MARGIN_MS: i64 = HOUR_MS;

/// A page of uploads.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Uploads)]
struct Answer {
    uploads: Vec<Shown>,
    /// For `cursor`; null at the end. A page may hold fewer than `limit` and still have one.
    #[schema(required = true)]
    next_cursor: Option<String>,
    as_of: AsOf,
}

/// `GET /v1/uploads?from&limit&cursor&after&wait`.
#[utoipa::path(
    get, path = "/v1/uploads", tag = "Uploads",
    summary = "Uploads, newest first",
    params(
        ("from" = Option<String>, Query, format = Date, description = "Not those that began before this UTC day; without it, those of 30 days."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Uploads of a page; 50 without it."),
        Cursor, After,
    ),
    responses((status = 200, description = "A page; it may be empty and still have a cursor.", body = Answer)),
    extensions(
        ("x-problems" = json!([PARAMS, CURSOR, RECEIPT, VIEW])),
        ("x-headers" = json!(AS_OF)),
    ),
)]
pub(crate) async fn list(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    query: RawQuery,
) -> Result<Response, Problem> {
    let params = Params::of(query, &["from", "limit", "cursor", "after", "wait"])?;
    let limit = params.limit(LIMIT_MAX)?.unwrap_or(LIMIT);
    let question = Digest::of("uploads")
        .and(caller.tenant.as_bytes())
        .and(params.one("from")?.unwrap_or_default());
    let from_ms = match params.date("from")? {
        Some(date) => date.and_time(NaiveTime::MIN).and_utc().timestamp_millis(),
        None => api.now_ms().saturating_sub(DEFAULT_MS),
    };
    if from_ms < 0 {
        return Err(invalid("from", "must not be before 1970"));
    }
    let cursor = params.one("cursor")?;
    let cursor = cursor
        .map(|text| cursor::decode_upload(text, &question))
        .transpose()?;
    let before = cursor.unwrap_or_else(|| first_of(api.now_ms().saturating_add(CLOCK_MARGIN_MS)));
    let after = api.after(&params)?;
    let reflected = api.reflected(View::Uploads, after.as_ref(), ENDS_AGE).await?;
    let page = page(&api, &caller, before, from_ms, limit).await?;
    let projected = api.progress(View::Progress).await?;
    api.confirm(View::Uploads, &reflected).await?;
    let as_of = api.as_of(&reflected);
    let uploads = page.uploads.iter();
    Ok(Reply::one_form(&as_of).json(&Answer {
        uploads: uploads
            .map(|(id, found)| api.show(*id, found, &reflected, &projected))
            .collect(),
        next_cursor: page.next.map(|next| cursor::encode_upload(next, &question)),
        as_of,
    }))
}

pub(super) struct Page {
    pub(super) uploads: Vec<(Uuid, Found)>,
    /// All before this id is on later pages; none if there is nothing more.
    pub(super) next: Option<Uuid>,
}

/// Uploads with ids below `before` that were made at `from_ms` or later, newest first.
pub(super) async fn page(
    api: &QueryApi,
    caller: &Caller,
    before: Uuid,
    from_ms: i64,
    limit: usize,
) -> Result<Page, Problem> {
    let Some(last) = before.as_u128().checked_sub(1).map(Uuid::from_u128) else {
        return Ok(Page {
            uploads: Vec::new(),
            next: None,
        });
    };
    let newest = hour_of(last);
    let oldest = from_ms.div_euclid(HOUR_MS).max(newest - HOURS + 1);
    let floor = first_of(from_ms);
    let hours = stream::iter((oldest..=newest).rev()).map(|hour| async move {
        let first = first_of(hour * HOUR_MS).max(floor);
        let last = last.min(Uuid::from_u128(first_of((hour + 1) * HOUR_MS).as_u128() - 1));
        let call = api.store.upload_rows(&caller.tenant, day_of(hour), first, last);
        let rows = api.read(CALL_DEADLINE, call).await?;
        api.gather(&rows)
    });
    let mut found = hours.buffered(EXPORT_READS_AT_ONCE);
    let mut uploads: Vec<(Uuid, Found)> = Vec::new();
    while let Some(hour) = found.try_next().await? {
        let hour: BTreeMap<Uuid, Found> = hour;
        for (id, found) in hour.into_iter().rev() {
            if uploads.len() == limit {
                let next = uploads.last().map(|(id, _)| *id);
                return Ok(Page { uploads, next });
            }
            uploads.push((id, found));
        }
    }
    let next = first_of(oldest * HOUR_MS);
    let next = (next > floor).then_some(next);
    Ok(Page { uploads, next })
}

/// The least id that could be made at a millisecond.
pub(super) fn first_of(ms: i64) -> Uuid {
    let ms = u128::from(ms.clamp(0, (1 << 48) - 1).unsigned_abs());
    Uuid::from_u128(ms << 80)
}

fn hour_of(id: Uuid) -> i64 {
    (id.as_u128() >> 80) as i64 / HOUR_MS
}

/// The UTC day of an hour.
fn day_of(hour: i64) -> schemas::Day {
    let version = 7 << 76;
    day(Uuid::from_u128(first_of(hour * HOUR_MS).as_u128() | version))
}
