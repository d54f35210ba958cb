//! What a redrive is asked to do: a JSON object, every member of which is known and within its limits.

use crate::QueryApi;
use crate::caller::Caller;
use crate::cursor::Position;
use crate::dead_letter::place;
use crate::dead_letters::{range_ms, reason, upload};
use crate::digest::Digest;
use crate::params::invalid;
use crate::scan::{Filter, Scan};
use axum::body::Body;
use axum::http::HeaderMap;
use futures::StreamExt;
use schemas::event::check_tenant;
use schemas::{Offset, Partition};
use serde::Deserialize;
use serde_json::value::RawValue;
use service::http::{Problem, plain_json};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Bytes of a body: the longest event, and all ids.
const BODY_BYTES: usize = 256 * 1024;
/// Ids of one call.
const IDS: usize = 1_000;
/// Letters of one call, unless told otherwise.
const LIMIT: usize = 1_000;
/// Letters of one call at most.
const LIMIT_MAX: usize = 10_000;
/// Records that a call writes in a second, unless told otherwise.
const RATE: u32 = 1_000;
/// Records that a call writes in a second at most.
const RATE_MAX: u32 = 10_000;
/// Seconds that a call may spend on keeping its rate; a client would not wait much longer.
pub(super) const CALL_SECONDS: u32 = 20;

/// A redrive as it is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) which: Which,
    /// The mended event, as it was sent.
    pub(super) event: Option<Box<RawValue>>,
    /// Whose event it is, where its letter does not say.
    pub(super) tenant: Option<String>,
    pub(super) dry_run: bool,
    /// Records a second.
    pub(super) rate: u32,
    /// Whether quarantined ones too.
    pub(super) force: bool,
}

/// Which letters.
#[derive(Debug)]
pub(super) enum Which {
    /// Those at these places.
    Ids(BTreeSet<(Partition, Offset)>),
    /// Those that a filter finds, and the question that a cursor is of.
    Filter(Box<(Scan, Digest)>),
}

/// What to redrive.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveAsked)]
pub(super) struct Said {
    /// 1 to 1,000 ids.
    ids: Option<Vec<String>>,
    filter: Option<FilterBody>,
    /// The mended event, as `POST /v1/events` takes it; with exactly one id.
    #[schema(value_type = Option<Object>)]
    event: Option<Box<RawValue>>,
    /// Whose the mended event is, where its letter does not say; the operator's to say.
    tenant: Option<String>,
    #[serde(default)]
    dry_run: bool,
    /// Letters of this call, 1 to 10,000; 1,000 without it.
    limit: Option<u64>,
    /// Records a second, 1 to 10,000; 1,000 without it.
    rate: Option<u64>,
    #[serde(default)]
    force: bool,
    cursor: Option<String>,
}

/// Which dead letters.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveFilter)]
pub(super) struct FilterBody {
    #[serde(default)]
    reason: Vec<String>,
    from: Option<String>,
    to: Option<String>,
    upload: Option<String>,
    user: Option<String>,
}

impl Asked {
    /// Reads a request.
    ///
    /// Errors: 400 `json_invalid`, `parameter_invalid` and those of ranges and cursors; 403 `scope_missing`; 413 `body_too_large`; those of
    /// [`plain_json`].
    pub(super) async fn read(
        api: &QueryApi,
        caller: &Caller,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, Problem> {
        plain_json(headers)?;
        let bytes = read_body(body).await?;
        let body: Said = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::bad_request("json_invalid", "The body is not the JSON expected")
                .detail(error.to_string())
        })?;
        let rate = number("rate", body.rate, u64::from(RATE), u64::from(RATE_MAX))?;
        // Within 10,000 by the check.
        let rate = u32::try_from(rate).unwrap_or(RATE_MAX);
        let limit = number("limit", body.limit, LIMIT as u64, LIMIT_MAX as u64)?;
        let limit = usize::try_from(limit).unwrap_or(LIMIT_MAX);
        let most = rate.saturating_mul(CALL_SECONDS) as usize;
        let cursor = body.cursor.as_deref();
        let which = match (body.ids, body.filter) {
            (Some(ids), None) if cursor.is_none() => Which::Ids(read_ids(ids, most)?),
            (Some(_), None) => return Err(invalid("cursor", "is for calls with filter")),
            (None, Some(filter)) => of_filter(api, caller, filter, limit.min(most), cursor)?,
            _ => return Err(invalid("ids", "or filter must be there, and not both")),
        };
        let asked = Self {
            which,
            event: body.event,
            tenant: body.tenant,
            dry_run: body.dry_run,
            rate,
            force: body.force,
        };
        asked.check_event(caller)?;
        Ok(asked)
    }

    /// A mended event stands for one letter, and only an operator says whose it is.
    fn check_event(&self, caller: &Caller) -> Result<(), Problem> {
        let is_one = matches!(&self.which, Which::Ids(ids) if ids.len() == 1);
        if self.event.is_some() && !is_one {
            return Err(invalid("event", "needs exactly one id"));
        }
        let Some(tenant) = &self.tenant else { return Ok(()) };
        if self.event.is_none() {
            return Err(invalid("tenant", "is for a mended event"));
        }
        caller.check_operator()?;
        check_tenant(tenant).map_err(|wrong| invalid("tenant", &wrong.message))
    }
}

async fn read_body(body: Body) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Problem::of_body(&error))?;
        if bytes.len() + piece.len() > BODY_BYTES {
            return Err(Problem::body_too_large(BODY_BYTES as u64));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// A number from 1 to `most`.
fn number(name: &'static str, said: Option<u64>, default: u64, most: u64) -> Result<u64, Problem> {
    let number = said.unwrap_or(default);
    match (1..=most).contains(&number) {
        true => Ok(number),
        false => Err(invalid(name, &format!("must be a number from 1 to {most}")).with("limit", most)),
    }
}

fn read_ids(ids: Vec<String>, most: usize) -> Result<BTreeSet<(Partition, Offset)>, Problem> {
    if ids.is_empty() || ids.len() > IDS {
        return Err(invalid("ids", &format!("must be 1 to {IDS} ids")).with("limit", IDS));
    }
    if ids.len() > most {
        let words = format!("is too low for so many ids: a call works for {CALL_SECONDS} s at most");
        return Err(invalid("rate", &words));
    }
    let read = |id: &String| {
        place(id).ok_or_else(|| invalid("ids", "must each be a partition and an offset, such as 3-1207"))
    };
    ids.iter().map(read).collect()
}

fn of_filter(
    api: &QueryApi,
    caller: &Caller,
    body: FilterBody,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Which, Problem> {
    let (from_ms, to_ms) = range_ms(api, (body.from.as_deref(), body.to.as_deref()))?;
    let filter = Filter {
        reasons: body
            .reason
            .iter()
            .map(|word| reason(word))
            .collect::<Result<_, _>>()?,
        upload: body.upload.as_deref().map(upload).transpose()?,
        user: body.user,
        state: None,
    };
    let question = Digest::of("redrive")
        .and(format!("{:?}", caller.letter_tenants()))
        .and(body.from.as_deref().unwrap_or_default())
        .and(body.to.as_deref().unwrap_or_default())
        .and(filter.words());
    let cursor = cursor.map(|text| Position::decode(text, &question)).transpose()?;
    let begin = Position::before(from_ms);
    let scan = Scan {
        tenants: caller.letter_tenants(),
        filter,
        after: cursor.map_or(begin, |cursor| cursor.max(begin)),
        to_ms,
        limit,
    };
    Ok(Which::Filter(Box::new((scan, question))))
}
