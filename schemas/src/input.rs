//! The one door for what people send over HTTP and in files: a JSON object or a CSV row becomes [`Raw`], and [`Raw`]
//! becomes an [`Event`] that keeps every limit. Nothing is rounded, guessed or dropped on the way: what is not
//! understood is an error that names its field.

use crate::{Amount, Event, Field, Invalid, Timestamp, amount::AmountError, avro, key};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use uuid::Uuid;

mod names;
mod object;
mod cloud_event;
mod columns;
mod renames;
mod timestamp;

pub use columns::Columns;
pub(crate) use object::read_with_tenant;
pub use renames::Renames;
pub use timestamp::parse_timestamp;

/// What was sent, field by field, before any of it was checked. `None` is absent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Raw<'a> {
    /// The sender's own key.
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Who did it.
    pub user_id: Option<Cow<'a, str>>,
    /// What was done.
    pub event_type: Option<Cow<'a, str>>,
    /// When, as [`parse_timestamp`] reads it.
    pub timestamp: Option<Cow<'a, str>>,
    /// A decimal number as text, exactly as it was sent.
    pub amount: Option<Cow<'a, str>>,
    /// `true` or `false`: whether this takes back an event.
    pub reverse: Option<Cow<'a, str>>,
    /// Everything else, in the order of the input; a name may stand twice until it is checked.
    pub metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// A row that is not valid, as answers and facts list it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowError {
    /// Its number, from 1.
    pub row: u64,
    /// A stable word for what is wrong.
    pub code: String,
    /// The field at fault.
    pub field: String,
    /// What is wrong, for people; never the value itself.
    pub message: String,
}

/// What an event's key depends on apart from the event itself. One serves all rows of a request: set `row` for each.
pub struct KeyContext<'t> {
    /// Whose events these are.
    pub tenant: &'t str,
    /// When they were accepted: bounds how far ahead they may lie, and is their time where they have none.
    pub accepted_at: Timestamp,
    /// The request's `Idempotency-Key` header.
    pub batch_key: Option<&'t str>,
    /// Whether the request is one object and no batch: then the header is its key verbatim.
    pub single: bool,
    /// The row in the request, from 1.
    pub row: u64,
    /// Makes a key that nobody has: a UUIDv7. The caller's, since nothing here draws randomness.
    pub fresh_key: &'t mut dyn FnMut() -> String,
    /// The upload that the rows belong to. With one, an event holds its row too.
    pub upload_id: Option<Uuid>,
}

impl<'a> Raw<'a> {
    /// Reads one JSON object. Fields go by their names in camelCase or snake_case and any case; `type` and `time` stand
    /// in for `event_type` and `timestamp` where these are absent. Any other field becomes metadata: strings as they
    /// are, other JSON as compact JSON text; null is absent.
    ///
    /// Errors: `not_utf8`, `not_json`, `not_an_object`, `not_text`, `twice`, `too_many`.
    pub fn from_json(bytes: &'a [u8]) -> Result<Self, Invalid> {
        object::read(bytes)
    }

    /// The same, with other names for the object's own fields.
    pub fn from_json_renamed(bytes: &'a [u8], renames: &'a Renames) -> Result<Self, Invalid> {
        object::read_renamed(bytes, renames)
    }

    /// The event of what was sent, with its key: the sender's own; else one made of the request's header and the row;
    /// else, with a time, a hash of the content; else a fresh one. It keeps every limit, encoded as well
    /// ([`Event::check`] has that for a consequence).
    pub fn into_event<'t: 'a>(mut self, context: &mut KeyContext<'t>) -> Result<Event<'a>, Invalid> {
        let own_key = self.idempotency_key.take();
        let mut event = self.assemble(Cow::Borrowed(context.tenant), context.accepted_at)?;
        if let Some(upload_id) = context.upload_id {
            event.upload_id = Some(upload_id);
            event.row = i64::try_from(context.row).ok();
        }
        let mut is_fresh = false;
        event.idempotency_key = match (own_key, context.batch_key) {
            (Some(own), _) => own,
            (None, Some(header)) if context.single => Cow::Borrowed(header),
            (None, Some(header)) => Cow::Owned(key::batch_key(header, context.row)),
            (None, None) if !event.occurred_at_assigned => Cow::Owned(key::content_key(&event)),
            (None, None) => {
                is_fresh = true;
                Cow::Owned((context.fresh_key)())
            }
        };
        event.check(context.accepted_at)?;
        if event.reverse && is_fresh {
            let message = "needs the idempotency_key of the event that it takes back, or its timestamp";
            return Err(Invalid::new(Field::Reverse, "missing", message));
        }
        Ok(event)
    }

    /// The event without its key and without a check of its limits.
    pub(crate) fn assemble(
        mut self,
        tenant: Cow<'a, str>,
        accepted_at: Timestamp,
    ) -> Result<Event<'a>, Invalid> {
        let occurred_at = self.timestamp.as_deref().map(parse_timestamp).transpose()?;
        let amount = self.amount.as_deref().map(parse_amount).transpose()?;
        avro::sort_entries(&mut self.metadata);
        Ok(Event {
            tenant,
            idempotency_key: Cow::Borrowed(""),
            user_id: present(Field::UserId, self.user_id)?,
            event_type: present(Field::EventType, self.event_type)?,
            occurred_at: occurred_at.unwrap_or(accepted_at),
            occurred_at_assigned: occurred_at.is_none(),
            amount,
            upload_id: None,
            row: None,
            reverse: self.reverse.as_deref().map_or(Ok(false), parse_reverse)?,
            metadata: self.metadata,
        })
    }
}

