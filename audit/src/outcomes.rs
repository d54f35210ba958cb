//! Outcomes: what the chain says of each record beside what must be.

use crate::fold::prefix;
use crate::record::Refused;
use schemas::commit::{CommitRecord, Counted, Exception, Fate, Refusal};
use schemas::key::Hashing;
use schemas::{Event, Offset, Partition, limits};
use std::iter::Peekable;

/// What must become of a record.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// It counts.
    Counted(Box<Event<'a>>),
    /// Its key was counted with the same content.
    Duplicate,
    /// A copy goes to this partition.
    Rerouted(Partition),
    /// It is a dead letter.
    Refused(Refused),
}

/// What the chain says of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Concluded<'c> {
    /// It was counted, for this tenant and as this type.
    Counted {
        entry: Counted<'c>,
        tenant: &'c str,
        event_type: &'c str,
    },
    /// It was not.
    Exception(Fate<'c>),
}

/// The conclusions of one commit record in the order of offsets.
pub(crate) struct Conclusions<'c> {
    types: &'c [(String, String)],
    counted: Peekable<Box<dyn Iterator<Item = Counted<'c>> + 'c>>,
    exceptions: Peekable<Box<dyn Iterator<Item = Exception<'c>> + 'c>>,
}

impl<'c> Conclusions<'c> {
    pub(crate) fn of(record: &'c CommitRecord) -> Self {
        let counted: Box<dyn Iterator<Item = Counted<'c>> + 'c> = Box::new(record.counted());
        let exceptions: Box<dyn Iterator<Item = Exception<'c>> + 'c> = Box::new(record.exceptions());
        Self {
            types: &record.types,
            counted: counted.peekable(),
            exceptions: exceptions.peekable(),
        }
    }

    /// The next conclusion, if it is of an offset before `end`.
    pub(crate) fn before(&mut self, end: Offset) -> Option<(Offset, Concluded<'c>)> {
        let counted = self.counted.peek().map(|entry| entry.offset);
        let exception = self.exceptions.peek().map(|entry| entry.offset);
        let counted_first = match (counted, exception) {
            (Some(counted), Some(exception)) => counted <= exception,
            (counted, _) => counted.is_some(),
        };
        let (offset, concluded) = if counted_first {
            let entry = *self.counted.peek().filter(|entry| entry.offset < end)?;
            self.counted.next();
            let names = self.types.get(entry.type_index as usize);
            let (tenant, event_type) = names.map_or(("", ""), |(tenant, kind)| (tenant, kind));
            (
                entry.offset,
                Concluded::Counted {
                    entry,
                    tenant,
                    event_type,
                },
            )
        } else {
            let entry = *self.exceptions.peek().filter(|entry| entry.offset < end)?;
            self.exceptions.next();
            (entry.offset, Concluded::Exception(entry.fate))
        };
        Some((offset, concluded))
    }
}

/// What must be and what the chain says in words, where they differ.
pub(crate) fn differ(
    verdict: &Verdict<'_>,
    accepted_ms: i64,
    concluded: Option<&Concluded<'_>>,
    hashing: &Hashing,
) -> Option<(String, String)> {
    let found = concluded.map_or_else(|| "nothing".to_owned(), Concluded::word);
    let fields = match (verdict, concluded) {
        (
            Verdict::Counted(event),
            Some(Concluded::Counted {
                entry,
                tenant,
                event_type,
            }),
        ) => counted_fields(event, entry, tenant, event_type, hashing),
        (Verdict::Duplicate, Some(Concluded::Exception(Fate::Duplicate))) => Vec::new(),
        (Verdict::Rerouted(to), Some(Concluded::Exception(Fate::Rerouted(said)))) if to == said => Vec::new(),
        (Verdict::Refused(refused), Some(Concluded::Exception(Fate::DeadLettered(refusal))))
            if refused.reason == refusal.reason =>
        {
            refused_fields(refused, accepted_ms, refusal)
        }
        _ => return Some((verdict.word(), found)),
    };
    (!fields.is_empty()).then(|| {
        (
            verdict.word(),
            format!("{found}, with another {}", fields.join(", ")),
        )
    })
}

fn counted_fields(
    event: &Event<'_>,
    entry: &Counted<'_>,
    tenant: &str,
    event_type: &str,
    hashing: &Hashing,
) -> Vec<&'static str> {
    let fresh = &entry.fresh;
    let same_print = fresh.fingerprint == hashing.fingerprint(&event.tenant, &event.idempotency_key);
    named([
        ("tenant", event.tenant == tenant),
        ("event type", event.event_type == event_type),
        ("user", event.user_id == entry.user),
        ("amount", event.amount == entry.amount),
        ("quarter-hour", event.occurred_at.quarter() == fresh.quarter),
        ("fingerprint", same_print),
        ("content hash", fresh.content == hashing.content(event)),
        ("mark of reversal", !fresh.reversed),
    ])
}

fn refused_fields(refused: &Refused, accepted_ms: i64, refusal: &Refusal<'_>) -> Vec<&'static str> {
    named([
        (
            "tenant",
            prefix(&refused.tenant, limits::TENANT_BYTES) == refusal.tenant,
        ),
        ("user", prefix(&refused.user, limits::USER_BYTES) == refusal.user),
        ("time of acceptance", accepted_ms == refusal.accepted_ms),
    ])
}

/// The names of what is not the same.
fn named<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| name)
        .collect()
}

impl Verdict<'_> {
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Counted(_) => "counted".to_owned(),
            Self::Duplicate => "duplicate".to_owned(),
            Self::Rerouted(to) => format!("rerouted to {to}"),
            Self::Refused(refused) => format!("dead-lettered ({})", refused.reason.word()),
        }
    }
}

impl Concluded<'_> {
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Counted { .. } => "counted".to_owned(),
            Self::Exception(Fate::Duplicate) => "duplicate".to_owned(),
            Self::Exception(Fate::Rerouted(to)) => format!("rerouted to {to}"),
            Self::Exception(Fate::DeadLettered(refusal)) => {
                format!("dead-lettered ({})", refusal.reason.word())
            }
        }
    }
}
