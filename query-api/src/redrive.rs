//! `POST /v1/dead-letters/redrive`: puts dead letters back on the log, one mended, some by id, or all that a filter finds.
//!
//! A redriven copy is an event like any other: nothing is counted here, and nothing because of what is written here. That a letter has its
//! effect once, however often and by whomever it is redriven, is the fold's to keep; letters that the view says are redriven are left out
//! only to spare the log. So a call that was cut off may be made again at once.

/// What is asked for.
mod asked;
/// What is done.
mod work;

use crate::QueryApi;
use crate::caller::Caller;
use crate::cursor::Position;
use crate::described::{CURSOR, PARAMS, VIEW};
use crate::letters::{LetterBytes, RecordAt};
use crate::params::{Params, RawQuery};
use crate::reflected::ENDS_AGE;
use crate::tries::{self, Letter};
use asked::{Asked, Which};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use schemas::row::View;
use schemas::{Offset, Partition};
use serde::Serialize;
use service::http::{PLAIN_JSON, Problem};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use utoipa::ToSchema;
use work::Work;

/// What was done, or would be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redriven)]
pub(crate) struct Answer {
    dry_run: bool,
    #[serde(flatten)]
    tally: Tally,
    /// Where the copies lie, to wait for; none where there are none.
    #[schema(required = true)]
    receipt: Option<String>,
    /// For `cursor`; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// What became of the letters that were asked for: `matched` is the sum of what was redriven and what was skipped.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = RedriveTally)]
pub(crate) struct Tally {
    matched: u64,
    redriven: u64,
    by_reason: BTreeMap<&'static str, u64>,
    skipped: Skipped,
}

/// Letters that were not redriven, by why.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = RedriveSkipped)]
pub(crate) struct Skipped {
    /// A try had its effect already.
    redriven: u64,
    /// As many tries failed as may.
    quarantined: u64,
    /// There is no such letter, or it is another tenant's.
    not_found: u64,
    /// The log does not have its record any more.
    bytes_gone: u64,
    /// It is a held record or a fact of an upload, which only the upload's own calls may move.
    held: u64,
    /// A copy with its headers would be more than the log takes.
    too_large: u64,
}

/// `POST /v1/dead-letters/redrive`.
#[utoipa::path(
    post, path = "/v1/dead-letters/redrive", tag = "Dead letters",
    summary = "Puts dead letters back on the log: by id, by filter, or one mended",
    description = "Exactly one of `ids` and `filter`. A letter has its effect once, however often it is redriven, so a call that was cut off \
                   may be made again.",
    request_body(content = asked::Said, content_type = "application/json"),
    responses((status = 200, description = "What was done, or in a dry run what would be.", body = Answer)),
    extensions(("x-problems" = json!([
        PARAMS, CURSOR, VIEW, PLAIN_JSON, [400, "json_invalid"], [400, "range_invalid"], [400, "range_too_long"],
        [400, "event_invalid"], [403, "scope_missing"], [413, "body_too_large"], [503, "log_away"]
    ]))),
)]
pub(crate) async fn redrive(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, Problem> {
    Params::of(query, &[])?;
    let asked = Asked::read(&api, &caller, &headers, body).await?;
    let reflected = api.reflected(View::DeadLetters, None, ENDS_AGE).await?;
    let mut tally = Tally::default();
    let (letters, next) = match &asked.which {
        Which::Ids(ids) => (by_id(&api, &caller, ids, &mut tally).await?, None),
        Which::Filter(filter) => {
            let page = filter.0.run(&api).await?;
            (page.letters, page.next)
        }
    };
    api.confirm(View::DeadLetters, &reflected).await?;
    tally.matched += letters.len() as u64;
    let mut work = Work::new(&api, &caller, &asked, tally);
    let stopped = work.run(&letters).await?;
    let question = match &asked.which {
        Which::Ids(_) => None,
        Which::Filter(filter) => Some(&filter.1),
    };
    let next = stopped.or(next).zip(question);
    Ok(Json(Answer {
        dry_run: asked.dry_run,
        receipt: work.receipt(),
        tally: work.done(letters.len()),
        next_cursor: next.map(|(next, question)| next.encode(question)),
    }))
}

/// The letters at these places. Where they were accepted, and so where their rows are, only the records say.
async fn by_id(
    api: &QueryApi,
    caller: &Caller,
    ids: &BTreeSet<(Partition, Offset)>,
    tally: &mut Tally,
) -> Result<Vec<Letter>, Problem> {
    let tenants = caller.letter_tenants();
    let mut letters = Vec::new();
    for partition in ids
        .iter()
        .map(|(partition, _)| *partition)
        .collect::<BTreeSet<_>>()
    {
        let offsets = ids
            .iter()
            .filter(|(of, _)| *of == partition)
            .map(|(_, offset)| *offset);
        let mut rest: Vec<Offset> = offsets.collect();
        if partition.0 >= api.generation.partitions {
            tally.skip(rest.len(), |skipped| &mut skipped.not_found);
            continue;
        }
        while !rest.is_empty() {
            let ask = rest.iter().take(work::SLICE).copied().collect();
            let found = read(api.letters.as_ref(), api, partition, ask).await?;
            rest.drain(..found.len().min(rest.len()));
            for (offset, record) in found {
                let Some(record) = record else {
                    tally.skip(1, |skipped| &mut skipped.bytes_gone);
                    continue;
                };
                let at = Position {
                    accepted_ms: record.accepted_ms,
                    partition,
                    offset,
                };
                match tries::find(api, &tenants, at).await? {
                    Some(letter) => letters.push(letter),
                    None => tally.skip(1, |skipped| &mut skipped.not_found),
                }
            }
        }
    }
    Ok(letters)
}

/// Reads some records, at least one.
async fn read(
    letters: &dyn LetterBytes,
    api: &QueryApi,
    partition: Partition,
    offsets: Vec<Offset>,
) -> Result<Vec<RecordAt>, Problem> {
    let read = letters.records(partition, offsets).await;
    let read = read.map_err(|cause| api.log_away(&cause))?;
    match read.is_empty() {
        true => Err(Problem::internal()),
        false => Ok(read),
    }
}

impl Tally {
    /// Counts letters that are not even looked for, or not found.
    fn skip(&mut self, count: usize, which: impl FnOnce(&mut Skipped) -> &mut u64) {
        *which(&mut self.skipped) += count as u64;
        self.matched += count as u64;
    }
}
