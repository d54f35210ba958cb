//! `GET /v1/dead-letters`: what was refused for good, oldest first, in pages.

use crate::QueryApi;
use crate::asked::too_long;
use crate::caller::Caller;
use crate::cursor::Position;
use crate::described::{AS_OF, After, CURSOR, Cursor, FORM, Form, PARAMS, RECEIPT, Reasons, VIEW};
use crate::digest::Digest;
use crate::export::Exports;
use crate::format::Format;
use crate::params::{self, Params, RawQuery, invalid};
use crate::reflected::{AsOf, ENDS_AGE, Reflected};
use crate::reply::Reply;
use crate::scan::{self, Filter, Scan};
use crate::tries::{self, Letter, TryLine};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, NaiveTime, TimeDelta};
use futures::stream::{self, Stream};
use schemas::row::View;
use schemas::{Reason, Timestamp};
use serde::Serialize;
use service::http::Problem;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Dead letters of a page, unless told otherwise.
const LIMIT: usize = 100;
/// Dead letters of a page at most.
const LIMIT_MAX: usize = 1000;
const DAY_MS: i64 = 86_400_000;
/// A range that names no beginning.
const DEFAULT_MS: i64 = 7 * DAY_MS;
/// How far a broker's clock may be ahead of ours: a range that names no end still holds what is accepted now.
const CLOCK_MARGIN_MS: i64 = DAY_MS;

/// The members of a line, as a table shows them.
const COLUMNS: [&str; 12] = [
    "id",
    "reason",
    "accepted_at",
    "partition",
    "offset",
    "user_id",
    "detail",
    "state",
    "tries",
    "upload_id",
    "row",
    "last_redrive",
];

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetters)]
pub(crate) struct Answer {
    dead_letters: Vec<Line>,
    /// For `cursor`; null at the end. A page may hold fewer than `limit` and still have one.
    #[schema(required = true)]
    next_cursor: Option<String>,
    as_of: AsOf,
}

/// One dead letter, without its bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(crate) struct Line {
    /// `<partition>-<offset>`.
    pub(crate) id: String,
    #[schema(example = "key_conflict")]
    pub(crate) reason: &'static str,
    #[schema(format = DateTime)]
    pub(crate) accepted_at: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// None where it could not be read.
    #[schema(required = true)]
    pub(crate) user_id: Option<String>,
    pub(crate) detail: String,
    /// `open`, `redriven` or `quarantined`.
    state: &'static str,
    /// How often it was redriven.
    tries: usize,
    /// The upload that it came in, and its row there.
    #[schema(required = true, value_type = Option<String>)]
    upload_id: Option<Uuid>,
    #[schema(required = true)]
    row: Option<u64>,
    /// What became of the last try.
    #[schema(required = true)]
    last_redrive: Option<TryLine>,
}

impl Line {
    /// `most_tries`: how many may fail.
    pub(crate) fn new(letter: Letter, most_tries: u32) -> Self {
        let (id, at, state) = (letter.id(), letter.at, letter.state(most_tries));
        let row = letter.row;
        Self {
            id,
            reason: row.reason.word(),
            accepted_at: Timestamp::from_millis(at.accepted_ms).rfc3339(),
            partition: at.partition.0,
            offset: at.offset.0,
            user_id: (!row.user.is_empty()).then_some(row.user),
            detail: row.detail,
            state: state.word(),
            tries: letter.tries.len(),
            upload_id: row.upload.map(|(upload, _)| upload),
            row: row.upload.map(|(_, row)| row).filter(|row| *row > 0),
            last_redrive: letter.tries.last().map(TryLine::new),
        }
    }
}

