//! The reading of a commit record: checked as a whole once, so that reading its entries cannot fail half-way.

use super::{
    Counted, Exception, Fate, Fresh, Head, Refusal, Source, TAG_DEAD_LETTERED, TAG_DUPLICATE, TAG_HELD,
    TAG_NOTED, TAG_REPEATED, TAG_REROUTED,
};
use crate::redrive::Redriven;
use crate::wire::{Malformed, Reader};
use crate::{Amount, Offset, Outcome, Partition, Reason};
use uuid::Uuid;

/// A commit record put together from its parts.
#[derive(Clone, Debug)]
pub struct CommitRecord {
    /// All but the entries.
    pub head: Head,
    /// (tenant, event type), as entries refer to them.
    pub types: Vec<(String, String)>,
    /// (tenant, id) of uploads, as entries refer to them.
    pub uploads: Vec<(String, Uuid)>,
    /// How many events changed the counts.
    pub counted_count: u64,
    /// How many records it did not count.
    pub exception_count: u64,
    /// How many of its records are redriven copies.
    pub redrive_count: u64,
    body: Vec<u8>,
    counted: std::ops::Range<usize>,
    exceptions: std::ops::Range<usize>,
    redrives: std::ops::Range<usize>,
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
        let mut uploads = Vec::with_capacity(reader.clone().count(17)?);
        for _ in 0..reader.count(17)? {
            uploads.push((reader.text()?.to_owned(), Uuid::from_bytes(reader.array()?)));
        }
        let mut section = || -> Result<(u64, std::ops::Range<usize>), Malformed> {
            let count = reader.u64()?;
            let length = reader.bytes()?.len();
            let end = body.len() - reader.remaining();
            Ok((count, end - length..end))
        };
        let (counted_count, counted) = section()?;
        let (exception_count, exceptions) = section()?;
        let redrive_count = reader.u64()?;
        let redrives = body.len() - reader.remaining()..body.len();
        let record = Self {
            head,
            types,
            uploads,
            counted_count,
            exception_count,
            redrive_count,
            body,
            counted,
            exceptions,
            redrives,
        };
        record.check()?;
        Ok(record)
    }

    /// The events that changed the counts, in the order of offsets.
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

    /// The redriven copies, in the order of offsets.
    pub fn redrives(&self) -> impl Iterator<Item = Redriven<'_>> {
        let mut reader = Reader::new(
            self.body.get(self.redrives.clone()).unwrap_or_default(),
            "redriven copy",
        );
        let mut last = 0;
        std::iter::from_fn(move || Redriven::read(&mut reader, &mut last).ok())
    }

    /// The redriven copies with the outcome of each, and what is wrong with those that were dead-lettered.
    pub fn tries(&self) -> impl Iterator<Item = (Redriven<'_>, Outcome, &str)> {
        let mut counted = self.counted().peekable();
        let mut exceptions = self.exceptions().peekable();
        self.redrives().filter_map(move |redriven| {
            while counted.next_if(|entry| entry.offset < redriven.copy).is_some() {}
            while exceptions.next_if(|entry| entry.offset < redriven.copy).is_some() {}
            if let Some(entry) = counted.next_if(|entry| entry.offset == redriven.copy) {
                let outcome = match entry.fresh.reversed {
                    true => Outcome::Reversed,
                    false => Outcome::Counted,
                };
                return Some((redriven, outcome, ""));
            }
            let fate = exceptions.next_if(|entry| entry.offset == redriven.copy)?.fate;
            match fate {
                Fate::DeadLettered(refusal) => Some((redriven, fate.outcome(), refusal.detail)),
                Fate::Duplicate | Fate::Repeated => Some((redriven, fate.outcome(), "")),
                // What goes elsewhere, waits or is no event is no try.
                Fate::Rerouted(_) | Fate::Held | Fate::Noted(_) => None,
            }
        })
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
            let known = (entry.type_index as usize) < self.types.len() && self.knows(entry.source);
            if !self.follows(before, entry.offset) || !known {
                return Err(malformed());
            }
            before = Some(entry.offset);
        }
        reader.finish()?;
        let mut reader = section(&self.exceptions);
        let (mut last, mut before) = (0, None);
        for _ in 0..self.exception_count {
            let exception = read_exception(&mut reader, &mut last)?;
            let known = self.knows(exception.source)
                && (exception.source.is_some() || !Self::of_an_upload(exception.fate));
            if !self.follows(before, exception.offset) || !known {
                return Err(malformed());
            }
            before = Some(exception.offset);
        }
        reader.finish()?;
        self.check_redrives(section(&self.redrives))
    }

    /// Redriven copies rise, and each has an outcome that a try can have.
    fn check_redrives(&self, mut reader: Reader<'_>) -> Result<(), Malformed> {
        let (mut last, mut before) = (0, None);
        for _ in 0..self.redrive_count {
            let redriven = Redriven::read(&mut reader, &mut last)?;
            // No log has a greater offset, and no store could hold it.
            let is_place = i64::try_from(redriven.offset.0).is_ok();
            if !self.follows(before, redriven.copy) || !is_place {
                return Err(reader.malformed());
            }
            before = Some(redriven.copy);
        }
        let malformed = reader.malformed();
        reader.finish()?;
        let tries = if self.redrive_count == 0 {
            0
        } else {
            self.tries().count()
        };
        (tries as u64 == self.redrive_count)
            .then_some(())
            .ok_or(malformed)
    }

    /// Whether a source names an upload of the table, and an original that is before its copy.
    fn knows(&self, source: Option<Source>) -> bool {
        source.is_none_or(|source| {
            (source.upload_index as usize) < self.uploads.len()
                && source.copy_of.is_none_or(|original| original < self.head.to)
        })
    }

    /// Whether only a record of an upload can have this fate. What is noted without a word of it is a canary.
    fn of_an_upload(fate: Fate<'_>) -> bool {
        match fate {
            Fate::Held => true,
            Fate::Noted(bytes) => !bytes.is_empty(),
            _ => false,
        }
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
        source: read_source(reader)?,
    })
}

fn read_exception<'a>(reader: &mut Reader<'a>, last: &mut u64) -> Result<Exception<'a>, Malformed> {
    let offset = last.saturating_add(reader.u64()?);
    *last = offset;
    let fate = match reader.byte()? {
        TAG_DUPLICATE => Fate::Duplicate,
        TAG_REROUTED => Fate::Rerouted(Partition(reader.u32()?)),
        TAG_REPEATED => Fate::Repeated,
        TAG_HELD => Fate::Held,
        TAG_NOTED => Fate::Noted(reader.bytes()?),
        tag => Fate::DeadLettered(Refusal {
            reason: Reason::from_number(tag.wrapping_sub(TAG_DEAD_LETTERED))
                .ok_or_else(|| reader.malformed())?,
            accepted_ms: reader.i64()?,
            tenant: reader.text()?,
            user: reader.text()?,
            detail: reader.text()?,
            row: reader.u64()?.checked_sub(1),
        }),
    };
    Ok(Exception {
        offset: Offset(offset),
        fate,
        source: read_source(reader)?,
    })
}

fn read_source(reader: &mut Reader<'_>) -> Result<Option<Source>, Malformed> {
    let Some(number) = reader.u64()?.checked_sub(1) else {
        return Ok(None);
    };
    Ok(Some(Source {
        upload_index: u32::try_from(number / 2).map_err(|_| reader.malformed())?,
        copy_of: match number % 2 {
            1 => Some(Offset(reader.u64()?)),
            _ => None,
        },
    }))
}
