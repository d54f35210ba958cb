//! Where the newest events of a user's day lie on one source partition, up to a bound, so that a number can be looked behind
//! without reading the log from end to end.
//!
//! Layout, as the rest of a user's partial: `older`; if that is not 0, `changelog | id 16` of the commit record that was added
//! last; then `count` and as many positions, the newest first: `2 x offset + reverse`, and each further one
//! `2 x (how far before the last) + reverse`. So an event is added by writing in front of what is there, and the oldest is
//! dropped at the end; nothing between is read.

use crate::Offset;
use crate::commit::Link;
use crate::wire::{self, Malformed, Reader};
use uuid::Uuid;

/// Positions that are remembered; of older ones only their number is.
pub const REMEMBERED: usize = 32;

/// Where one event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Its offset on `events`.
    pub offset: Offset,
    /// Whether it took another event back.
    pub reverse: bool,
}

/// The newest positions of a user's day in one source partition.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Positions {
    /// How many there were before those that are remembered.
    older: u64,
    /// The commit record that was added last; kept where there are older ones, which are found from there backwards.
    last: Option<Link>,
    bytes: Vec<u8>,
    count: usize,
}

impl Positions {
    /// Adds the next event, which lies behind all that were added, of the commit record `link`.
    pub fn add(&mut self, position: Position, link: Link) {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 12);
        wire::put_u64(&mut bytes, number(position.offset.0, position.reverse));
        let mut reader = Reader::new(&self.bytes, "positions");
        if let Ok(newest) = reader.u64() {
            let distance = position.offset.0.saturating_sub(newest >> 1);
            wire::put_u64(&mut bytes, number(distance, newest & 1 == 1));
            let rest = self.bytes.len() - reader.remaining();
            bytes.extend_from_slice(self.bytes.get(rest..).unwrap_or_default());
        }
        self.bytes = bytes;
        self.count += 1;
        if self.count > REMEMBERED {
            self.drop_oldest();
        }
        self.last = (self.older > 0).then_some(link);
    }

    fn drop_oldest(&mut self) {
        self.bytes.pop();
        while self.bytes.last().is_some_and(|byte| *byte >= 0x80) {
            self.bytes.pop();
        }
        self.count -= 1;
        self.older += 1;
    }

    /// How many events there were before those that are remembered.
    pub fn older(&self) -> u64 {
        self.older
    }

    /// From which commit record on backwards older ones are found; none where there are none.
    pub fn last(&self) -> Option<Link> {
        self.last
    }

    /// Those that are remembered, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = Position> {
        let mut reader = Reader::new(&self.bytes, "positions");
        let mut before: Option<u64> = None;
        std::iter::from_fn(move || {
            let read = reader.u64().ok()?;
            let offset = before.map_or(read >> 1, |before| before.saturating_sub(read >> 1));
            before = Some(offset);
            Some(Position {
                offset: Offset(offset),
                reverse: read & 1 == 1,
            })
        })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        wire::put_u64(out, self.older);
        if let Some(link) = self.last {
            wire::put_u64(out, link.changelog.0);
            out.extend_from_slice(link.id.as_bytes());
        }
        wire::put_u64(out, self.count as u64);
        out.extend_from_slice(&self.bytes);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let older = reader.u64()?;
        let last = match older {
            0 => None,
            _ => Some(Link {
                changelog: Offset(reader.u64()?),
                id: Uuid::from_bytes(reader.array()?),
            }),
        };
        let count = reader.count(1)?;
        if count > REMEMBERED || (older > 0 && count < REMEMBERED) {
            return Err(reader.malformed());
        }
        let (start, mut before) = (reader.clone(), None);
        for _ in 0..count {
            let read = reader.u64()? >> 1;
            let offset = match before {
                None => Some(read),
                Some(_) if read == 0 => None,
                Some(before) => u64::checked_sub(before, read),
            };
            before = Some(offset.ok_or_else(|| reader.malformed())?);
        }
        let bytes = start.clone().take(start.remaining() - reader.remaining())?;
        Ok(Self {
            older,
            last,
            bytes: bytes.to_vec(),
            count,
        })
    }
}

fn number(offset: u64, reverse: bool) -> u64 {
    // An offset has 63 bits at most: no log has more.
    offset << 1 | u64::from(reverse)
}
