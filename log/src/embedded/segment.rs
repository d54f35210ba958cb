//! One segment file: named by the offset of its first record, and nothing but frames. Only its last frame of the last
//! segment can ever be half there.

use super::bell::hold;
use super::frame::Salt;
use super::walk::{Mark, Step, Walk};
use crate::ports::LogError;
use schemas::Offset;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes between two marks: a seek reads at most about so much of headers behind the mark it finds.
const MARK_BYTES: u64 = 256 * 1024;

/// One segment of a partition.
#[derive(Debug)]
pub(super) struct Segment {
    /// Offset of its first record.
    pub(super) base: Offset,
    /// Its file.
    pub(super) path: PathBuf,
    durable: AtomicU64,
    /// Marks found so far, in order: made when somebody seeks, never by the writer.
    marks: Mutex<Vec<Mark>>,
}

impl Segment {
    /// The segment at a base offset in a folder, with so many bytes that are durable.
    pub(super) fn new(folder: &Path, base: Offset, durable: u64) -> Self {
        let path = folder.join(format!("{:020}.seg", base.0));
        Self {
            base,
            path,
            durable: AtomicU64::new(durable),
            marks: Mutex::default(),
        }
    }

    /// Bytes that are durable, and so may be read.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Says that its first `bytes` are durable.
    pub(super) fn set_durable(&self, bytes: u64) {
        self.durable.store(bytes, Ordering::Release);
    }

    /// Its beginning.
    pub(super) fn start(&self) -> Mark {
        Mark {
            offset: self.base,
            position: 0,
        }
    }

    /// Starts a walk at the last known mark at or before `next`.
    pub(super) fn walk_to(&self, next: Offset, salt: Salt) -> Result<Walk, LogError> {
        let mark = if next == self.base {
            self.start()
        } else {
            self.mark_before(next, salt)?
        };
        Walk::start(&self.path, salt, self.durable(), mark).map_err(|error| self.unreadable(&error))
    }

    /// The last mark at or before `next`; first looks for marks in what became durable since the last time.
    fn mark_before(&self, next: Offset, salt: Salt) -> Result<Mark, LogError> {
        let mut marks = hold(&self.marks);
        let from = marks.last().copied().unwrap_or(self.start());
        let mut walk =
            Walk::start(&self.path, salt, self.durable(), from).map_err(|error| self.unreadable(&error))?;
        let mut last = from.position;
        while walk.place().offset <= next {
            let place = walk.place();
            if place.position >= last + MARK_BYTES {
                marks.push(place);
                last = place.position;
            }
            match walk.step().map_err(|error| self.unreadable(&error))? {
                Step::Frame { .. } => {}
                Step::End => break,
                Step::Broken => return Err(self.broken(place.position, "a frame's header is not readable")),
            }
        }
        let before = marks.partition_point(|mark| mark.offset <= next);
        Ok(before
            .checked_sub(1)
            .and_then(|index| marks.get(index))
            .copied()
            .unwrap_or(self.start()))
    }

    /// The error of a file that cannot be read now.
    pub(super) fn unreadable(&self, error: &io::Error) -> LogError {
        LogError::Away(format!("{}: {error}", self.path.display()))
    }

    /// The error of a file whose bytes are not what was written.
    pub(super) fn broken(&self, position: u64, what: &str) -> LogError {
        LogError::Wrong(format!(
            "{} at byte {position}: {what}. What was acknowledged here is damaged, so nothing is cut: restore the log's \
             folder from a copy, or move it and the folder of the views away and start with empty ones",
            self.path.display()
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::embedded::frame;
    use schemas::Partition;
    use uuid::Uuid;

    #[test]
    fn a_seek_starts_near_its_frame_and_marks_grow_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let salt = Salt::new(Uuid::nil(), Partition(0));
        let segment = Segment::new(folder.path(), Offset(100), 0);
        let mut file = Vec::new();
        let mut bytes = Vec::new();
        for i in 0..300 {
            frame::begin(&mut bytes);
            bytes.resize(10_000, 1);
            frame::seal(&mut bytes, 10, Offset(100 + 10 * i), 0, salt);
            file.extend_from_slice(&bytes);
        }
        std::fs::write(&segment.path, &file).unwrap();
        for (durable, next) in [
            (1_000_000, 1095),
            (3_000_000, 3095),
            (3_000_000, 1095),
            (3_000_000, 101),
        ] {
            segment.set_durable(durable);
            let place = segment.walk_to(Offset(next), salt).unwrap().place();
            assert!(place.offset.0 <= next);
            assert!(
                (next - place.offset.0) * 1000 <= MARK_BYTES + 20_000,
                "{next}: {place:?}"
            );
        }
    }
}
