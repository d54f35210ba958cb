//! Where a page of dead letters ended, as a text that a client hands back and need not understand.
//!
//! Text: base64url without padding of `1 | accepted_ms i64 | partition u32 | offset u64 | crc32 u32`, all big-endian.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::{Offset, Partition};

const VERSION: u8 = 1;
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

    /// As the store wants it.
    pub(crate) fn key(self) -> (i64, Partition, Offset) {
        (self.accepted_ms, self.partition, self.offset)
    }

    pub(crate) fn encode(self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.accepted_ms.to_be_bytes());
        bytes.extend_from_slice(&self.partition.0.to_be_bytes());
        bytes.extend_from_slice(&self.offset.0.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor; `None` for any text that is none of ours.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes: [u8; 25] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        let (version, rest) = body.split_first()?;
        let (accepted_ms, rest) = rest.split_first_chunk::<8>()?;
        let (partition, rest) = rest.split_first_chunk::<4>()?;
        let offset = rest.first_chunk::<8>()?;
        let is_ours = *version == VERSION && crc32fast::hash(body) == u32::from_be_bytes(*checksum);
        let position = Self {
            accepted_ms: i64::from_be_bytes(*accepted_ms),
            partition: Partition(u32::from_be_bytes(*partition)),
            offset: Offset(u64::from_be_bytes(*offset)),
        };
        let is_storable = position.partition <= LAST.0 && position.offset <= LAST.1;
        (is_ours && is_storable).then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_a_made_up_one_does_not() {
        let position = Position {
            accepted_ms: 1_700_000_000_123,
            partition: Partition(3),
            offset: Offset(77),
        };
        let text = position.encode();
        assert_eq!(Position::decode(&text), Some(position));
        let last = Position::before(0);
        assert_eq!(Position::decode(&last.encode()), Some(last));
        let beyond = Position {
            offset: Offset(u64::MAX),
            ..position
        };
        let other = format!("B{}", text.get(1..).unwrap_or_default());
        for made_up in ["", "AAAA", &other, &format!("{text}A"), &beyond.encode()] {
            assert_eq!(Position::decode(made_up), None, "{made_up}");
        }
    }
}
