//! `GET /v1/live`: the totals of some days, and each of them again when it changes, as server-sent events.
//!
//! A reader gets `range` (which days of which zone follow, so that it forgets what it had), then `total` for each day and type
//! that has events, then `as_of`. From then on `total` for each one that changed, with its new absolute value, and `as_of`
//! behind them. `as_of` carries the id: what came before it is complete up to there, so whoever was cut off between two of
//! them asks again with the id of the former as `Last-Event-ID`. All totals of the range come again then, never of an earlier moment than
//! the id's. The id is a receipt, and any query can wait for it.
//!
//! Rows are read once for all readers (`hub`). A reader that does not read is cut off (`reader`), and never holds up another one.

/// Rows of the watched days, read once for all.
mod hub;
/// One reader: what it was shown, and what it is shown next.
mod reader;
/// What waits for one reader.
mod queue;

use self::hub::Hub;
pub(crate) use self::queue::End;
use self::queue::Queue;
use self::reader::{Asked, Reader};
use crate::QueryApi;
use crate::asked::Types;
use crate::caller::Caller;
use crate::described::{self, PARAMS, RANGE, VIEW, Zone};
use crate::params::{Params, RawQuery, invalid};
use crate::reflected::ENDS_AGE;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::Response;
use futures::stream::{self, StreamExt};
use schemas::receipt::Receipt;
use schemas::row::View;
use service::http::Problem;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

/// Seconds after which there may be a place for a reader again.
const FULL_RETRY_S: u32 = 5;

/// Where a reader that was cut off says how far it got: WHATWG HTML, 9.2.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// One event of the stream; `data` is JSON.
#[derive(ToSchema)]
#[schema(as = LiveEvent)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Event {
    /// `range`, `total`, `as_of` or `end`.
    event: String,
    data: String,
    /// Of `as_of`: a receipt.
    #[schema(required = false)]
    id: Option<String>,
}

/// The live totals of this process. Clones are the same.
#[derive(Clone)]
pub(crate) struct Live {
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
}

impl Live {
    /// Nothing runs until somebody reads.
    pub(crate) fn new(api: Arc<QueryApi>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(api.limits.live_readers)),
            hub: Arc::new(Hub::new(api)),
        }
    }
}

/// `GET /v1/live?from&to&tz&type`.
#[utoipa::path(
    get, path = "/v1/live", tag = "Counts",
    summary = "Live totals, as server-sent events",
    description = "`range`, then a `total` for each day and type that has events, then `as_of`; from then on each total that changed with its new \
                   absolute value, and `as_of` behind them. The stream has no end of its own: one that the server ends says why in the event `end`.",
    params(
        ("from" = Option<String>, Query, format = Date, description = "The first day; with `to`. Without both, yesterday and today, also when the day changes."),
        ("to" = Option<String>, Query, format = Date, description = "The last day; 31 days at most."),
        Zone, described::Types,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last `as_of` that was seen: nothing older is shown."),
    ),
    responses((status = 200, description = "Events; the id of each `as_of` is a receipt.", body = Event, content_type = "text/event-stream")),
    extensions(("x-problems" = json!([
        PARAMS, RANGE, VIEW, [400, "receipt_beyond_end"], [503, "too_many_live_days"], [503, "too_many_readers"]
    ]))),
)]
pub(crate) async fn show(
    State(live): State<Live>,
    caller: Caller,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let api = live.hub.api();
    let params = Params::of(query, &["from", "to", "tz", "type"])?;
    let ended = caller.ended();
    let asked = Asked::read(&params, Types::read(&params)?, caller.tenant)?;
    let range = asked.range((api.clock)())?;
    let resumed = resumed(api, &headers).await?;
    let limit = api.limits.live_readers;
    let Ok(place) = Arc::clone(&live.places).try_acquire_owned() else {
        return Err(Problem::unavailable(
            "too_many_readers",
            "Too many readers of live totals",
            FULL_RETRY_S,
        )
        .detail(format!("there are {limit} at one time"))
        .with("limit_readers", limit));
    };
    // Whether there is anything to show is said while there is a status to say it with.
    api.reflected(View::Days, None, ENDS_AGE).await?;
    let (queue, pieces) = Queue::new(api.limits.live_patience());
    let reader = Reader::new(Arc::clone(&live.hub), asked, range, resumed, queue)?;
    tokio::spawn(async move {
        reader.run().await;
        drop(place);
    });
    let body = stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<Bytes, Infallible>(piece), pieces))
    });
    // A key that was revoked sees no further total.
    let body = body.take_until(ended);
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Asks proxies (nginx and others) to pass on what is there.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// What the reader saw before it was cut off. That of another log means nothing here, and all is sent anyway.
///
/// Errors: 400 for what is no id of ours, or is of a moment that the log does not have.
async fn resumed(api: &QueryApi, headers: &HeaderMap) -> Result<Option<Receipt>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let receipt = id.to_str().ok().and_then(|text| text.parse::<Receipt>().ok());
    let receipt =
        receipt.ok_or_else(|| invalid("Last-Event-ID", "must be the id of an event of /v1/live"))?;
    if receipt.topic_id != api.generation.events_id {
        return Ok(None);
    }
    api.check_end(&receipt).await?;
    Ok(Some(receipt))
}
