//! CSV as it is sent: the records of the file as they stand there, under the header of the file or a renamed one.
//!
//! A row is written anew only where it must be. A row with neither key nor time would get a fresh key from the server each
//! time it is sent, so it gets one here: in the cell of its key if there is such a column, else in a column that is added
//! to all rows from then on, empty for those that need none. Rows of a side file lose the columns that say why they were
//! refused. What a row says otherwise is never touched, nor judged.

use crate::shape::{BadHeader, Keys};
use crate::side;
use ingest::rows::Rows;
use schemas::input::{Columns, Raw};
use std::borrow::Cow;

/// The name of a column that is added.
const KEY_COLUMN: &str = "idempotency_key";

/// How the rows of one file are written.
#[derive(Clone, Debug)]
pub(crate) struct Csv {
    columns: Columns,
    /// The header as sent, without its end.
    head: Vec<u8>,
    /// The header as it stands in the file, likewise; for the side file.
    own_head: Vec<u8>,
    /// Which column holds the key, of those that are sent.
    key_place: Option<usize>,
    /// Whether the file is a side file of ours.
    is_side: bool,
    /// Whether a column of keys is added: from the first row on that needs one.
    widened: bool,
}

/// What [`Csv::write`] did with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// It is the first that has a cell of the column of keys; the rows before lack [`Csv::NO_KEY`] at their end.
    Widened,
}

impl Csv {
    /// Reads the header: its `cells`, and its `text` as it stands in the file. `map` says their names and ours.
    pub(crate) fn new(cells: &[&[u8]], text: &[u8], map: &[(String, String)]) -> Result<Self, BadHeader> {
        let is_side = cells.len() > side::COLUMNS.len()
            && side::COLUMNS
                .iter()
                .zip(cells)
                .all(|(ours, cell)| ours.as_bytes() == *cell);
        let kept = if is_side {
            cells.get(side::COLUMNS.len()..).unwrap_or_default()
        } else {
            cells
        };
        let own_head = if is_side {
            line(kept.iter().copied())
        } else {
            trimmed(text).to_vec()
        };
        let names = renamed(kept, map)?;
        let columns = Columns::parse(names.iter().map(AsRef::as_ref));
        let columns = columns.map_err(|invalid| BadHeader::invalid(&invalid, kept))?;
        let key_place = (0..names.len()).find(|place| is_key(&columns, names.len(), *place));
        let head = if map.is_empty() {
            own_head.clone()
        } else {
            line(names.iter().map(AsRef::as_ref))
        };
        Ok(Self {
            columns,
            head,
            own_head,
            key_place,
            is_side,
            widened: false,
        })
    }

    /// The header as sent.
    pub(crate) fn head(&self) -> Vec<u8> {
        match self.widened {
            true => [&self.head, b",".as_slice(), KEY_COLUMN.as_bytes()].concat(),
            false => self.head.clone(),
        }
    }

    /// The header as it stands in the file.
    pub(crate) fn own_head(&self) -> &[u8] {
        &self.own_head
    }

    /// What the column of keys adds to a row that needs none.
    pub(crate) const NO_KEY: &[u8] = b",";

    /// Writes the record that `rows` found last, which is `text`, without an end of line.
    pub(crate) fn write(
        &mut self,
        rows: &mut Rows,
        text: &[u8],
        keys: &Keys<'_>,
        out: &mut Vec<u8>,
    ) -> Written {
        if self.is_side || self.key_place.is_some() {
            let cells: Vec<&[u8]> = rows.cells(text).collect();
            return self.write_cells(text, &cells, keys, out);
        }
        let needs_key = self
            .columns
            .raw(rows.cells(text))
            .is_ok_and(|raw| needs_key(&raw));
        let own = needs_key.then(|| keys.own());
        self.write_plain(text, own.as_deref(), out)
    }

    /// A row whose frame is broken, as it is: the server says so.
    pub(crate) fn write_broken(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.write_plain(text, None, out);
    }

