//! What makes a file the same file. A look at length, time and first bytes tells that nothing happened to it; the digest
//! of all of its content tells what it is, wherever it lies and however it is compressed.
//!
//! The digest is read before the first row is sent. It is what the keys of rows without key and time are made of: a path
//! would not do, since another file may lie there tomorrow, and neither would the rows before, since two files may begin
//! alike.

use crate::content::Content;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Bytes at the beginning of a file that a [`Look`] reads.
const HEAD_BYTES: u64 = 64 * 1024;

/// What a file looks like from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    /// Bytes as stored.
    pub(crate) length: u64,
    /// When it was changed, in microseconds since 1970.
    pub(crate) modified_us: u64,
    /// BLAKE3 of its first 64 KiB as stored.
    pub(crate) head: String,
}

impl Look {
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let since_1970 = metadata
            .modified()?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut head = Vec::new();
        file.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(Self {
            length: metadata.len(),
            modified_us: u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX),
            head: blake3::hash(&head).to_hex().to_string(),
        })
    }
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whole {
    /// Bytes of its content.
    pub(crate) bytes: u64,
    /// BLAKE3 of its content.
    pub(crate) digest: String,
}

/// What was found by reading a file to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) whole: Whole,
    pub(crate) than_before: Than,
}

/// What a file is, compared with what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Than {
    Same,
    /// More follows its last row, which was a whole line.
    Grown,
    /// More follows within its last row.
    Torn,
    Other,
}

/// Reads `content` to its end, and says what it is compared with `before`. `None` if `stop` says so meanwhile.
pub(crate) fn read(
    mut content: Content,
    before: Option<&Whole>,
    stop: impl Fn() -> bool,
) -> io::Result<Option<Found>> {
    let mut reading = Reading::default();
    let mut than_before = None;
    let mut piece = Vec::new();
    while !stop() {
        piece.clear();
        if content.read(&mut piece)? == 0 {
            let than_before = than_before.unwrap_or(match reading.is(before) {
                true => Than::Same,
                false => Than::Other,
            });
            let whole = reading.whole();
            return Ok(Some(Found { whole, than_before }));
        }
        let left = before.map_or(0, |before| before.bytes.saturating_sub(reading.bytes));
        let (old, new) = piece.split_at(piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        reading.take(old);
        if !new.is_empty() && than_before.is_none() {
            than_before = Some(match (reading.is(before), reading.ends_a_line()) {
                (false, _) => Than::Other,
                (true, true) => Than::Grown,
                (true, false) => Than::Torn,
            });
        }
        reading.take(new);
    }
    Ok(None)
}

#[derive(Default)]
struct Reading {
    hasher: blake3::Hasher,
    bytes: u64,
    last: Option<u8>,
}

impl Reading {
    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.last = bytes.last().copied().or(self.last);
    }

    fn ends_a_line(&self) -> bool {
        self.last.is_none_or(|last| last == b'\n')
    }

    fn whole(&self) -> Whole {
        Whole {
            bytes: self.bytes,
            digest: self.hasher.finalize().to_hex().to_string(),
        }
    }

    fn is(&self, before: Option<&Whole>) -> bool {
        before.is_some_and(|before| before.bytes == self.bytes && *before == self.whole())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::content::PIECE_BYTES;
    use std::io::Cursor;

    fn found(text: &[u8], before: Option<&Whole>) -> Found {
        let content = Content::stream(Cursor::new(text.to_vec())).unwrap();
        read(content, before, || false).unwrap().unwrap()
    }

    #[test]
    fn a_file_has_grown_only_behind_a_whole_line() {
        for length in [1, 7, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1] {
            for (end, more_is) in [(&b"\n"[..], Than::Grown), (b"x", Than::Torn)] {
                let old = [vec![b'a'; length], end.to_vec()].concat();
                let whole = found(&old, None).whole;
                assert_eq!(whole.bytes, old.len() as u64);
                assert_eq!(found(&old, Some(&whole)).than_before, Than::Same);
                for more in [&b"more\n"[..], &vec![b'\n'; PIECE_BYTES + 3]] {
                    let new = [&old, more].concat();
                    assert_eq!(found(&new, Some(&whole)).than_before, more_is, "{length} {end:?}");
                    let mut other = new.clone();
                    other[0] = b'b';
                    assert_eq!(found(&other, Some(&whole)).than_before, Than::Other);
                }
                assert_eq!(found(&old[1..], Some(&whole)).than_before, Than::Other);
            }
        }
        let nothing = found(b"", None).whole;
        assert_eq!(found(b"a\n", Some(&nothing)).than_before, Than::Grown);
        assert_eq!(found(b"a", None).than_before, Than::Other);
    }

    #[test]
    fn a_look_sees_that_a_file_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let look = Look::at(&path).unwrap();
        assert_eq!(Look::at(&path).unwrap(), look);
        std::fs::write(&path, "two").unwrap();
        assert_ne!(Look::at(&path).unwrap(), look);
    }
}
