//! The event of a dead letter's bytes, as far as they can be read: as JSON in the shape that `POST /v1/events` takes, so that it can be
//! mended and sent as it is shown.

use crate::letters::LogRecord;
use schemas::{Event, Timestamp, avro, json};
use serde_json::{Map, Value};

/// Reads a record, in our own schema or as a JSON object; or says why it cannot be read.
pub(crate) fn decode(record: &LogRecord, own_schema: Option<u32>) -> Result<Value, String> {
    let Some(value) = record.value.as_deref() else {
        return Err("the record has no value".to_owned());
    };
    if value.first() == Some(&b'{') {
        let key = std::str::from_utf8(record.key.as_deref().unwrap_or_default());
        let key = key.map_err(|_| "the key is not UTF-8".to_owned())?;
        let accepted_at = Timestamp::from_millis(record.accepted_ms);
        let event = json::decode(value, key, accepted_at).map_err(|invalid| invalid.to_string())?;
        return Ok(shape(&event));
    }
    let Some((id, body)) = avro::frame(value) else {
        return Err("neither Avro in the Confluent format nor a JSON object".to_owned());
    };
    if own_schema != Some(id) {
        return Err(format!("Avro of the schema id {id}, which is another writer's"));
    }
    let event = avro::decode(body).map_err(|error| error.to_string())?;
    Ok(shape(&event))
}

/// An event as a client would send it. A time that the server set is left out: it would be set to the same again.
fn shape(event: &Event<'_>) -> Value {
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
        let entries = event.metadata.iter();
        let metadata: Map<String, Value> = entries
            .map(|(name, value)| (name.to_string(), value.as_ref().into()))
            .collect();
        put("metadata", metadata.into());
    }
    members.into()
}
