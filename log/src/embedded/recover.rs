//! Finds out at start what a partition's folder holds, and decides the one hard question: whether a broken end is a write
//! that the power cut short, or damage to what had been acknowledged.
//!
//! A frame is begun only when the one before it is durable. So a broken frame with nothing of ours behind it was never
//! acknowledged, or is the very last one: it is cut. With anything of ours behind it, it had been durable: the start is refused.
//! A clean close leaves a frame without records at the end, so that there the very last one is told from a torn one, too.

use super::disk::Disk;
use super::frame::{HEADER_BYTES, Header, MAGIC, Salt};
use super::segment::Segment;
use super::walk::{Mark, Step, Walk};
use crate::ports::LogError;
use schemas::Offset;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes that the search for a later frame looks at together.
const SEARCH_BYTES: usize = 1024 * 1024;

/// What a partition's folder holds.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Segments in order; appends go on in the last one.
    pub(super) segments: Vec<Arc<Segment>>,
    /// The next offset at the end.
    pub(super) end: Offset,
    /// Append time of the last record, in milliseconds.
    pub(super) last_ms: i64,
}

/// Whether what is broken at the end may be cut.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// The owner: cuts, and makes durable what it found.
    Write(Disk),
    /// A reader of a log that nobody runs: changes nothing, sees what the owner would keep.
    Read,
}

/// The last segment's frames that are whole.
struct Whole {
    end: Mark,
    last: Option<(Header, u64)>,
}

/// Reads a partition's folder.
pub(super) fn recover(folder: &Path, salt: Salt, access: &Access) -> Result<Recovered, LogError> {
    let segments = list(folder)?;
    let Some(last) = segments.last() else {
        return Ok(Recovered {
            segments,
            end: Offset(0),
            last_ms: 0,
        });
    };
    let whole = check(last, salt)?;
    let bytes = last.durable();
    if whole.end.position < bytes {
        let (path, cut_bytes) = (last.path.display(), bytes - whole.end.position);
        tracing::warn!(%path, position = whole.end.position, cut_bytes, "cut a write that was never acknowledged");
    }
    if let Access::Write(disk) = access {
        settle(disk, last, &whole).map_err(|error| last.unreadable(&error))?;
    }
    last.set_durable(whole.end.position);
    let last_ms = match whole.last {
        Some((header, _)) => header.append_ms,
        None => last_ms_before(&segments, last.base, salt)?,
    };
    Ok(Recovered {
        segments,
        end: whole.end.offset,
        last_ms,
    })
}

/// The segments of a folder in order, taking all but the last at their word: their frames are checked when they are read.
fn list(folder: &Path) -> Result<Vec<Arc<Segment>>, LogError> {
    let away = |error: io::Error| LogError::Away(format!("{}: {error}", folder.display()));
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(away)? {
        let entry = entry.map_err(away)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".seg")) else {
            continue;
        };
        let base = name.parse().map_err(|_| {
            LogError::Wrong(format!(
                "{}: not named like a segment; move it away",
                entry.path().display()
            ))
        })?;
        let bytes = entry.metadata().map_err(away)?.len();
        segments.push(Arc::new(Segment::new(folder, Offset(base), bytes)));
    }
    segments.sort_by_key(|segment| segment.base);
    match segments.first() {
        Some(first) if first.base != Offset(0) => {
            let base = first.base;
            Err(first.broken(0, &format!("the segments before offset {base} are gone")))
        }
        _ => Ok(segments),
    }
}

/// Checks every frame of the last segment, and what stands behind the last whole one.
fn check(segment: &Segment, salt: Salt) -> Result<Whole, LogError> {
    let away = |error: io::Error| segment.unreadable(&error);
    let mut walk = Walk::start(&segment.path, salt, segment.durable(), segment.start()).map_err(away)?;
    let mut whole = Whole {
        end: segment.start(),
        last: None,
    };
    loop {
        let torn = match walk.step().map_err(away)? {
            Step::End => return Ok(whole),
            Step::Broken => true,
            Step::Frame { header, body_at } => {
                let torn = walk.body(&header, body_at).map_err(away)?.is_none();
                if !torn {
                    whole = Whole {
                        end: walk.place(),
                        last: Some((header, body_at)),
                    };
                }
                torn
            }
        };
        if torn {
            let found = later_frame(&mut walk, salt, whole.end, segment.durable()).map_err(away)?;
            return match found {
                None => Ok(whole),
                Some(position) => {
                    let what = format!("a frame is broken, and a later one follows at byte {position}");
                    Err(segment.broken(whole.end.position, &what))
                }
            };
        }
    }
}

/// Looks for the header of any frame of ours behind a broken one. Its body does not matter: that it was begun proves
/// that the broken frame had been durable.
fn later_frame(walk: &mut Walk, salt: Salt, broken: Mark, limit: u64) -> io::Result<Option<u64>> {
    let mut position = broken.position;
    while position + HEADER_BYTES as u64 <= limit {
        let block = walk.bytes(position, SEARCH_BYTES)?;
        let found = block.windows(HEADER_BYTES).enumerate().find_map(|(at, bytes)| {
            let header = bytes
                .starts_with(MAGIC)
                .then(|| Header::decode(bytes, salt))
                .flatten()?;
            let at = position + at as u64;
            // At the broken place itself, the header of the frame that was begun there says nothing.
            (at > broken.position || header.base != broken.offset).then_some(at)
        });
        if found.is_some() {
            return Ok(found);
        }
        position += (block.len() - HEADER_BYTES + 1) as u64;
    }
    Ok(None)
}

/// Cuts what is broken, and makes durable what a process that was killed had written but not synced. The last frame is
/// written once more: if its fsync had failed, the kernel may hold it as clean although the disk never had it.
fn settle(disk: &Disk, segment: &Segment, whole: &Whole) -> io::Result<()> {
    let file = disk.open(&segment.path)?;
    if whole.end.position < segment.durable() {
        disk.cut(&segment.path, &file, whole.end.position)?;
    }
    if let Some((header, body_at)) = &whole.last {
        let start = body_at - HEADER_BYTES as u64;
        let mut window = super::window::Window::open(&segment.path, whole.end.position)?;
        let frame = window.get(start, header.frame_bytes() as usize)?;
        disk.write(&segment.path, &file, frame, start)?;
    }
    disk.sync(&segment.path, &file)?;
    segment
        .path
        .parent()
        .map_or(Ok(()), |folder| disk.sync_folder(folder))
}

/// The append time of the last record before an empty last segment.
fn last_ms_before(segments: &[Arc<Segment>], end: Offset, salt: Salt) -> Result<i64, LogError> {
    let Some(segment) = segments.iter().rev().nth(1) else {
        return Ok(0);
    };
    let away = |error: io::Error| segment.unreadable(&error);
    let mut walk = Walk::start(&segment.path, salt, segment.durable(), segment.start()).map_err(away)?;
    let mut last_ms = 0;
    loop {
        match walk.step().map_err(away)? {
            Step::Frame { header, .. } => last_ms = header.append_ms,
            Step::End if walk.place().offset == end => return Ok(last_ms),
            Step::End | Step::Broken => {
                let what = format!(
                    "the frames of this segment do not reach offset {end}, where the next one begins"
                );
                return Err(segment.broken(walk.place().position, &what));
            }
        }
    }
}
