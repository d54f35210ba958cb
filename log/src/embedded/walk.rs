//! Goes through a segment frame by frame. The rule that a frame must begin where, and at the offset at which, the one
//! before it ended is kept here, for start-up and for readers alike.

use super::frame::{HEADER_BYTES, Header, Salt};
use super::window::Window;
use schemas::Offset;
use std::io;
use std::path::Path;

/// A place in a segment, at the beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Offset of the first record of the frame there.
    pub(super) offset: Offset,
    /// Where the frame begins, in bytes.
    pub(super) position: u64,
}

/// What stands at the next place.
#[derive(Debug)]
pub(super) enum Step {
    /// A frame whose header is whole. Its body, at this position, has not been looked at.
    Frame { header: Header, body_at: u64 },
    /// The limit, exactly.
    End,
    /// Something that is not the frame that should be here.
    Broken,
}

/// A walk through one segment.
#[derive(Debug)]
pub(super) struct Walk {
    window: Window,
    salt: Salt,
    next: Mark,
}

impl Walk {
    /// Starts at a mark of the file; shows nothing behind `limit`.
    pub(super) fn start(path: &Path, salt: Salt, limit: u64, mark: Mark) -> io::Result<Self> {
        Ok(Self {
            window: Window::open(path, limit)?,
            salt,
            next: mark,
        })
    }

    /// Where the next frame should be.
    pub(super) fn place(&self) -> Mark {
        self.next
    }

    /// Lets it go further, since more became durable.
    pub(super) fn extend(&mut self, limit: u64) {
        self.window.extend(limit);
    }

    /// Looks at the next frame's header and goes behind that frame. Stays where it is if there is none.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let Mark { offset, position } = self.next;
        if position == self.window.limit() {
            return Ok(Step::End);
        }
        let Some(header) = Header::decode(self.window.get(position, HEADER_BYTES)?, self.salt) else {
            return Ok(Step::Broken);
        };
        if header.base != offset || position + header.frame_bytes() > self.window.limit() {
            return Ok(Step::Broken);
        }
        self.next = Mark {
            offset: header.next(),
            position: position + header.frame_bytes(),
        };
        Ok(Step::Frame {
            header,
            body_at: position + HEADER_BYTES as u64,
        })
    }

    /// A frame's body; `None` if it is not what its header was written for.
    pub(super) fn body(&mut self, header: &Header, body_at: u64) -> io::Result<Option<&[u8]>> {
        let salt = self.salt;
        let body = self.bytes(body_at, header.body_bytes as usize)?;
        Ok(header.fits(body, salt).then_some(body))
    }

    /// Bytes at a position, unchecked.
    pub(super) fn bytes(&mut self, position: u64, count: usize) -> io::Result<&[u8]> {
        self.window.get(position, count)
    }
}