    fn write_plain(&mut self, text: &[u8], key: Option<&str>, out: &mut Vec<u8>) -> Written {
        let is_first = key.is_some() && !self.widened;
        self.widened |= is_first;
        if !self.widened {
            out.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
            return Written::Done;
        }
        out.extend_from_slice(trimmed(text));
        out.extend_from_slice(Self::NO_KEY);
        out.extend_from_slice(key.unwrap_or_default().as_bytes());
        match is_first {
            true => Written::Widened,
            false => Written::Done,
        }
    }

    fn write_cells(&mut self, text: &[u8], cells: &[&[u8]], keys: &Keys<'_>, out: &mut Vec<u8>) -> Written {
        // A row too short to be one of a side file has lost its columns; of another width it is refused anyway.
        let (why, kept) = match self.is_side {
            true => cells
                .split_at_checked(side::COLUMNS.len())
                .unwrap_or((&[], cells)),
            false => (&[][..], cells),
        };
        let needs_key = self
            .columns
            .raw(kept.iter().copied())
            .is_ok_and(|raw| needs_key(&raw));
        let given = why
            .last()
            .and_then(|key| std::str::from_utf8(key).ok())
            .filter(|key| !key.is_empty());
        let key = needs_key.then(|| given.map_or_else(|| keys.own(), str::to_owned));
        match (self.key_place, key) {
            (Some(place), Some(key)) => {
                let filled = kept
                    .iter()
                    .enumerate()
                    .map(|(at, cell)| if at == place { key.as_bytes() } else { *cell });
                write_line(filled, out);
                Written::Done
            }
            (_, key) if self.is_side => self.write_plain(&line(kept.iter().copied()), key.as_deref(), out),
            (_, key) => self.write_plain(text, key.as_deref(), out),
        }
    }
}

/// Whether the server would make a fresh key for the row.
pub(crate) fn needs_key(raw: &Raw<'_>) -> bool {
    raw.idempotency_key.is_none() && raw.timestamp.is_none()
}

/// Whether the column at `place` of `width` is the key: a row that has a cell only there says so.
fn is_key(columns: &Columns, width: usize, place: usize) -> bool {
    let cells = (0..width).map(|at| if at == place { &b"k"[..] } else { b"" });
    columns.raw(cells).is_ok_and(|raw| raw.idempotency_key.is_some())
}

fn renamed<'a>(cells: &[&'a [u8]], map: &'a [(String, String)]) -> Result<Vec<Cow<'a, [u8]>>, BadHeader> {
    let mut names: Vec<Cow<'a, [u8]>> = cells.iter().map(|cell| Cow::Borrowed(*cell)).collect();
    for (theirs, ours) in map {
        let place = cells
            .iter()
            .position(|cell| cell.trim_ascii() == theirs.as_bytes());
        match place.and_then(|place| names.get_mut(place)) {
            Some(name) => *name = Cow::Borrowed(ours.as_bytes()),
            None => return Err(BadHeader::unknown(theirs, cells)),
        }
    }
    Ok(names)
}

/// Without the end of a line.
fn trimmed(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// A record of `cells`.
pub(crate) fn line<'a>(cells: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    write_line(cells, &mut out);
    out
}

