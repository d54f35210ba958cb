//! `POST /liveEvent`, for unchanged clients of the older service that kept revenue per user. The bodies and statuses are that
//! service's own; what it lost is not: the answer comes when the event is durable, a value of 0 is a value, and a name that is neither
//! `add_revenue` nor `subtract_revenue` is refused instead of subtracted.
//!
//! Who sends the secret counts into the tenant of the setting; who sends a key with the scope `ingest` instead, into the key's. Where keys
//! are needed, a secret that everybody knows is none.
//!
//! A file of such events is an upload with `format=lines-a`, read by the same [`raw`].
//!
//! An event has no id and no time, so two alike are two events. A client that sends an `Idempotency-Key` may repeat a request safely.

use crate::appends::Appends;
use crate::body::{PIECE_BYTES, Reader};
use crate::chunks::{Chunks, Open};
use crate::described::{Key, OlderEvent, Packed};
use crate::events::{busy, decoder_bytes, log_unavailable, seconds};
use crate::head;
use crate::{Ingest, OlderClients};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::input::{KeyContext, Raw};
use schemas::{Amount, Event, Field, Invalid};
use service::access::{Caller, Scope};
use service::http::Problem;
use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;

const ADD: &str = "add_revenue";
const SUBTRACT: &str = "subtract_revenue";
/// The texts of the older service.
const SAVED: &str = "Event saved";
const INVALID: &str = "Invalid event data";
const FORBIDDEN: &str = "Forbidden";

/// The secret of the header `Authorization`. Clones are the same one. Never printed.
#[derive(Clone)]
pub struct OlderSecret(Arc<RwLock<Held>>);

#[derive(PartialEq, Eq)]
struct Held {
    hash: blake3::Hash,
    is_known: bool,
}

impl OlderSecret {
    /// A secret. `is_known`: everybody knows it, so it is enough only where no key is needed.
    pub fn new(secret: &str, is_known: bool) -> Self {
        Self(Arc::new(RwLock::new(Held::of(secret, is_known))))
    }

    /// From now on it is another one. Whether it was not this one already.
    pub fn change(&self, secret: &str, is_known: bool) -> bool {
        let new = Held::of(secret, is_known);
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = *held != new;
        *held = new;
        is_new
    }
}

impl Held {
    fn of(secret: &str, is_known: bool) -> Self {
        Self {
            hash: blake3::hash(secret.as_bytes()),
            is_known,
        }
    }
}

/// The secret, and whom it admits.
pub(crate) struct Secret {
    secret: OlderSecret,
    caller: Caller,
}

impl Secret {
    pub(crate) fn new(older: &OlderClients<'_>) -> Self {
        Self {
            secret: older.secret.clone(),
            caller: Caller::local().in_tenant(older.tenant),
        }
    }

    /// Whose event it is that comes with these headers from `caller`, who is none where a key is needed and none was shown.
    fn sender(&self, caller: Option<Caller>, headers: &HeaderMap) -> Option<Caller> {
        if let Some(bearer) = caller.as_ref().filter(|caller| caller.has_key()) {
            return bearer.has(Scope::Ingest).then(|| bearer.clone());
        }
        let said = headers
            .get(header::AUTHORIZATION)
            .map_or(&b""[..], |value| value.as_bytes());
        let held = self.secret.0.read().unwrap_or_else(PoisonError::into_inner);
        // Hashes are compared in constant time.
        let admits = blake3::hash(said) == held.hash;
        let is_enough = caller.is_some() || !held.is_known;
        (admits && is_enough).then(|| self.caller.clone())
    }
}

#[utoipa::path(
    post, path = "/liveEvent", tag = "Older: revenue",
    summary = "Adds to a user's revenue, or subtracts from it",
    description = "With an `Idempotency-Key` it may be repeated; without one each request is an event of its own.",
    params(Key, Packed),
    request_body = OlderEvent,
    responses(
        (status = 200, description = "`Event saved`: it is durable.", body = String, content_type = "text/plain"),
        (status = 400, description = "`Invalid event data`.", body = String, content_type = "text/plain"),
        (status = 403, description = "`Forbidden`: another secret.", body = String, content_type = "text/plain"),
    ),
    security(("secret" = []), ("bearer" = ["ingest"]), ("key" = ["ingest"])),
    extensions(("x-problems" = json!([
        [400, "encoding_invalid"], [400, "header_invalid"], [400, "idempotency_key_invalid"], [413, "body_too_compressed"],
        [415, "encoding_not_supported"], [429, "quota_exceeded"], [503, "log_unavailable"]
    ]))),
)]
pub(crate) async fn post(
    State(ingest): State<Arc<Ingest>>,
    caller: Option<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let response = handle(&ingest, caller, &headers, body).await;
    ingest.metrics.requests.get(&[response.status().as_str()]).inc();
    response
}

async fn handle(ingest: &Ingest, caller: Option<Caller>, headers: &HeaderMap, body: Body) -> Response {
    let Some(sender) = ingest.live_event_secret.sender(caller, headers) else {
        return (StatusCode::FORBIDDEN, FORBIDDEN).into_response();
    };
    record(ingest, &sender, headers, body)
        .await
        .unwrap_or_else(Problem::into_response)
}

