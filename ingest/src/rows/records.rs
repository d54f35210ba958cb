//! Rows of CSV (RFC 4180), and what real files hold beyond it: a byte order mark, CRLF or LF, blank lines, no newline
//! at the end, and bare JSON cells such as `{"page":"home","n":1}`, whose commas and quotes are their own.
//!
//! Written by hand, as no CSV reader knows bare JSON cells or takes its input in pieces. A cell that begins with a
//! quote ends behind the closing quote; any other at the next comma or newline, but one that begins with `{` or `[` not
//! before its brackets close. Where they do not close on their line it is no JSON: then the record ends with that line,
//! and brackets mean nothing in the rest of it. That is one look back a record, so that no record can make this slow,
//! and where a record ends never depends on a look back. A record whose quotes are broken is malformed; it never takes
//! more of the body with it than its quotes say.

use super::nesting::{Nesting, Scan};
use super::{Content, Cut, Step, is_blank};
use memchr::{memchr, memchr2};

/// Most cells kept of one row; no header can be so wide, so a row with more is refused for its width anyway.
const CELLS: usize = 4096;
/// What is said of a row whose last quote does not close.
const UNCLOSED: &str = "a quoted cell is not closed";
/// What is said of a row with `"a"b`.
const BEHIND_QUOTE: &str = "more follows a closing quote; a quote inside a quoted cell is written twice";

/// Cuts records into cells.
#[derive(Debug)]
pub(super) struct Records {
    /// Longest record, in bytes, without its newline.
    limit: usize,
    state: State,
    /// Bytes of the record that were looked at.
    scanned: usize,
    cells: Vec<Cell>,
    /// What cells with doubled quotes hold.
    unescaped: Vec<u8>,
    /// Where the current cell begins.
    cell_start: usize,
    /// The current cell holds doubled quotes.
    doubled: bool,
    /// Brackets have no meaning in the rest of this record.
    plain_only: bool,
    malformed: Option<&'static str>,
    /// Part of the record was dropped, since it is too long already.
    too_long: bool,
    /// Records ended, the header among them.
    number: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// At the first byte of a cell.
    Start,
    Plain,
    Quoted,
    /// Behind a quote in a quoted cell: its end, or the first of two.
    Quote,
    /// Behind the end of a quoted cell, which is here.
    Closed(usize),
    /// In a cell that began with a bracket, before that closes; behind it the cell is plain.
    Json(Nesting),
}

/// Where a cell lies, without its quotes.
#[derive(Clone, Copy, Debug)]
struct Cell {
    start: usize,
    end: usize,
    doubled: bool,
}

