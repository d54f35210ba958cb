//! Decides what one record is, before anything is remembered of it: an event, a record of another partition, or one that
//! is refused for good. Pure: the same record gets the same decision for ever, whoever decides.

use crate::schema::Schemas;
use log::Record;
use log::batch::Kind;
use schemas::event::check_tenant;
use schemas::redrive::{Redrive, Redriven};
use schemas::upload::{self, Fact, What};
use schemas::{Event, Partition, Reason, Timestamp, avro, json, key, limits};
use uuid::Uuid;

/// What one record is.
#[derive(Debug)]
pub enum Decision<'a> {
    /// An event that keeps every limit.
    Event(Event<'a>),
    /// An event that keeps every limit, and waits for the release of its upload.
    Held(Event<'a>),
    /// A fact of an upload.
    Fact(Box<Fact>),
    /// Nothing that counts.
    Canary,
    /// It belongs to this other partition.
    Misplaced(Partition),
    /// It can never be counted.
    Refused(Refused),
    /// Its writer's schema has to be fetched first.
    NeedsSchema(u32),
}

/// Why a record can never be counted, and whose it is as far as can be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// Its tenant, empty where none could be read.
    pub tenant: String,
    /// Its user, empty where none could be read.
    pub user: String,
    /// What is wrong with it, for people.
    pub detail: String,
    /// The upload that it came in, and its row there.
    pub upload: Option<(Uuid, u64)>,
}

impl Refused {
    /// A refusal of a record whose tenant could not be read.
    pub fn unread(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            tenant: String::new(),
            user: String::new(),
            detail: detail.into(),
            upload: None,
        }
    }

    /// A refusal of an event that could be read.
    pub fn of(event: &Event<'_>, reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            tenant: event.tenant.to_string(),
            user: event.user_id.to_string(),
            detail: detail.into(),
            upload: place_of(event),
        }
    }
}

/// The upload that an event came in, and its row there; none where its tenant is none.
fn place_of(event: &Event<'_>) -> Option<(Uuid, u64)> {
    check_tenant(&event.tenant).ok()?;
    let row = event.row.map_or(0, |row| row.max(0).unsigned_abs());
    event.upload_id.map(|upload| (upload, row))
}

/// When the log took this event: for a copy, when it took the original.
pub fn accepted_ms(record: &Record<'_>) -> i64 {
    record.origin.map_or(record.append_ms, |origin| origin.append_ms)
}

/// The dead letter that a record of `partition` is a redriven copy of; none where it is no such copy. Whoever may write the topic may
/// write its headers: what does not hold together is no redrive, and the record is what it is without them.
pub fn redriven<'a>(record: &Record<'a>, partition: Partition, partitions: u32) -> Option<Redriven<'a>> {
    let origin = record.origin.filter(|origin| !origin.held)?;
    let redrive = Redrive::decode(record.redrive?).ok()?;
    // A copy lies behind its original, no log has a greater offset, and no store could hold it.
    let is_behind = origin.partition != partition || origin.offset < record.offset;
    let is_place = origin.partition.0 < partitions && i64::try_from(origin.offset.0).is_ok();
    (record.kind == Kind::Event && is_behind && is_place).then_some(Redriven {
        copy: record.offset,
        partition: origin.partition,
        offset: origin.offset,
        accepted_ms: origin.append_ms,
        redrive,
    })
}