async fn record(
    ingest: &Ingest,
    sender: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    sender.check_quota(seconds((ingest.clock)()))?;
    let encoding = head::encoding(headers)?;
    let key = head::idempotency_key(headers)?;
    let mut limits = ingest.limits.clone();
    // The whole body is one row.
    limits.decompressed_bytes = limits.row_bytes as u64;
    let decoder = decoder_bytes(encoding, None, limits.decompression_ratio);
    let room = ingest
        .rooms
        .enter(limits.row_bytes + PIECE_BYTES + decoder)
        .map_err(|_| busy(ingest))?;
    let body = whole(Reader::new(body, encoding, &limits), ingest).await?;
    let Some(open) = chunk(ingest, sender, &body, key.as_deref()) else {
        ingest.metrics.invalid.get(&["refused"]).inc();
        return Ok((StatusCode::BAD_REQUEST, INVALID).into_response());
    };
    let metrics = ingest.metrics.clone();
    let mut appends = Appends::new(Arc::clone(&ingest.appender), ingest.topic_id, &limits, metrics);
    appends.hand_over(open, Some(room)).await;
    appends.finish().await;
    sender.spend(appends.accepted, seconds((ingest.clock)()));
    match appends.accepted {
        1 => Ok((StatusCode::OK, SAVED).into_response()),
        _ if appends.refused > 0 => Ok((StatusCode::BAD_REQUEST, INVALID).into_response()),
        _ => Err(log_unavailable(ingest)),
    }
}

/// All bytes of a body, which its reader bounds.
async fn whole(mut reader: Reader, ingest: &Ingest) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    let ended = loop {
        match reader.read(&mut body).await {
            // A body that is not compressed has only the port's own limit, which is that of a file.
            Ok(_) if body.len() > ingest.limits.row_bytes => {
                break Err(Problem::body_too_large(ingest.limits.row_bytes as u64));
            }
            Ok(true) => break Ok(body),
            Ok(false) => {}
            Err(fault) => {
                ingest.metrics.broken.get(&[fault.reason]).inc();
                break Err(fault.problem);
            }
        }
    };
    if ended.is_err() {
        reader.discard().await;
    }
    ingest.metrics.body_bytes.inc_by(reader.received_bytes());
    ended
}

/// A chunk with the event of a body, or none if the body is no event.
fn chunk(ingest: &Ingest, sender: &Caller, body: &[u8], key: Option<&str>) -> Option<Open> {
    let mut fresh_key = || Uuid::now_v7().to_string();
    let mut context = KeyContext {
        tenant: sender.tenant(),
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

/// The event of a body.
fn event<'a>(body: &'a [u8], context: &mut KeyContext<'a>) -> Option<Event<'a>> {
    raw(body).ok()?.into_event(context).ok()
}

/// What `{userId, name, value}` says; other fields are kept beside it.
///
/// Errors: those of [`Raw::from_json`]; `missing`, `twice` and `not_a_number` of `name` and `value`, and `not_known` of a name that is
/// neither of the two.
pub(crate) fn raw(body: &[u8]) -> Result<Raw<'_>, Invalid> {
    let mut raw = Raw::from_json(body)?;
    let name = take(&mut raw, "name")?;
    let value = take(&mut raw, "value")?;
    let amount = value.parse::<Amount>().map_err(|error| {
        let message = format!("is {error}");
        Invalid::new(Field::Attribute("value"), "not_a_number", message)
    })?;
    let amount = match name.as_ref() {
        ADD => amount,
        SUBTRACT => amount.negated(),
        _ => {
            let message = format!("is neither {ADD} nor {SUBTRACT}");
            return Err(Invalid::new(Field::Attribute("name"), "not_known", message));
        }
    };
    // These words meant nothing there.
    let (kind, worth) = (raw.event_type.replace(name), raw.amount.take());
    raw.amount = Some(Cow::Owned(amount.to_string()));
    let beside = [("event_type", kind), ("amount", worth)].into_iter();
    let beside = beside.filter_map(|(name, value)| Some((Cow::Borrowed(name), value?)));
    raw.metadata.extend(beside);
    Ok(raw)
}

/// Takes a field that must be there once.
fn take<'a>(raw: &mut Raw<'a>, name: &'static str) -> Result<Cow<'a, str>, Invalid> {
    let mut found = raw.metadata.extract_if(.., |(field, _)| field == name);
    let (first, second) = (found.next(), found.next());
    let refused = |code, message| Invalid::new(Field::Attribute(name), code, message);
    match (first, second) {
        (Some((_, value)), None) => Ok(value),
        (Some(_), Some(_)) => Err(refused("twice", "stands twice in the object")),
        (None, _) => Err(refused("missing", "is missing")),
    }
}

/// The same error, by the words of that service.
pub(crate) fn named(mut invalid: Invalid) -> Invalid {
    invalid.field = match invalid.field {
        Field::UserId => Field::Attribute("userId"),
        Field::EventType => Field::Attribute("name"),
        Field::Amount => Field::Attribute("value"),
        other => other,
    };
    invalid
}
