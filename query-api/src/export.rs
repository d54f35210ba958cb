//! Answers of any length as CSV or NDJSON, streamed: what is held at one time does not grow with the answer, and a reader that
//! does not read stops the reads of the store.
//!
//! The head of the answer is gone when a read fails later, so the body is then cut off without its end, which every HTTP
//! client reports: an export is whole or visibly broken, and never a shorter one that looks whole.
//!
//! A line of CSV has the members of the JSON object of the same line, in a fixed order, quoted as in RFC 4180. A text that begins
//! with `=`, `+`, `-` or `@` is a formula to a spreadsheet; the usual guards against that change the data, so there
//! is none here: who opens an export in a spreadsheet imports its texts as texts.

use crate::format::Format;
use axum::body::{Body, Bytes};
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use serde_json::{Map, Value};
use service::http::{Problem, RETRY_AFTER_S};
use std::io;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Exports at one time: each holds the rows of some days.
const EXPORTS: usize = 16;

/// The places for exports. Clones are the same places.
#[derive(Clone, Debug)]
pub(crate) struct Exports(Arc<Semaphore>);

impl Exports {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(EXPORTS)))
    }

    /// A place for as long as it is held.
    ///
    /// Errors: 503 `too_many_exports`.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            Problem::unavailable(
                "too_many_exports",
                "Too many exports are under way",
                RETRY_AFTER_S,
            )
            .detail(format!("there are {EXPORTS} at one time"))
            .with("limit_exports", EXPORTS)
        })
    }
}

/// A body of `lines`, of which CSV shows `columns`; holds `place` until it is done.
pub(crate) fn body<T: Serialize + Send + 'static>(
    format: Format,
    columns: &'static [&'static str],
    lines: impl Stream<Item = Result<Vec<T>, Problem>> + Send + 'static,
    place: OwnedSemaphorePermit,
) -> Body {
    let mut head = Vec::new();
    if format == Format::Csv {
        row(&mut head, columns.iter().copied());
    }
    let lines = lines.map(move |lines| {
        let _place = &place;
        let encoded = lines
            .map_err(|_| broken())
            .and_then(|lines| encode(format, columns, &lines));
        encoded.map(Bytes::from)
    });
    Body::from_stream(stream::once(async { Ok(Bytes::from(head)) }).chain(lines))
}

fn encode<T: Serialize>(format: Format, columns: &[&str], lines: &[T]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for line in lines {
        if format != Format::Csv {
            serde_json::to_writer(&mut out, line)?;
            out.push(b'\n');
            continue;
        }
        let Value::Object(members) = serde_json::to_value(line)? else {
            return Err(broken());
        };
        row(&mut out, columns.iter().map(|column| cell(&members, column)));
    }
    Ok(out)
}

/// What the client sees of it is a body without an end; its cause was logged where it was found.
fn broken() -> io::Error {
    tracing::warn!("an export was cut short");
    io::Error::other("an export was cut short")
}

/// A member as a cell; nothing where it is null or not there.
fn cell(members: &Map<String, Value>, column: &str) -> String {
    match members.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Appends a record as in RFC 4180, 2.
fn row<C: AsRef<str>>(out: &mut Vec<u8>, cells: impl Iterator<Item = C>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let cell = cell.as_ref();
        // Some readers strip what is white around an unquoted cell.
        let is_plain = cell.trim() == cell
            && !cell.contains(|letter: char| letter.is_control() || ",\"".contains(letter));
        if is_plain {
            out.extend_from_slice(cell.as_bytes());
        } else {
            out.push(b'"');
            out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cell_is_quoted_where_a_reader_could_take_it_for_another() {
        let lines = [
            json!({"b": "plain", "a": 1, "c": null}),
            json!({"b": "a,\"b\"", "a": "=1+1", "c": " x"}),
            json!({"b": "two\r\nlines", "a": "ü;\u{7f}", "unknown": 1}),
        ];
        let text = encode(Format::Csv, &["a", "b", "c"], &lines).unwrap();
        let expected = "1,plain,\r\n=1+1,\"a,\"\"b\"\"\",\" x\"\r\n\"ü;\u{7f}\",\"two\r\nlines\",\r\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let text = encode(Format::Ndjson, &[], &lines).unwrap();
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 3);
    }

    #[test]
    fn one_more_export_than_there_may_be_is_told_to_come_back() {
        let exports = Exports::new();
        let mut places: Vec<_> = (0..EXPORTS).map(|_| exports.place().unwrap()).collect();
        assert_eq!(exports.place().unwrap_err().code(), "too_many_exports");
        places.pop();
        assert!(exports.place().is_ok());
    }
}
