//! Cuts the content of a file into slices of whole rows, from any place behind a row to the end.
//!
//! What is a row is said by the server's own code, [`ingest::rows`], so that both sides agree on it: quoted cells and bare
//! JSON cells may hold what they like, lines end with LF or CRLF, and the last may lack its end. Memory holds one row and
//! one slice, however long the file is.

use crate::content::{self, PIECE_BYTES};
use crate::shape::{Keys, Shape, Shaped};
use crate::slice::{Place, Refusal, Slice};
use ingest::rows::{self, Content, Cut, Rows, Step};
use std::io;

/// Longest row, in bytes: the most that a server can be set to take. A longer one is refused here.
pub(crate) const ROW_BYTES: usize = 16 * 1024 * 1024;
/// Most rows of a slice, so that what is kept of each stays small beside the slice itself.
pub(crate) const SLICE_ROWS: usize = 100_000;

/// How much a slice holds at most; one row more than that may be in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) rows: usize,
    /// Longest row: [`ROW_BYTES`].
    pub(crate) row_bytes: usize,
}

/// The slices of one file.
pub(crate) struct Slices {
    content: content::Content,
    /// Bytes of the content that are still to be read, where that is known.
    left: Option<u64>,
    shape: Shape,
    identity: String,
    limits: Limits,
    rows: Rows,
    /// What a row's number is more than the cutter says.
    numbers_from: u64,
    buffer: Vec<u8>,
    /// The row at hand, as it is sent.
    sent: Vec<u8>,
    /// Bytes of the buffer that are done with.
    at: usize,
    /// The content was read to its end.
    ended: bool,
    /// The place of `at`; its row is that of the last row found.
    place: Place,
}

impl Slices {
    /// Slices of `content`, which stands at `begin`, up to `end_bytes` where that is known, cut as `format` says.
    pub(crate) fn new(
        content: content::Content,
        format: rows::Format,
        shape: Shape,
        identity: String,
        begin: Place,
        end_bytes: Option<u64>,
        limits: Limits,
    ) -> Self {
        let mut rows = Rows::new(Some(format), limits.row_bytes);
        let mut numbers_from = begin.row;
        if begin.bytes > 0 {
            // A byte order mark is one only at the beginning of a file. An empty line is no record, but counts as a line.
            let _ = rows.next(b"\n", false);
            if format == rows::Format::Lines {
                numbers_from = numbers_from.saturating_sub(1);
            }
        }
        Self {
            content,
            left: end_bytes.map(|end| end.saturating_sub(begin.bytes)),
            shape,
            identity,
            limits,
            rows,
            numbers_from,
            buffer: Vec::with_capacity(2 * PIECE_BYTES),
            sent: Vec::new(),
            at: 0,
            ended: false,
            place: begin,
        }
    }

    /// The next slice; `None` behind the last.
    ///
    /// # Errors
    /// If the content cannot be read, or has become shorter than it was.
    pub(crate) fn next(&mut self) -> io::Result<Option<Slice>> {
        let mut slice = Slice::new(self.shape.head(), self.place);
        while slice.body_bytes() < self.limits.bytes && slice.rows() < self.limits.rows {
            let bytes = self.buffer.get(self.at..).unwrap_or_default();
            let step = self.rows.next(bytes, self.ended);
            match step.map_err(|broken| io::Error::other(broken.message))? {
                Step::Row(cut) => self.add(&cut, &mut slice),
                Step::Skip { consumed } => self.advance(consumed),
                Step::More { consumed } => {
                    self.advance(consumed);
                    if self.ended {
                        break;
                    }
                    self.read()?;
                }
            }
        }
        Ok((slice.rows() > 0).then_some(slice))
    }

    fn advance(&mut self, consumed: usize) {
        self.at += consumed;
        self.place.bytes += consumed as u64;
    }

    fn add(&mut self, cut: &Cut, slice: &mut Slice) {
        let begin = self.at;
        self.advance(cut.consumed);
        self.place.row = self.numbers_from + cut.number;
        let text = match cut.content {
            // Most of it was dropped on the way.
            Content::TooLong => &[],
            _ => self.buffer.get(begin..self.at).unwrap_or_default(),
        };
        let keys = Keys::new(&self.identity, self.place.row);
        self.sent.clear();
        match self.shape.write(&mut self.rows, cut, text, &keys, &mut self.sent) {
            Shaped::Written => {}
            Shaped::Widened { cell } => slice.widen(self.shape.head(), cell),
            Shaped::Refused { field, code, reason } => {
                let at = slice.rows();
                slice.refused.push(Refusal {
                    at,
                    field,
                    code,
                    reason,
                });
            }
        }
        slice.add(self.place.row, text, &self.sent, self.place);
    }

    fn read(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.at = 0;
        let before = self.buffer.len();
        let mut read = self.content.read(&mut self.buffer)?;
        if let Some(left) = self.left.as_mut() {
            if read == 0 && *left > 0 {
                return Err(io::Error::other("it has become shorter while it was sent"));
            }
            // What was added since belongs to the next time.
            read = read.min(usize::try_from(*left).unwrap_or(usize::MAX));
            self.buffer.truncate(before + read);
            *left -= read as u64;
        }
        self.ended = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
