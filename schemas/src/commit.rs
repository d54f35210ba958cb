//! The commit record: what one lane concluded about the offsets [from, to) of one source partition.
//!
//! It holds one entry for each counted event (what dedup remembers and what the views add up) and one exception for
//! each other outcome, so it says of every offset what became of it. The views' rows follow from it alone.
//!
//! Layout, version 1. A record is cut into parts that each fit the topic's limit; a part is
//! `version u8 | id 16 | prev 16 | part u16 | parts u16 | crc32 of all else u32 | chunk`, numbers little-endian, and the chunks put together are
//! ```text
//! generation fold_version partition from to leader_epoch lane max_append_ms rerouted_through released_through ledger
//! types:     count x (tenant text, type text)
//! uploads:   count x (tenant text, id 16)
//! counted:   count x (offset delta, fingerprint 16, content 5, quarter and flag 3, type index, user text, amount, source)
//! exceptions: count x (offset delta, tag, ..., source)
//! redrives:  count x (offset delta of the copy, partition, offset and accepted_ms of the dead letter, tenant text, who text, at_ms, edited u8)
//! ```
//! with varints as in [`crate::wire`]. An amount is 0 for none, else its zigzag + 1. A tag is 0 duplicate,
//! 1 rerouted (to), 2 repeated, 3 held, 4 noted (bytes), 16 + reason dead-lettered (accepted_ms, tenant, user, detail, row + 1).
//! A source is 0 for none, else 1 + 2 x upload index + 1 for a copy, and behind that of a copy the offset of its original.

use crate::key::{ContentHash, Fingerprint};
use crate::wire::{self, Malformed, Reader};
use crate::{Amount, Ledger, Offset, Outcome, Partition, Quarter, Reason};
use uuid::Uuid;

mod part;
mod entries;
mod ledger;
mod record;

pub use entries::{Entries, prefix};
pub(crate) use ledger::{put_ledger, read_ledger};
pub use part::{Part, cut, cut_at};
pub use record::CommitRecord;

/// The id of a batch: a random UUID. The nil id stands before the first record of a chain.
pub type BatchId = Uuid;

/// Where a commit record of the chain lies: enough to go on from it, forwards or backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Link {
    /// Offset of its last part on the changelog.
    pub changelog: Offset,
    /// Its id.
    pub id: BatchId,
}

const TAG_DUPLICATE: u8 = 0;
const TAG_REROUTED: u8 = 1;
const TAG_REPEATED: u8 = 2;
const TAG_HELD: u8 = 3;
const TAG_NOTED: u8 = 4;
const TAG_DEAD_LETTERED: u8 = 16;

/// What a commit record says apart from its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The generation this belongs to.
    pub generation: u32,
    /// The version of the fold that made it.
    pub fold_version: u32,
    /// The source partition.
    pub partition: Partition,
    /// First offset concluded.
    pub from: Offset,
    /// Next offset behind the last one concluded.
    pub to: Offset,
    /// Leader epoch of the last record, -1 where unknown.
    pub leader_epoch: i32,
    /// Which lane wrote this, for people.
    pub lane: String,
    /// The newest append time up to `to`, in milliseconds; a running maximum.
    pub max_append_ms: i64,
    /// What all records before this next offset called for is known to be written: copies of rerouted records, copies of
    /// released ones, and what other partitions had to be told.
    pub rerouted_through: Offset,
    /// Held records before this next offset are known to be copied, of the first release behind `rerouted_through`.
    pub released_through: Offset,
    /// Totals of the partition from its first offset up to `to`.
    pub ledger: Ledger,
}

/// What dedup remembers of a counted event: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Hash of tenant and key.
    pub fingerprint: Fingerprint,
    /// Hash of the content.
    pub content: ContentHash,
    /// Where it was counted.
    pub quarter: Quarter,
    /// Whether it was taken back since.
    pub reversed: bool,
}

/// Where a record came from, beside its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Index into [`CommitRecord::uploads`].
    pub upload_index: u32,
    /// Offset of the held record that this is a copy of; that one has no other copy that counts.
    pub copy_of: Option<Offset>,
}

/// One event that changed the counts: it was counted, or, where `fresh.reversed`, it took back one that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// Where it lies.
    pub offset: Offset,
    /// What dedup remembers from here on.
    pub fresh: Fresh,
    /// Index into [`CommitRecord::types`].
    pub type_index: u32,
    /// Whose it is.
    pub user: &'a str,
    /// What it was worth.
    pub amount: Option<Amount>,
    /// The upload that it came in.
    pub source: Option<Source>,
}

