//! A window over a segment file: the bytes that a reader works on, read a few hundred KB at a time. It shows
//! nothing behind its limit, which is where durable bytes end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much is read ahead at once: large enough that a system call is nothing beside it, small enough for one record.
const READ_BYTES: usize = 256 * 1024;

/// A file, and the piece of it that is in memory.
#[derive(Debug)]
pub(super) struct Window {
    file: File,
    limit: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl Window {
    /// Opens a file for reading up to `limit`.
    pub(super) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            limit,
            start: 0,
            buffer: Vec::new(),
        })
    }

    /// Where it ends.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Lets it show more, since more became durable.
    pub(super) fn extend(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// `count` bytes at a position; fewer only at the limit.
    pub(super) fn get(&mut self, position: u64, count: usize) -> io::Result<&[u8]> {
        let count = count.min(usize::try_from(self.limit.saturating_sub(position)).unwrap_or(usize::MAX));
        let held = self.start + self.buffer.len() as u64;
        if position < self.start || position + count as u64 > held {
            self.fill(position, count)?;
        }
        let from = (position - self.start) as usize;
        Ok(self.buffer.get(from..from + count).unwrap_or_default())
    }

    /// Moves the window to a position, keeps what it holds of it, and reads on.
    fn fill(&mut self, position: u64, count: usize) -> io::Result<()> {
        let held = self.start + self.buffer.len() as u64;
        if (self.start..held).contains(&position) {
            self.buffer.drain(..(position - self.start) as usize);
        } else {
            self.buffer.clear();
        }
        self.start = position;
        let left = usize::try_from(self.limit.saturating_sub(position)).unwrap_or(usize::MAX);
        let kept = self.buffer.len();
        self.buffer.resize(count.max(READ_BYTES).min(left), 0);
        let result = match self.buffer.get_mut(kept..) {
            Some(rest) => self.file.read_exact_at(rest, position + kept as u64),
            None => Ok(()),
        };
        if result.is_err() {
            // What could not be read must not be shown as zeros by the next look.
            self.buffer.truncate(kept);
        }
        result
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_the_file_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..2_000_000_u32).map(|i| (i / 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut window = Window::open(&path, 1_000_000).unwrap();
        for (position, count) in [
            (0, 10),
            (100_000, 600_000),
            (5, 20),
            (999_990, 100),
            (300_000, 256 * 1024),
        ] {
            let end = (position + count).min(1_000_000);
            assert_eq!(
                window.get(position as u64, count).unwrap(),
                bytes.get(position..end).unwrap()
            );
        }
        assert_eq!(window.get(1_000_000, 1).unwrap(), b"");
        window.extend(2_000_000);
        assert_eq!(window.get(1_999_999, 5).unwrap(), bytes.get(1_999_999..).unwrap());
    }
}
