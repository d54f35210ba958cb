//! `GET /v1/dead-letters/{id}`: one dead letter with the bytes that were sent, the event in them where it can be read, and what became of
//! each try to redrive it.
//!
//! Its id is its place on `events`, and the bytes are read there. The view has rows by day, so the record says the day, and
//! the row says that it is a dead letter and whose: bytes of a record without such a row are never shown.

use crate::QueryApi;
use crate::caller::Caller;
use crate::cursor::Position;
use crate::dead_letters::Line;
use crate::decoded::{decode, shape};
use crate::described::{PARAMS, PATH, VIEW};
use crate::letters::{LogRecord, Retention};
use crate::params::{Params, RawQuery, invalid};
use crate::reflected::ENDS_AGE;
use crate::tries::{self, Letter, TryLine};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use schemas::row::View;
use schemas::{Offset, Partition, Timestamp};
use serde::Serialize;
use serde_json::Value;
use service::http::Problem;
use std::fmt::Write;
use std::sync::Arc;
use utoipa::ToSchema;

/// Bytes of a key or a value that are shown.
const SHOWN_BYTES: usize = 64 * 1024;

/// A dead letter and what was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterRecord)]
pub(crate) struct Answer {
    #[serde(flatten)]
    line: Line,
    /// The record's key, if it has one and it is UTF-8.
    #[schema(required = true)]
    key: Option<String>,
    /// The record's key in hex, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    /// The value, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_utf8: Option<String>,
    /// The value in hex; none if the record has no value.
    #[schema(required = true)]
    value_hex: Option<String>,
    /// How many bytes the value has.
    #[schema(required = true)]
    value_bytes: Option<usize>,
    /// Whether only the beginning of it is shown.
    value_truncated: bool,
    /// The event, in the shape that `POST /v1/events` takes.
    #[schema(required = true)]
    event: Option<Value>,
    /// Why there is none.
    #[schema(required = true)]
    undecoded: Option<String>,
    /// All tries, oldest first.
    redrives: Vec<TryLine>,
    /// From when on the log may drop the bytes; none where it keeps them for ever or does not say.
    #[schema(required = true)]
    kept_until: Option<String>,
    /// `forever`, `bounded` or `unknown`.
    retention: &'static str,
}

/// `GET /v1/dead-letters/{id}`.
#[utoipa::path(
    get, path = "/v1/dead-letters/{id}", tag = "Dead letters",
    summary = "One dead letter with the bytes that were sent",
    params(("id" = String, Path, pattern = "^(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,18})$", description = "Its place: partition and offset.", example = "3-1207")),
    responses((status = 200, description = "The dead letter; of long values the first 64 KiB.", body = Answer)),
    extensions(("x-problems" = json!([PATH, PARAMS, VIEW, [404, "not_found"]]))),
)]
pub(crate) async fn show(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Result<Json<Answer>, Problem> {
    let Path(id) = path?;
    Params::of(query, &[])?;
    let (partition, offset) =
        place(&id).ok_or_else(|| invalid("id", "must be a partition and an offset, such as 3-1207"))?;
    let none = || Problem::not_found("there is no dead letter at this place, or it is not counted yet");
    if partition.0 >= api.generation.partitions {
        return Err(none());
    }
    let reflected = api.reflected(View::DeadLetters, None, ENDS_AGE).await?;
    let record = api.letters.record(partition, offset).await;
    let record = record.map_err(|cause| api.log_away(&cause))?.ok_or_else(none)?;
    let at = Position {
        accepted_ms: record.accepted_ms,
        partition,
        offset,
    };
    let letter = tries::find(&api, &caller.letter_tenants(), at).await?;
    api.confirm(View::DeadLetters, &reflected).await?;
    let letter = letter.ok_or_else(none)?;
    let retention = api.letters.retention().await;
    Ok(Json(answer(&api, letter, record, retention)))
}

/// Partition and offset of an id, written in one way only, so that one dead letter has one id.
pub(crate) fn place(id: &str) -> Option<(Partition, Offset)> {
    let (partition, offset) = id.split_once('-')?;
    let place = (Partition(partition.parse().ok()?), Offset(offset.parse().ok()?));
    // No log has more, and no store could hold it.
    let is_place = i64::try_from(place.1.0).is_ok();
    (is_place && format!("{}-{}", place.0, place.1) == id).then_some(place)
}

fn answer(api: &QueryApi, letter: Letter, record: LogRecord, retention: Retention) -> Answer {
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    let accepted_at = Timestamp::from_millis(record.accepted_ms);
    let (event, undecoded) = match decode(key, value, accepted_at, api.generation.schema_id) {
        Ok(event) => (Some(shape(&event)), None),
        Err(why) => (None, Some(why)),
    };
    let (retention, kept_ms) = match retention {
        Retention::Forever => ("forever", None),
        Retention::Unknown => ("unknown", None),
        Retention::Bounded(ms) => ("bounded", ms),
    };
    let kept_until = kept_ms.map(|ms| {
        let ms = record
            .append_ms
            .saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
        Timestamp::from_millis(ms).rfc3339()
    });
    let redrives = letter.tries.iter().map(TryLine::new).collect();
    let key = record.key.as_deref();
    let key_utf8 = key.and_then(|key| std::str::from_utf8(key).ok());
    let value = record.value.as_deref();
    Answer {
        line: Line::new(letter, api.limits.redrive_tries),
        key: key_utf8.map(shown_text),
        key_hex: key.filter(|_| key_utf8.is_none()).map(hex),
        value_utf8: value
            .and_then(|value| std::str::from_utf8(value).ok())
            .map(shown_text),
        value_hex: value.map(hex),
        value_bytes: value.map(<[u8]>::len),
        value_truncated: value.is_some_and(|value| value.len() > SHOWN_BYTES),
        event,
        undecoded,
        redrives,
        kept_until,
        retention,
    }
}

fn shown_text(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(SHOWN_BYTES);
    let mut text = String::with_capacity(shown.len() * 2);
    for byte in shown {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
