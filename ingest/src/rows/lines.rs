//! Rows of NDJSON: one a line. Blank lines are no rows, but count, so that a row's number is its line in the file.

use super::{Content, Cut, Step, is_blank};
use memchr::memchr;

/// Cuts lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// Longest line, in bytes, without its newline.
    limit: usize,
    /// Bytes of the line that were looked at.
    scanned: usize,
    /// Part of the line was dropped, since it is too long already.
    too_long: bool,
    /// Lines ended.
    number: u64,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            scanned: 0,
            too_long: false,
            number: 0,
        }
    }

    pub(super) fn next(&mut self, bytes: &[u8], last: bool) -> Step {
        let end = match memchr(b'\n', bytes.get(self.scanned..).unwrap_or_default()) {
            Some(found) => self.scanned + found,
            None if last && (self.too_long || !bytes.is_empty()) => bytes.len(),
            None => return self.more(bytes),
        };
        let consumed = bytes.len().min(end + 1);
        let too_long = self.too_long || end > self.limit;
        (self.scanned, self.too_long) = (0, false);
        self.number += 1;
        let content = match too_long {
            true => Content::TooLong,
            false if is_blank(bytes.get(..end).unwrap_or_default()) => return Step::Skip { consumed },
            false => Content::Text(0..end),
        };
        Step::Row(Cut {
            number: self.number,
            content,
            consumed,
        })
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
}
