//! What a row looks like when it is sent. One place decides for all formats; how each is written stands beside this file.

use crate::csv::{Csv, Written};
use crate::json::Json;
use crate::lines_a;
use ingest::rows::{Content, Cut, Rows};
use schemas::Invalid;

/// The key of a row that has neither key nor time: what the server would make of the header `Idempotency-Key: <identity>`
/// if the whole file were one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'i> {
    identity: &'i str,
    row: u64,
}

impl<'i> Keys<'i> {
    pub(crate) fn new(identity: &'i str, row: u64) -> Self {
        Self { identity, row }
    }

    /// The key of the row itself.
    pub(crate) fn own(&self) -> String {
        schemas::key::batch_key(self.identity, self.row)
    }
}

/// Why a file cannot be sent: its header, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadHeader(pub(crate) String);

impl BadHeader {
    pub(crate) fn invalid(invalid: &[Invalid], cells: &[&[u8]]) -> Self {
        let faults: Vec<&str> = invalid.iter().map(|invalid| invalid.message.as_str()).collect();
        Self(format!(
            "the header is not valid: {}; the columns are {}; `--map THEIRS=OURS` renames one",
            faults.join("; "),
            names(cells)
        ))
    }

    pub(crate) fn unknown(theirs: &str, cells: &[&[u8]]) -> Self {
        Self(format!(
            "--map: there is no column `{theirs}`; the columns are {}",
            names(cells)
        ))
    }
}

fn names(cells: &[&[u8]]) -> String {
    let names: Vec<String> = cells
        .iter()
        .map(|cell| format!("`{}`", String::from_utf8_lossy(cell).trim()))
        .collect();
    names.join(", ")
}

/// Writes the rows of one file.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Csv(Box<Csv>),
    Json(Json),
    LinesA,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shaped {
    /// It was written.
    Written,
    /// It was written under a head with a further column, which the rows before lack.
    Widened {
        /// What they need at their end.
        cell: &'static [u8],
    },
    /// It is refused here: no server could tell what it means.
    Refused {
        field: String,
        code: String,
        reason: String,
    },
}

impl Shape {
    /// What stands before the rows of each slice: a header, or an empty line, so that in every format the first row is
    /// the second of its request, and a byte order mark is one only at the beginning of the file.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = match self {
            Self::Csv(csv) => csv.head(),
            Self::Json(_) | Self::LinesA => Vec::new(),
        };
        head.push(b'\n');
        head
    }

    /// The media type of a slice.
    pub(crate) fn media_type(&self) -> &'static str {
        match self {
            Self::Csv(_) => "text/csv",
            Self::Json(_) | Self::LinesA => "application/x-ndjson",
        }
    }

    /// The header of the file itself, where it has one.
    pub(crate) fn own_head(&self) -> Option<&[u8]> {
        match self {
            Self::Csv(csv) => Some(csv.own_head()),
            Self::Json(_) | Self::LinesA => None,
        }
    }

    /// Writes a row that `rows` found, which is `text`, to `out`, with a newline behind it.
    pub(crate) fn write(
        &mut self,
        rows: &mut Rows,
        cut: &Cut,
        text: &[u8],
        keys: &Keys<'_>,
        out: &mut Vec<u8>,
    ) -> Shaped {
        let shaped = match (self, &cut.content) {
            (_, Content::TooLong) => too_long(),
            (Self::Csv(csv), Content::Malformed(_)) => {
                csv.write_broken(text, out);
                Shaped::Written
            }
            (Self::Csv(csv), _) => match csv.write(rows, text, keys, out) {
                Written::Done => Shaped::Written,
                Written::Widened => Shaped::Widened { cell: Csv::NO_KEY },
            },
            (Self::Json(json), _) => {
                json.write(text, keys, out);
                Shaped::Written
            }
            (Self::LinesA, _) => match lines_a::write(text, keys, out) {
                Ok(()) => Shaped::Written,
                Err(invalid) => Shaped::Refused {
                    field: invalid.field,
                    code: invalid.code,
                    reason: invalid.reason,
                },
            },
        };
        if !matches!(shaped, Shaped::Refused { .. }) {
            out.push(b'\n');
        }
        shaped
    }
}

fn too_long() -> Shaped {
    Shaped::Refused {
        field: "row".to_owned(),
        code: "too_long".to_owned(),
        reason: format!("is longer than {} bytes", crate::slices::ROW_BYTES),
    }
}