/// One record that was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception<'a> {
    /// Where it lies.
    pub offset: Offset,
    /// What became of it.
    pub fate: Fate<'a>,
    /// The upload that it came in.
    pub source: Option<Source>,
}

/// What became of a record that was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// Counted before with the same content.
    Duplicate,
    /// A copy goes to this partition.
    Rerouted(Partition),
    /// Another copy of the same held record was taken before.
    Repeated,
    /// A copy follows when its upload is released.
    Held,
    /// A fact of an upload: its bytes, empty where they are to be read from `events`. Or a canary: empty, and of no upload.
    Noted(&'a [u8]),
    /// Refused for good.
    DeadLettered(Refusal<'a>),
}

/// Why and whose a dead letter is. Its bytes stay on `events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: Reason,
    /// When the log took it, in milliseconds.
    pub accepted_ms: i64,
    /// Its tenant, empty where none could be read: then it is the operator's.
    pub tenant: &'a str,
    /// Its user, empty where none could be read.
    pub user: &'a str,
    /// What is wrong with it, for people.
    pub detail: &'a str,
    /// Its row in its upload.
    pub row: Option<u64>,
}

impl Fate<'_> {
    /// The outcome that this fate stands for.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Duplicate => Outcome::Duplicate,
            Self::Rerouted(_) => Outcome::Rerouted,
            Self::Repeated => Outcome::Repeated,
            Self::Held => Outcome::Held,
            Self::Noted(_) => Outcome::Noted,
            Self::DeadLettered(refusal) => Outcome::DeadLettered(refusal.reason),
        }
    }
}

impl Fresh {
    /// What is remembered of a held record's copy, or of a dead letter's, so that no other counts.
    pub fn of_copy(fingerprint: Fingerprint) -> Self {
        Self {
            fingerprint,
            content: ContentHash::from_low_bits(0),
            quarter: Quarter(0),
            reversed: false,
        }
    }

    /// Bytes of an entry.
    pub const BYTES: usize = 24;

    /// The entry's bytes: fingerprint, content hash, quarter-hour and flag, all little-endian.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (fingerprint, rest) = bytes.split_at_mut(16);
        fingerprint.copy_from_slice(&self.fingerprint.0.to_le_bytes());
        // 40 bits of content, 23 of quarter-hour and the flag make one u64.
        let rest_bits = self.content.bits()
            | (u64::from(self.quarter.0) & 0x7f_ffff) << 40
            | u64::from(self.reversed) << 63;
        rest.copy_from_slice(&rest_bits.to_le_bytes());
        bytes
    }

    /// The entry of its bytes.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut fingerprint = [0; 16];
        let mut rest = [0; 8];
        let (first, second) = bytes.split_at(16);
        fingerprint.copy_from_slice(first);
        rest.copy_from_slice(second);
        let rest = u64::from_le_bytes(rest);
        Self {
            fingerprint: Fingerprint(u128::from_le_bytes(fingerprint)),
            content: ContentHash::from_low_bits(rest),
            quarter: Quarter((rest >> 40) as u32 & 0x7f_ffff),
            reversed: rest >> 63 == 1,
        }
    }
}

impl Head {
    fn encode(&self, out: &mut Vec<u8>) {
        let ledger = &self.ledger;
        wire::put_u64(out, u64::from(self.generation));
        wire::put_u64(out, u64::from(self.fold_version));
        wire::put_u64(out, u64::from(self.partition.0));
        wire::put_u64(out, self.from.0);
        wire::put_u64(out, self.to.0);
        wire::put_i64(out, i64::from(self.leader_epoch));
        wire::put_bytes(out, self.lane.as_bytes());
        wire::put_i64(out, self.max_append_ms);
        wire::put_u64(out, self.rerouted_through.0);
        wire::put_u64(out, self.released_through.0);
        put_ledger(out, ledger);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            generation: reader.u32()?,
            fold_version: reader.u32()?,
            partition: Partition(reader.u32()?),
            from: Offset(reader.u64()?),
            to: Offset(reader.u64()?),
            leader_epoch: i32::try_from(reader.i64()?).map_err(|_| reader.malformed())?,
            lane: reader.text()?.to_owned(),
            max_append_ms: reader.i64()?,
            rerouted_through: Offset(reader.u64()?),
            released_through: Offset(reader.u64()?),
            ledger: read_ledger(reader)?,
        })
    }
}
