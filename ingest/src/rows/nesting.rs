//! Finds where a JSON value with brackets ends, without reading it: depth and strings are all it keeps.
//!
//! It goes on where it stopped, so bytes may come in any pieces, and a value of any depth costs the same few bytes:
//! there is no recursion to exhaust. Whether the brackets match in kind is for the parser of the value to say.

use memchr::memchr3;

/// How far into a value the scan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nesting {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// The value ends before this place.
    Closed(usize),
    /// A newline at this place, inside the value.
    Newline(usize),
    /// All bytes are inside the value.
    More,
}

impl Nesting {
    /// Scans `bytes` from `at` on, which is where the last scan stopped. Stops at newlines only if asked to.
    pub(super) fn scan(&mut self, bytes: &[u8], mut at: usize, stop_at_newline: bool) -> Scan {
        while let Some(byte) = bytes.get(at) {
            if self.escaped {
                self.escaped = false;
                at += 1;
                continue;
            }
            if self.in_string {
                let Some(found) = memchr3(b'"', b'\\', b'\n', bytes.get(at..).unwrap_or_default()) else {
                    return Scan::More;
                };
                at += found;
                match bytes.get(at) {
                    Some(b'"') => self.in_string = false,
                    Some(b'\\') => self.escaped = true,
                    _ if stop_at_newline => return Scan::Newline(at),
                    _ => {}
                }
                at += 1;
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Scan::Closed(at + 1);
                    }
                }
                b'\n' if stop_at_newline => return Scan::Newline(at),
                _ => {}
            }
            at += 1;
        }
        Scan::More
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_escaped_quotes_close_nothing() {
        for text in [
            r#"{"a":"}"}"#,
            r#"{"a":"\"}"}"#,
            r#"[[{"a":"\\"}],"]"]"#,
            "{}",
            "[\"\n\"]",
        ] {
            let mut nesting = Nesting::default();
            let longer = format!("{text},rest");
            assert_eq!(
                nesting.scan(longer.as_bytes(), 0, false),
                Scan::Closed(text.len()),
                "{text}"
            );
            // The same byte by byte.
            let mut nesting = Nesting::default();
            let places = (0..longer.len()).map(|at| nesting.scan(&longer.as_bytes()[..=at], at, false));
            let closed = places.filter(|scan| *scan != Scan::More).collect::<Vec<_>>();
            assert_eq!(closed[0], Scan::Closed(text.len()), "{text}");
        }
    }

    #[test]
    fn a_million_brackets_need_no_stack() {
        let mut nesting = Nesting::default();
        assert_eq!(nesting.scan(&vec![b'['; 1_000_000], 0, false), Scan::More);
        assert_eq!(
            nesting.scan(&vec![b']'; 1_000_000], 0, false),
            Scan::Closed(1_000_000)
        );
    }
}
