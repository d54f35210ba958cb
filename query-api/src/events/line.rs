//! One event as it is shown.

use crate::decoded::{self, decode};
use crate::letters::LogRecord;
use schemas::positions::Position;
use schemas::{Event, Partition, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// One event; where its bytes cannot be read, its place alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserEvent)]
pub(crate) struct Line {
    #[schema(required = true)]
    occurred_at: Option<String>,
    #[schema(required = true)]
    accepted_at: Option<String>,
    #[schema(required = true)]
    pub(crate) event_type: Option<String>,
    #[schema(required = true)]
    amount: Option<String>,
    #[schema(required = true)]
    idempotency_key: Option<String>,
    metadata: Value,
    partition: u32,
    offset: u64,
    /// Whether it took back the event of the same key.
    reverse: bool,
    #[schema(required = true)]
    upload_id: Option<String>,
    #[schema(required = true)]
    row: Option<i64>,
    /// Why its bytes cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecoded: Option<String>,
}

/// Whose events are shown, and in which schema our own writers write.
#[derive(Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) user: &'a str,
    pub(crate) own_schema: Option<u32>,
}

impl Line {
    /// The line of an event, and when it happened, if its record says it.
    pub(crate) fn of(
        partition: Partition,
        position: Position,
        record: Option<&LogRecord>,
        whose: &Whose<'_>,
    ) -> (Self, Option<Timestamp>) {
        let mut line = Self {
            occurred_at: None,
            accepted_at: record.map(|record| Timestamp::from_millis(record.accepted_ms).rfc3339()),
            event_type: None,
            amount: None,
            idempotency_key: None,
            metadata: Value::Object(Map::new()),
            partition: partition.0,
            offset: position.offset.0,
            reverse: position.reverse,
            upload_id: None,
            row: None,
            undecoded: None,
        };
        match read(record, whose) {
            Err(why) => {
                line.undecoded = Some(why);
                (line, None)
            }
            Ok(event) => {
                line.occurred_at = Some(event.occurred_at.rfc3339());
                line.event_type = Some(event.event_type.to_string());
                line.amount = event.amount.map(|amount| amount.to_string());
                line.idempotency_key = Some(event.idempotency_key.to_string());
                line.metadata = decoded::metadata(&event);
                line.upload_id = event.upload_id.map(|upload| upload.to_string());
                line.row = event.row;
                (line, Some(event.occurred_at))
            }
        }
    }
}

fn read<'a>(record: Option<&'a LogRecord>, whose: &Whose<'_>) -> Result<Event<'a>, String> {
    let record = record.ok_or("the log does not have this record any more")?;
    let accepted_at = Timestamp::from_millis(record.accepted_ms);
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    let event = decode(key, value, accepted_at, whose.own_schema)?;
    // Nothing of anybody else is ever shown, whatever a row says.
    match (&*event.tenant, &*event.user_id) == (whose.tenant, whose.user) {
        true => Ok(event),
        false => Err("it is not what was counted here".to_owned()),
    }
}
