//! The rows of the views: their keys, and the progress that stands beside them in every view's own table, so that a
//! table that was emptied says so itself and is never taken for one that holds zeros.

use crate::commit::{BatchId, put_ledger, read_ledger};
use crate::wire::{self, Malformed, Reader};
use crate::{Day, Ledger, Offset, Partition, Reason};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use uuid::Uuid;

const VERSION: u8 = 1;

/// A materialized view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// Counts and sums per day and type.
    Days,
    /// Counts and sums per user, day and type.
    Users,
    /// What was refused.
    DeadLetters,
    /// Facts and ledgers of uploads.
    Uploads,
    /// Distinct users per day and type.
    Distinct,
    /// How far each source partition is, and its ledger.
    Progress,
}

impl View {
    /// All views, in the order in which their progress is written: `Progress` last, so that it never runs ahead.
    pub const ALL: [Self; 6] = [
        Self::Days,
        Self::Users,
        Self::DeadLetters,
        Self::Uploads,
        Self::Distinct,
        Self::Progress,
    ];

    /// The name of the view's table, without the generation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Days => "days",
            Self::Users => "users",
            Self::DeadLetters => "dead_letters",
            Self::Uploads => "uploads",
            Self::Distinct => "distinct_users",
            Self::Progress => "progress",
        }
    }
}

/// Which row of a view, apart from the source partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowKey {
    /// A row of [`View::Days`].
    Day {
        /// Whose.
        tenant: String,
        /// UTC day.
        day: Day,
        /// Event type.
        event_type: String,
    },
    /// A row of [`View::Users`].
    User {
        /// Whose.
        tenant: String,
        /// The user.
        user: String,
        /// UTC day.
        day: Day,
    },
    /// A row of [`View::DeadLetters`].
    DeadLetter {
        /// Whose; empty where none could be read.
        tenant: String,
        /// UTC day of its acceptance.
        day: Day,
        /// When the log took it, in milliseconds.
        accepted_ms: i64,
        /// Where it lies on `events`.
        offset: Offset,
    },
    /// Another row of [`View::DeadLetters`]: what became of a redriven copy of a dead letter. The row's partition is that of the copy.
    Redrive {
        /// The tenant of the dead letter; empty where none could be read.
        tenant: String,
        /// UTC day of the dead letter's acceptance.
        day: Day,
        /// When the log took the dead letter, in milliseconds.
        accepted_ms: i64,
        /// Partition of the dead letter.
        letter: Partition,
        /// Where the dead letter lies in it.
        offset: Offset,
        /// Where the copy lies, in the row's partition.
        copy: Offset,
    },
    /// A row of [`View::Uploads`].
    Upload {
        /// Whose.
        tenant: String,
        /// UTC day of the upload: [`crate::upload::day`] of its id.
        day: Day,
        /// The upload.
        upload: Uuid,
        /// Where a fact of it lies on `events`; none for its ledger.
        fact: Option<Offset>,
    },
    /// A row of [`View::Distinct`].
    Distinct {
        /// Whose.
        tenant: String,
        /// UTC day.
        day: Day,
        /// Event type.
        event_type: String,
    },
}

impl RowKey {
    /// The view of this row.
    pub fn view(&self) -> View {
        match self {
            Self::Day { .. } => View::Days,
            Self::User { .. } => View::Users,
            Self::DeadLetter { .. } | Self::Redrive { .. } => View::DeadLetters,
            Self::Upload { .. } => View::Uploads,
            Self::Distinct { .. } => View::Distinct,
        }
    }
}

/// One source partition's partial of a row, as a store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which row.
    pub key: RowKey,
    /// The source partition whose partial this is.
    pub partition: Partition,
    /// `to` of the commit record that last changed it: the stamp under which a store keeps the newest.
    pub version: Offset,
    /// The partial's bytes: [`crate::partial`], [`crate::distinct`], a [`DeadLetter`], or a [`crate::redrive::Try`].
    pub value: Vec<u8>,
}

/// The place of a row among those of [`View::DeadLetters`] of one tenant and day, in their order: a dead letter, and behind it the tries to
/// redrive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterPlace {
    /// When the log took the dead letter, in milliseconds.
    pub accepted_ms: i64,
    /// Partition of the dead letter.
    pub partition: Partition,
    /// Where it lies in it.
    pub offset: Offset,
    /// Where a redriven copy lies; none for the dead letter itself.
    pub copy: Option<(Partition, Offset)>,
}

impl LetterPlace {
    /// Behind the dead letter at this place and all tries to redrive it.
    pub fn behind_all(self) -> Self {
        Self {
            copy: Some((Partition(u32::MAX), Offset(u64::MAX))),
            ..self
        }
    }