fn write_line<'a>(cells: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        // A bracket at the beginning would make commas part of the cell.
        let needs_quotes = cell
            .iter()
            .any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'))
            || matches!(cell.first(), Some(b'{' | b'['));
        if !needs_quotes {
            out.extend_from_slice(cell);
            continue;
        }
        out.push(b'"');
        for byte in cell {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use ingest::rows::{Content, Format, Step};

    /// What is sent of a file of one slice.
    fn sent(file: &str, map: &[(&str, &str)]) -> Vec<String> {
        let map: Vec<(String, String)> = map
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        let mut rows = Rows::new(Some(Format::Csv), 1000);
        let (mut at, mut csv, mut out) = (0, None::<Csv>, Vec::new());
        let bytes = file.as_bytes();
        while let Ok(Step::Row(cut)) = rows.next(&bytes[at..], true) {
            let text = &bytes[at..at + cut.consumed];
            at += cut.consumed;
            let Some(csv) = csv.as_mut() else {
                let cells: Vec<&[u8]> = rows.cells(text).collect();
                csv = Some(Csv::new(&cells, text, &map).unwrap());
                continue;
            };
            let mut row = Vec::new();
            let keys = Keys::new("id", cut.number);
            match cut.content {
                Content::Cells(_) => {
                    if csv.write(&mut rows, text, &keys, &mut row) == Written::Widened {
                        // As the slice does with its rows.
                        out = out.iter().map(|row| format!("{row},")).collect();
                    }
                }
                _ => csv.write_broken(text, &mut row),
            }
            out.push(String::from_utf8(row).unwrap());
        }
        out.insert(0, String::from_utf8(csv.unwrap().head()).unwrap());
        out
    }

    fn key(row: u64) -> String {
        Keys::new("id", row).own()
    }

    #[test]
    fn a_file_whose_rows_have_keys_or_times_is_sent_as_it_is() {
        let file = "user_id , TYPE,time,x\r\nu,t,1,\"a\nb\"\r\nu,t,2,{\"a\":1}\nu,t,\n\"u\"x,t,1,\n";
        let expected = [
            "user_id , TYPE,time,x",
            "u,t,1,\"a\nb\"\r",
            "u,t,2,{\"a\":1}",
            "u,t,",
            "\"u\"x,t,1,",
        ];
        assert_eq!(sent(file, &[]), expected);
    }

    #[test]
    fn a_row_without_key_and_time_gets_a_key_of_the_file_and_its_number() {
        let all = sent("userId,type\na,b\n\"c\",d\r\n", &[]);
        let expected = [
            "userId,type,idempotency_key".to_owned(),
            format!("a,b,{}", key(2)),
            format!("\"c\",d,{}", key(3)),
        ];
        assert_eq!(all, expected);
        let some = sent("userId,type,time\na,b,1\na,b,\na,b,2\na,b\n", &[]);
        assert_eq!(
            some[1..],
            [
                "a,b,1,".to_owned(),
                format!("a,b,,{}", key(3)),
                "a,b,2,".to_owned(),
                "a,b,".to_owned()
            ]
        );
        let cell = sent(
            "userId,idempotencyKey,type,x\na,,b,{\"a\":1}\na,k,b,{\"a\":1}\n",
            &[],
        );
        assert_eq!(
            cell[1..],
            [
                format!("a,{},b,\"{{\"\"a\"\":1}}\"", key(2)),
                "a,k,b,{\"a\":1}".to_owned()
            ]
        );
    }

    #[test]
    fn columns_are_renamed_and_a_name_that_is_not_there_is_an_error() {
        let renamed = sent(
            "customer, what ,when,a\"b\nu,t,1,x\n",
            &[("customer", "user_id"), ("what", "event_type"), ("when", "time")],
        );
        assert_eq!(renamed, ["user_id,event_type,time,\"a\"\"b\"", "u,t,1,x"]);
        let header: [&[u8]; 2] = [b"customer", b"what"];
        let wrong = |map: &[(String, String)]| Csv::new(&header, b"customer,what", map).unwrap_err().0;
        assert!(wrong(&[("who".to_owned(), "user_id".to_owned())]).contains("no column `who`"));
        assert!(wrong(&[]).contains("userId is missing"));
    }

    #[test]
    fn a_side_file_is_sent_without_what_it_says_of_its_rows() {
        let why = side::COLUMNS.join(",");
        let file = format!(
            "{why},who,type,time,x\n7,time,soon,\"a, b\",K7,u,t,5,{{\"a\":1}}\n8,time,soon,c,K8,u,t,,\n9,,,,,u,t,,\n"
        );
        let expected = [
            "user_id,type,time,x,idempotency_key".to_owned(),
            "u,t,5,\"{\"\"a\"\":1}\",".to_owned(),
            "u,t,,,K8".to_owned(),
            format!("u,t,,,{}", key(4)),
        ];
        assert_eq!(sent(&file, &[("who", "user_id")]), expected);
    }
}
