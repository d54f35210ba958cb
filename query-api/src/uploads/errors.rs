//! `GET /v1/uploads/{id}/errors`: the rows of an upload that were not counted, and why: those that were not valid, which were never
//! recorded, and those that were refused when they were to be counted, which are dead letters.
//!
//! What is wrong with the former stands in facts on `events`; the view says where. The latter are found among the dead letters of the time
//! in which the upload was received, by a bounded search; where the bound was hit the answer says so.

use super::{Found, id};
use crate::QueryApi;
use crate::caller::Caller;
use crate::cursor::Position;
use crate::described::{AS_OF, After, FORM, Form, PARAMS, PATH, RECEIPT, UploadId, VIEW};
use crate::export::Exports;
use crate::format::Format;
use crate::params::{Params, RawQuery};
use crate::reflected::AsOf;
use crate::reply::Reply;
use crate::scan::{Filter, Scan};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use futures::stream;
use schemas::row::View;
use schemas::upload::{Fact, Stage, What};
use serde::Serialize;
use service::http::Problem;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Rows of an answer at most, of either kind: as many as facts list.
const LINES: usize = 10_000;
/// Pages of dead letters that are looked at, of 20,000 rows at most each.
const PAGES: usize = 5;
/// How far clocks of ingest and of the log may differ.
const CLOCK_MARGIN_MS: i64 = 3_600_000;
/// Whether all rows are in the answer.
const COMPLETE: HeaderName = HeaderName::from_static("x-tidemark-complete");

/// The members of a line, as a table shows them.
const COLUMNS: [&str; 5] = ["row", "code", "field", "message", "dead_letter"];

/// The rows of an upload that were not counted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadErrors)]
struct Answer {
    errors: Vec<Line>,
    /// Whether these are all.
    complete: bool,
    as_of: AsOf,
}

/// A row that was not counted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadError)]
struct Line {
    row: u64,
    code: String,
    /// None of a dead letter.
    #[schema(required = true)]
    field: Option<String>,
    message: String,
    /// Id of the dead letter, if it is one.
    #[schema(required = true)]
    dead_letter: Option<String>,
}

/// `GET /v1/uploads/{id}/errors?format&after&wait`.
#[utoipa::path(
    get, path = "/v1/uploads/{id}/errors", tag = "Uploads",
    summary = "The rows of an upload that were not counted, and why",
    description = "Of rows that were not valid the first 10,000, and as many dead letters.",
    params(UploadId, Form, After),
    responses((status = 200, description = "The rows, by number.", content(
        (Answer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")
    ))),
    extensions(
        ("x-problems" = json!([PATH, PARAMS, FORM, RECEIPT, VIEW, [404, "not_found"]])),
        ("x-headers" = json!([AS_OF, ["X-Tidemark-Complete", "Whether these are all: `true` or `false`."]])),
    ),
)]
pub(crate) async fn errors(
    State(api): State<Arc<QueryApi>>,
    State(exports): State<Exports>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let id = id(path)?;
    let params = Params::of(query, &["format", "after", "wait"])?;
    let format = Format::read(&params, &headers)?;
    let after = api.after(&params)?;
    // Held until the answer is made: its lines are kept at one time.
    let place = exports.place()?;
    let (found, reflected) = api.upload(&caller, id, after.as_ref(), None).await?;
    let (mut errors, is_all_listed) = listed(&api, &caller, id, &found).await?;
    let is_all_found = dead_letters(&api, &caller, id, &found, &mut errors).await?;
    api.confirm(View::Uploads, &reflected).await?;
    errors.sort_by_key(|line| line.row);
    let complete = is_all_listed && is_all_found;
    let as_of = api.as_of(&reflected);
    let reply = Reply::new(format, &as_of);
    let mut response = match format.is_export() {
        true => {
            let name = format!("errors-{id}");
            reply.export(&name, &COLUMNS, stream::iter([Ok(errors)]), place)
        }
        false => reply.json(&Answer {
            errors,
            complete,
            as_of,
        }),
    };
    let word = if complete { "true" } else { "false" };
    response
        .headers_mut()
        .insert(COMPLETE, HeaderValue::from_static(word));
    Ok(response)
}

/// Rows that were not valid, and whether these are all.
async fn listed(
    api: &QueryApi,
    caller: &Caller,
    id: Uuid,
    found: &Found,
) -> Result<(Vec<Line>, bool), Problem> {
    let mut lines = Vec::new();
    for (partition, offset) in &found.errors {
        let record = api.letters.record(*partition, *offset).await;
        let record = record.map_err(|cause| api.log_away(&cause))?;
        // Where the log keeps records for a time only, they may be gone.
        let fact = record.and_then(|record| Fact::decode(&record.value?).ok());
        let Some(fact) = fact.filter(|fact| fact.upload == id && fact.tenant == *caller.tenant) else {
            continue;
        };
        if let What::Errors { rows } = fact.what {
            let left = LINES.saturating_sub(lines.len());
            lines.extend(rows.into_iter().take(left).map(|row| Line {
                row: row.row,
                code: row.code,
                field: Some(row.field),
                message: row.message,
                dead_letter: None,
            }));
        }
    }
    let totals = found.upload(id).totals;
    let is_all = totals.is_some_and(|totals| lines.len() as u64 >= totals.invalid);
    Ok((lines, is_all))
}

/// Adds the dead letters of an upload; says whether these are all that its ledger has.
async fn dead_letters(
    api: &QueryApi,
    caller: &Caller,
    id: Uuid,
    found: &Found,
    lines: &mut Vec<Line>,
) -> Result<bool, Problem> {
    let wanted = found.ledger.dead_lettered_total();
    let upload = found.upload(id);
    // Copies of held rows have the time of their originals.
    let last_ms = match upload.stage {
        Stage::Receiving => api.now_ms(),
        _ => upload.newest_ms,
    };
    let mut scan = Scan {
        tenants: vec![Arc::clone(&caller.tenant)],
        filter: Filter {
            upload: Some(id),
            ..Filter::default()
        },
        after: Position::before(upload.begun_ms.saturating_sub(CLOCK_MARGIN_MS).max(0)),
        to_ms: last_ms.saturating_add(CLOCK_MARGIN_MS),
        limit: usize::MAX,
    };
    let mut count = 0;
    for _ in 0..PAGES {
        if count >= wanted.min(LINES as u64) {
            break;
        }
        let page = scan.run(api).await?;
        for letter in page.letters {
            let dead_letter = Some(letter.id());
            let letter = letter.row;
            let Some((_, row)) = letter.upload else { continue };
            if count < LINES as u64 {
                lines.push(Line {
                    row,
                    code: letter.reason.word().to_owned(),
                    field: None,
                    message: letter.detail,
                    dead_letter,
                });
            }
            count += 1;
        }
        match page.next {
            Some(next) => scan.after = next,
            None => break,
        }
    }
    Ok(count >= wanted && wanted <= LINES as u64)
}
