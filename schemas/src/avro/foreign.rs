//! Records that other writers' schemas describe, read as our event by Avro's rules of resolution: fields find each
//! other by name, what ours lacks is skipped, what theirs lacks has our default.
//!
//! One walk over the bytes, which borrows and never builds a tree. It is bounded by depth and by steps, since a schema
//! may nest without end and an array may hold a billion items of no bytes at all. Beyond Avro's rules, instants of any
//! unit and decimals of any scale are converted, exactly or not at all.

use super::schema::{Id, Kind, Logical, Node, Nodes};
use super::{ENTRIES_READ, Entry, Undecodable, block, boolean, bytes, decimal, sort_entries, text, uuid};
use crate::wire::Reader;
use crate::{Amount, Event, Timestamp};
use std::borrow::Cow;
use uuid::Uuid;

/// Deepest nesting of values that is followed.
const DEPTH: u32 = 64;
/// Most values in one body: some 10 times what the largest sensible event holds.
const STEPS: u32 = 65_536;

/// A field of our schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Tenant,
    Key,
    User,
    Type,
    Time,
    Assigned,
    Amount,
    Upload,
    Row,
    Reverse,
    Metadata,
}

const SLOTS: [(&str, Slot); 11] = [
    ("tenant", Slot::Tenant),
    ("idempotency_key", Slot::Key),
    ("user_id", Slot::User),
    ("event_type", Slot::Type),
    ("occurred_at", Slot::Time),
    ("occurred_at_assigned", Slot::Assigned),
    ("amount", Slot::Amount),
    ("upload_id", Slot::Upload),
    ("row", Slot::Row),
    ("reverse", Slot::Reverse),
    ("metadata", Slot::Metadata),
];
/// The fields without which no event can be read.
const REQUIRED: [Slot; 4] = [Slot::Key, Slot::User, Slot::Type, Slot::Time];

/// Another writer's schema, ready to read its records.
#[derive(Debug)]
pub struct Foreign {
    nodes: Nodes,
    /// The writer's fields in the order of their bytes: where each goes, and its type.
    fields: Vec<(Option<Slot>, Id)>,
}

impl Foreign {
    /// Takes a schema as the registry holds it, at most 256 KiB. An error says that no record of this schema is an event.
    pub fn new(schema: &str) -> Result<Self, Undecodable> {
        let (nodes, root) = Nodes::parse(schema)?;
        let Kind::Record(record) = &nodes.get(root)?.kind else {
            return Err(Undecodable::new("its schema is not a record"));
        };
        let mut fields: Vec<(Option<Slot>, Id)> = Vec::with_capacity(record.len());
        for (name, id) in record {
            let slot = SLOTS
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, slot)| *slot);
            if slot.is_some() && fields.iter().any(|(taken, _)| *taken == slot) {
                return Err(Undecodable::new("its schema has a field twice"));
            }
            fields.push((slot, *id));
        }
        if REQUIRED
            .iter()
            .any(|slot| fields.iter().all(|(taken, _)| *taken != Some(*slot)))
        {
            return Err(Undecodable::new(
                "its schema lacks a field that an event must have",
            ));
        }
        Ok(Self { nodes, fields })
    }

    /// Reads a body that this schema describes. Fails on anything left over; metadata comes out sorted.
    pub fn decode<'a>(&self, body: &'a [u8]) -> Result<Event<'a>, Undecodable> {
        let mut walk = Walk {
            nodes: &self.nodes,
            reader: Reader::new(body, "the bytes do not fit the writer's schema"),
            steps: STEPS,
        };
        let mut event = Event {
            tenant: Cow::Borrowed("default"),
            idempotency_key: Cow::Borrowed(""),
            user_id: Cow::Borrowed(""),
            event_type: Cow::Borrowed(""),
            occurred_at: Timestamp(0),
            occurred_at_assigned: false,
            amount: None,
            upload_id: None,
            row: None,
            reverse: false,
            metadata: vec![],
        };
        for (slot, id) in &self.fields {
            match slot {
                None => walk.skip(*id, DEPTH)?,
                Some(Slot::Tenant) => event.tenant = walk.text(*id)?.into(),
                Some(Slot::Key) => event.idempotency_key = walk.text(*id)?.into(),
                Some(Slot::User) => event.user_id = walk.text(*id)?.into(),
                Some(Slot::Type) => event.event_type = walk.text(*id)?.into(),
                Some(Slot::Time) => event.occurred_at = walk.instant(*id)?,
                Some(Slot::Assigned) => event.occurred_at_assigned = walk.boolean(*id)?,
                Some(Slot::Amount) => event.amount = walk.amount(*id)?,
                Some(Slot::Upload) => event.upload_id = walk.upload(*id)?,
                Some(Slot::Row) => event.row = walk.row(*id)?,
                Some(Slot::Reverse) => event.reverse = walk.boolean(*id)?,
                Some(Slot::Metadata) => event.metadata = walk.metadata(*id)?,
            }
        }
        walk.reader.finish()?;
        sort_entries(&mut event.metadata);
        Ok(event)
    }
}

/// The error of a value whose type does not become ours.
fn other_type() -> Undecodable {
    Undecodable::new("a field's type in the writer's schema does not become the event's")
}

struct Walk<'a, 'n> {
    nodes: &'n Nodes,
    reader: Reader<'a>,
    steps: u32,
}

