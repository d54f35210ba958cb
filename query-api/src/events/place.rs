//! Where a page ended: a UTC day, a window of it, and the last event that was looked at in that window.
//!
//! Bytes: `day | after: 0, or 1 and time, partition, offset | count x window's part`, a part being `partition | below | floor + 1 | missing |
//! link: 0, or 1 and changelog, id`, varints as in [`schemas::wire`].

use crate::cursor::no_cursor;
use schemas::commit::Link;
use schemas::wire::{self, Malformed, Reader};
use schemas::{Day, Offset, Partition, Timestamp};
use service::http::Problem;
use uuid::Uuid;

/// The order of the events of a day: by time, then by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) time: Timestamp,
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
}

/// One source partition's part in a window: its events from `floor` to before `below`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) partition: Partition,
    pub(crate) below: Offset,
    /// None where nobody has looked yet how far down the window goes.
    pub(crate) floor: Option<Offset>,
    /// Events of the day below the floor; of a window without one, below `below`.
    pub(crate) missing: u64,
    /// A commit record from which those before `below` are found backwards; none where they are all remembered.
    pub(crate) link: Option<Link>,
}

/// A place in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) day: Day,
    pub(crate) parts: Vec<Part>,
    /// The last event of the window that was looked at; none before the first.
    pub(crate) after: Option<Key>,
}

impl Place {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_u64(&mut out, u64::from(self.day.0));
        out.push(u8::from(self.after.is_some()));
        if let Some(after) = &self.after {
            wire::put_i64(&mut out, after.time.0);
            wire::put_u64(&mut out, u64::from(after.partition.0));
            wire::put_u64(&mut out, after.offset.0);
        }
        wire::put_u64(&mut out, self.parts.len() as u64);
        for part in &self.parts {
            wire::put_u64(&mut out, u64::from(part.partition.0));
            wire::put_u64(&mut out, part.below.0);
            wire::put_u64(&mut out, part.floor.map_or(0, |floor| floor.next().0));
            wire::put_u64(&mut out, part.missing);
            out.push(u8::from(part.link.is_some()));
            if let Some(link) = part.link {
                wire::put_u64(&mut out, link.changelog.0);
                out.extend_from_slice(link.id.as_bytes());
            }
        }
        out
    }

    /// Errors: 400 `cursor_invalid`.
    pub(crate) fn decode(bytes: &[u8], partitions: u32) -> Result<Self, Problem> {
        let place = Self::read(bytes).map_err(|_| no_cursor())?;
        let rises = place.parts.is_sorted_by(|a, b| a.partition < b.partition);
        let exist = place.parts.iter().all(|part| part.partition.0 < partitions);
        (rises && exist).then_some(place).ok_or_else(no_cursor)
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "cursor");
        let day = Day(reader.u32()?);
        let after = match reader.byte()? {
            0 => None,
            _ => Some(Key {
                time: Timestamp(reader.i64()?),
                partition: Partition(reader.u32()?),
                offset: Offset(reader.u64()?),
            }),
        };
        let mut parts = Vec::with_capacity(reader.clone().count(5)?);
        for _ in 0..reader.count(5)? {
            parts.push(Part {
                partition: Partition(reader.u32()?),
                below: Offset(reader.u64()?),
                floor: reader.u64()?.checked_sub(1).map(Offset),
                missing: reader.u64()?,
                link: match reader.byte()? {
                    0 => None,
                    _ => Some(Link {
                        changelog: Offset(reader.u64()?),
                        id: Uuid::from_bytes(reader.array()?),
                    }),
                },
            });
        }
        reader.finish()?;
        Ok(Self { day, parts, after })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_one_of_other_partitions_does_not() {
        let part = |partition, floor| Part {
            partition: Partition(partition),
            below: Offset(900),
            floor,
            missing: 7,
            link: floor.map(|_| Link {
                changelog: Offset(5),
                id: Uuid::from_u128(9),
            }),
        };
        let place = Place {
            day: Day(20_000),
            parts: vec![part(0, None), part(3, Some(Offset(0)))],
            after: Some(Key {
                time: Timestamp(-1),
                partition: Partition(3),
                offset: Offset(77),
            }),
        };
        let bytes = place.encode();
        assert_eq!(Place::decode(&bytes, 4).unwrap(), place);
        assert!(Place::decode(&bytes, 3).is_err());
        for end in 0..bytes.len() {
            assert!(
                Place::decode(bytes.get(..end).unwrap(), 4).is_err(),
                "cut at {end}"
            );
        }
        let twice = Place {
            parts: vec![part(1, None), part(1, None)],
            ..place
        };
        assert!(Place::decode(&twice.encode(), 4).is_err());
    }
}