/// `GET /v1/dead-letters?reason&from&to&upload&user&state&limit&cursor&format&after&wait`. An export has all of the range, so it has no pages.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "Dead letters",
    summary = "What was refused for good, oldest first",
    description = "CSV and NDJSON have all of the range, so they have no pages.",
    params(
        Reasons,
        ("from" = Option<String>, Query, description = "A date or a time (RFC 3339); without it seven days before `to`."),
        ("to" = Option<String>, Query, description = "A date, which is in the answer, or a time, which is not; without it all up to now."),
        ("upload" = Option<String>, Query, description = "Only those that came in this upload."),
        ("user" = Option<String>, Query, description = "Only this user's."),
        ("state" = Option<String>, Query, pattern = "^(open|redriven|quarantined)$", description = "Only those that stand so."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Dead letters of a page; 100 without it."),
        Cursor, Form, After,
    ),
    responses((status = 200, description = "A page, or all as a file.", content(
        (Answer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")
    ))),
    extensions(
        ("x-problems" = json!([PARAMS, CURSOR, FORM, RECEIPT, VIEW, [400, "range_invalid"], [400, "range_too_long"]])),
        ("x-headers" = json!(AS_OF)),
    ),
)]
pub(crate) async fn list(
    State(api): State<Arc<QueryApi>>,
    State(exports): State<Exports>,
    caller: Caller,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let known = [
        "reason", "from", "to", "upload", "user", "state", "limit", "cursor", "format", "after", "wait",
    ];
    let params = Params::of(query, &known)?;
    let format = Format::read(&params, &headers)?;
    let question = question(&params, &caller)?;
    let mut scan = read(&params, &api, &caller, &question)?;
    let after = api.after(&params)?;
    let reflected = api.reflected(View::DeadLetters, after.as_ref(), ENDS_AGE).await?;
    let as_of = api.as_of(&reflected);
    let reply = Reply::new(format, &as_of);
    if format.is_export() {
        params.no_pages()?;
        scan.limit = LIMIT_MAX;
        let export = Export { api, reflected, scan };
        return Ok(reply.export("dead-letters", &COLUMNS, export.stream(), exports.place()?));
    }
    let page = scan.run(&api).await?;
    api.confirm(View::DeadLetters, &reflected).await?;
    Ok(reply.json(&Answer {
        dead_letters: lines(&api, page.letters),
        next_cursor: page.next.map(|next| next.encode(&question)),
        as_of,
    }))
}

/// What a cursor is of: all that decides which dead letters there are, as it was asked for.
fn question(params: &Params, caller: &Caller) -> Result<Digest, Problem> {
    let mut question = Digest::of("dead letters").and(format!("{:?}", caller.letter_tenants()));
    for name in ["from", "to"] {
        question = question.and(params.one(name)?.unwrap_or_default());
    }
    Ok(question.and(filter(params)?.words()))
}

/// An export under way.
struct Export {
    api: Arc<QueryApi>,
    reflected: Reflected,
    scan: Scan,
}

impl Export {
    /// Page after page, and behind the last one whether the view is still the one that was asked.
    fn stream(self) -> impl Stream<Item = Result<Vec<Line>, Problem>> + Send + 'static {
        stream::try_unfold(Some(self), |export| async move {
            let Some(mut export) = export else {
                return Ok(None);
            };
            let page = export.scan.run(&export.api).await?;
            let lines = lines(&export.api, page.letters);
            match page.next {
                Some(next) => {
                    export.scan.after = next;
                    Ok(Some((lines, Some(export))))
                }
                None => {
                    export.api.confirm(View::DeadLetters, &export.reflected).await?;
                    Ok(Some((lines, None)))
                }
            }
        })
    }
}

fn lines(api: &QueryApi, letters: Vec<Letter>) -> Vec<Line> {
    let most_tries = api.limits.redrive_tries;
    letters
        .into_iter()
        .map(|letter| Line::new(letter, most_tries))
        .collect()
}

