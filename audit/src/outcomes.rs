//! Outcomes: what the chain says of each record beside what must be.

use crate::fold::prefix;
use crate::record::Refused;
use crate::uploads::Id;
use schemas::commit::{CommitRecord, Counted, Exception, Fate, Refusal, Source};
use schemas::key::Hashing;
use schemas::redrive::Redriven;
use schemas::upload::Fact;
use schemas::{Event, Offset, Partition, Quarter, limits};
use std::iter::Peekable;

/// What must become of a record.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// It counts.
    Counted(Box<Event<'a>>),
    /// It takes back what was counted in this quarter-hour.
    Reversed(Box<Event<'a>>, Quarter),
    /// Its copy counts, when its upload is released.
    Held,
    /// Another copy of the same held record came before.
    Repeated,
    /// It is a fact of an upload, or a canary, which is none.
    Noted(Option<Box<Fact>>),
    /// Its key was counted with the same content.
    Duplicate,
    /// A copy goes to this partition.
    Rerouted(Partition),
    /// It is a dead letter.
    Refused(Refused),
}

/// Where a record came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Came<'a> {
    /// The upload.
    pub(crate) upload: Option<Id>,
    /// The held record that it is a copy of.
    pub(crate) copy_of: Option<Offset>,
    /// The dead letter that it is a try for.
    pub(crate) redriven: Option<Redriven<'a>>,
}

/// What the chain says of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Concluded<'c> {
    /// It was counted, for this tenant and as this type.
    Counted {
        entry: Counted<'c>,
        tenant: &'c str,
        event_type: &'c str,
        upload: Option<&'c Id>,
        redriven: Option<Redriven<'c>>,
    },
    /// It was not.
    Exception {
        fate: Fate<'c>,
        upload: Option<&'c Id>,
        copy_of: Option<Offset>,
        redriven: Option<Redriven<'c>>,
    },
}

/// The conclusions of one commit record in the order of offsets.
pub(crate) struct Conclusions<'c> {
    types: &'c [(String, String)],
    uploads: &'c [Id],
    counted: Peekable<Box<dyn Iterator<Item = Counted<'c>> + 'c>>,
    exceptions: Peekable<Box<dyn Iterator<Item = Exception<'c>> + 'c>>,
    redrives: Peekable<Box<dyn Iterator<Item = Redriven<'c>> + 'c>>,
}

impl<'c> Conclusions<'c> {
    pub(crate) fn of(record: &'c CommitRecord) -> Self {
        let counted: Box<dyn Iterator<Item = Counted<'c>> + 'c> = Box::new(record.counted());
        let exceptions: Box<dyn Iterator<Item = Exception<'c>> + 'c> = Box::new(record.exceptions());
        let redrives: Box<dyn Iterator<Item = Redriven<'c>> + 'c> = Box::new(record.redrives());
        Self {
            types: &record.types,
            uploads: &record.uploads,
            counted: counted.peekable(),
            exceptions: exceptions.peekable(),
            redrives: redrives.peekable(),
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
                    upload: self.upload(entry.source),
                    redriven: self.redriven(entry.offset),
                },
            )
        } else {
            let entry = *self.exceptions.peek().filter(|entry| entry.offset < end)?;
            self.exceptions.next();
            let concluded = Concluded::Exception {
                fate: entry.fate,
                upload: self.upload(entry.source),
                copy_of: entry.source.and_then(|source| source.copy_of),
                redriven: self.redriven(entry.offset),
            };
            (entry.offset, concluded)
        };
        Some((offset, concluded))
    }

    /// What is said of the record at `offset` as a redriven copy.
    fn redriven(&mut self, offset: Offset) -> Option<Redriven<'c>> {
        while self.redrives.next_if(|redriven| redriven.copy < offset).is_some() {}
        self.redrives.next_if(|redriven| redriven.copy == offset)
    }

    fn upload(&self, source: Option<Source>) -> Option<&'c Id> {
        self.uploads.get(source?.upload_index as usize)
    }
}

