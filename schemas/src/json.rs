//! The event as JSON on the topic, so that any Kafka producer is a client: the same object as over HTTP. Whoever may
//! write the topic is trusted in its tenants, so here, and only here, the object may name one.

use crate::{Event, Invalid, Timestamp, input};
use std::borrow::Cow;

/// The tenant of an object that names none.
const TENANT: &str = "default";

/// Reads an event. Without a key of its own it has the record's; without a time it happened when it was accepted.
/// Limits are [`Event::check`]'s to keep, as for an event in Avro.
///
/// Errors: those of [`input::Raw::from_json`], `missing`, `not_a_time`, `not_a_number`, `out_of_range` (an amount).
pub fn decode<'a>(bytes: &'a [u8], record_key: &str, accepted_at: Timestamp) -> Result<Event<'a>, Invalid> {
    let (mut raw, tenant) = input::read_with_tenant(bytes)?;
    let own_key = raw.idempotency_key.take();
    let mut event = raw.assemble(tenant.unwrap_or(Cow::Borrowed(TENANT)), accepted_at)?;
    event.idempotency_key = own_key.unwrap_or_else(|| Cow::Owned(record_key.to_owned()));
    Ok(event)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    #[test]
    fn an_object_that_says_the_least_is_an_event() {
        let event = decode(br#"{"userId":"u","type":"t"}"#, "key", NOW).unwrap();
        assert_eq!(
            (event.tenant.as_ref(), event.idempotency_key.as_ref()),
            ("default", "key")
        );
        assert_eq!((event.occurred_at, event.occurred_at_assigned), (NOW, true));
        assert_eq!(event.check(NOW), Ok(()));
    }

    #[test]
    fn an_object_may_name_its_tenant_and_its_key() {
        let json = br#"{"Tenant":"acme","idempotencyKey":"own","userId":"u","type":"t","time":"2024-01-15"}"#;
        let event = decode(json, "key", NOW).unwrap();
        assert_eq!(
            (event.tenant.as_ref(), event.idempotency_key.as_ref()),
            ("acme", "own")
        );
        assert!(!event.occurred_at_assigned);
        assert!(event.metadata.is_empty());
        let twice = decode(
            br#"{"tenant":"a","tenant":"b","userId":"u","type":"t"}"#,
            "key",
            NOW,
        );
        assert_eq!(twice.unwrap_err().code, "twice");
    }
}
