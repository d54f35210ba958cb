//! A frame: what one write and one fsync made durable, whole or not at all. All appends that came together are one frame,
//! so a frame is begun only when the one before it is durable; a frame behind a broken one therefore proves that
//! the broken one had been durable, and only a broken *last* frame may ever be cut.
//!
//! ```text
//! "TMF1" | body bytes u32 | records u32 | base offset u64 | append_ms i64 | body crc u32 | header crc u32 | body
//! ```
//! Numbers are little-endian. Both CRC-32s start from a salt of topic and partition: a frame of another file, or one that
//! a client wrote into an event, is never taken for ours.

use schemas::{Offset, Partition};
use uuid::Uuid;

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 36;
/// Largest body. A lane's commit record is one frame, and a lane bounds its batches far below this.
pub(super) const BODY_BYTES: usize = 256 * 1024 * 1024;
/// First bytes of a frame of layout 1.
pub(super) const MAGIC: &[u8; 4] = b"TMF1";
/// The header without its own checksum.
const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// What the checksums of one partition start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(u32);

impl Salt {
    /// The salt of a partition of a topic.
    pub(super) fn new(topic_id: Uuid, partition: Partition) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(topic_id.as_bytes());
        hasher.update(&partition.0.to_le_bytes());
        Self(hasher.finalize())
    }

    fn crc(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// What a frame says before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the body.
    pub(super) body_bytes: u32,
    /// How many records it holds; none in the mark that a clean close leaves.
    pub(super) records: u32,
    /// Offset of its first record; the others follow without a gap.
    pub(super) base: Offset,
    /// When its records were appended, in milliseconds; never below the frame before.
    pub(super) append_ms: i64,
    body_crc: u32,
}

impl Header {
    /// Reads a header; `None` if these bytes are not one of this partition.
    pub(super) fn decode(bytes: &[u8], salt: Salt) -> Option<Self> {
        let (checked, rest) = bytes.split_at_checked(CHECKED_BYTES)?;
        let header_crc = u32::from_le_bytes(*rest.first_chunk()?);
        let (magic, rest) = checked.split_first_chunk::<4>()?;
        if magic != MAGIC || salt.crc(checked) != header_crc {
            return None;
        }
        let (body_bytes, rest) = rest.split_first_chunk()?;
        let (records, rest) = rest.split_first_chunk()?;
        let (base, rest) = rest.split_first_chunk()?;
        let (append_ms, rest) = rest.split_first_chunk()?;
        let header = Self {
            body_bytes: u32::from_le_bytes(*body_bytes),
            records: u32::from_le_bytes(*records),
            base: Offset(u64::from_le_bytes(*base)),
            append_ms: i64::from_le_bytes(*append_ms),
            body_crc: u32::from_le_bytes(*rest.first_chunk()?),
        };
        (header.body_bytes as usize <= BODY_BYTES).then_some(header)
    }

    /// Whether `body` is the body that this header was written for.
    pub(super) fn fits(&self, body: &[u8], salt: Salt) -> bool {
        body.len() == self.body_bytes as usize && salt.crc(body) == self.body_crc
    }

    /// The offset behind its last record.
    pub(super) fn next(&self) -> Offset {
        Offset(self.base.0.saturating_add(u64::from(self.records)))
    }

    /// Bytes of header and body.
    pub(super) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }
}

/// Empties `frame` and leaves room for a header; the body is to be appended behind it.
pub(super) fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
}

/// Writes the header of the frame that [`begin`] began. The body must not be longer than [`BODY_BYTES`].
pub(super) fn seal(frame: &mut [u8], records: u32, base: Offset, append_ms: i64, salt: Salt) {
    let Some((header, body)) = frame.split_at_mut_checked(HEADER_BYTES) else {
        return;
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&records.to_le_bytes());
    bytes.extend_from_slice(&base.0.to_le_bytes());
    bytes.extend_from_slice(&append_ms.to_le_bytes());
    bytes.extend_from_slice(&salt.crc(body).to_le_bytes());
    let header_crc = salt.crc(&bytes);
    bytes.extend_from_slice(&header_crc.to_le_bytes());
    header.copy_from_slice(&bytes);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn frame(salt: Salt) -> Vec<u8> {
        let mut frame = Vec::new();
        begin(&mut frame);
        frame.extend_from_slice(b"some records");
        seal(&mut frame, 3, Offset(40), 7, salt);
        frame
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let salt = Salt::new(Uuid::from_u128(1), Partition(0));
        let frame = frame(salt);
        let header = Header::decode(&frame, salt).unwrap();
        assert_eq!(
            (header.base, header.next(), header.append_ms),
            (Offset(40), Offset(43), 7)
        );
        assert_eq!(header.frame_bytes() as usize, frame.len());
        assert!(header.fits(&frame[HEADER_BYTES..], salt));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let salt = Salt::new(Uuid::from_u128(1), Partition(0));
        let whole = frame(salt);
        for bit in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            let taken = Header::decode(&broken, salt)
                .is_some_and(|header| header.fits(&broken[HEADER_BYTES..], salt));
            assert!(!taken, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_partition_is_not_ours() {
        let frame = frame(Salt::new(Uuid::from_u128(1), Partition(0)));
        assert_eq!(
            Header::decode(&frame, Salt::new(Uuid::from_u128(1), Partition(1))),
            None
        );
    }
}
