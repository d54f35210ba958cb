//! `POST /v1/events`: the way of one request, from its head to its answer. What lies between is [`crate::work`].

use crate::Ingest;
use crate::answer::{Batch, Ending, Single, answer};
use crate::body::{Encoding, PIECE_BYTES, Reader};
use crate::described::{CloudEvent, CloudHeaders, Events, HEAD, Key, Packed, ROWS};
use crate::head::Head;
use crate::intake::Request;
use crate::outcomes::Wait;
use crate::work::Work;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use schemas::Timestamp;
use service::access::Caller;
use service::http::Problem;
use std::sync::Arc;

/// What a body may take in its decoder: the largest window of zstd.
const DECODER_BYTES: u64 = 8 * 1024 * 1024;

#[utoipa::path(
    post, path = "/v1/events", tag = "Events",
    summary = "Takes one event, or several",
    description = "A JSON object is one event; an array, NDJSON and CSV are several, of which a bad row does not stop the others. Without a \
                   Content-Type the first byte tells JSON from CSV. CloudEvents come in their three modes.",
    params(
        ("validate" = Option<bool>, Query, description = "Checks and records nothing."),
        ("wait" = Option<String>, Query, pattern = "^counted$", description = "`counted`: the answer comes when every view reflects the events, and says what became of each; of 10,000 events at most."),
        ("timeout" = Option<String>, Query, description = "With `wait`: how long, as `5s` or `500ms`; 5 s without it, `query.wait_limit_ms` at most."),
        Key, Packed, CloudHeaders,
    ),
    request_body(content(
        (Events = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
        (CloudEvent = "application/cloudevents+json"), (Vec<CloudEvent> = "application/cloudevents-batch+json"),
    )),
    responses(
        (status = 200, description = "Several: how many are durable, and what is wrong with the others.", body = Batch),
        (status = 202, description = "One, which is durable.", body = Single),
    ),
    extensions(("x-problems" = json!([HEAD, ROWS, [400, "invalid_event"], [400, "wait_not_available"], [413, "wait_too_large"], [503, "too_many_waiters"]]))),
)]
pub(crate) async fn post(
    State(ingest): State<Arc<Ingest>>,
    caller: Caller,
    request: axum::extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let response = handle(&ingest, &caller, &parts, body)
        .await
        .unwrap_or_else(Problem::into_response);
    ingest.metrics.requests.get(&[response.status().as_str()]).inc();
    response
}

async fn handle(ingest: &Ingest, caller: &Caller, parts: &Parts, body: Body) -> Result<Response, Problem> {
    let head = Head::read(&parts.uri, &parts.headers)?;
    let wait = Wait::begin(ingest, &head).await?;
    let fixed_bytes =
        PIECE_BYTES + decoder_bytes(head.encoding, head.length, ingest.limits.decompression_ratio);
    let room = ingest.rooms.enter(fixed_bytes).map_err(|_| busy(ingest))?;
    let mut reader = Reader::new(body, head.encoding, &ingest.limits);
    let request = Request {
        idempotency_key: head.idempotency_key.clone(),
        validate: head.validate,
        shape: head.shape,
        ..Request::new(caller.tenant().as_ref(), &ingest.limits)
    };
    let mut work = Work::new(ingest, caller, request, head.format, room, fixed_bytes);
    if wait.is_some() {
        work.keep_rows();
    }
    let ended = work.read_all(&mut reader).await;
    ingest.metrics.body_bytes.inc_by(reader.received_bytes());
    work.settle().await;
    // What the request held is given back before it waits.
    let Work { intake, appends, .. } = work;
    let counted = match (wait, &appends.rows) {
        (Some(wait), Some(rows)) if ended.is_ok() => {
            let counted = wait.counted(ingest, rows, appends.accepted, &appends.receipt);
            Some(counted.await)
        }
        _ => None,
    };
    let ending = ended.map_or_else(Ending::Stopped, |()| Ending::Done);
    Ok(answer(ending, intake, appends, head.validate, counted))
}

/// What a decoder keeps: its window, which is touched only as far as the body goes.
pub(crate) fn decoder_bytes(encoding: Encoding, length: Option<u64>, ratio: u32) -> usize {
    if encoding != Encoding::Zstd {
        return 0;
    }
    let decoded = length.map_or(DECODER_BYTES, |length| length.saturating_mul(u64::from(ratio)));
    usize::try_from(decoded.min(DECODER_BYTES)).unwrap_or(usize::MAX)
}

/// A moment in whole seconds since 1970.
pub(crate) fn seconds(moment: Timestamp) -> u64 {
    u64::try_from(moment.0.div_euclid(1_000_000)).unwrap_or_default()
}

/// What is answered where there is no room.
pub(crate) fn busy(ingest: &Ingest) -> Problem {
    Problem::unavailable(
        "too_busy",
        "Too many requests are being worked on",
        ingest.limits.retry_after_s,
    )
}

/// What is answered where something is not known to be durable.
pub(crate) fn log_unavailable(ingest: &Ingest) -> Problem {
    let title = "The event log does not take events now";
    Problem::unavailable("log_unavailable", title, ingest.limits.retry_after_s)
        .detail("send the request again with the same keys: what is recorded already counts once")
}