/// Dead letters of the last seven days, oldest first, `limit` at most.
pub(crate) async fn recent(api: &QueryApi, caller: &Caller, limit: usize) -> Result<Vec<Letter>, Problem> {
    let now_ms = (api.clock)().millis();
    let reflected = api.reflected(View::DeadLetters, None, ENDS_AGE).await?;
    let mut scan = Scan {
        tenants: caller.letter_tenants(),
        filter: Filter::default(),
        after: Position::before(now_ms.saturating_sub(DEFAULT_MS).max(0)),
        to_ms: now_ms.saturating_add(CLOCK_MARGIN_MS),
        limit,
    };
    let mut all = Vec::new();
    while all.len() < limit {
        let page = scan.run(api).await?;
        all.extend(page.letters);
        match page.next {
            Some(next) => scan.after = next,
            None => break,
        }
    }
    all.truncate(limit);
    api.confirm(View::DeadLetters, &reflected).await?;
    Ok(all)
}

fn read(params: &Params, api: &QueryApi, caller: &Caller, question: &Digest) -> Result<Scan, Problem> {
    let range = (params.one("from")?, params.one("to")?);
    let (from_ms, to_ms) = range_ms(api, range)?;
    let cursor = params.one("cursor")?;
    let cursor = cursor.map(|text| Position::decode(text, question)).transpose()?;
    let begin = Position::before(from_ms);
    Ok(Scan {
        tenants: caller.letter_tenants(),
        filter: filter(params)?,
        after: cursor.map_or(begin, |cursor| cursor.max(begin)),
        to_ms,
        limit: params.limit(LIMIT_MAX)?.unwrap_or(LIMIT),
    })
}

/// The range of acceptance in milliseconds, the end not included: of the last seven days where no beginning is named.
pub(crate) fn range_ms(
    api: &QueryApi,
    (from, to): (Option<&str>, Option<&str>),
) -> Result<(i64, i64), Problem> {
    let now_ms = (api.clock)().millis();
    let to = instant(to, "to", 1)?;
    let from_ms = instant(from, "from", 0)?
        .unwrap_or_else(|| to.unwrap_or(now_ms).saturating_sub(DEFAULT_MS))
        .max(0);
    let to_ms = to.unwrap_or(i64::MAX).min(
        now_ms
            .saturating_add(CLOCK_MARGIN_MS)
            .max(from_ms.saturating_add(1)),
    );
    if from_ms >= to_ms {
        return Err(
            Problem::bad_request("range_invalid", "The range ends before it begins")
                .detail("from must be earlier than to"),
        );
    }
    let days = scan::day(to_ms - 1).0.saturating_sub(scan::day(from_ms).0);
    too_long(i64::from(days) + 1, api.limits.range_limit_days)?;
    Ok((from_ms, to_ms))
}

fn filter(params: &Params) -> Result<Filter, Problem> {
    Ok(Filter {
        reasons: params.all("reason").map(reason).collect::<Result<_, _>>()?,
        upload: params.one("upload")?.map(upload).transpose()?,
        user: params.one("user")?.map(str::to_owned),
        state: params.one("state")?.map(tries::State::of_word).transpose()?,
    })
}

/// A reason by its word.
pub(crate) fn reason(word: &str) -> Result<Reason, Problem> {
    Reason::from_word(word).ok_or_else(|| {
        let words = Reason::ALL.map(Reason::word).join(", ");
        invalid("reason", &format!("must be one of {words}"))
    })
}

/// The id of an upload.
pub(crate) fn upload(text: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text).map_err(|_| invalid("upload", "must be the id of an upload, a UUID"))
}

/// A time in milliseconds, rounded up; of a date its midnight in UTC, `days` later.
fn instant(text: Option<&str>, name: &'static str, days: i64) -> Result<Option<i64>, Problem> {
    let Some(text) = text else {
        return Ok(None);
    };
    if let Some(date) = params::date(text) {
        let midnight = date.and_time(NaiveTime::MIN).and_utc();
        let shifted = midnight.checked_add_signed(TimeDelta::days(days));
        return Ok(Some(shifted.unwrap_or(midnight).timestamp_millis()));
    }
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|_| invalid(name, "must be a date or a time such as 2025-11-04T12:00:00Z"))?;
    let rest = i64::from(time.timestamp_subsec_nanos() % 1_000_000 > 0);
    Ok(Some(time.timestamp_millis().saturating_add(rest)))
}
