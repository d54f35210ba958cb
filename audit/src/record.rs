//! What one record is, before anything is remembered of it: the definition of the product, written down a second time.
//!
//! The checks come in this order, and the first that fails names the record: no key, no value, too large, the wrong partition, not
//! readable, another key inside, a limit of an event.

use crate::look::CouldNotLook;
use log::Record;
use log::batch::Kind;
use rustc_hash::FxHashMap;
use schemas::avro::{self, Foreign};
use schemas::event::check_tenant;
use schemas::redrive::{Redrive, Redriven};
use schemas::upload::{Fact, What};
use schemas::{Event, Field, Partition, Reason, Timestamp, json, key, limits};
use std::collections::hash_map::Entry;
use uuid::Uuid;

/// What one record is.
#[derive(Debug)]
pub(crate) enum Finding<'a> {
    /// An event that keeps every limit.
    Event(Event<'a>),
    /// An event that keeps every limit, and whose copy counts when its upload is released.
    Held(Event<'a>),
    /// A fact of an upload.
    Fact(Box<Fact>),
    /// Nothing that counts, whatever it holds.
    Canary,
    /// It belongs to another partition.
    Misplaced(Partition),
    /// It can never be counted.
    Refused(Refused),
    /// The chain says that the registry did not know its schema, which nobody can look up again: its word is taken.
    Ruled,
}

/// Why a record can never be counted, and whose it is; texts are empty where they could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) tenant: String,
    pub(crate) user: String,
    /// The upload that it came in, and its row there.
    pub(crate) upload: Option<(Uuid, u64)>,
}

impl Refused {
    fn unread(reason: Reason) -> Self {
        Self {
            reason,
            tenant: String::new(),
            user: String::new(),
            upload: None,
        }
    }

    /// A refusal of an event that could be read.
    pub(crate) fn of(event: &Event<'_>, reason: Reason) -> Self {
        Self {
            reason,
            tenant: event.tenant.to_string(),
            user: event.user_id.to_string(),
            upload: event
                .upload_id
                .filter(|_| check_tenant(&event.tenant).is_ok())
                .map(|upload| (upload, event.row.map_or(0, |row| row.max(0).unsigned_abs()))),
        }
    }
}

/// Asks for another writer's schema by its id: its text, or `None` where the registry does not have it. An error says that
/// the registry cannot be asked.
pub(crate) type Registry<'w> = dyn FnMut(u32) -> Result<Option<String>, String> + 'w;

/// Schemas that were asked for; `None` where records of it can never be events.
#[derive(Debug, Default)]
pub(crate) struct Foreigners {
    known: FxHashMap<u32, Option<Foreign>>,
}

/// What the reading of records rests on.
pub(crate) struct Reading<'w> {
    /// Partitions of `events`.
    pub(crate) partitions: u32,
    /// The id of our own schema.
    pub(crate) own_schema: Option<u32>,
    /// Other writers' schemas.
    pub(crate) foreigners: Foreigners,
    pub(crate) registry: &'w mut Registry<'w>,
}

/// When the log took this record, or the record that it is a copy of, in milliseconds.
pub(crate) fn accepted_ms(record: &Record<'_>) -> i64 {
    match record.origin {
        Some(origin) => origin.append_ms,
        None => record.append_ms,
    }
}

/// The dead letter that a record of `partition` was put back for, by its headers; `None` where they do not say so, or say what cannot
/// be. A try is an event of its own behind its letter, and no copy of a held record.
pub(crate) fn tried<'a>(record: &Record<'a>, partition: Partition, partitions: u32) -> Option<Redriven<'a>> {
    let (Some(origin), Some(header)) = (record.origin, record.redrive) else {
        return None;
    };
    let ahead = origin.partition == partition && origin.offset >= record.offset;
    let nowhere = origin.partition.0 >= partitions || origin.offset.0 > i64::MAX as u64;
    if record.kind != Kind::Event || origin.held || ahead || nowhere {
        return None;
    }
    Some(Redriven {
        copy: record.offset,
        partition: origin.partition,
        offset: origin.offset,
        accepted_ms: origin.append_ms,
        redrive: Redrive::decode(header).ok()?,
    })
}

