//! One slice: rows as they are sent, rows as they stand in the file, and which is which.

use std::ops::Range;

/// A place in the content of a file, behind a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    /// Bytes before it.
    pub(crate) bytes: u64,
    /// The number of the row before it, as the server numbers the rows of a whole file: the header of CSV is row 1; of
    /// JSON lines every line counts.
    pub(crate) row: u64,
}

/// Why a row was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Which of the slice's rows, from 0.
    pub(crate) at: usize,
    pub(crate) field: String,
    pub(crate) code: String,
    pub(crate) reason: String,
}

/// Whole rows that go to the server together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    /// What stands before the rows as they are sent, with its newline.
    head: Vec<u8>,
    /// The rows as they are sent, each with its newline.
    body: Vec<u8>,
    /// Which row each is, and where it begins in the body.
    sent: Vec<(u32, u32)>,
    /// The rows as they stand in the file.
    source: Vec<u8>,
    /// The number of each row in the file, and where it begins in the source.
    rows: Vec<(u64, u32)>,
    /// Rows that are not sent, since they are refused here.
    pub(crate) refused: Vec<Refusal>,
    /// The place behind the last row.
    pub(crate) end: Place,
}

impl Slice {
    pub(crate) fn new(head: Vec<u8>, begin: Place) -> Self {
        Self {
            head,
            end: begin,
            ..Self::default()
        }
    }

    /// Adds a row: as it stands in the file, and as it is sent, with its newline, or not at all.
    pub(crate) fn add(&mut self, number: u64, source: &[u8], sent: &[u8], end: Place) {
        let at = index(self.rows.len());
        self.rows.push((number, index(self.source.len())));
        self.source.extend_from_slice(source);
        if !sent.is_empty() {
            self.sent.push((at, index(self.body.len())));
            self.body.extend_from_slice(sent);
        }
        self.end = end;
    }

    /// Gives each row so far a further, empty cell, under a new header.
    pub(crate) fn widen(&mut self, head: Vec<u8>, cell: &[u8]) {
        let old = std::mem::take(&mut self.body);
        self.head = head;
        let ends = self
            .sent
            .iter()
            .skip(1)
            .map(|(_, begin)| *begin as usize)
            .chain([old.len()]);
        let mut sent = Vec::with_capacity(self.sent.len());
        for ((row, begin), end) in self.sent.iter().zip(ends) {
            sent.push((*row, index(self.body.len())));
            let line = old.get(*begin as usize..end).unwrap_or_default();
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            self.body
                .extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            self.body.extend_from_slice(cell);
            self.body.push(b'\n');
        }
        self.sent = sent;
    }

    /// How many rows it has, sent or not.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// How many rows are sent.
    pub(crate) fn to_send(&self) -> usize {
        self.sent.len()
    }

    /// Bytes as sent.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// The body of a request for some of the rows that are sent.
    pub(crate) fn request(&self, rows: Range<usize>) -> Vec<u8> {
        let begin = |place: usize| {
            self.sent
                .get(place)
                .map_or(self.body.len(), |(_, begin)| *begin as usize)
        };
        let rows = self
            .body
            .get(begin(rows.start)..begin(rows.end))
            .unwrap_or_default();
        [self.head.as_slice(), rows].concat()
    }

    /// Which row is the one sent at `place`.
    pub(crate) fn row_sent_at(&self, place: usize) -> Option<usize> {
        self.sent.get(place).map(|(row, _)| *row as usize)
    }

    /// The number in the file of a row, and the row as it stands there.
    pub(crate) fn row(&self, at: usize) -> Option<(u64, &[u8])> {
        let (number, begin) = *self.rows.get(at)?;
        let end = self
            .rows
            .get(at + 1)
            .map_or(self.source.len(), |(_, end)| *end as usize);
        Some((number, self.source.get(begin as usize..end).unwrap_or_default()))
    }
}

/// A slice is far smaller than 4 GiB.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
