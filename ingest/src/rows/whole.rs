//! A body that is one row as it stands, whatever it holds, also nothing.

use super::{Content, Cut, Step};

/// Waits for the end.
#[derive(Debug)]
pub(super) struct Whole {
    /// Longest body, in bytes.
    limit: usize,
    /// Part of the body was dropped, since it is too long already.
    too_long: bool,
    done: bool,
}

impl Whole {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            too_long: false,
            done: false,
        }
    }

    pub(super) fn next(&mut self, bytes: &[u8], last: bool) -> Step {
        self.too_long |= bytes.len() > self.limit;
        let consumed = if last || self.too_long { bytes.len() } else { 0 };
        if !last || self.done {
            return Step::More { consumed };
        }
        self.done = true;
        let content = match self.too_long {
            true => Content::TooLong,
            false => Content::Text(0..consumed),
        };
        Step::Row(Cut {
            number: 1,
            content,
            consumed,
        })
    }
}
