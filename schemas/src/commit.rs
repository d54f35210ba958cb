//! The commit record: what one lane concluded about the offsets [from, to) of one source partition.
//!
//! It holds one entry for each counted event (what dedup remembers and what the views add up) and one exception for
//! each other outcome, so it says of every offset what became of it. The views' rows follow from it alone.
//!
//! Layout, version 1. A record is cut into parts that each fit the topic's limit; a part is
//! `version u8 | id 16 | prev 16 | part u16 | parts u16 | crc32 of all else u32 | chunk`, numbers little-endian, and the chunks put together are
//! ```text
//! generation fold_version partition from to leader_epoch lane max_append_ms rerouted_through ledger
//! types:     count x (tenant text, type text)
//! counted:   count x (offset delta, fingerprint 16, content 5, quarter and flag 3, type index, user text, amount)
//! exceptions: count x (offset delta, tag, ...)
//! ```
//! with varints as in [`crate::wire`]. An amount is 0 for none, else its zigzag + 1. A tag is 0 duplicate,
//! 1 rerouted (to), 16 + reason dead-lettered (accepted_ms, tenant, user, detail).

use crate::key::{ContentHash, Fingerprint};
use crate::wire::{self, Malformed, Reader};
use crate::{Amount, Ledger, Offset, Outcome, Partition, Quarter, Reason, limits};
use uuid::Uuid;

mod part;

pub use part::{Part, cut, cut_at};

/// The id of a batch: a random UUID. The nil id stands before the first record of a chain.
pub type BatchId = Uuid;

const TAG_DUPLICATE: u8 = 0;
const TAG_REROUTED: u8 = 1;
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
    /// Copies of all records rerouted before this next offset are known to be written.
    pub rerouted_through: Offset,
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

/// One counted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// Where it lies.
    pub offset: Offset,
    /// What dedup remembers.
    pub fresh: Fresh,
    /// Index into [`CommitRecord::types`].
    pub type_index: u32,
    /// Whose it is.
    pub user: &'a str,
    /// What it was worth.
    pub amount: Option<Amount>,
}

/// One record that was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception<'a> {
    /// Where it lies.
    pub offset: Offset,
    /// What became of it.
    pub fate: Fate<'a>,
}

/// What became of a record that was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// Counted before with the same content.
    Duplicate,
    /// A copy goes to this partition.
    Rerouted(Partition),
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
}

impl Fate<'_> {
    /// The outcome that this fate stands for.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Duplicate => Outcome::Duplicate,
            Self::Rerouted(_) => Outcome::Rerouted,
            Self::DeadLettered(refusal) => Outcome::DeadLettered(refusal.reason),
        }
    }
}

impl Fresh {
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

/// Collects a batch's conclusions as bytes while the fold goes along, in the order of offsets.
#[derive(Debug, Default)]
pub struct Entries {
    types: Vec<u8>,
    type_count: u32,
    counted: Vec<u8>,
    counted_count: u64,
    counted_last: u64,
    exceptions: Vec<u8>,
    exception_count: u64,
    exception_last: u64,
}

impl Entries {
    /// Adds an event type to the record's table and says its index.
    pub fn add_type(&mut self, tenant: &str, event_type: &str) -> u32 {
        wire::put_bytes(&mut self.types, tenant.as_bytes());
        wire::put_bytes(&mut self.types, event_type.as_bytes());
        self.type_count += 1;
        self.type_count - 1
    }

    /// Adds a counted event. Offsets must rise: what does not is refused when the record is read.
    pub fn add_counted(&mut self, counted: &Counted<'_>) {
        let out = &mut self.counted;
        wire::put_u64(out, counted.offset.0.saturating_sub(self.counted_last));
        out.extend_from_slice(&counted.fresh.to_bytes());
        wire::put_u64(out, u64::from(counted.type_index));
        wire::put_bytes(out, counted.user.as_bytes());
        let amount = counted.amount.map_or(0, |amount| {
            let value = amount.millionths();
            (((value << 1) ^ (value >> 63)) as u64) + 1
        });
        wire::put_u64(out, amount);
        self.counted_last = counted.offset.0;
        self.counted_count += 1;
    }

