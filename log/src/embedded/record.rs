//! Records inside a frame's body. Their offsets are consecutive and their append time is the frame's, so neither is stored.
//!
//! ```text
//! flags u8 (1 key, 2 value, 4 origin, 8 headers, 16 held, 32 fact, 64 the origin is held, 128 redriven)
//! | key | value | origin: partition, offset, append_ms | redrive | headers: count, (name, value)...
//! ```
//! Numbers are varints, bytes stand behind their length, as in `schemas::wire`.

use crate::batch::{Chunk, Kind, ORIGIN_HEADER, Origin, REDRIVE_HEADER, TRACE_HEADER};
use crate::ports::DeadLetterCopy;
use schemas::redrive::HEADER_BYTES;
use schemas::wire::{self, Malformed, Reader};
use schemas::{Offset, Partition};

const KEY: u8 = 1;
const VALUE: u8 = 2;
const ORIGIN: u8 = 4;
const HEADERS: u8 = 8;
const HELD: u8 = 16;
const FACT: u8 = 32;
const CANARY: u8 = HELD | FACT;
const OF_HELD: u8 = 64;
const REDRIVE: u8 = 128;
/// About what a copy's origin takes.
const ORIGIN_BYTES: usize = 24;

/// One record as a body holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) origin: Option<Origin>,
    pub(super) kind: Kind,
    pub(super) redrive: Option<&'a [u8]>,
    pub(super) trace: Option<&'a [u8]>,
}

/// What one append brings.
#[derive(Debug)]
pub(super) enum Payload {
    /// Events.
    Events(Chunk),
    /// The parts of one commit record.
    Parts(Vec<Vec<u8>>),
    /// Dead letters.
    DeadLetters(Vec<DeadLetterCopy>),
}

impl Payload {
    /// About how many bytes it takes in a body.
    pub(super) fn bytes(&self) -> usize {
        /// Flags and lengths of a record.
        const EACH: usize = 8;
        match self {
            Self::Events(chunk) => {
                let headers = header_bytes(chunk.headers());
                let redrive = chunk.redrive(0).map_or(0, |_| HEADER_BYTES);
                let origin = chunk.origin(0).map_or(0, |_| ORIGIN_BYTES);
                chunk.bytes() + chunk.len() * (EACH + headers + origin + redrive)
            }
            Self::Parts(parts) => parts.iter().map(|part| part.len() + EACH).sum(),
            Self::DeadLetters(copies) => copies.iter().map(dead_letter_bytes).sum(),
        }
    }

    /// Appends its records to a body and says how many they were.
    pub(super) fn encode(&self, body: &mut Vec<u8>) -> u32 {
        match self {
            Self::Events(chunk) => {
                let kind = match chunk.kind() {
                    Kind::Event => 0,
                    Kind::Held => HELD,
                    Kind::Fact => FACT,
                    Kind::Canary => CANARY,
                };
                let mut tail = Vec::new();
                let mut flags = kind | put_headers(&mut tail, (None, None), chunk.headers());
                for (index, bytes) in chunk.iter().enumerate() {
                    if let Some(origin) = chunk.origin(index) {
                        tail.clear();
                        let copied = (Some(origin), chunk.redrive(index));
                        flags = kind | put_headers(&mut tail, copied, chunk.headers());
                    }
                    let (key, value) = chunk.sent(index, bytes);
                    put(body, flags, key, value, &tail);
                }
                chunk.len() as u32
            }
            Self::Parts(parts) => {
                for part in parts {
                    put(body, 0, None, Some(part), &[]);
                }
                parts.len() as u32
            }
            Self::DeadLetters(copies) => {
                for copy in copies {
                    let mut tail = Vec::new();
                    let flags = put_headers(&mut tail, (None, None), &copy.headers);
                    put(
                        body,
                        flags,
                        Some(copy.key.as_bytes()),
                        copy.value.as_deref(),
                        &tail,
                    );
                }
                copies.len() as u32
            }
        }
    }
}

fn dead_letter_bytes(copy: &DeadLetterCopy) -> usize {
    16 + copy.key.len() + copy.value.as_ref().map_or(0, Vec::len) + header_bytes(&copy.headers)
}

fn header_bytes(headers: &[(String, Vec<u8>)]) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8)
        .sum()
}

fn put(body: &mut Vec<u8>, flags: u8, key: Option<&[u8]>, value: Option<&[u8]>, tail: &[u8]) {
    body.push(flags | key.map_or(0, |_| KEY) | value.map_or(0, |_| VALUE));
    for bytes in [key, value].into_iter().flatten() {
        wire::put_bytes(body, bytes);
    }
    body.extend_from_slice(tail);
}