/// Decides what the record at `partition` is.
pub fn decide<'a>(
    record: &Record<'a>,
    partition: Partition,
    partitions: u32,
    schemas: &'a Schemas,
) -> Decision<'a> {
    if record.kind == Kind::Canary {
        return Decision::Canary;
    }
    let Some(key) = record.key else {
        return Decision::Refused(Refused::unread(Reason::NullKey, "the record has no key"));
    };
    let Some(value) = record.value else {
        return Decision::Refused(Refused::unread(Reason::NullValue, "the record has no value"));
    };
    let most = match record.kind {
        Kind::Fact => limits::FACT_BYTES,
        Kind::Event | Kind::Held | Kind::Canary => limits::EVENT_BYTES,
    };
    if value.len() > most {
        let detail = format!(
            "the value is {} bytes long, at most {most} are allowed",
            value.len()
        );
        return Decision::Refused(Refused::unread(Reason::Oversized, detail));
    }
    if record.kind == Kind::Fact {
        return match fact(key, value, partition, partitions) {
            Ok(fact) => Decision::Fact(Box::new(fact)),
            Err(refused) => Decision::Refused(*refused),
        };
    }
    let right = key::partition(key, partitions);
    if right != partition && record.kind == Kind::Held {
        // A copy in another partition would count without its upload's release.
        let detail = "is held in another partition than its key belongs to";
        return Decision::Refused(Refused::unread(Reason::Invalid, detail));
    }
    if right != partition && key.len() > limits::KEY_BYTES {
        // Its copy, with the name of its origin, might be more than the log takes.
        let detail = "the record's key is longer than an idempotency_key may be";
        return Decision::Refused(Refused::unread(Reason::Invalid, detail));
    }
    if right != partition {
        return Decision::Misplaced(right);
    }
    let accepted_at = Timestamp::from_millis(accepted_ms(record));
    let event = match read(key, value, accepted_at, schemas) {
        Ok(event) => event,
        Err(other) => return *other,
    };
    if event.idempotency_key.as_bytes() != key {
        let detail = "the record's key is not the event's idempotency_key";
        return Decision::Refused(Refused::of(&event, Reason::KeyMismatch, detail));
    }
    match event.check(accepted_at) {
        Ok(()) if record.kind == Kind::Held && event.upload_id.is_none() => {
            let detail = "is held and says no upload that could release it";
            Decision::Refused(Refused::of(&event, Reason::Invalid, detail))
        }
        Ok(()) if record.kind == Kind::Held => Decision::Held(event),
        Ok(()) => Decision::Event(event),
        Err(invalid) => Decision::Refused(Refused::of(&event, Reason::Invalid, invalid.to_string())),
    }
}

/// Reads a fact of an upload. It lies where its upload's id says, but for the one that is meant for this very partition.
fn fact(key: &[u8], value: &[u8], partition: Partition, partitions: u32) -> Result<Fact, Box<Refused>> {
    let refused = |reason, detail: &str| Box::new(Refused::unread(reason, detail));
    let fact = Fact::decode(value).map_err(|error| refused(Reason::Undecodable, &error.to_string()))?;
    if fact.key().as_bytes() != key {
        return Err(refused(
            Reason::KeyMismatch,
            "the record's key is not the upload's id",
        ));
    }
    if let What::Held { places, .. } = &fact.what
        && places.iter().any(|(place, ..)| place.0 >= partitions)
    {
        return Err(refused(Reason::Invalid, "names a partition that does not exist"));
    }
    let elsewhere = matches!(fact.what, What::Copy { .. });
    if !elsewhere && upload::home(fact.upload, partitions) != partition {
        return Err(refused(
            Reason::Invalid,
            "a fact of an upload of another partition",
        ));
    }
    Ok(fact)
}

/// Reads an event, or says what the record is instead.
fn read<'a>(
    key: &[u8],
    value: &'a [u8],
    accepted_at: Timestamp,
    schemas: &'a Schemas,
) -> Result<Event<'a>, Box<Decision<'a>>> {
    let refused = |reason, detail: String| Box::new(Decision::Refused(Refused::unread(reason, detail)));
    if value.first() == Some(&b'{') {
        let key = std::str::from_utf8(key)
            .map_err(|_| refused(Reason::Undecodable, "the key is not UTF-8".into()))?;
        return json::decode(value, key, accepted_at).map_err(|invalid| {
            let reason = if invalid.code == "not_json" {
                Reason::Undecodable
            } else {
                Reason::Invalid
            };
            refused(reason, invalid.to_string())
        });
    }
    let Some((id, body)) = avro::frame(value) else {
        return Err(refused(
            Reason::Undecodable,
            "neither Avro in the Confluent format nor a JSON object".into(),
        ));
    };
    if schemas.is_own(id) {
        return avro::decode(body).map_err(|error| refused(Reason::Undecodable, error.to_string()));
    }
    match schemas.foreign(id) {
        None => Err(Box::new(Decision::NeedsSchema(id))),
        Some(Err(ruling)) => Err(refused(ruling.reason, ruling.detail.clone())),
        Some(Ok(foreign)) => foreign
            .decode(body)
            .map_err(|error| refused(Reason::Undecodable, error.to_string())),
    }
}
