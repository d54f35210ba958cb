//! Tries to redrive dead letters as the audit reads them: which rows they must have.

use crate::report::RowFault;
use schemas::redrive::{Redriven, Try};
use schemas::row::RowKey;
use schemas::time::QUARTERS_A_DAY;
use schemas::{Day, Offset, Outcome, Partition, Timestamp};

/// A row of the view of dead letters that says what became of a redriven copy.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) version: Offset,
    tenant: Box<str>,
    accepted_ms: i64,
    letter: (Partition, Offset),
    /// Without the text for people.
    row: Try,
    /// What the chain says for people; `None` where it says nothing of this record.
    detail: Option<Box<str>>,
}

impl Tried {
    /// The row of a redriven copy with this outcome.
    pub(crate) fn new(
        redriven: &Redriven<'_>,
        outcome: Outcome,
        detail: Option<&str>,
        version: Offset,
    ) -> Self {
        let is_refused = matches!(outcome, Outcome::DeadLettered(_));
        Self {
            version,
            tenant: redriven.redrive.tenant.into(),
            accepted_ms: redriven.accepted_ms,
            letter: (redriven.partition, redriven.offset),
            row: Try {
                outcome,
                detail: String::new(),
                who: redriven.redrive.who.to_owned(),
                at_ms: redriven.redrive.at_ms,
                edited: redriven.redrive.edited,
            },
            detail: if is_refused {
                detail.map(Into::into)
            } else {
                Some("".into())
            },
        }
    }

    /// The key that it must have.
    pub(crate) fn key(&self, copy: Offset) -> RowKey {
        RowKey::Redrive {
            tenant: self.tenant.to_string(),
            day: Day(Timestamp::from_millis(self.accepted_ms).quarter().0 / QUARTERS_A_DAY),
            accepted_ms: self.accepted_ms,
            letter: self.letter.0,
            offset: self.letter.1,
            copy,
        }
    }

    /// What is wrong with a value.
    pub(crate) fn fault(&self, value: &[u8]) -> Option<RowFault> {
        let Ok(found) = Try::decode(value) else {
            return Some(RowFault::Unreadable);
        };
        let detail = self.detail.as_deref().unwrap_or(&found.detail);
        let expected = Try {
            detail: detail.to_owned(),
            ..self.row.clone()
        };
        (expected != found).then(|| RowFault::Value {
            expected: format!("{expected:?}"),
            found: format!("{found:?}"),
        })
    }
}
