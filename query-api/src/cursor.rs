//! Where a page ended, as a text that a client hands back and need not understand. It says of which question it is: a cursor
//! of another question would go on somewhere in the middle and leave out what is before it.
//!
//! Text: base64url without padding of `2 | question 8 | place | crc32 u32`, numbers big-endian. The place is `accepted_ms i64 |
//! partition u32 | offset u64` of a dead letter, the id of an upload, or `start i64 | event type` of a line by bucket.

use crate::digest::Digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::row::LetterPlace;
use schemas::{Offset, Partition};
use service::http::Problem;
use uuid::Uuid;

const VERSION: u8 = 2;
/// Bytes of the question's hash.
const QUESTION_BYTES: usize = 8;
/// What stands behind every partition and every offset of a millisecond, in the number range of each store.
const LAST: (Partition, Offset) = (Partition(i32::MAX as u32), Offset(i64::MAX as u64));

/// A place in the order of dead letters: when the log took it, its partition and its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) accepted_ms: i64,
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
}

impl Position {
    /// The place before all that the log took at a millisecond or later.
    pub(crate) fn before(accepted_ms: i64) -> Self {
        let (partition, offset) = LAST;
        Self {
            accepted_ms: accepted_ms.saturating_sub(1),
            partition,
            offset,
        }
    }

    /// The place of a row, or of the letter that it is a try for.
    pub(crate) fn of(place: LetterPlace) -> Self {
        Self {
            accepted_ms: place.accepted_ms,
            partition: place.partition,
            offset: place.offset,
        }
    }

    /// As the store wants it.
    pub(crate) fn place(self) -> LetterPlace {
        LetterPlace {
            accepted_ms: self.accepted_ms,
            partition: self.partition,
            offset: self.offset,
            copy: None,
        }
    }

    /// The last place before this one.
    pub(crate) fn just_before(self) -> Self {
        match (self.partition.0.checked_sub(1), self.offset.0.checked_sub(1)) {
            (_, Some(offset)) => Self {
                offset: Offset(offset),
                ..self
            },
            (Some(partition), None) => Self {
                accepted_ms: self.accepted_ms,
                partition: Partition(partition),
                ..Self::before(self.accepted_ms)
            },
            (None, None) => Self::before(self.accepted_ms),
        }
    }

    /// The cursor of this place in the answer to `question`.
    pub(crate) fn encode(self, question: &Digest) -> String {
        let mut place = self.accepted_ms.to_be_bytes().to_vec();
        place.extend_from_slice(&self.partition.0.to_be_bytes());
        place.extend_from_slice(&self.offset.0.to_be_bytes());
        encode(question, &place)
    }

    /// Reads a cursor of `question`.
    ///
    /// Errors: 400 `cursor_invalid`, 400 `cursor_of_another_query`.
    pub(crate) fn decode(text: &str, question: &Digest) -> Result<Self, Problem> {
        let place = decode(text, question)?;
        let place: [u8; 20] = place.try_into().map_err(|_| no_cursor())?;
        let (accepted_ms, rest) = place.split_first_chunk::<8>().ok_or_else(no_cursor)?;
        let (partition, rest) = rest.split_first_chunk::<4>().ok_or_else(no_cursor)?;
        let offset = rest.first_chunk::<8>().ok_or_else(no_cursor)?;
        let position = Self {
            accepted_ms: i64::from_be_bytes(*accepted_ms),
            partition: Partition(u32::from_be_bytes(*partition)),
            offset: Offset(u64::from_be_bytes(*offset)),
        };
        let is_storable = position.partition <= LAST.0 && position.offset <= LAST.1;
        is_storable.then_some(position).ok_or_else(no_cursor)
    }
}

/// A place in the order of lines by bucket and type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The quarter-hour since 1970 with which the bucket begins.
    pub(crate) start: i64,
    /// The type.
    pub(crate) event_type: String,
}

impl Place {
    /// The cursor of this place in the answer to `question`.
    pub(crate) fn encode(&self, question: &Digest) -> String {
        let mut place = self.start.to_be_bytes().to_vec();
        place.extend_from_slice(self.event_type.as_bytes());
        encode(question, &place)
    }