/// What must be and what the chain says in words, where they differ.
pub(crate) fn differ(
    (verdict, came): &(Verdict<'_>, Came<'_>),
    accepted_ms: i64,
    concluded: Option<&Concluded<'_>>,
    hashing: &Hashing,
) -> Option<(String, String)> {
    let found = concluded.map_or_else(|| "nothing".to_owned(), Concluded::word);
    let other = || Some((verdict.word(), found.clone()));
    let mut fields = match (verdict, concluded) {
        (Verdict::Counted(event), Some(concluded @ Concluded::Counted { .. })) => {
            counted_fields(event, (event.occurred_at.quarter(), false), concluded, hashing)
        }
        (Verdict::Reversed(event, quarter), Some(concluded @ Concluded::Counted { .. })) => {
            counted_fields(event, (*quarter, true), concluded, hashing)
        }
        (_, Some(Concluded::Exception { fate, .. })) => match (verdict, fate) {
            (Verdict::Duplicate, Fate::Duplicate)
            | (Verdict::Held, Fate::Held)
            | (Verdict::Repeated, Fate::Repeated)
            | (Verdict::Noted(_), Fate::Noted(_)) => Vec::new(),
            (Verdict::Rerouted(to), Fate::Rerouted(said)) if to == said => Vec::new(),
            (Verdict::Refused(refused), Fate::DeadLettered(refusal)) if refused.reason == refusal.reason => {
                refused_fields(refused, accepted_ms, refusal)
            }
            _ => return other(),
        },
        _ => return other(),
    };
    let (upload, copy_of, redriven) = concluded.map_or((None, None, None), Concluded::came);
    // A fact names its upload itself.
    let is_its_upload = match verdict {
        Verdict::Noted(Some(fact)) => {
            upload.is_some_and(|(tenant, id)| (tenant, id) == (&fact.tenant, &fact.upload))
        }
        _ => upload == came.upload.as_ref(),
    };
    fields.extend(named([
        ("upload", is_its_upload),
        ("original", copy_of == came.copy_of),
        ("redrive", redriven == came.redriven),
    ]));
    (!fields.is_empty()).then(|| {
        (
            verdict.word(),
            format!("{found}, with another {}", fields.join(", ")),
        )
    })
}

fn counted_fields(
    event: &Event<'_>,
    (quarter, reversed): (Quarter, bool),
    concluded: &Concluded<'_>,
    hashing: &Hashing,
) -> Vec<&'static str> {
    let Concluded::Counted {
        entry,
        tenant,
        event_type,
        ..
    } = concluded
    else {
        return Vec::new();
    };
    let fresh = &entry.fresh;
    let same_print = fresh.fingerprint == hashing.fingerprint(&event.tenant, &event.idempotency_key);
    named([
        ("tenant", event.tenant == *tenant),
        ("event type", event.event_type == *event_type),
        ("user", event.user_id == entry.user),
        ("amount", event.amount == entry.amount),
        ("quarter-hour", quarter == fresh.quarter),
        ("fingerprint", same_print),
        ("content hash", fresh.content == hashing.content(event)),
        ("mark of reversal", fresh.reversed == reversed),
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
            Self::Reversed(..) => "reversed".to_owned(),
            Self::Held => "held".to_owned(),
            Self::Repeated => "repeated".to_owned(),
            Self::Noted(_) => "noted".to_owned(),
            Self::Duplicate => "duplicate".to_owned(),
            Self::Rerouted(to) => format!("rerouted to {to}"),
            Self::Refused(refused) => format!("dead-lettered ({})", refused.reason.word()),
        }
    }
}

impl<'c> Concluded<'c> {
    /// The upload, the original, and the dead letter that it names.
    fn came(&self) -> (Option<&'c Id>, Option<Offset>, Option<Redriven<'c>>) {
        match self {
            Self::Counted {
                entry,
                upload,
                redriven,
                ..
            } => (*upload, entry.source.and_then(|source| source.copy_of), *redriven),
            Self::Exception {
                upload,
                copy_of,
                redriven,
                ..
            } => (*upload, *copy_of, *redriven),
        }
    }

    pub(crate) fn word(&self) -> String {
        let word = match self {
            Self::Counted { entry, .. } if entry.fresh.reversed => "reversed",
            Self::Counted { .. } => "counted",
            Self::Exception { fate, .. } => match fate {
                Fate::Duplicate => "duplicate",
                Fate::Held => "held",
                Fate::Repeated => "repeated",
                Fate::Noted(_) => "noted",
                Fate::Rerouted(to) => return format!("rerouted to {to}"),
                Fate::DeadLettered(refusal) => return format!("dead-lettered ({})", refusal.reason.word()),
            },
        };
        word.to_owned()
    }
}