/// Writes what stands behind a record's value and says its flags. A copy's origin is stored as numbers.
fn put_headers(
    tail: &mut Vec<u8>,
    (origin, redrive): (Option<Origin>, Option<&[u8]>),
    headers: &[(String, Vec<u8>)],
) -> u8 {
    let origin_of =
        |(name, value): &(String, Vec<u8>)| (name == ORIGIN_HEADER).then(|| Origin::decode(value)).flatten();
    let mut flags = 0;
    if let Some(origin) = origin.or_else(|| headers.iter().find_map(origin_of)) {
        flags |= ORIGIN | if origin.held { OF_HELD } else { 0 };
        wire::put_u64(tail, u64::from(origin.partition.0));
        wire::put_u64(tail, origin.offset.0);
        wire::put_i64(tail, origin.append_ms);
    }
    let named = headers.iter().find(|(name, _)| name == REDRIVE_HEADER);
    if let Some(redrive) = redrive.or(named.map(|(_, value)| value.as_slice())) {
        flags |= REDRIVE;
        wire::put_bytes(tail, redrive);
    }
    let is_other = |header: &&(String, Vec<u8>)| header.0 != REDRIVE_HEADER && origin_of(header).is_none();
    let others = || headers.iter().filter(is_other);
    let count = others().count();
    if count > 0 {
        flags |= HEADERS;
        wire::put_u64(tail, count as u64);
        for (name, value) in others() {
            wire::put_bytes(tail, name.as_bytes());
            wire::put_bytes(tail, value);
        }
    }
    flags
}

/// Reads the next record of a body.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Stored<'a>, Malformed> {
    let flags = reader.byte()?;
    let kind = match flags & (HELD | FACT) {
        0 => Kind::Event,
        HELD => Kind::Held,
        FACT => Kind::Fact,
        _ => Kind::Canary,
    };
    let key = if flags & KEY != 0 {
        Some(reader.bytes()?)
    } else {
        None
    };
    let value = if flags & VALUE != 0 {
        Some(reader.bytes()?)
    } else {
        None
    };
    let origin = if flags & ORIGIN != 0 {
        Some(read_origin(reader, flags & OF_HELD != 0)?)
    } else {
        None
    };
    let redrive = if flags & REDRIVE != 0 {
        Some(reader.bytes()?)
    } else {
        None
    };
    let mut trace = None;
    if flags & HEADERS != 0 {
        for _ in 0..reader.count(2)? {
            let (name, value) = (reader.bytes()?, reader.bytes()?);
            if name == TRACE_HEADER.as_bytes() {
                trace = Some(value);
            }
        }
    }
    Ok(Stored {
        key,
        value,
        origin,
        kind,
        redrive,
        trace,
    })
}

fn read_origin(reader: &mut Reader<'_>, held: bool) -> Result<Origin, Malformed> {
    Ok(Origin {
        partition: Partition(reader.u32()?),
        offset: Offset(reader.u64()?),
        append_ms: reader.i64()?,
        held,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_payload_is_read_as_it_was_written() {
        let origin = Origin {
            partition: Partition(2),
            offset: Offset(300),
            append_ms: -1,
            held: true,
        };
        let mut chunk = Chunk::new(Partition(0));
        chunk.push(b"key", b"value");
        chunk.set_headers(vec![
            ("other".into(), b"x".to_vec()),
            (ORIGIN_HEADER.into(), origin.encode()),
            (REDRIVE_HEADER.into(), b"redrive".to_vec()),
        ]);
        chunk.set_trace("trace".to_owned());
        let dead = DeadLetterCopy {
            key: "0/1".into(),
            value: None,
            headers: vec![("reason".into(), vec![])],
        };
        let mut copies = Chunk::new(Partition(0));
        copies.set_kind(Kind::Held);
        copies.push_copy(b"key", b"value", origin);
        copies.push_copy(
            b"key",
            b"value",
            Origin {
                held: false,
                offset: Offset(1),
                ..origin
            },
        );
        let mut redriven = Chunk::new(Partition(0));
        redriven.push_redrive(None, Some(b"value"), origin, b"redrive".to_vec());
        redriven.push_redrive(Some(b"key"), None, origin, b"another".to_vec());
        let payloads = [
            Payload::Events(redriven),
            Payload::Events(copies),
            Payload::Events(chunk),
            Payload::Parts(vec![b"part".to_vec()]),
            Payload::DeadLetters(vec![dead]),
        ];
        let mut body = Vec::new();
        let counts: Vec<u32> = payloads.iter().map(|payload| payload.encode(&mut body)).collect();
        assert_eq!(counts, [2, 2, 1, 1, 1]);
        assert!(body.len() <= payloads.iter().map(Payload::bytes).sum());

        let mut reader = Reader::new(&body, "body");
        let event = Stored {
            key: Some(b"key"),
            value: Some(b"value"),
            origin: Some(origin),
            kind: Kind::Event,
            redrive: Some(b"redrive"),
            trace: None,
        };
        let first = Stored { key: None, ..event };
        let second = Stored {
            value: None,
            redrive: Some(b"another"),
            ..event
        };
        assert_eq!(read(&mut reader).unwrap(), first);
        assert_eq!(read(&mut reader).unwrap(), second);
        let held = Stored {
            kind: Kind::Held,
            redrive: None,
            ..event
        };
        assert_eq!(read(&mut reader).unwrap(), held);
        let second = read(&mut reader).unwrap().origin.unwrap();
        assert_eq!((second.offset, second.held), (Offset(1), false));
        let traced = Stored {
            trace: Some(b"trace"),
            ..event
        };
        assert_eq!(read(&mut reader).unwrap(), traced);
        assert_eq!(
            read(&mut reader).unwrap(),
            Stored {
                key: None,
                value: Some(b"part"),
                origin: None,
                kind: Kind::Event,
                redrive: None,
                trace: None,
            }
        );
        assert_eq!(
            read(&mut reader).unwrap(),
            Stored {
                key: Some(b"0/1"),
                value: None,
                origin: None,
                kind: Kind::Event,
                redrive: None,
                trace: None,
            }
        );
        reader.finish().unwrap();
    }
}
