//! `GET /v1/dead-letters/{id}`: one dead letter with the bytes that were sent.
//!
//! Its id is its place on `events`, and the bytes are read there. The view has rows by day, so the record says the day, and
//! the row says that it is a dead letter and whose: bytes of a record without such a row are never shown.

use crate::QueryApi;
use crate::caller::Caller;
use crate::cursor::Position;
use crate::dead_letters::Line;
use crate::letters::LogRecord;
use crate::params::{Params, RawQuery, invalid};
use crate::reads::{CALL_DEADLINE, malformed};
use crate::reflected::ENDS_AGE;
use crate::scan;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use schemas::row::{DeadLetter, View};
use schemas::{Offset, Partition};
use serde::Serialize;
use service::http::Problem;
use std::fmt::Write;
use std::sync::Arc;

/// Bytes of a key or a value that are shown.
const SHOWN_BYTES: usize = 64 * 1024;

/// A dead letter and what was sent.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    line: Line,
    /// The record's key, if it has one and it is UTF-8.
    key: Option<String>,
    /// The record's key in hex, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    /// The value, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_utf8: Option<String>,
    /// The value in hex; none if the record has no value.
    value_hex: Option<String>,
    /// How many bytes the value has.
    value_bytes: Option<usize>,
    /// Whether only the beginning of it is shown.
    value_truncated: bool,
}

/// `GET /v1/dead-letters/{id}`.
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
    let letter = letter(&api, &caller, at).await?;
    api.confirm(View::DeadLetters, &reflected).await?;
    Ok(Json(answer(at, letter.ok_or_else(none)?, record)))
}

/// The row at exactly this place.
async fn letter(api: &QueryApi, caller: &Caller, at: Position) -> Result<Option<DeadLetter>, Problem> {
    let day = scan::day(at.accepted_ms);
    let before = match (at.partition.0.checked_sub(1), at.offset.0.checked_sub(1)) {
        (_, Some(offset)) => Position {
            offset: Offset(offset),
            ..at
        },
        (Some(partition), None) => Position {
            accepted_ms: at.accepted_ms,
            partition: Partition(partition),
            ..Position::before(at.accepted_ms)
        },
        (None, None) => Position::before(at.accepted_ms),
    };
    for tenant in caller.letter_tenants() {
        let call = api.store.dead_letter_rows(&tenant, day, Some(before.key()), 1);
        let rows = api.read(CALL_DEADLINE, call).await?;
        if let Some(row) = rows.first().filter(|row| scan::position(row) == Some(at)) {
            return DeadLetter::decode(&row.value)
                .map(Some)
                .map_err(|cause| malformed(&cause));
        }
    }
    Ok(None)
}

/// Partition and offset of an id, written in one way only, so that one dead letter has one id.
fn place(id: &str) -> Option<(Partition, Offset)> {
    let (partition, offset) = id.split_once('-')?;
    let place = (Partition(partition.parse().ok()?), Offset(offset.parse().ok()?));
    // No log has more, and no store could hold it.
    let is_place = i64::try_from(place.1.0).is_ok();
    (is_place && format!("{}-{}", place.0, place.1) == id).then_some(place)
}

fn answer(at: Position, letter: DeadLetter, record: LogRecord) -> Answer {
    let key = record.key.as_deref();
    let key_utf8 = key.and_then(|key| std::str::from_utf8(key).ok());
    let value = record.value.as_deref();
    Answer {
        line: Line::new(at, letter),
        key: key_utf8.map(shown_text),
        key_hex: key.filter(|_| key_utf8.is_none()).map(hex),
        value_utf8: value
            .and_then(|value| std::str::from_utf8(value).ok())
            .map(shown_text),
        value_hex: value.map(hex),
        value_bytes: value.map(<[u8]>::len),
        value_truncated: value.is_some_and(|value| value.len() > SHOWN_BYTES),
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