    /// Adds a record that was not counted. Offsets must rise. A long detail is cut.
    pub fn add_exception(&mut self, exception: &Exception<'_>) {
        let out = &mut self.exceptions;
        wire::put_u64(out, exception.offset.0.saturating_sub(self.exception_last));
        match exception.fate {
            Fate::Duplicate => out.push(TAG_DUPLICATE),
            Fate::Rerouted(to) => {
                out.push(TAG_REROUTED);
                wire::put_u64(out, u64::from(to.0));
            }
            Fate::DeadLettered(refusal) => {
                out.push(TAG_DEAD_LETTERED + refusal.reason as u8);
                wire::put_i64(out, refusal.accepted_ms);
                wire::put_bytes(out, prefix(refusal.tenant, limits::TENANT_BYTES).as_bytes());
                wire::put_bytes(out, prefix(refusal.user, limits::USER_BYTES).as_bytes());
                wire::put_bytes(out, prefix(refusal.detail, limits::DETAIL_BYTES).as_bytes());
            }
        }
        self.exception_last = exception.offset.0;
        self.exception_count += 1;
    }

    /// Bytes held so far.
    pub fn bytes(&self) -> usize {
        self.types.len() + self.counted.len() + self.exceptions.len()
    }

    /// The record's body.
    pub fn encode(&self, head: &Head) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + 256);
        head.encode(&mut out);
        wire::put_u64(&mut out, u64::from(self.type_count));
        out.extend_from_slice(&self.types);
        wire::put_u64(&mut out, self.counted_count);
        wire::put_bytes(&mut out, &self.counted);
        wire::put_u64(&mut out, self.exception_count);
        wire::put_bytes(&mut out, &self.exceptions);
        out
    }
}

/// The longest prefix of `text` that ends between characters and has at most `limit` bytes.
fn prefix(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
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
            ledger: read_ledger(reader)?,
        })
    }
}

/// Appends a ledger: five counts, then the number of reasons and a count for each.
pub(crate) fn put_ledger(out: &mut Vec<u8>, ledger: &Ledger) {
    for count in [
        ledger.records,
        ledger.copies,
        ledger.counted,
        ledger.duplicate,
        ledger.rerouted,
    ] {
        wire::put_u64(out, count);
    }
    wire::put_u64(out, ledger.dead_lettered.len() as u64);
    for count in ledger.dead_lettered {
        wire::put_u64(out, count);
    }
}

/// Reads a ledger. One with fewer reasons, written by an older release, has zeros for the others.
pub(crate) fn read_ledger(reader: &mut Reader<'_>) -> Result<Ledger, Malformed> {
    let mut ledger = Ledger {
        records: reader.u64()?,
        copies: reader.u64()?,
        counted: reader.u64()?,
        duplicate: reader.u64()?,
        rerouted: reader.u64()?,
        ..Ledger::default()
    };
    let reasons = reader.count(1)?;
    if reasons > ledger.dead_lettered.len() {
        return Err(reader.malformed());
    }
    for count in ledger.dead_lettered.iter_mut().take(reasons) {
        *count = reader.u64()?;
    }
    Ok(ledger)
}

/// A commit record put together from its parts.
#[derive(Clone, Debug)]
pub struct CommitRecord {
    /// All but the entries.
    pub head: Head,
    /// (tenant, event type), as entries refer to them.
    pub types: Vec<(String, String)>,
    /// How many events it counted.
    pub counted_count: u64,
    /// How many records it did not count.
    pub exception_count: u64,
    body: Vec<u8>,
    counted: std::ops::Range<usize>,
    exceptions: std::ops::Range<usize>,
}