fn present(field: Field, value: Option<Cow<'_, str>>) -> Result<Cow<'_, str>, Invalid> {
    value.ok_or_else(|| Invalid::new(field, "missing", "is missing"))
}

fn parse_reverse(text: &str) -> Result<bool, Invalid> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(Invalid::new(
            Field::Reverse,
            "not_a_boolean",
            "must be true or false",
        )),
    }
}

fn parse_amount(text: &str) -> Result<Amount, Invalid> {
    text.parse().map_err(|error: AmountError| {
        let code = match error {
            AmountError::NotANumber => "not_a_number",
            AmountError::TooFine | AmountError::TooLarge => "out_of_range",
        };
        Invalid::new(Field::Amount, code, error.to_string())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn event(json: &str, header: Option<&str>, single: bool) -> Result<Event<'static>, Invalid> {
        let mut made = 0;
        let mut fresh_key = || {
            made += 1;
            format!("fresh-{made}")
        };
        let mut context = KeyContext {
            tenant: "acme",
            accepted_at: NOW,
            batch_key: header,
            single,
            row: 7,
            fresh_key: &mut fresh_key,
            upload_id: None,
        };
        Raw::from_json(json.as_bytes())?
            .into_event(&mut context)
            .map(Event::into_owned)
    }

    #[test]
    fn a_key_is_the_senders_else_the_headers_else_the_contents_else_fresh() {
        let own = r#"{"userId":"u","type":"t","timestamp":"2024-01-15","idempotencyKey":"mine"}"#;
        let timed = r#"{"userId":"u","type":"t","timestamp":"2024-01-15"}"#;
        let untimed = r#"{"userId":"u","type":"t"}"#;
        let key = |json, header, single| event(json, header, single).unwrap().idempotency_key;
        assert_eq!(key(own, Some("h"), false), "mine");
        assert_eq!(key(timed, Some("h"), true), "h");
        assert_eq!(key(timed, Some("h"), false), key::batch_key("h", 7));
        assert_eq!(
            key(timed, None, false),
            key::content_key(&event(own, None, false).unwrap())
        );
        assert_eq!(key(untimed, None, false), "fresh-1");
        assert_eq!(key(untimed, Some("h"), false), key::batch_key("h", 7));
    }

    #[test]
    fn an_event_without_a_time_gets_that_of_its_acceptance() {
        let assigned = event(r#"{"userId":"u","type":"t"}"#, None, false).unwrap();
        assert_eq!((assigned.occurred_at, assigned.occurred_at_assigned), (NOW, true));
        assert_eq!(assigned.tenant, "acme");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, field, code) in [
            (r#"{"type":"t"}"#, Field::UserId, "missing"),
            (r#"{"userId":"u"}"#, Field::EventType, "missing"),
            (r#"{"userId":"","type":"t"}"#, Field::UserId, "missing"),
            (
                r#"{"userId":"u","type":"t","amount":0.1234567}"#,
                Field::Amount,
                "out_of_range",
            ),
            (
                r#"{"userId":"u","type":"t","amount":"1,5"}"#,
                Field::Amount,
                "not_a_number",
            ),
            (
                r#"{"userId":"u","type":"t","time":"soon"}"#,
                Field::Timestamp,
                "not_a_time",
            ),
            (
                r#"{"userId":"u","type":"t","time":2e9}"#,
                Field::Timestamp,
                "not_a_time",
            ),
            (
                r#"{"userId":"u","type":"t","time":2000000000}"#,
                Field::Timestamp,
                "in_future",
            ),
            (
                r#"{"userId":"u","type":"t","time":-1}"#,
                Field::Timestamp,
                "out_of_range",
            ),
            (
                r#"{"userId":"u","type":"t","idempotency_key":""}"#,
                Field::IdempotencyKey,
                "missing",
            ),
            (
                r#"{"userId":"u","type":"t","a":1,"metadata":{"a":2}}"#,
                Field::Metadata,
                "twice",
            ),
        ] {
            let invalid = event(json, None, false).unwrap_err();
            assert_eq!((invalid.field, invalid.code), (field, code), "{json}");
        }
    }
}
