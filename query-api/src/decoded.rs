//! The event in a record's bytes, for people to look at: what this release's own writers wrote, and JSON. Pure.
//!
//! Whether it counts is not said here, and its limits are not looked at again.

use schemas::{Event, Timestamp, avro, json};
use serde_json::{Map, Value};

/// Reads a record's key and value, as the log took it at `accepted_at`; `own_schema` is the id of our own schema in Avro.
///
/// Errors: why it cannot be read, for people.
pub(crate) fn decode<'a>(
    key: Option<&[u8]>,
    value: Option<&'a [u8]>,
    accepted_at: Timestamp,
    own_schema: Option<u32>,
) -> Result<Event<'a>, String> {
    let value = value.ok_or("the record has no value")?;
    if value.first() == Some(&b'{') {
        let key = key.and_then(|key| std::str::from_utf8(key).ok());
        let key = key.ok_or("the record's key is no text")?;
        return json::decode(value, key, accepted_at).map_err(|invalid| invalid.to_string());
    }
    match avro::frame(value) {
        Some((id, body)) if Some(id) == own_schema => avro::decode(body).map_err(|error| error.to_string()),
        Some((id, _)) => Err(format!("it is in Avro in another writer's schema, {id}")),
        None => Err("it is neither Avro in the Confluent format nor a JSON object".to_owned()),
    }
}

/// An event as a client would send it. A time that the server set is left out: it would be set to the same again.
pub(crate) fn shape(event: &Event<'_>) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("user_id", event.user_id.as_ref().into());
    put("event_type", event.event_type.as_ref().into());
    if !event.occurred_at_assigned {
        put("occurred_at", event.occurred_at.rfc3339().into());
    }
    if let Some(amount) = event.amount {
        put("amount", amount.to_string().into());
    }
    if !event.idempotency_key.is_empty() {
        put("idempotency_key", event.idempotency_key.as_ref().into());
    }
    if event.reverse {
        put("reverse", true.into());
    }
    if !event.metadata.is_empty() {
        put("metadata", metadata(event));
    }
    members.into()
}

/// What else the sender said, by name.
pub(crate) fn metadata(event: &Event<'_>) -> Value {
    let entries = event.metadata.iter();
    let entries = entries.map(|(name, value)| (name.to_string(), value.as_ref().into()));
    Value::Object(entries.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_762_257_600_000_000);

    #[test]
    fn own_avro_and_json_are_read_alike() {
        let json =
            br#"{"user_id":"u","event_type":"click","occurred_at":"2025-11-04T12:00:00Z","amount":"12.50",
            "idempotency_key":"k","metadata":{"page":"home"},"reverse":true}"#;
        let event = decode(Some(b"k"), Some(json), AT, Some(7)).unwrap();
        assert_eq!((&*event.user_id, event.reverse), ("u", true));
        assert_eq!(metadata(&event), serde_json::json!({"page": "home"}));
        let mut avro = Vec::new();
        avro::encode(&event, 7, &mut avro);
        assert_eq!(decode(Some(b"k"), Some(&avro), AT, Some(7)), Ok(event));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let mut foreign = Vec::new();
        let event = decode(Some(b"k"), Some(br#"{"userId":"u","type":"t"}"#), AT, None).unwrap();
        avro::encode(&event, 8, &mut foreign);
        for (key, value, why) in [
            (Some(&b"k"[..]), None, "the record has no value"),
            (Some(b"\xff"), Some(&b"{}"[..]), "the record's key is no text"),
            (Some(b"k"), Some(b"{\"no\":"), "event"),
            (Some(b"k"), Some(b"\0\0\0\0\x07\xff"), "not an event in Avro"),
            (Some(b"k"), Some(&foreign), "another writer's schema, 8"),
            (Some(b"k"), Some(b"hello"), "neither Avro"),
        ] {
            let said = decode(key, value, AT, Some(7)).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
