//! A commit record's parts: what one record of the changelog holds. A record holds only when all its parts are
//! there, unbroken; a part carries a checksum over all else in it, since a bit that flips in a count or in the id of the
//! record before would be silently wrong.

use super::BatchId;
use crate::limits::COMMIT_PART_BYTES;
use crate::wire::{Malformed, Reader};
use uuid::Uuid;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 41;

/// One part of a commit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The batch.
    pub id: BatchId,
    /// The record before it on the chain; nil for the first.
    pub prev: BatchId,
    /// Which part this is, from 0.
    pub index: u16,
    /// How many parts there are.
    pub count: u16,
    /// This part's piece of the body.
    pub chunk: &'a [u8],
}

/// Cuts a body into the parts that go on the changelog, in order.
pub fn cut(id: BatchId, prev: BatchId, body: &[u8]) -> Vec<Vec<u8>> {
    cut_at(id, prev, body, COMMIT_PART_BYTES - HEADER_BYTES)
}

/// Cuts a body into parts whose chunks hold at most `chunk_bytes`.
pub fn cut_at(id: BatchId, prev: BatchId, body: &[u8], chunk_bytes: usize) -> Vec<Vec<u8>> {
    let chunks: Vec<&[u8]> = if body.is_empty() {
        vec![body]
    } else {
        body.chunks(chunk_bytes.max(1)).collect()
    };
    // A lane bounds a batch far below 65,535 parts of 900 KB.
    let count = chunks.len() as u16;
    let part = |(index, chunk): (usize, &&[u8])| {
        let mut out = Vec::with_capacity(HEADER_BYTES + chunk.len());
        out.push(VERSION);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(prev.as_bytes());
        out.extend_from_slice(&(index as u16).to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&checksum(&out, chunk).to_le_bytes());
        out.extend_from_slice(chunk);
        out
    };
    chunks.iter().enumerate().map(part).collect()
}

/// CRC-32 of what stands before the checksum and of what stands behind it.
fn checksum(before: &[u8], chunk: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(before);
    hasher.update(chunk);
    hasher.finalize()
}

impl<'a> Part<'a> {
    /// Reads a part.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "part of a commit record");
        if reader.byte()? != VERSION {
            return Err(reader.malformed());
        }
        let id = Uuid::from_bytes(reader.array()?);
        let prev = Uuid::from_bytes(reader.array()?);
        let index = u16::from_le_bytes(reader.array()?);
        let count = u16::from_le_bytes(reader.array()?);
        let (before, _) = bytes.split_at(bytes.len() - reader.remaining());
        let expected = u32::from_le_bytes(reader.array()?);
        let chunk = reader.take(reader.remaining())?;
        if index >= count || checksum(before, chunk) != expected {
            return Err(reader.malformed());
        }
        Ok(Self {
            id,
            prev,
            index,
            count,
            chunk,
        })
    }
}