    /// The place of a row; none where it is of another view.
    pub fn of(row: &Row) -> Option<Self> {
        match row.key {
            RowKey::DeadLetter {
                accepted_ms, offset, ..
            } => Some(Self {
                accepted_ms,
                partition: row.partition,
                offset,
                copy: None,
            }),
            RowKey::Redrive {
                accepted_ms,
                letter,
                offset,
                copy,
                ..
            } => Some(Self {
                accepted_ms,
                partition: letter,
                offset,
                copy: Some((row.partition, copy)),
            }),
            RowKey::Day { .. } | RowKey::User { .. } | RowKey::Upload { .. } | RowKey::Distinct { .. } => {
                None
            }
        }
    }
}

/// What a row of [`View::DeadLetters`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why.
    pub reason: Reason,
    /// Its user, empty where none could be read.
    pub user: String,
    /// What is wrong with it, for people.
    pub detail: String,
    /// The upload that it came in, and its row there.
    pub upload: Option<(Uuid, u64)>,
}

impl DeadLetter {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.reason as u8];
        wire::put_bytes(&mut out, self.user.as_bytes());
        wire::put_bytes(&mut out, self.detail.as_bytes());
        match self.upload {
            None => out.push(0),
            Some((upload, row)) => {
                out.push(1);
                out.extend_from_slice(upload.as_bytes());
                wire::put_u64(&mut out, row);
            }
        }
        out
    }

    /// Reads the row's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "dead letter row");
        if reader.byte()? != VERSION {
            return Err(reader.malformed());
        }
        let reason = Reason::from_number(reader.byte()?).ok_or_else(|| reader.malformed())?;
        let row = Self {
            reason,
            user: reader.text()?.to_owned(),
            detail: reader.text()?.to_owned(),
            upload: match reader.byte()? {
                0 => None,
                1 => Some((Uuid::from_bytes(reader.array()?), reader.u64()?)),
                _ => return Err(reader.malformed()),
            },
        };
        reader.finish()?;
        Ok(row)
    }
}

/// What a ledger row of [`View::Uploads`] holds: one source partition's outcomes of an upload's records.
pub fn encode_upload_ledger(ledger: &Ledger) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_ledger(&mut out, ledger);
    out
}

/// Reads the bytes of a ledger row.
pub fn decode_upload_ledger(bytes: &[u8]) -> Result<Ledger, Malformed> {
    let mut reader = Reader::new(bytes, "ledger of an upload");
    if reader.byte()? != VERSION {
        return Err(reader.malformed());
    }
    let ledger = read_ledger(&mut reader)?;
    reader.finish()?;
    Ok(ledger)
}

/// How far a view reflects one source partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Next offset on `events`.
    pub next: Offset,
    /// Next offset on the changelog, from where a projector goes on.
    pub changelog: Offset,
    /// The last applied record of the chain.
    pub chain: BatchId,
    /// The newest append time, in milliseconds.
    pub max_append_ms: i64,
    /// Which life of the view's table this belongs to: a table that was emptied begins another.
    pub birth: Uuid,
    /// First and last UTC day with a counted event.
    pub days: Option<(Day, Day)>,
    /// Totals up to `next`.
    pub ledger: Ledger,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            next: Offset(0),
            changelog: Offset(0),
            chain: Uuid::nil(),
            max_append_ms: 0,
            birth: Uuid::nil(),
            days: None,
            ledger: Ledger::default(),
        }
    }
}

impl Progress {
    /// The bytes of a progress row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        wire::put_u64(&mut out, self.next.0);
        wire::put_u64(&mut out, self.changelog.0);
        out.extend_from_slice(self.chain.as_bytes());
        wire::put_i64(&mut out, self.max_append_ms);
        out.extend_from_slice(self.birth.as_bytes());
        let (first, behind) = self
            .days
            .map_or((0, 0), |(first, last)| (first.0, last.0.saturating_add(1)));
        wire::put_u64(&mut out, u64::from(first));
        wire::put_u64(&mut out, u64::from(behind));
        put_ledger(&mut out, &self.ledger);
        out
    }

    /// Reads a progress row.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "progress row");
        if reader.byte()? != VERSION {
            return Err(reader.malformed());
        }
        let progress = Self {
            next: Offset(reader.u64()?),
            changelog: Offset(reader.u64()?),
            chain: Uuid::from_bytes(reader.array()?),
            max_append_ms: reader.i64()?,
            birth: Uuid::from_bytes(reader.array()?),
            days: {
                let (first, behind) = (reader.u32()?, reader.u32()?);
                behind.checked_sub(1).map(|last| (Day(first), Day(last)))
            },
            ledger: read_ledger(&mut reader)?,
        };
        reader.finish()?;
        Ok(progress)
    }
}

/// The bucket of a user's rows: SipHash-1-3 without a key, modulo the generation's number of buckets.
pub fn user_bucket(tenant: &str, user: &str, buckets: u32) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(&(tenant.len() as u64).to_le_bytes());
    hasher.write(tenant.as_bytes());
    hasher.write(user.as_bytes());
    // Below `buckets` by the remainder, so it fits.
    (hasher.finish() % u64::from(buckets.max(1))) as u32
}
