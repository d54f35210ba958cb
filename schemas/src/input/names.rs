//! How the fields of an event may be called by those who send them, in JSON and in the header of a CSV file alike.

/// A field that is known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Key,
    User,
    Type,
    /// `type`: the event type where no field says so more clearly, else metadata.
    LooseType,
    Time,
    /// `time`: the time where no field says so more clearly, else metadata.
    LooseTime,
    Amount,
    Reverse,
    Metadata,
}

const NAMES: [(&str, Known); 14] = [
    ("user_id", Known::User),
    ("userId", Known::User),
    ("event_type", Known::Type),
    ("eventType", Known::Type),
    ("type", Known::LooseType),
    ("timestamp", Known::Time),
    ("occurred_at", Known::Time),
    ("occurredAt", Known::Time),
    ("time", Known::LooseTime),
    ("amount", Known::Amount),
    ("idempotency_key", Known::Key),
    ("idempotencyKey", Known::Key),
    ("reverse", Known::Reverse),
    ("metadata", Known::Metadata),
];

/// The field of a name, whatever its case.
pub(super) fn known(name: &str) -> Option<Known> {
    let mut names = NAMES.iter();
    names
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, field)| *field)
}
