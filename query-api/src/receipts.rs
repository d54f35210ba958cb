//! `GET /v1/receipts/{receipt}`: are these events in yet? Counted means in every view, so that whatever is asked next
//! reflects them.

use crate::QueryApi;
use crate::described::{self, PARAMS, PATH, VIEW};
use crate::params::{Params, RawQuery};
use crate::reflected::{AsOf, ByPartition, ENDS_AGE, Reflected};
use crate::waiting::{covered, partitions, too_many};
use crate::watch::{Seen, WaitEnd};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use schemas::receipt::Receipt;
use schemas::row::View;
use serde::Serialize;
use serde_json::Value;
use service::http::Problem;
use std::sync::Arc;
use tokio::time::Instant;
use utoipa::ToSchema;

/// How far the events of a receipt are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReceiptStanding)]
pub(crate) struct Answer {
    /// Whether every view reflects all of it.
    counted: bool,
    /// How far each partition is.
    #[schema(value_type = Vec<described::Reached>)]
    partitions: Value,
    as_of: AsOf,
}

/// `GET /v1/receipts/{receipt}?wait`. When the time to wait is over the answer is what is known then, and no error.
#[utoipa::path(
    get, path = "/v1/receipts/{receipt}", tag = "Events",
    summary = "Whether the events of a receipt are counted",
    description = "When the time to wait is over, the answer is what is known then.",
    params(
        ("receipt" = String, Path, description = "`receipt` of an answer to events."),
        ("wait" = Option<String>, Query, pattern = "^[0-9]{1,6}(ms|s)?$", description = "How long to wait until it is counted, such as `1500` (milliseconds) or `5s`; `query.wait_limit_ms` (30 s) at most. Without it no time."),
    ),
    responses((status = 200, description = "How far they are.", body = Answer)),
    extensions(("x-problems" = json!([
        PATH, PARAMS, VIEW, [400, "receipt_beyond_end"], [400, "receipt_invalid"], [400, "receipt_of_another_log"], [503, "too_many_waiters"]
    ]))),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Result<Json<Answer>, Problem> {
    let Path(text) = path?;
    let params = Params::of(query, &["wait"])?;
    let wait = api.bounded(params.duration("wait")?);
    let receipt = api.receipt(&text)?;
    let mut progress = in_every_view(&api).await?;
    if !covered(&receipt, &progress) {
        api.check_end(&receipt).await?;
        if !wait.is_zero() {
            let deadline = Instant::now() + wait;
            if api
                .progress
                .wait(&View::ALL, deadline, |seen| is_seen(seen, &receipt))
                .await
                == WaitEnd::TooMany
            {
                return Err(too_many());
            }
            progress = in_every_view(&api).await?;
        }
    }
    let projected = progress
        .iter()
        .map(|(partition, row)| (*partition, row.next))
        .collect();
    let counted = covered(&receipt, &progress);
    let ends = api.ends.ends(ENDS_AGE).await.ok();
    Ok(Json(Answer {
        counted,
        partitions: partitions(&receipt, &projected, usize::MAX),
        as_of: api.as_of(&Reflected { progress, ends }),
    }))
}

/// Of each partition the progress of the view that is least far. One that is missing in a view has none.
async fn in_every_view(api: &QueryApi) -> Result<ByPartition, Problem> {
    let mut least = api.progress(View::Progress).await?;
    for view in View::ALL.into_iter().filter(|view| *view != View::Progress) {
        let mut progress = api.progress(view).await?;
        least.retain(|partition, _| progress.contains_key(partition));
        for (partition, row) in &mut least {
            if let Some(other) = progress.remove(partition).filter(|other| other.next < row.next) {
                *row = other;
            }
        }
    }
    Ok(least)
}

/// Whether every view was seen to reflect a receipt.
pub(crate) fn is_seen(seen: &Seen, receipt: &Receipt) -> bool {
    View::ALL
        .iter()
        .all(|view| seen.get(view).is_some_and(|progress| covered(receipt, progress)))
}
