//! Cuts a body into rows, piece by piece: any split of the same bytes gives the same rows.
//!
//! Nothing of a body is kept but the row that is not complete yet, and of that at most the row limit and one piece.
//! A row is not judged here beyond its frame; only what makes later rows untrustworthy is `Broken`. `tidemark send` cuts
//! files by the same code, so that both sides agree on what a row is and which number it has.

/// The end of a JSON value.
mod nesting;
/// JSON documents.
mod elements;
/// NDJSON.
mod lines;
/// CSV.
mod records;
/// Bodies that are one row.
mod whole;

use self::elements::Elements;
use self::lines::Lines;
use self::records::Records;
use self::whole::Whole;
use std::ops::Range;

/// UTF-8's byte order mark, which spreadsheets put before a file.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What a body is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, or an array.
    Json,
    /// One JSON object a line.
    Lines,
    /// CSV with a header.
    Csv,
    /// One row, whatever it holds.
    Whole,
}

/// What there is next in a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A row.
    Row(Cut),
    /// No row, but bytes that are done with.
    Skip {
        /// Bytes done with.
        consumed: usize,
    },
    /// No row without more bytes.
    More {
        /// Bytes done with.
        consumed: usize,
    },
}

/// A row, cut out.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its number: of a CSV record, the header being 1 and blank lines not counted; of a line of NDJSON; of an array's
    /// element from 1.
    pub number: u64,
    /// What it holds.
    pub content: Content,
    /// Bytes done with.
    pub consumed: usize,
}

/// What a row holds, as a range of the bytes that were looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// JSON.
    Text(Range<usize>),
    /// A CSV record; its cells are in [`Rows::cells`].
    Cells(Range<usize>),
    /// Longer than the limit; its bytes may be gone.
    TooLong,
    /// A CSV record whose quotes are broken, in words.
    Malformed(&'static str),
}

/// Why the rest of a body cannot be read: a stable code and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// `json_invalid`, `csv_invalid` or `body_empty`.
    pub code: &'static str,
    /// What is wrong, without what the body holds.
    pub message: String,
}

impl Broken {
    pub(crate) fn json(message: impl Into<String>) -> Self {
        Self {
            code: "json_invalid",
            message: message.into(),
        }
    }

    pub(crate) fn csv(message: impl Into<String>) -> Self {
        Self {
            code: "csv_invalid",
            message: message.into(),
        }
    }

    pub(crate) fn empty() -> Self {
        Self {
            code: "body_empty",
            message: "the body holds nothing".to_owned(),
        }
    }
}

/// Cuts one body.
#[derive(Debug)]
pub struct Rows {
    /// Longest row, in bytes.
    limit: usize,
    /// The byte order mark was looked for.
    begun: bool,
    cutter: Cutter,
}

#[derive(Debug)]
enum Cutter {
    /// Nothing was seen that tells.
    Unknown,
    Json(Elements),
    Lines(Lines),
    Csv(Box<Records>),
    Whole(Whole),
}

impl Rows {
    /// Rows of at most `limit` bytes. Without a format, a body that begins with a bracket is JSON, any other CSV.
    pub fn new(format: Option<Format>, limit: usize) -> Self {
        let cutter = format.map_or(Cutter::Unknown, |format| Cutter::new(format, limit));
        Self {
            limit,
            begun: false,
            cutter,
        }
    }

    /// Whether the body is one event and no batch: one JSON object, which is true of a JSON body before its first byte, or one row
    /// whatever it holds.
    pub fn is_single(&self) -> bool {
        match &self.cutter {
            Cutter::Json(elements) => !elements.is_array(),
            Cutter::Whole(_) => true,
            _ => false,
        }
    }

    /// Whether the body is CSV; false before that is known.
    pub fn is_csv(&self) -> bool {
        matches!(self.cutter, Cutter::Csv(_))
    }

    /// Looks for the next row. `bytes` go on where the last call was done with them; `last` says that no more come.
    ///
    /// # Errors
    /// `Broken`, only of a JSON body or one that is empty.
    pub fn next(&mut self, bytes: &[u8], last: bool) -> Result<Step, Broken> {
        if !self.begun {
            if bytes.len() < BOM.len() && BOM.starts_with(bytes) && !last {
                return Ok(Step::More { consumed: 0 });
            }
            self.begun = true;
            if bytes.starts_with(BOM) {
                return Ok(Step::Skip { consumed: BOM.len() });
            }
        }
        match &mut self.cutter {
            Cutter::Unknown => self.sniff(bytes, last),
            Cutter::Json(elements) => elements.next(bytes, last),
            Cutter::Lines(lines) => Ok(lines.next(bytes, last)),
            Cutter::Csv(records) => Ok(records.next(bytes, last)),
            Cutter::Whole(whole) => Ok(whole.next(bytes, last)),
        }
    }

    /// The cells of the CSV record found last, in its bytes. To be called once.
    pub fn cells<'a>(&'a mut self, record: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        match &mut self.cutter {
            Cutter::Csv(records) => Some(records.cells(record)),
            _ => None,
        }
        .into_iter()
        .flatten()
    }

    fn sniff(&mut self, bytes: &[u8], last: bool) -> Result<Step, Broken> {
        let Some(blank) = bytes.iter().position(|byte| !byte.is_ascii_whitespace()) else {
            return if last {
                Err(Broken::empty())
            } else {
                Ok(Step::More {
                    consumed: bytes.len(),
                })
            };
        };
        let format = match bytes.get(blank) {
            Some(b'{' | b'[') => Format::Json,
            _ => Format::Csv,
        };
        self.cutter = Cutter::new(format, self.limit);
        Ok(Step::Skip { consumed: blank })
    }
}

impl Cutter {
    fn new(format: Format, limit: usize) -> Self {
        match format {
            Format::Json => Self::Json(Elements::new(limit)),
            Format::Lines => Self::Lines(Lines::new(limit)),
            Format::Csv => Self::Csv(Box::new(Records::new(limit))),
            Format::Whole => Self::Whole(Whole::new(limit)),
        }
    }
}

/// Whether a line holds nothing.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
mod tests;