impl Records {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: State::Start,
            scanned: 0,
            cells: Vec::new(),
            unescaped: Vec::new(),
            cell_start: 0,
            doubled: false,
            plain_only: false,
            malformed: None,
            too_long: false,
            number: 0,
        }
    }

    /// The cells of the record that [`Records::next`] found last, in the bytes it was found in. To be called once.
    pub(super) fn cells<'a>(&'a mut self, record: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.unescaped.clear();
        for cell in self.cells.iter_mut().filter(|cell| cell.doubled) {
            let start = self.unescaped.len();
            let mut after_quote = false;
            for byte in record.get(cell.start..cell.end).unwrap_or_default() {
                after_quote = *byte == b'"' && !after_quote;
                if !after_quote {
                    self.unescaped.push(*byte);
                }
            }
            (cell.start, cell.end) = (start, self.unescaped.len());
        }
        let unescaped = self.unescaped.as_slice();
        self.cells.iter().map(move |cell| {
            let from = if cell.doubled { unescaped } else { record };
            from.get(cell.start..cell.end).unwrap_or_default()
        })
    }

    pub(super) fn next(&mut self, bytes: &[u8], last: bool) -> Step {
        if self.scanned == 0 && !self.too_long {
            self.cells.clear();
        }
        match self.scan(bytes) {
            Some(newline) => self.end(bytes, newline, newline + 1),
            None if !last => self.more(bytes),
            None if bytes.is_empty() && !self.too_long => Step::More { consumed: 0 },
            None => {
                self.end_line(bytes);
                self.end(bytes, bytes.len(), bytes.len())
            }
        }
    }

    /// Looks for the newline that ends the record, and keeps the cells on the way.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = self.scanned;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            match self.state {
                State::Start => {
                    (self.cell_start, self.doubled) = (at, false);
                    match rest.first() {
                        Some(b'"') => {
                            at += 1;
                            self.state = State::Quoted;
                        }
                        Some(b'{' | b'[') if !self.plain_only => self.state = State::Json(Nesting::default()),
                        _ => self.state = State::Plain,
                    }
                }
                State::Plain | State::Closed(_) => {
                    let end = at + memchr2(b',', b'\n', rest)?;
                    let is_newline = bytes.get(end) == Some(&b'\n');
                    self.end_cell(bytes, end, is_newline);
                    if is_newline {
                        return Some(end);
                    }
                    at = end + 1;
                }
                State::Quoted => {
                    at += memchr(b'"', rest)? + 1;
                    self.state = State::Quote;
                }
                State::Quote if rest.first() == Some(&b'"') => {
                    self.doubled = true;
                    at += 1;
                    self.state = State::Quoted;
                }
                State::Quote => self.state = State::Closed(at),
                State::Json(mut nesting) => match nesting.scan(bytes, at, true) {
                    Scan::More => {
                        self.state = State::Json(nesting);
                        return None;
                    }
                    Scan::Closed(end) => {
                        self.state = State::Plain;
                        at = end;
                    }
                    Scan::Newline(newline) => {
                        self.end_line(bytes.get(..newline).unwrap_or_default());
                        return Some(newline);
                    }
                },
            }
        }
        None
    }

    /// Ends the current cell, a plain one or a quoted one, before the comma or the line's end at `end`.
    fn end_cell(&mut self, bytes: &[u8], end: usize, is_line_end: bool) {
        let has_cr = is_line_end && end > 0 && bytes.get(end - 1) == Some(&b'\r');
        let text_end = if has_cr { end - 1 } else { end };
        match self.state {
            State::Closed(closed) => {
                if closed != text_end && !self.too_long {
                    self.malformed = Some(BEHIND_QUOTE);
                }
                self.keep(self.cell_start + 1, closed.saturating_sub(1));
            }
            _ => self.keep(self.cell_start, text_end.max(self.cell_start)),
        }
        self.state = State::Start;
    }

    /// The record ends behind `bytes`, with no newline to find: ends the current cell, whatever it is.
    fn end_line(&mut self, bytes: &[u8]) {
        let end = bytes.len();
        match self.state {
            State::Start => self.keep(end, end),
            State::Plain | State::Closed(_) => self.end_cell(bytes, end, true),
            State::Quoted => self.malformed = Some(UNCLOSED),
            State::Quote => self.keep(self.cell_start + 1, end.saturating_sub(1)),
            // What was dropped cannot be looked at again, and need not be: its record is refused for its length.
            State::Json(_) if self.too_long => {}
            State::Json(_) => {
                (self.state, self.plain_only, self.scanned) = (State::Plain, true, self.cell_start);
                self.scan(bytes);
                self.end_line(bytes);
            }
        }
    }

    fn keep(&mut self, start: usize, end: usize) {
        if self.cells.len() < CELLS && !self.too_long {
            self.cells.push(Cell {
                start,
                end,
                doubled: self.doubled,
            });
        }
    }

    fn more(&mut self, bytes: &[u8]) -> Step {
        if self.too_long || bytes.len() > self.limit {
            (self.scanned, self.too_long) = (0, true);
            return Step::More {
                consumed: bytes.len(),
            };
        }
        self.scanned = bytes.len();
        Step::More { consumed: 0 }
    }

    fn end(&mut self, bytes: &[u8], end: usize, consumed: usize) -> Step {
        let too_long = self.too_long || end > self.limit;
        let malformed = self.malformed.take();
        (self.state, self.scanned, self.too_long, self.plain_only) = (State::Start, 0, false, false);
        if !too_long && bytes.get(..end).is_some_and(is_blank) {
            return Step::Skip { consumed };
        }
        self.number += 1;
        let content = match (too_long, malformed) {
            (true, _) => Content::TooLong,
            (false, Some(what)) => Content::Malformed(what),
            (false, None) => Content::Cells(0..end),
        };
        Step::Row(Cut {
            number: self.number,
            content,
            consumed,
        })
    }
}
