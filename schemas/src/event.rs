//! An event: an immutable fact that a client reported. [`Event::check`] is the one door: what passed it keeps every
//! limit. Whether it came as Avro, JSON or CSV is settled before.

use crate::{Amount, Timestamp, limits};
use std::borrow::Cow;
use uuid::Uuid;

/// An event's fields, borrowed from the bytes they came in where possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Whose event it is; `default` where no credential says.
    pub tenant: Cow<'a, str>,
    /// The client's word that two requests are one event; also the record's key.
    pub idempotency_key: Cow<'a, str>,
    /// Who did it.
    pub user_id: Cow<'a, str>,
    /// What was done.
    pub event_type: Cow<'a, str>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Whether the server set `occurred_at`, since the sender gave none.
    pub occurred_at_assigned: bool,
    /// What it was worth.
    pub amount: Option<Amount>,
    /// The upload it came in.
    pub upload_id: Option<Uuid>,
    /// Its row in that upload, from 1.
    pub row: Option<i64>,
    /// Whether this takes back the event of the same key and content.
    pub reverse: bool,
    /// Everything else that the sender said, sorted by name, each name once.
    pub metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// A field of an event, as errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `tenant`
    Tenant,
    /// `idempotency_key`
    IdempotencyKey,
    /// `user_id`
    UserId,
    /// `event_type`
    EventType,
    /// `timestamp` (`occurred_at`)
    Timestamp,
    /// `amount`
    Amount,
    /// `reverse`
    Reverse,
    /// `metadata`
    Metadata,
    /// An attribute of a CloudEvent, by its name.
    Attribute(&'static str),
    /// The event as a whole.
    Whole,
}

impl Field {
    /// The stable name of this field in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::IdempotencyKey => "idempotency_key",
            Self::UserId => "user_id",
            Self::EventType => "event_type",
            Self::Timestamp => "timestamp",
            Self::Amount => "amount",
            Self::Reverse => "reverse",
            Self::Metadata => "metadata",
            Self::Attribute(name) => name,
            Self::Whole => "event",
        }
    }
}

/// Why an event is not valid: the field, a stable code, and a text for people that names the limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", field.name())]
pub struct Invalid {
    /// The field at fault.
    pub field: Field,
    /// A stable word: `missing`, `too_long`, `control_character`, `not_a_time`, `out_of_range`, `in_future`,
    /// `not_a_number`, `not_a_boolean`, `too_many`, `not_text`, `twice`, `not_an_object`, `not_json`, `not_utf8`, `columns`,
    /// `not_supported`, `not_base64`.
    pub code: &'static str,
    /// What is wrong and what the limit is. Never holds the value itself.
    pub message: String,
}

impl Invalid {
    /// An error at `field`.
    pub fn new(field: Field, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            code,
            message: message.into(),
        }
    }
}

/// 1970-01-01T00:00:00Z.
const FIRST: Timestamp = Timestamp(0);
/// 2201-01-01T00:00:00Z, the first instant behind the last year.
const END: Timestamp = Timestamp(7_289_654_400 * 1_000_000);

impl Event<'_> {
    /// Checks every limit of DESIGN's event table. `accepted_at` is when the record was accepted, which bounds how
    /// far in the future the event may lie.
    pub fn check(&self, accepted_at: Timestamp) -> Result<(), Invalid> {
        check_tenant(&self.tenant)?;
        check_key(&self.idempotency_key)?;
        check_text(Field::UserId, &self.user_id, limits::USER_BYTES)?;
        check_text(Field::EventType, &self.event_type, limits::TYPE_BYTES)?;
        check_time(self.occurred_at, accepted_at)?;
        check_metadata(&self.metadata)
    }

    /// This event with nothing borrowed.
    pub fn into_owned(self) -> Event<'static> {
        let own = |text: Cow<'_, str>| Cow::<'static, str>::Owned(text.into_owned());
        Event {
            tenant: own(self.tenant),
            idempotency_key: own(self.idempotency_key),
            user_id: own(self.user_id),
            event_type: own(self.event_type),
            occurred_at: self.occurred_at,
            occurred_at_assigned: self.occurred_at_assigned,
            amount: self.amount,
            upload_id: self.upload_id,
            row: self.row,
            reverse: self.reverse,
            metadata: self
                .metadata
                .into_iter()
                .map(|(name, value)| (own(name), own(value)))
                .collect(),
        }
    }
}

