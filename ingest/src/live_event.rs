//! `POST /liveEvent`, for unchanged clients of the older service that kept revenue per user. The bodies and statuses are that
//! service's own; what it lost is not: the answer comes when the event is durable, a value of 0 is a value, and a name that is neither
//! `add_revenue` nor `subtract_revenue` is refused instead of subtracted.
//!
//! An event has no id and no time, so two alike are two events. A client that sends an `Idempotency-Key` may repeat a request safely.

use crate::Ingest;
use crate::appends::Appends;
use crate::chunks::{Chunks, Open};
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::Event;
use schemas::input::{KeyContext, Raw};
use service::http::Problem;
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

const ADD: &str = "add_revenue";
const SUBTRACT: &str = "subtract_revenue";
/// The texts of the older service.
const SAVED: &str = "Event saved";
const INVALID: &str = "Invalid event data";
const FORBIDDEN: &str = "Forbidden";

/// The secret of the header `Authorization`. Never printed.
pub(crate) struct Secret(blake3::Hash);

impl Secret {
    pub(crate) fn new(secret: &str) -> Self {
        Self(blake3::hash(secret.as_bytes()))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let said = headers
            .get(header::AUTHORIZATION)
            .map_or(&b""[..], |value| value.as_bytes());
        // Hashes are compared in constant time.
        blake3::hash(said) == self.0
    }
}

pub(crate) async fn post(State(ingest): State<Arc<Ingest>>, headers: HeaderMap, body: Body) -> Response {
    let response = handle(&ingest, &headers, body).await;
    ingest.metrics.requests.get(&[response.status().as_str()]).inc();
    response
}

async fn handle(ingest: &Ingest, headers: &HeaderMap, body: Body) -> Response {
    if !ingest.live_event_secret.admits(headers) {
        return (StatusCode::FORBIDDEN, FORBIDDEN).into_response();
    }
    let limit = ingest.limits.row_bytes;
    let busy = || {
        Problem::unavailable(
            "too_busy",
            "Too many requests are being worked on",
            ingest.limits.retry_after_s,
        )
    };
    let Ok(room) = ingest.rooms.enter(limit) else {
        return busy().into_response();
    };
    let body = match to_bytes(body, limit).await {
        Ok(body) => body,
        Err(error) => return Problem::of_body(&error).into_response(),
    };
    let key = crate::head::idempotency_key(headers);
    let key = match &key {
        Ok(key) => key.as_deref(),
        Err(_) => return (StatusCode::BAD_REQUEST, INVALID).into_response(),
    };
    let Some(open) = chunk(ingest, &body, key) else {
        ingest.metrics.invalid.get(&["refused"]).inc();
        return (StatusCode::BAD_REQUEST, INVALID).into_response();
    };
    let mut appends = Appends::new(
        Arc::clone(&ingest.appender),
        ingest.topic_id,
        &ingest.limits,
        ingest.metrics.clone(),
    );
    appends.hand_over(open, Some(room)).await;
    appends.finish().await;
    match appends.accepted {
        1 => (StatusCode::OK, SAVED).into_response(),
        _ if appends.refused > 0 => (StatusCode::BAD_REQUEST, INVALID).into_response(),
        _ => Problem::unavailable(
            "log_unavailable",
            "The event log does not take events now",
            ingest.limits.retry_after_s,
        )
        .into_response(),
    }
}

/// A chunk with the event of a body, or none if the body is no event.
fn chunk(ingest: &Ingest, body: &[u8], key: Option<&str>) -> Option<Open> {
    let mut fresh_key = || Uuid::now_v7().to_string();
    let mut context = KeyContext {
        tenant: crate::events::DEFAULT_TENANT,
        accepted_at: (ingest.clock)(),
        batch_key: key,
        single: true,
        row: 1,
        fresh_key: &mut fresh_key,
        upload_id: None,
    };
    let event = event(body, &mut context)?;
    let mut chunks = Chunks::new(ingest.partitions, ingest.schema_id, ingest.limits.row_bytes);
    chunks.add(&event, 1);
    chunks.take_largest()
}

/// The event of `{userId, name, value}`; other fields are kept beside it.
fn event<'a>(body: &'a [u8], context: &mut KeyContext<'a>) -> Option<Event<'a>> {
    let mut raw = Raw::from_json(body).ok()?;
    let mut take = |name: &str| {
        let at = raw.metadata.iter().position(|(field, _)| field == name)?;
        Some(raw.metadata.remove(at).1)
    };
    let (name, value) = (take("name")?, take("value")?);
    let amount = match name.as_ref() {
        ADD => value,
        SUBTRACT => match value.strip_prefix('-') {
            Some(positive) => Cow::Owned(positive.to_owned()),
            None => Cow::Owned(format!("-{}", value.strip_prefix('+').unwrap_or(&value))),
        },
        _ => return None,
    };
    raw.event_type = Some(name);
    raw.amount = Some(amount);
    raw.into_event(context).ok()
}