    /// Reads a cursor of `question`.
    ///
    /// Errors: 400 `cursor_invalid`, 400 `cursor_of_another_query`.
    pub(crate) fn decode(text: &str, question: &Digest) -> Result<Self, Problem> {
        let place = decode(text, question)?;
        let (start, event_type) = place.split_first_chunk::<8>().ok_or_else(no_cursor)?;
        Ok(Self {
            start: i64::from_be_bytes(*start),
            event_type: String::from_utf8(event_type.to_vec()).map_err(|_| no_cursor())?,
        })
    }
}

/// The cursor of an upload in the answer to `question`.
pub(crate) fn encode_upload(upload: Uuid, question: &Digest) -> String {
    encode(question, upload.as_bytes())
}

/// Reads a cursor of `question`.
///
/// Errors: 400 `cursor_invalid`, 400 `cursor_of_another_query`.
pub(crate) fn decode_upload(text: &str, question: &Digest) -> Result<Uuid, Problem> {
    let place = decode(text, question)?;
    Uuid::from_slice(&place).map_err(|_| no_cursor())
}

/// The cursor of a place in the answer to `question`.
pub(crate) fn encode(question: &Digest, place: &[u8]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&question.bytes::<QUESTION_BYTES>());
    bytes.extend_from_slice(place);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor of `question`: the bytes of its place.
///
/// Errors: 400 `cursor_invalid`, 400 `cursor_of_another_query`.
pub(crate) fn decode(text: &str, question: &Digest) -> Result<Vec<u8>, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| no_cursor())?;
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or_else(no_cursor)?;
    let (version, rest) = body.split_first().ok_or_else(no_cursor)?;
    let (asked, place) = rest.split_first_chunk::<QUESTION_BYTES>().ok_or_else(no_cursor)?;
    if *version != VERSION || crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return Err(no_cursor());
    }
    match *asked == question.bytes::<QUESTION_BYTES>() {
        true => Ok(place.to_vec()),
        false => Err(
            Problem::bad_request("cursor_of_another_query", "The cursor is of another query")
                .detail("only limit, after and wait may change from page to page")
                .with("parameter", "cursor"),
        ),
    }
}

/// 400 `cursor_invalid`.
pub(crate) fn no_cursor() -> Problem {
    Problem::bad_request("cursor_invalid", "This is not a cursor")
        .detail("cursor must be a next_cursor of an earlier page")
        .with("parameter", "cursor")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_a_made_up_one_does_not() {
        let question = Digest::of("this");
        let position = Position {
            accepted_ms: 1_700_000_000_123,
            partition: Partition(3),
            offset: Offset(77),
        };
        let text = position.encode(&question);
        assert_eq!(Position::decode(&text, &question).unwrap(), position);
        let last = Position::before(0);
        assert_eq!(
            Position::decode(&last.encode(&question), &question).unwrap(),
            last
        );
        let beyond = Position {
            offset: Offset(u64::MAX),
            ..position
        };
        let other = format!("B{}", text.get(1..).unwrap_or_default());
        for made_up in [
            "",
            "AAAA",
            &other,
            &format!("{text}A"),
            &beyond.encode(&question),
            &encode(&question, b"short"),
        ] {
            let code = Position::decode(made_up, &question).unwrap_err();
            assert_eq!(code.code(), "cursor_invalid", "{made_up}");
        }
    }

    #[test]
    fn a_cursor_of_another_query_is_told_from_one_that_is_none() {
        let (this, other) = (Digest::of("this"), Digest::of("other"));
        let place = Place {
            start: -4,
            event_type: "ü, \"x\"".to_owned(),
        };
        let text = place.encode(&this);
        assert_eq!(Place::decode(&text, &this).unwrap(), place);
        assert_eq!(
            Place::decode(&text, &other).unwrap_err().code(),
            "cursor_of_another_query"
        );
        assert_eq!(
            Place::decode(&encode(&this, b"short"), &this).unwrap_err().code(),
            "cursor_invalid"
        );
        let broken = encode(&this, b"12345678\xff");
        assert_eq!(
            Place::decode(&broken, &this).unwrap_err().code(),
            "cursor_invalid"
        );
    }
}
