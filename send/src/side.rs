//! The side file: each refused row as it stands in the file, behind why it was refused.
//!
//! It has the form of the input, so that it can be mended and sent as it is: `tidemark send` leaves out the columns that
//! are added here. One of them is the key that the row has in its file if it has neither key nor time, so that a mended row
//! counts once however often it is sent.
//!
//! It is written before the state file, which says how long it was then. What lies behind that is of a run that was
//! stopped in between, and is cut off; but never where somebody has worked on the file meanwhile.

use crate::csv;
use crate::json::{object, pairs, string};
use crate::shape::Keys;
use crate::slice::{Refusal, Slice};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What is added to the name of the input.
pub(crate) const SUFFIX: &str = ".refused.";
/// The number of the row in its file.
pub(crate) const ROW: &str = "refused_row";
/// The key that the row has if it has neither key nor time.
pub(crate) const KEY: &str = "refused_key";
/// What is added to each row, before its own cells or fields.
pub(crate) const COLUMNS: [&str; 5] = [ROW, "refused_field", "refused_code", "refused_reason", KEY];
/// Whether the beginning of a file is that of a side file.
pub(crate) fn is_one(first: &[u8]) -> bool {
    first.windows(KEY.len()).any(|window| window == KEY.as_bytes())
}

/// Whether a side file may be at this path: nothing is there, or another side file, or nothing in it.
pub(crate) fn may_be_written(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut first = Vec::new();
    file.take(FIRST_BYTES).read_to_end(&mut first)?;
    Ok(first.is_empty() || is_one(&first))
}

/// A row that is no object, as text.
const LINE: &str = "refused_line";
/// Bytes within which a side file shows that it is one.
const FIRST_BYTES: u64 = 64 * 1024;
/// Most older side files that are kept.
const OLDER: u32 = 1000;

/// How much was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Bytes.
    pub(crate) bytes: u64,
    /// BLAKE3 of these.
    pub(crate) digest: String,
}

