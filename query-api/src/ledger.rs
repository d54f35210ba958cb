//! `GET /v1/ledger`: what became of every record, per source partition and in all, and whether it adds up.
//!
//! Accepted is what clients sent: records without facts of uploads, and without the copies that reroutes, releases and redrives wrote. In flight is what the log
//! has behind what was concluded; the log's end is looked at after progress, so it is never too small.

use crate::QueryApi;
use crate::caller::Caller;
use crate::described::{AS_OF, After, Known, PARAMS, RECEIPT, TAG, VIEW};
use crate::params::{Params, RawQuery};
use crate::reflected::AsOf;
use crate::reply::Reply;
use crate::tag::Tag;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::row::View;
use schemas::{Ledger, Offset, Reason};
use serde::Serialize;
use service::http::Problem;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// The ledger in all.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ledger)]
pub(crate) struct Answer {
    accepted: u64,
    #[serde(flatten)]
    counts: Counts,
    in_flight: u64,
    balanced: bool,
    dead_letters_by_reason: BTreeMap<&'static str, u64>,
    partitions: Vec<Line>,
    as_of: AsOf,
}

/// The ledger of one source partition.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerLine)]
struct Line {
    partition: u32,
    #[serde(flatten)]
    counts: Counts,
    next_offset: u64,
    end_offset: u64,
    in_flight: u64,
    balanced: bool,
}

/// Records by what became of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerCounts)]
struct Counts {
    records: u64,
    copies: u64,
    counted: u64,
    duplicate: u64,
    dead_lettered: u64,
    rerouted: u64,
    /// Events that took another one back.
    reversed: u64,
    /// Records that wait, or waited, for the release of their upload; what was released has a copy.
    held: u64,
    /// Copies of held records of which another copy was taken before.
    repeated: u64,
    /// Facts of uploads, and canaries: no events.
    noted: u64,
}

impl From<&Ledger> for Counts {
    fn from(ledger: &Ledger) -> Self {
        Self {
            records: ledger.records,
            copies: ledger.copies,
            counted: ledger.counted,
            duplicate: ledger.duplicate,
            dead_lettered: ledger.dead_lettered_total(),
            rerouted: ledger.rerouted,
            reversed: ledger.reversed,
            held: ledger.held,
            repeated: ledger.repeated,
            noted: ledger.noted,
        }
    }
}

/// `GET /v1/ledger?after&wait`. It spans tenants.
#[utoipa::path(
    get, path = "/v1/ledger", tag = "Audit",
    summary = "What became of every record, and whether it adds up",
    description = "In all and by partition, over all tenants.",
    params(After, Known),
    responses(
        (status = 200, description = "The ledger.", body = Answer),
        (status = 304, description = "The client has the newest answer."),
    ),
    extensions(
        ("x-problems" = json!([PARAMS, RECEIPT, VIEW])),
        ("x-headers" = json!([AS_OF, TAG])),
    ),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let params = Params::of(query, &["after", "wait"])?;
    let after = api.after(&params)?;
    let reflected = api
        .reflected(View::Progress, after.as_ref(), Duration::ZERO)
        .await?;
    let Some(ends) = &reflected.ends else {
        return Err(api.log_away(&crate::LogAway("it does not say where it ends".to_owned())));
    };
    let as_of = api.as_of(&reflected);
    let tag = Tag::new(&api, &caller, View::Progress, &reflected, &as_of, &["ledger"]);
    let reply = match Reply::one_form(&as_of).tagged(tag, &headers) {
        ControlFlow::Continue(reply) => reply,
        ControlFlow::Break(not_modified) => return Ok(not_modified),
    };
    let mut all = Ledger::default();
    let mut lines = Vec::new();
    for partition in api.partitions() {
        let progress = reflected.progress.get(&partition);
        let ledger = progress.map(|row| row.ledger).unwrap_or_default();
        let next = progress.map_or(Offset(0), |row| row.next);
        let end = ends.get(&partition).copied().unwrap_or_default();
        all.merge(&ledger);
        lines.push(Line {
            partition: partition.0,
            counts: Counts::from(&ledger),
            next_offset: next.0,
            end_offset: end.0,
            in_flight: end.0.saturating_sub(next.0),
            balanced: ledger.balanced(),
        });
    }
    let reasons = Reason::ALL.map(|reason| (reason.word(), all.dead_lettered_for(reason)));
    Ok(reply.json(&Answer {
        accepted: all.accepted(),
        counts: Counts::from(&all),
        in_flight: lines
            .iter()
            .fold(0, |sum, line| sum.saturating_add(line.in_flight)),
        // Each for itself: what one partition has too much must not make up for another.
        balanced: lines.iter().all(|line| line.balanced),
        dead_letters_by_reason: reasons.into_iter().filter(|(_, count)| *count > 0).collect(),
        partitions: lines,
        as_of,
    }))
}