/// Checks an idempotency key: 1 to 256 bytes without control characters.
pub fn check_key(key: &str) -> Result<(), Invalid> {
    check_text(Field::IdempotencyKey, key, limits::KEY_BYTES)
}

/// Checks a tenant: 1 to 128 bytes without control characters.
pub fn check_tenant(tenant: &str) -> Result<(), Invalid> {
    check_text(Field::Tenant, tenant, limits::TENANT_BYTES)
}

fn check_text(field: Field, text: &str, limit: usize) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, "missing", "must not be empty"));
    }
    if text.len() > limit {
        let message = format!("is {} bytes long, at most {limit} are allowed", text.len());
        return Err(Invalid::new(field, "too_long", message));
    }
    if has_control(text) {
        return Err(Invalid::new(
            field,
            "control_character",
            "must not hold control characters",
        ));
    }
    Ok(())
}

/// Whether a text holds a control character of Unicode (C0, DEL, C1).
fn has_control(text: &str) -> bool {
    // Without an early end, so that it runs on many bytes at once.
    let plain = |sum: bool, byte: u8| sum & (0x20..0x7f).contains(&byte);
    if text.bytes().fold(true, plain) {
        return false;
    }
    text.chars().any(char::is_control)
}

/// Checks a time: within the years that are taken, and at most 24 hours ahead of the acceptance.
pub fn check_time(time: Timestamp, accepted_at: Timestamp) -> Result<(), Invalid> {
    if time < FIRST || time >= END {
        let message = format!(
            "must lie in the years {} to {}",
            limits::FIRST_YEAR,
            limits::LAST_YEAR
        );
        return Err(Invalid::new(Field::Timestamp, "out_of_range", message));
    }
    if time.0 > accepted_at.0.saturating_add(limits::FUTURE_MICROS) {
        return Err(Invalid::new(
            Field::Timestamp,
            "in_future",
            "lies more than 24 hours in the future",
        ));
    }
    Ok(())
}

fn check_metadata(metadata: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<(), Invalid> {
    if metadata.len() > limits::METADATA_ENTRIES {
        let message = format!(
            "has {} entries, at most {} are allowed",
            metadata.len(),
            limits::METADATA_ENTRIES
        );
        return Err(Invalid::new(Field::Metadata, "too_many", message));
    }
    let bytes: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > limits::METADATA_BYTES {
        let message = format!(
            "holds {bytes} bytes, at most {} are allowed",
            limits::METADATA_BYTES
        );
        return Err(Invalid::new(Field::Metadata, "too_long", message));
    }
    let twice = metadata
        .iter()
        .zip(metadata.iter().skip(1))
        .any(|(a, b)| a.0 >= b.0);
    if twice {
        return Err(Invalid::new(Field::Metadata, "twice", "holds a name twice"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Event<'static> {
        Event {
            tenant: "default".into(),
            idempotency_key: "k1".into(),
            user_id: "u1".into(),
            event_type: "click".into(),
            occurred_at: Timestamp(1_700_000_000_000_000),
            occurred_at_assigned: false,
            amount: Amount::from_millionths(12_500_000),
            upload_id: None,
            row: None,
            reverse: false,
            metadata: vec![("a".into(), "1".into()), ("page".into(), "home".into())],
        }
    }

    #[test]
    fn every_limit_is_checked_and_named() {
        let now = Timestamp(1_700_000_000_000_000);
        assert_eq!(sample().check(now), Ok(()));
        let cases: [(&str, Event<'static>); 7] = [
            (
                "missing",
                Event {
                    user_id: "".into(),
                    ..sample()
                },
            ),
            (
                "too_long",
                Event {
                    user_id: "x".repeat(257).into(),
                    ..sample()
                },
            ),
            (
                "control_character",
                Event {
                    event_type: "a\u{85}b".into(),
                    ..sample()
                },
            ),
            (
                "in_future",
                Event {
                    occurred_at: Timestamp(now.0 + limits::FUTURE_MICROS + 1),
                    ..sample()
                },
            ),
            (
                "out_of_range",
                Event {
                    occurred_at: Timestamp(-1),
                    ..sample()
                },
            ),
            (
                "twice",
                Event {
                    metadata: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
                    ..sample()
                },
            ),
            (
                "too_long",
                Event {
                    metadata: vec![("a".into(), "x".repeat(16 * 1024).into())],
                    ..sample()
                },
            ),
        ];
        for (code, event) in cases {
            assert_eq!(event.check(now).map_err(|invalid| invalid.code), Err(code));
        }
    }
}
