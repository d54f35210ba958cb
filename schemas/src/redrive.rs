//! Redrives: a dead letter's bytes, or a mended event in its place, put back on `events`. The copy names its origin as every copy does,
//! and in the header `tidemark-redrive` it says whose letter it is a try of, and who tried.
//!
//! Whoever may write the topic may write that header too. So it is bounded, what cannot be read is no redrive, and nothing is counted
//! because of it: a redriven copy is decided like any event.
//!
//! Layout of the header, version 1, varints as in [`crate::wire`]: `1 | tenant text | who text | at_ms | edited u8`. That of the value of a row:
//! `1 | outcome u8 | detail text | who text | at_ms | edited u8`, where an outcome is 0 duplicate, 2 repeated, 5 counted, 6 reversed,
//! 16 + reason dead-lettered.

use crate::event::check_tenant;
use crate::wire::{self, Malformed, Reader};
use crate::{Offset, Outcome, Partition, Reason};

const VERSION: u8 = 1;

/// Largest name of who redrives, in bytes: ids of keys are shorter.
pub const WHO_BYTES: usize = 64;
/// Largest value of the header, in bytes: the longest tenant and name, and what stands around them.
pub const HEADER_BYTES: usize = crate::limits::TENANT_BYTES + WHO_BYTES + 32;

const DUPLICATE: u8 = 0;
const REPEATED: u8 = 2;
const COUNTED: u8 = 5;
const REVERSED: u8 = 6;
const DEAD_LETTERED: u8 = 16;

/// What a redriven copy says of itself in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redrive<'a> {
    /// The tenant under which the dead letter is listed; empty where none could be read.
    pub tenant: &'a str,
    /// Who redrives: the id of a key, or `local`.
    pub who: &'a str,
    /// When, in milliseconds since 1970, by the clock of whoever wrote it.
    pub at_ms: i64,
    /// Whether the event was mended.
    pub edited: bool,
}

/// A redriven copy that was concluded, as a commit record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven<'a> {
    /// Where the copy lies.
    pub copy: Offset,
    /// Partition of the dead letter.
    pub partition: Partition,
    /// Offset of the dead letter.
    pub offset: Offset,
    /// When the log took the dead letter, in milliseconds: it is listed under this.
    pub accepted_ms: i64,
    /// What the copy says of itself.
    pub redrive: Redrive<'a>,
}

/// What a row of a redriven copy holds: what became of one try to redrive a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// What became of the copy.
    pub outcome: Outcome,
    /// What is wrong with it, for people; empty unless it was dead-lettered again.
    pub detail: String,
    /// Who redrove it.
    pub who: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whether the event was mended.
    pub edited: bool,
}

impl<'a> Redrive<'a> {
    /// The header's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.put(&mut out);
        out
    }

    /// Reads the header's value.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "redrive");
        if bytes.len() > HEADER_BYTES || reader.byte()? != VERSION {
            return Err(reader.malformed());
        }
        let redrive = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(redrive)
    }

    fn put(&self, out: &mut Vec<u8>) {
        wire::put_bytes(out, self.tenant.as_bytes());
        wire::put_bytes(out, self.who.as_bytes());
        wire::put_i64(out, self.at_ms);
        out.push(u8::from(self.edited));
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let redrive = Self {
            tenant: reader.text()?,
            who: reader.text()?,
            at_ms: reader.i64()?,
            edited: flag(reader)?,
        };
        let is_name = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        let is_tenant = redrive.tenant.is_empty() || check_tenant(redrive.tenant).is_ok();
        let is_whole = is_tenant && redrive.who.len() <= WHO_BYTES && is_name(redrive.who);
        is_whole.then_some(redrive).ok_or_else(|| reader.malformed())
    }
}

impl<'a> Redriven<'a> {
    /// Appends an entry of a commit record; copies are told by how far they lie behind the one before.
    pub(crate) fn put(&self, last: u64, out: &mut Vec<u8>) {
        wire::put_u64(out, self.copy.0.saturating_sub(last));
        wire::put_u64(out, u64::from(self.partition.0));
        wire::put_u64(out, self.offset.0);
        wire::put_i64(out, self.accepted_ms);
        self.redrive.put(out);
    }

    /// Reads an entry of a commit record.
    pub(crate) fn read(reader: &mut Reader<'a>, last: &mut u64) -> Result<Self, Malformed> {
        *last = last.saturating_add(reader.u64()?);
        Ok(Self {
            copy: Offset(*last),
            partition: Partition(reader.u32()?),
            offset: Offset(reader.u64()?),
            accepted_ms: reader.i64()?,
            redrive: Redrive::read(reader)?,
        })
    }
}

