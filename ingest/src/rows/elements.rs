//! Rows of a JSON document: the elements of an array, or one object alone.
//!
//! Only the outermost brackets and commas are read here; each element goes on as it stands, so one that is malformed
//! inside is one invalid row. If the outermost structure is broken, no later row could be trusted: that ends the body.

use super::nesting::{Nesting, Scan};
use super::{Broken, Content, Cut, Step};

/// Cuts the elements of a document.
#[derive(Debug)]
pub(super) struct Elements {
    /// Longest element, in bytes.
    limit: usize,
    state: State,
    /// Bytes of the element that were looked at.
    scanned: usize,
    /// Part of the element was dropped, since it is too long already.
    too_long: bool,
    /// Elements ended.
    number: u64,
    is_array: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the document.
    Start,
    /// Behind `[`.
    First,
    /// Behind a comma.
    Before,
    /// In an element with brackets, or in a string.
    Inside(Nesting),
    /// In a string that is itself an element.
    Text { escaped: bool },
    /// In a number or a word.
    Scalar,
    /// Behind an element.
    After,
    /// Behind the document.
    End,
}

impl Elements {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: State::Start,
            scanned: 0,
            too_long: false,
            number: 0,
            is_array: false,
        }
    }

    /// Whether the document is an array; known once its first byte was seen.
    pub(super) fn is_array(&self) -> bool {
        self.is_array
    }

    pub(super) fn next(&mut self, bytes: &[u8], last: bool) -> Result<Step, Broken> {
        // Where the element begins, if in one.
        let mut from = 0;
        loop {
            if self.in_element() {
                return self.element(bytes, from, last);
            }
            let rest = bytes.get(from..).unwrap_or_default();
            let Some(blank) = rest
                .iter()
                .position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
            else {
                if last && !matches!(self.state, State::End) {
                    return Err(self.broken_at_end());
                }
                return Ok(Step::More {
                    consumed: bytes.len(),
                });
            };
            from += blank;
            let byte = bytes.get(from).copied().unwrap_or_default();
            self.state = match (self.state, byte) {
                (State::Start, b'[') => {
                    self.is_array = true;
                    from += 1;
                    State::First
                }
                (State::Start, b'{') => State::Inside(Nesting::default()),
                (State::Start, _) => {
                    return Err(Broken::json("the body is neither a JSON object nor an array"));
                }
                (State::First, b']') | (State::After, b']') => {
                    from += 1;
                    State::End
                }
                (State::After, b',') => {
                    from += 1;
                    State::Before
                }
                (State::After, _) => return Err(self.broken_after("neither a comma nor `]` follows")),
                (State::First | State::Before, b',' | b']' | b'}') => {
                    return Err(self.broken_after("an element is missing"));
                }
                (State::First | State::Before, b'{' | b'[') => State::Inside(Nesting::default()),
                (State::First | State::Before, b'"') => {
                    self.scanned = 1;
                    State::Text { escaped: false }
                }
                (State::First | State::Before, _) => State::Scalar,
                (_, _) => {
                    let hint = "more follows the document; for one object a line send application/x-ndjson";
                    return Err(Broken::json(hint));
                }
            };
        }
    }

    fn in_element(&self) -> bool {
        matches!(self.state, State::Inside(_) | State::Text { .. } | State::Scalar)
    }

    /// Goes on in the element that begins at `from`.
    fn element(&mut self, bytes: &[u8], from: usize, last: bool) -> Result<Step, Broken> {
        let element = bytes.get(from..).unwrap_or_default();
        let end = match &mut self.state {
            State::Inside(nesting) => match nesting.scan(element, self.scanned, false) {
                Scan::Closed(end) => Some(end),
                Scan::Newline(_) | Scan::More => None,
            },
            State::Text { escaped } => end_of_text(element, self.scanned, escaped),
            _ => element
                .get(self.scanned..)
                .unwrap_or_default()
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b' ' | b'\t' | b'\r' | b'\n'))
                .map(|found| self.scanned + found),
        };
        let Some(end) = end else {
            if last {
                return Err(self.broken_at_end());
            }
            if self.too_long || element.len() > self.limit {
                (self.scanned, self.too_long) = (0, true);
                return Ok(Step::More {
                    consumed: bytes.len(),
                });
            }
            self.scanned = element.len();
            return Ok(Step::More { consumed: from });
        };
        let too_long = self.too_long || end > self.limit;
        (self.scanned, self.too_long) = (0, false);
        self.number += 1;
        self.state = if self.is_array { State::After } else { State::End };
        let content = if too_long {
            Content::TooLong
        } else {
            Content::Text(from..from + end)
        };
        Ok(Step::Row(Cut {
            number: self.number,
            content,
            consumed: from + end,
        }))
    }

    fn broken_after(&self, what: &str) -> Broken {
        Broken::json(format!(
            "the array is broken: {what} behind element {}",
            self.number
        ))
    }

    fn broken_at_end(&self) -> Broken {
        match self.state {
            State::Start => Broken::empty(),
            _ => Broken::json(format!(
                "the document ends before its end, behind element {}",
                self.number
            )),
        }
    }
}

fn end_of_text(element: &[u8], from: usize, escaped: &mut bool) -> Option<usize> {
    for (at, byte) in element.iter().enumerate().skip(from) {
        match (*escaped, byte) {
            (true, _) => *escaped = false,
            (false, b'\\') => *escaped = true,
            (false, b'"') => return Some(at + 1),
            (false, _) => {}
        }
    }
    None
}