/// A side file, which is made when the first row is refused.
pub(crate) struct Side {
    path: PathBuf,
    /// The header of a CSV file.
    own_head: Option<Vec<u8>>,
    identity: String,
    file: Option<File>,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Side {
    /// A side file at `path`, going on from `mark`; without one an older file there is put aside.
    pub(crate) fn open(
        path: PathBuf,
        own_head: Option<&[u8]>,
        identity: &str,
        mark: Option<&Mark>,
    ) -> io::Result<Self> {
        let mut side = Self {
            path,
            own_head: own_head.map(<[u8]>::to_vec),
            identity: identity.to_owned(),
            file: None,
            bytes: 0,
            hasher: blake3::Hasher::new(),
        };
        match mark {
            Some(mark) => side.go_on_from(mark)?,
            None => put_aside(&side.path)?,
        }
        Ok(side)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds refused rows of `slice`, and has them on disk.
    pub(crate) fn add(&mut self, slice: &Slice, refused: &[Refusal]) -> io::Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        if self.bytes == 0
            && let Some(own_head) = &self.own_head
        {
            for column in COLUMNS {
                bytes.extend_from_slice(column.as_bytes());
                bytes.push(b',');
            }
            bytes.extend_from_slice(own_head);
            bytes.push(b'\n');
        }
        for refusal in refused {
            if let Some((number, source)) = slice.row(refusal.at) {
                self.line(number, source, refusal, &mut bytes);
            }
        }
        let mut options = OpenOptions::new();
        let file = match self.file.as_mut() {
            Some(file) => file,
            None => self
                .file
                .insert(options.create(true).append(true).open(&self.path)?),
        };
        file.write_all(&bytes)?;
        file.sync_data()?;
        self.hasher.update(&bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// How much is written now.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes,
            digest: self.hasher.finalize().to_hex().to_string(),
        }
    }

    fn line(&self, number: u64, source: &[u8], refusal: &Refusal, out: &mut Vec<u8>) {
        let source = source.strip_suffix(b"\n").unwrap_or(source);
        let source = source.strip_suffix(b"\r").unwrap_or(source);
        let row = number.to_string();
        let key = Keys::new(&self.identity, number).own();
        let why = [row.as_str(), &refusal.field, &refusal.code, &refusal.reason, &key];
        if self.own_head.is_some() {
            out.extend_from_slice(&csv::line(why.iter().map(|text| text.as_bytes())));
            out.push(b',');
            match is_framed(source) {
                true => out.extend_from_slice(source),
                // Its quotes would take the rows behind it with them.
                false => out.extend_from_slice(&csv::line(std::iter::once(source))),
            }
        } else {
            let own = pairs(source).unwrap_or_else(|| vec![(Cow::Borrowed(LINE), "")]);
            let line = string(&String::from_utf8_lossy(source));
            let mut all: Vec<(&str, Cow<'_, str>)> = COLUMNS
                .iter()
                .zip(why)
                .map(|(name, value)| (*name, Cow::Owned(string(value))))
                .collect();
            if let Some((_, value)) = all.first_mut() {
                *value = Cow::Borrowed(&row);
            }
            for (name, value) in &own {
                let value = if value.is_empty() { &line } else { *value };
                all.push((name, Cow::Borrowed(value)));
            }
            out.extend_from_slice(&object(&all));
        }
        out.push(b'\n');
    }

    fn go_on_from(&mut self, mark: &Mark) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = match options.read(true).append(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.bytes = io::copy(&mut (&file).take(mark.bytes), &mut self.hasher)?;
        if self.mark() == *mark {
            file.set_len(mark.bytes)?;
        } else {
            // Somebody has worked on it: nothing of it is touched.
            self.bytes += io::copy(&mut file, &mut self.hasher)?;
            if !ends_a_line(&mut file)? {
                file.write_all(b"\n")?;
                self.hasher.update(b"\n");
                self.bytes += 1;
            }
        }
        self.file = Some(file);
        Ok(())
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Whether a record is one by itself: its quotes close.
fn is_framed(record: &[u8]) -> bool {
    use ingest::rows::{Content, Format, Rows, Step};
    let mut rows = Rows::new(Some(Format::Csv), crate::slices::ROW_BYTES);
    // As below the header, where a byte order mark is none.
    let _ = rows.next(b"\n", false);
    match rows.next(record, true) {
        Ok(Step::Row(cut)) => cut.consumed == record.len() && matches!(cut.content, Content::Cells(_)),
        _ => false,
    }
}

/// Gives a file that is there another name, the first that is free.
fn put_aside(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let older = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
    let free = (1..=OLDER).map(older).find(|older| !older.exists());
    match free {
        Some(free) => std::fs::rename(path, free),
        None => Err(io::Error::other("there are too many older ones; remove some")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::slice::Place;

    const HEAD: &[u8] = b"userId,type";

    /// A slice of these rows, all of which are refused.
    fn slice(rows: &[&str]) -> (Slice, Vec<Refusal>) {
        let mut slice = Slice::new(b"userId,type\n".to_vec(), Place::default());
        let mut refused = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            slice.add(
                at as u64 + 2,
                format!("{row}\r\n").as_bytes(),
                b"",
                Place::default(),
            );
            let [field, code, reason] = ["f", "c", "says \"no\""].map(str::to_owned);
            refused.push(Refusal {
                at,
                field,
                code,
                reason,
            });
        }
        (slice, refused)
    }

    fn add(side: &mut Side, rows: &[&str]) {
        let (slice, refused) = slice(rows);
        side.add(&slice, &refused).unwrap();
    }

    fn open(path: &Path, mark: Option<&Mark>) -> Side {
        Side::open(path.to_owned(), Some(HEAD), "id", mark).unwrap()
    }

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_row_stands_behind_why_it_was_refused_and_cannot_take_the_next_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.csv.refused.csv");
        add(&mut open(&path, None), &["u,\"t\"", "u,\"t", "{\"a\",t"]);
        let key = |row: u64| Keys::new("id", row).own();
        let why = |row: u64| format!("{row},f,c,\"says \"\"no\"\"\",{}", key(row));
        let expected = [
            "refused_row,refused_field,refused_code,refused_reason,refused_key,userId,type".to_owned(),
            format!("{},u,\"t\"", why(2)),
            format!("{},\"u,\"\"t\"", why(3)),
            format!("{},{{\"a\",t", why(4)),
        ];
        assert_eq!(lines(&path), expected);
    }

    #[test]
    fn what_a_stopped_run_wrote_behind_its_state_is_cut_off_and_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("side");
        let mut side = open(&path, None);
        let nothing = side.mark();
        add(&mut side, &["a"]);
        let mark = side.mark();
        add(&mut side, &["b", "c"]);
        add(&mut open(&path, Some(&mark)), &["d"]);
        assert_eq!(lines(&path).len(), 3);
        assert!(lines(&path)[2].ends_with(",d"));
        add(&mut open(&path, Some(&nothing)), &["e"]);
        assert_eq!(lines(&path).len(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_side_file_that_somebody_has_worked_on_is_only_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("side");
        let mut side = open(&path, None);
        add(&mut side, &["a", "b"]);
        let mark = side.mark();
        std::fs::write(&path, "mine,\nand without an end").unwrap();
        let mut side = open(&path, Some(&mark));
        add(&mut side, &["c"]);
        let mended = lines(&path);
        assert_eq!(mended[..2], ["mine,", "and without an end"]);
        assert!(mended.len() == 3 && mended[2].ends_with(",c"));
        let mark = side.mark();
        add(&mut open(&path, Some(&mark)), &["d"]);
        assert_eq!(lines(&path).len(), 4);
        std::fs::remove_file(&path).unwrap();
        add(&mut open(&path, Some(&mark)), &["e"]);
        assert_eq!(lines(&path).len(), 2, "a header and a row");
    }

    #[test]
    fn a_new_run_puts_an_older_side_file_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("side");
        for _ in 0..3 {
            add(&mut open(&path, None), &["a"]);
        }
        for name in ["side", "side.1", "side.2"] {
            assert_eq!(lines(&folder.path().join(name)).len(), 2, "{name}");
        }
    }
}
