//! A receipt: the log positions that a client's events got. A query can wait for it.
//!
//! Text: base64url without padding of `1 | topic id 16 | count x (partition, next offset) | crc32 u32`.

use crate::wire::{self, Reader};
use crate::{Offset, Partition};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

const VERSION: u8 = 1;
/// Longest text of a receipt, in bytes: room for all of 4,096 partitions.
const TEXT_LIMIT: usize = 64 * 1024;

/// Where a client's events lie: of each partition the next offset behind the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Id of the topic `events`.
    pub topic_id: Uuid,
    /// Next offsets by partition.
    pub next: BTreeMap<Partition, Offset>,
}

/// A text that is no receipt of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a receipt")]
pub struct NotAReceipt;

impl Receipt {
    /// A receipt for nothing yet.
    pub fn new(topic_id: Uuid) -> Self {
        Self {
            topic_id,
            next: BTreeMap::new(),
        }
    }

    /// Takes in that records of `partition` got offsets below `next`.
    pub fn extend(&mut self, partition: Partition, next: Offset) {
        let known = self.next.entry(partition).or_default();
        *known = next.max(*known);
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.topic_id.as_bytes());
        wire::put_u64(&mut bytes, self.next.len() as u64);
        for (partition, next) in &self.next {
            wire::put_u64(&mut bytes, u64::from(partition.0));
            wire::put_u64(&mut bytes, next.0);
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Receipt {
    type Err = NotAReceipt;

    fn from_str(text: &str) -> Result<Self, NotAReceipt> {
        if text.len() > TEXT_LIMIT {
            return Err(NotAReceipt);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAReceipt)?;
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(NotAReceipt)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(NotAReceipt);
        }
        read(body).map_err(|_| NotAReceipt)
    }
}

fn read(body: &[u8]) -> Result<Receipt, wire::Malformed> {
    let mut reader = Reader::new(body, "receipt");
    if reader.byte()? != VERSION {
        return Err(reader.malformed());
    }
    let mut receipt = Receipt::new(Uuid::from_bytes(reader.array()?));
    for _ in 0..reader.count(2)? {
        let partition = Partition(reader.u32()?);
        receipt.extend(partition, Offset(reader.u64()?));
    }
    reader.finish()?;
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_as_it_was_written_and_a_made_up_one_does_not() {
        let mut receipt = Receipt::new(Uuid::from_u128(7));
        receipt.extend(Partition(3), Offset(900));
        receipt.extend(Partition(3), Offset(20));
        let text = receipt.to_string();
        assert_eq!(text.parse(), Ok(receipt));
        for other in ["", "AAAA", &text[1..], &format!("{text}A")] {
            assert_eq!(other.parse::<Receipt>(), Err(NotAReceipt));
        }
    }
}