impl<'a, 'n> Walk<'a, 'n> {
    /// The type of the next value, behind the choice of a union.
    fn node(&mut self, id: Id) -> Result<&'n Node, Undecodable> {
        self.steps = self
            .steps
            .checked_sub(1)
            .ok_or(Undecodable::new("it holds too many values"))?;
        let node = self.nodes.get(id)?;
        let Kind::Union(variants) = &node.kind else {
            return Ok(node);
        };
        let chosen = usize::try_from(self.reader.i64()?)
            .ok()
            .and_then(|index| variants.get(index));
        let node = self.nodes.get(*chosen.ok_or_else(|| self.reader.malformed())?)?;
        match node.kind {
            Kind::Union(_) => Err(Undecodable::new("its schema has a union right in a union")),
            _ => Ok(node),
        }
    }

    fn text(&mut self, id: Id) -> Result<&'a str, Undecodable> {
        match self.node(id)?.kind {
            Kind::String | Kind::Bytes => Ok(text(&mut self.reader)?),
            _ => Err(other_type()),
        }
    }

    fn boolean(&mut self, id: Id) -> Result<bool, Undecodable> {
        match self.node(id)?.kind {
            Kind::Boolean => Ok(boolean(&mut self.reader)?),
            _ => Err(other_type()),
        }
    }

    fn instant(&mut self, id: Id) -> Result<Timestamp, Undecodable> {
        let node = self.node(id)?;
        let number = match node.kind {
            Kind::Long | Kind::Int => self.reader.i64()?,
            _ => return Err(other_type()),
        };
        let micros = match node.logical {
            Logical::Plain | Logical::Micros => Some(number),
            Logical::Millis => number.checked_mul(1000),
            Logical::Nanos => (number % 1000 == 0).then_some(number / 1000),
            _ => return Err(other_type()),
        };
        let micros = micros.ok_or(Undecodable::new("occurred_at is no whole number of microseconds"))?;
        Ok(Timestamp(micros))
    }

    fn amount(&mut self, id: Id) -> Result<Option<Amount>, Undecodable> {
        let node = self.node(id)?;
        let digits = match node.kind {
            Kind::Null => return Ok(None),
            Kind::Bytes => bytes(&mut self.reader)?,
            Kind::Fixed(size) => self.reader.take(size)?,
            _ => return Err(other_type()),
        };
        match node.logical {
            Logical::Decimal(scale) => decimal(digits, scale).map(Some),
            _ => Err(other_type()),
        }
    }

    fn upload(&mut self, id: Id) -> Result<Option<Uuid>, Undecodable> {
        let node = self.node(id)?;
        match node.kind {
            Kind::Null => Ok(None),
            Kind::String | Kind::Bytes => uuid(text(&mut self.reader)?).map(Some),
            Kind::Fixed(16) if node.logical == Logical::Uuid => {
                Ok(Some(Uuid::from_bytes(self.reader.array()?)))
            }
            _ => Err(other_type()),
        }
    }

    fn row(&mut self, id: Id) -> Result<Option<i64>, Undecodable> {
        match self.node(id)?.kind {
            Kind::Null => Ok(None),
            Kind::Int | Kind::Long => Ok(Some(self.reader.i64()?)),
            _ => Err(other_type()),
        }
    }

    fn metadata(&mut self, id: Id) -> Result<Vec<Entry<'a>>, Undecodable> {
        let Kind::Map(values) = self.node(id)?.kind else {
            return Err(other_type());
        };
        let mut entries = Vec::new();
        loop {
            let count = block(&mut self.reader)?;
            if count == 0 {
                return Ok(entries);
            }
            if count > (ENTRIES_READ - entries.len()) as u64 {
                return Err(Undecodable::new("too many metadata entries"));
            }
            for _ in 0..count {
                entries.push((text(&mut self.reader)?.into(), self.text(values)?.into()));
            }
        }
    }

    /// Passes over a value that an event has no field for.
    fn skip(&mut self, id: Id, depth: u32) -> Result<(), Undecodable> {
        let depth = depth
            .checked_sub(1)
            .ok_or(Undecodable::new("it is nested too deeply"))?;
        let node = self.node(id)?;
        match &node.kind {
            Kind::Null | Kind::Union(_) => {}
            Kind::Boolean => {
                boolean(&mut self.reader)?;
            }
            Kind::Int | Kind::Long => {
                self.reader.i64()?;
            }
            Kind::Float => {
                self.reader.take(4)?;
            }
            Kind::Double => {
                self.reader.take(8)?;
            }
            Kind::Bytes => {
                bytes(&mut self.reader)?;
            }
            Kind::String => {
                text(&mut self.reader)?;
            }
            Kind::Fixed(size) => {
                self.reader.take(*size)?;
            }
            Kind::Enum(symbols) => {
                if !usize::try_from(self.reader.i64()?).is_ok_and(|symbol| symbol < *symbols) {
                    return Err(self.reader.malformed().into());
                }
            }
            Kind::Array(items) => self.skip_blocks(*items, false, depth)?,
            Kind::Map(values) => self.skip_blocks(*values, true, depth)?,
            Kind::Record(fields) => {
                for (_, field) in fields {
                    self.skip(*field, depth)?;
                }
            }
        }
        Ok(())
    }

    fn skip_blocks(&mut self, id: Id, named: bool, depth: u32) -> Result<(), Undecodable> {
        loop {
            let count = block(&mut self.reader)?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                if named {
                    text(&mut self.reader)?;
                }
                self.skip(id, depth)?;
            }
        }
    }
}
