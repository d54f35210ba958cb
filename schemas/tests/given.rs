//! What the tests are made of: one event with every field, and any event at all.

use proptest::prelude::*;
use schemas::{Amount, Event, Timestamp};
use std::borrow::Cow;
use uuid::Uuid;

/// An event with every field.
pub(crate) fn full_event() -> Event<'static> {
    Event {
        tenant: "acme".into(),
        idempotency_key: "order-17".into(),
        user_id: "müller".into(),
        event_type: "purchase".into(),
        occurred_at: Timestamp(1_705_312_800_000_001),
        occurred_at_assigned: false,
        amount: Amount::from_millionths(-12_500_000),
        upload_id: Some(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
        row: Some(300),
        reverse: true,
        metadata: vec![("currency".into(), "EUR".into()), ("page".into(), "home".into())],
    }
}

/// Any amount.
pub(crate) fn any_amount() -> impl Strategy<Value = Amount> {
    let largest = 999_999_999_999_999_999_i64;
    prop_oneof![-largest..=largest, -1000_i64..1000, Just(largest), Just(-largest)]
        .prop_map(|millionths| Amount::from_millionths(millionths).unwrap())
}

/// Any event, whether it keeps its limits or not, with its metadata sorted and each name once.
pub(crate) fn any_event() -> impl Strategy<Value = Event<'static>> {
    let texts = ("\\PC{0,20}", ".{0,40}", "[a-z0-9]{0,30}", "[a-z]{0,10}");
    let time = (any::<i64>(), any::<bool>());
    let origin = (
        proptest::option::of(any::<u128>()),
        proptest::option::of(any::<i64>()),
    );
    let metadata = proptest::collection::btree_map(".{0,8}", ".{0,200}", 0..20);
    let amount = proptest::option::of(any_amount());
    (texts, time, amount, origin, metadata).prop_map(|(texts, time, amount, origin, metadata)| Event {
        tenant: texts.0.into(),
        idempotency_key: texts.1.into(),
        user_id: texts.2.into(),
        event_type: texts.3.into(),
        occurred_at: Timestamp(time.0),
        occurred_at_assigned: time.1,
        amount,
        upload_id: origin.0.map(Uuid::from_u128),
        row: origin.1,
        reverse: time.1,
        metadata: metadata
            .into_iter()
            .map(|(name, value)| (Cow::Owned(name), Cow::Owned(value)))
            .collect(),
    })
}