impl CommitRecord {
    /// Reads a body. The entries are checked once here, so that reading them again cannot fail half-way.
    pub fn decode(body: Vec<u8>) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&body, "commit record");
        let head = Head::decode(&mut reader)?;
        let mut types = Vec::with_capacity(reader.clone().count(2)?);
        for _ in 0..reader.count(2)? {
            types.push((reader.text()?.to_owned(), reader.text()?.to_owned()));
        }
        let mut section = || -> Result<(u64, std::ops::Range<usize>), Malformed> {
            let count = reader.u64()?;
            let length = reader.bytes()?.len();
            let end = body.len() - reader.remaining();
            Ok((count, end - length..end))
        };
        let (counted_count, counted) = section()?;
        let (exception_count, exceptions) = section()?;
        reader.finish()?;
        let record = Self {
            head,
            types,
            counted_count,
            exception_count,
            body,
            counted,
            exceptions,
        };
        record.check()?;
        Ok(record)
    }

    /// The counted events, in the order of offsets.
    pub fn counted(&self) -> impl Iterator<Item = Counted<'_>> {
        let mut reader = Reader::new(
            self.body.get(self.counted.clone()).unwrap_or_default(),
            "counted entry",
        );
        let mut last = 0;
        std::iter::from_fn(move || read_counted(&mut reader, &mut last).ok())
    }

    /// The records that were not counted, in the order of offsets.
    pub fn exceptions(&self) -> impl Iterator<Item = Exception<'_>> {
        let mut reader = Reader::new(
            self.body.get(self.exceptions.clone()).unwrap_or_default(),
            "exception",
        );
        let mut last = 0;
        std::iter::from_fn(move || read_exception(&mut reader, &mut last).ok())
    }

    /// Entries lie in [from, to), rise, name known types, and are as many as was said, with nothing behind them.
    fn check(&self) -> Result<(), Malformed> {
        let section = |range: &std::ops::Range<usize>| {
            Reader::new(self.body.get(range.clone()).unwrap_or_default(), "commit record")
        };
        let malformed = || section(&(0..0)).malformed();
        let mut reader = section(&self.counted);
        let (mut last, mut before) = (0, None);
        for _ in 0..self.counted_count {
            let entry = read_counted(&mut reader, &mut last)?;
            if !self.follows(before, entry.offset) || entry.type_index as usize >= self.types.len() {
                return Err(malformed());
            }
            before = Some(entry.offset);
        }
        reader.finish()?;
        let mut reader = section(&self.exceptions);
        let (mut last, mut before) = (0, None);
        for _ in 0..self.exception_count {
            let exception = read_exception(&mut reader, &mut last)?;
            if !self.follows(before, exception.offset) {
                return Err(malformed());
            }
            before = Some(exception.offset);
        }
        reader.finish()
    }

    /// Whether an entry at `offset` may stand behind one at `before`: a record has one outcome.
    fn follows(&self, before: Option<Offset>, offset: Offset) -> bool {
        self.head.from <= offset && offset < self.head.to && before < Some(offset)
    }
}

fn read_counted<'a>(reader: &mut Reader<'a>, last: &mut u64) -> Result<Counted<'a>, Malformed> {
    let offset = last.saturating_add(reader.u64()?);
    *last = offset;
    let fresh = Fresh::from_bytes(&reader.array()?);
    let type_index = reader.u32()?;
    let user = reader.text()?;
    let amount = match reader.u64()?.checked_sub(1) {
        None => None,
        Some(raw) => {
            let value = ((raw >> 1) as i64) ^ -((raw & 1) as i64);
            Some(Amount::from_millionths(value).ok_or_else(|| reader.malformed())?)
        }
    };
    Ok(Counted {
        offset: Offset(offset),
        fresh,
        type_index,
        user,
        amount,
    })
}

fn read_exception<'a>(reader: &mut Reader<'a>, last: &mut u64) -> Result<Exception<'a>, Malformed> {
    let offset = last.saturating_add(reader.u64()?);
    *last = offset;
    let fate = match reader.byte()? {
        TAG_DUPLICATE => Fate::Duplicate,
        TAG_REROUTED => Fate::Rerouted(Partition(reader.u32()?)),
        tag => Fate::DeadLettered(Refusal {
            reason: Reason::from_number(tag.wrapping_sub(TAG_DEAD_LETTERED))
                .ok_or_else(|| reader.malformed())?,
            accepted_ms: reader.i64()?,
            tenant: reader.text()?,
            user: reader.text()?,
            detail: reader.text()?,
        }),
    };
    Ok(Exception {
        offset: Offset(offset),
        fate,
    })
}