impl Try {
    /// Whether the dead letter needs no other try: its event has its effect, or had it before.
    pub fn is_success(&self) -> bool {
        !matches!(self.outcome, Outcome::DeadLettered(_))
    }

    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let number = match self.outcome {
            Outcome::Counted => COUNTED,
            Outcome::Reversed => REVERSED,
            Outcome::Duplicate => DUPLICATE,
            Outcome::DeadLettered(reason) => DEAD_LETTERED + reason as u8,
            // No try ends as one of the others: what is rerouted, held or noted is none.
            Outcome::Repeated | Outcome::Rerouted | Outcome::Held | Outcome::Noted => REPEATED,
        };
        let mut out = vec![VERSION, number];
        wire::put_bytes(&mut out, self.detail.as_bytes());
        wire::put_bytes(&mut out, self.who.as_bytes());
        wire::put_i64(&mut out, self.at_ms);
        out.push(u8::from(self.edited));
        out
    }

    /// Reads the row's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "row of a redriven copy");
        if reader.byte()? != VERSION {
            return Err(reader.malformed());
        }
        let outcome = match reader.byte()? {
            COUNTED => Outcome::Counted,
            REVERSED => Outcome::Reversed,
            DUPLICATE => Outcome::Duplicate,
            REPEATED => Outcome::Repeated,
            number => {
                let reason = Reason::from_number(number.wrapping_sub(DEAD_LETTERED));
                Outcome::DeadLettered(reason.ok_or_else(|| reader.malformed())?)
            }
        };
        let row = Self {
            outcome,
            detail: reader.text()?.to_owned(),
            who: reader.text()?.to_owned(),
            at_ms: reader.i64()?,
            edited: flag(&mut reader)?,
        };
        reader.finish()?;
        Ok(row)
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn redrive() -> Redrive<'static> {
        Redrive {
            tenant: "acme",
            who: "k1",
            at_ms: 1_705_312_800_123,
            edited: true,
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_a_made_up_one_is_no_redrive() {
        let right = redrive();
        assert_eq!(Redrive::decode(&right.encode()).unwrap(), right);
        let longest = "t".repeat(crate::limits::TENANT_BYTES);
        let who = "w".repeat(WHO_BYTES);
        let long = Redrive {
            tenant: &longest,
            who: &who,
            at_ms: i64::MIN,
            ..right
        };
        assert_eq!(Redrive::decode(&long.encode()).unwrap(), long);
        let nobodys = Redrive { tenant: "", ..right };
        assert_eq!(Redrive::decode(&nobodys.encode()).unwrap(), nobodys);
        let longer = format!("{longest}t");
        for made_up in [
            Redrive { who: "", ..right },
            Redrive { who: "a\nb", ..right },
            Redrive {
                tenant: "a\0b",
                ..right
            },
            Redrive {
                tenant: &longer,
                ..right
            },
            Redrive {
                who: &longest,
                ..right
            },
        ] {
            assert!(Redrive::decode(&made_up.encode()).is_err(), "{made_up:?}");
        }
        let bytes = right.encode();
        for (place, _) in bytes.iter().enumerate() {
            assert!(Redrive::decode(bytes.get(..place).unwrap()).is_err(), "{place}");
        }
        assert!(Redrive::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        assert!(Redrive::decode(&[2, 0, 1, b'k', 0, 0]).is_err());
        assert!(Redrive::decode(&[1, 0, 1, b'k', 0, 2]).is_err());
    }

    #[test]
    fn a_row_says_each_outcome_that_a_try_can_have() {
        let outcomes = [
            Outcome::Counted,
            Outcome::Reversed,
            Outcome::Duplicate,
            Outcome::Repeated,
        ];
        let refused = Reason::ALL.map(Outcome::DeadLettered);
        for outcome in outcomes.into_iter().chain(refused) {
            let row = Try {
                outcome,
                detail: "why".into(),
                who: "k1".into(),
                at_ms: 5,
                edited: false,
            };
            assert_eq!(Try::decode(&row.encode()).unwrap(), row);
            assert_eq!(row.is_success(), outcomes.contains(&outcome));
        }
        assert!(Try::decode(&[1, 3, 0, 0, 0, 0]).is_err());
    }
}
