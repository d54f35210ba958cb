//! Rows of CSV (RFC 4180), and what real files hold beyond it: a byte order mark, CRLF or LF, blank lines, no newline
//! at the end, and bare JSON cells such as `{"page":"home","n":1}`, whose commas and quotes are their own.
//!
//! Written by hand, as no CSV reader knows bare JSON cells or takes its input in pieces. A cell that begins with a
//! quote ends at the closing quote; one that begins with `{` or `[` ends where its brackets close, on the same line;
//! any other ends at the next comma or newline. Where brackets do not close on their line, or more follows them, the
//! cell is plain text after all, and so is every later one of that row: one look back a row, so that no row can make
//! this slow. A row whose quotes are broken is malformed; it never takes more of the body with it than its quotes say.

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
    Json(Nesting),
    /// Behind the last bracket of a JSON cell, which is here.
    JsonClosed(usize),
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
                self.close_at_end(bytes);
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
                State::Plain => {
                    let end = at + memchr2(b',', b'\n', rest)?;
                    self.keep(self.cell_start, plain_end(bytes, self.cell_start, end));
                    self.state = State::Start;
                    if bytes.get(end) == Some(&b'\n') {
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
                State::Closed(closed) => {
                    let end = at + memchr2(b',', b'\n', rest)?;
                    let is_newline = bytes.get(end) == Some(&b'\n');
                    if !closes_well(bytes, closed, end, is_newline) && !self.too_long {
                        self.malformed = Some(BEHIND_QUOTE);
                    }
                    self.keep(self.cell_start + 1, closed.saturating_sub(1));
                    self.state = State::Start;
                    if is_newline {
                        return Some(end);
                    }
                    at = end + 1;
                }
                State::Json(mut nesting) => match nesting.scan(bytes, at, true) {
                    Scan::More => {
                        self.state = State::Json(nesting);
                        return None;
                    }
                    Scan::Closed(end) => {
                        self.state = State::JsonClosed(end);
                        at = end;
                    }
                    Scan::Newline(_) => at = self.plain_after_all(at),
                },
                State::JsonClosed(closed) => {
                    let end = at + memchr2(b',', b'\n', rest)?;
                    let is_newline = bytes.get(end) == Some(&b'\n');
                    if !closes_well(bytes, closed, end, is_newline) {
                        at = self.plain_after_all(at);
                        continue;
                    }
                    self.keep(self.cell_start, closed);
                    self.state = State::Start;
                    if is_newline {
                        return Some(end);
                    }
                    at = end + 1;
                }
            }
        }
        None
    }

    /// The current cell is no JSON: where to look again. What was dropped already cannot be looked at again, and need
    /// not be, since its record is refused for its length.
    fn plain_after_all(&mut self, at: usize) -> usize {
        self.state = State::Plain;
        self.plain_only = true;
        if self.too_long { at } else { self.cell_start }
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

    /// The body ends without a newline: ends the current cell.
    fn close_at_end(&mut self, bytes: &[u8]) {
        let end = bytes.len();
        match self.state {
            State::Start => self.keep(end, end),
            State::Plain => self.keep(self.cell_start, plain_end(bytes, self.cell_start, end)),
            State::Quoted => self.malformed = Some(UNCLOSED),
            State::Quote => self.keep(self.cell_start + 1, end.saturating_sub(1)),
            State::Closed(closed) if closes_well(bytes, closed, end, true) => {
                self.keep(self.cell_start + 1, closed.saturating_sub(1));
            }
            State::Closed(_) => self.malformed = Some(BEHIND_QUOTE),
            State::JsonClosed(closed) if closes_well(bytes, closed, end, true) => {
                self.keep(self.cell_start, closed)
            }
            State::Json(_) | State::JsonClosed(_) => {
                self.scanned = self.plain_after_all(end);
                // Finds no newline, or the brackets would have ended there.
                self.scan(bytes);
                self.close_at_end(bytes);
            }
        }
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

/// The end of a plain cell, without the CR of a CRLF.
fn plain_end(bytes: &[u8], start: usize, end: usize) -> usize {
    let is_line_end = bytes.get(end) != Some(&b',');
    let has_cr = end > start && bytes.get(end - 1) == Some(&b'\r');
    if is_line_end && has_cr { end - 1 } else { end }
}

/// Whether nothing but the CR of a CRLF lies between the end of a cell and the comma or newline behind it.
fn closes_well(bytes: &[u8], closed: usize, end: usize, is_line_end: bool) -> bool {
    closed == end || (is_line_end && closed + 1 == end && bytes.get(closed) == Some(&b'\r'))
}