impl Reading<'_> {
    /// Says what a record of `partition` is. `ruled_unknown`: the chain says that its schema was unknown.
    pub(crate) fn look<'a>(
        &mut self,
        record: &Record<'a>,
        partition: Partition,
        ruled_unknown: bool,
    ) -> Result<Finding<'a>, CouldNotLook> {
        if record.kind == Kind::Canary {
            return Ok(Finding::Canary);
        }
        let Some(record_key) = record.key else {
            return Ok(Finding::Refused(Refused::unread(Reason::NullKey)));
        };
        let Some(value) = record.value else {
            return Ok(Finding::Refused(Refused::unread(Reason::NullValue)));
        };
        let most = if record.kind == Kind::Fact {
            limits::FACT_BYTES
        } else {
            limits::EVENT_BYTES
        };
        if value.len() > most {
            return Ok(Finding::Refused(Refused::unread(Reason::Oversized)));
        }
        if record.kind == Kind::Fact {
            return Ok(self.fact(record_key, value, partition));
        }
        let belongs = key::partition(record_key, self.partitions);
        if belongs != partition {
            return Ok(match record.kind {
                Kind::Held => Finding::Refused(Refused::unread(Reason::Invalid)),
                _ if record_key.len() > limits::KEY_BYTES => {
                    Finding::Refused(Refused::unread(Reason::Invalid))
                }
                _ => Finding::Misplaced(belongs),
            });
        }
        let accepted_at = Timestamp::from_millis(accepted_ms(record));
        let event = if value.starts_with(b"{") {
            match read_json(record_key, value, accepted_at) {
                Ok(event) => event,
                Err(reason) => return Ok(Finding::Refused(Refused::unread(reason))),
            }
        } else {
            match self.read_avro(value, ruled_unknown)? {
                Read::Event(event) => *event,
                Read::Undecodable => return Ok(Finding::Refused(Refused::unread(Reason::Undecodable))),
                Read::Ruled => return Ok(Finding::Ruled),
            }
        };
        if event.idempotency_key.as_bytes() != record_key {
            return Ok(Finding::Refused(Refused::of(&event, Reason::KeyMismatch)));
        }
        if event.check(accepted_at).is_err() {
            return Ok(Finding::Refused(Refused::of(&event, Reason::Invalid)));
        }
        Ok(match (record.kind, event.upload_id) {
            (Kind::Held, None) => Finding::Refused(Refused::of(&event, Reason::Invalid)),
            (Kind::Held, Some(_)) => Finding::Held(event),
            _ => Finding::Event(event),
        })
    }

    /// A fact counts for nothing, wherever it lies; where it does not belong it is a dead letter.
    fn fact<'a>(&self, record_key: &[u8], value: &[u8], partition: Partition) -> Finding<'a> {
        let Ok(fact) = Fact::decode(value) else {
            return Finding::Refused(Refused::unread(Reason::Undecodable));
        };
        let id = fact.upload.hyphenated().to_string();
        if id.as_bytes() != record_key {
            return Finding::Refused(Refused::unread(Reason::KeyMismatch));
        }
        let belongs = key::partition(id.as_bytes(), self.partitions);
        match &fact.what {
            What::Held { places, .. } if places.iter().any(|place| place.0.0 >= self.partitions) => {
                Finding::Refused(Refused::unread(Reason::Invalid))
            }
            What::Copy { .. } => Finding::Fact(Box::new(fact)),
            _ if belongs == partition => Finding::Fact(Box::new(fact)),
            _ => Finding::Refused(Refused::unread(Reason::Invalid)),
        }
    }

    fn read_avro<'a>(&mut self, value: &'a [u8], ruled_unknown: bool) -> Result<Read<'a>, CouldNotLook> {
        let Some((id, body)) = avro::frame(value) else {
            return Ok(Read::Undecodable);
        };
        let decoded = if self.own_schema == Some(id) {
            avro::decode(body)
        } else if ruled_unknown {
            return Ok(Read::Ruled);
        } else {
            match self.foreign(id)? {
                Some(foreign) => foreign.decode(body),
                None => return Ok(Read::Undecodable),
            }
        };
        Ok(decoded.map_or(Read::Undecodable, |event| Read::Event(Box::new(event))))
    }

    /// Another writer's schema; `None` where none of its records is an event.
    fn foreign(&mut self, id: u32) -> Result<Option<&Foreign>, CouldNotLook> {
        match self.foreigners.known.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut().as_ref()),
            Entry::Vacant(place) => {
                let text = (self.registry)(id).map_err(CouldNotLook::Registry)?;
                let text = text.ok_or(CouldNotLook::SchemaGone(id))?;
                Ok(place.insert(Foreign::new(&text).ok()).as_ref())
            }
        }
    }
}

/// What the bytes of a value are.
enum Read<'a> {
    Event(Box<Event<'a>>),
    Undecodable,
    Ruled,
}

fn read_json<'a>(record_key: &[u8], value: &'a [u8], accepted_at: Timestamp) -> Result<Event<'a>, Reason> {
    let record_key = std::str::from_utf8(record_key).map_err(|_| Reason::Undecodable)?;
    json::decode(value, record_key, accepted_at).map_err(|invalid| {
        let whole = invalid.field == Field::Whole;
        if whole && matches!(invalid.code, "not_json" | "not_an_object") {
            Reason::Undecodable
        } else {
            Reason::Invalid
        }
    })
}
