//! A dead letter with the tries to redrive it: what became of each, and where that leaves the letter.

use crate::QueryApi;
use crate::cursor::Position;
use crate::params::invalid;
use crate::reads::{CALL_DEADLINE, malformed};
use crate::scan;
use schemas::redrive::Try;
use schemas::row::{DeadLetter, LetterPlace, Row, RowKey};
use schemas::{Day, Offset, Outcome, Partition, Timestamp};
use serde::Serialize;
use service::http::Problem;
use std::sync::Arc;
use utoipa::ToSchema;

/// Rows that one call of the store brings.
const CALL_ROWS: usize = 500;
/// Tries of one letter that are looked at: beyond any quarantine, so only forced ones or made-up ones are left out.
const TRIES: usize = 10_000;

/// A dead letter as the view has it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// Its place.
    pub(crate) at: Position,
    /// The tenant under which it is listed; empty where none could be read.
    pub(crate) tenant: Arc<str>,
    /// What is wrong with it.
    pub(crate) row: DeadLetter,
    /// What became of each try to redrive it, oldest first.
    pub(crate) tries: Vec<Tried>,
}

/// One try.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    /// Where the copy lies.
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    pub(crate) row: Try,
}

/// Where the tries leave a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It may be redriven.
    Open,
    /// A try had its effect, or found that the event had it before.
    Redriven,
    /// As many tries failed as there may be.
    Quarantined,
}

impl State {
    const ALL: [Self; 3] = [Self::Open, Self::Redriven, Self::Quarantined];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Redriven => "redriven",
            Self::Quarantined => "quarantined",
        }
    }

    /// Reads the parameter `state`.
    pub(crate) fn of_word(word: &str) -> Result<Self, Problem> {
        let state = Self::ALL.into_iter().find(|state| state.word() == word);
        state.ok_or_else(|| {
            let words = Self::ALL.map(Self::word).join(", ");
            invalid("state", &format!("must be one of {words}"))
        })
    }
}

impl Letter {
    /// Its id: its place on the log.
    pub(crate) fn id(&self) -> String {
        format!("{}-{}", self.at.partition, self.at.offset)
    }

    /// Where it stands, with `most` tries that may fail.
    pub(crate) fn state(&self, most: u32) -> State {
        match self.tries.iter().any(|tried| tried.row.is_success()) {
            true => State::Redriven,
            false if self.tries.len() >= most as usize => State::Quarantined,
            false => State::Open,
        }
    }
}

/// One try in an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redrive)]
pub(crate) struct TryLine {
    #[schema(format = DateTime)]
    at: String,
    by: String,
    edited: bool,
    outcome: &'static str,
    /// Why it was dead-lettered again.
    #[schema(required = true)]
    reason: Option<&'static str>,
    #[schema(required = true)]
    detail: Option<String>,
    partition: u32,
    offset: u64,
}

impl TryLine {
    pub(crate) fn new(tried: &Tried) -> Self {
        let row = &tried.row;
        let (outcome, reason) = match row.outcome {
            Outcome::Counted => ("counted", None),
            Outcome::Duplicate => ("duplicate", None),
            Outcome::Reversed => ("reversed", None),
            Outcome::DeadLettered(reason) => ("dead_lettered", Some(reason.word())),
            Outcome::Repeated | Outcome::Rerouted | Outcome::Held | Outcome::Noted => ("repeated", None),
        };
        Self {
            at: Timestamp::from_millis(row.at_ms).rfc3339(),
            by: row.who.clone(),
            edited: row.edited,
            outcome,
            reason,
            detail: (!row.detail.is_empty()).then(|| row.detail.clone()),
            partition: tried.partition.0,
            offset: tried.offset.0,
        }
    }
}

/// Whole letters of one tenant and day behind a place.
pub(crate) struct Found {
    pub(crate) letters: Vec<Letter>,
    /// Where the last of them lies, if there is more behind it; none if these are all of that day.
    pub(crate) known_to: Option<Position>,
    /// Rows that were looked at.
    pub(crate) rows: usize,
}

/// Reads some letters behind a place, each with all of its tries.
pub(crate) async fn read(
    api: &QueryApi,
    tenant: &Arc<str>,
    day: Day,
    behind: Position,
) -> Result<Found, Problem> {
    let mut rows: Vec<Row> = Vec::new();
    let mut after = behind.place().behind_all();
    loop {
        let call = api.store.dead_letter_rows(tenant, day, Some(after), CALL_ROWS);
        let found = api.read(CALL_DEADLINE, call).await?;
        let is_all = found.len() < CALL_ROWS;
        rows.extend(found);
        let looked_at = rows.len();
        let Some(last) = rows.last().and_then(LetterPlace::of).filter(|_| !is_all) else {
            let letters = letters(tenant, rows)?;
            return Ok(Found {
                letters,
                known_to: None,
                rows: looked_at,
            });
        };
        // The last letter may have more tries than were read.
        let last_at = Position::of(last);
        let whole = rows.partition_point(|row| scan::position(row) < Some(last_at));
        let known_to = match whole {
            0 if looked_at < TRIES => {
                after = last;
                continue;
            }
            0 => Some(last_at),
            whole => {
                rows.truncate(whole);
                rows.last().and_then(scan::position)
            }
        };
        let letters = letters(tenant, rows)?;
        return Ok(Found {
            letters,
            known_to,
            rows: looked_at,
        });
    }
}

/// The letter at exactly this place, of the first of `tenants` that has it.
pub(crate) async fn find(
    api: &QueryApi,
    tenants: &[Arc<str>],
    at: Position,
) -> Result<Option<Letter>, Problem> {
    for tenant in tenants {
        let mut rows: Vec<Row> = Vec::new();
        let mut after = at.place();
        // The row of the letter itself lies at this place, and its tries behind it.
        let first = api.store.dead_letter_rows(
            tenant,
            scan::day(at.accepted_ms),
            Some(at.just_before().place().behind_all()),
            1,
        );
        rows.extend(api.read(CALL_DEADLINE, first).await?);
        if rows.first().and_then(LetterPlace::of) != Some(after) {
            continue;
        }
        while rows.len() < TRIES {
            let call = api
                .store
                .dead_letter_rows(tenant, scan::day(at.accepted_ms), Some(after), CALL_ROWS);
            let found = api.read(CALL_DEADLINE, call).await?;
            let count = found.len();
            rows.extend(found.into_iter().filter(|row| scan::position(row) == Some(at)));
            match rows.last().and_then(LetterPlace::of) {
                Some(last) if count == CALL_ROWS && last != after => after = last,
                _ => break,
            }
        }
        return Ok(letters(tenant, rows)?.pop());
    }
    Ok(None)
}

/// Puts rows together that lie in the order of the view. Tries of a letter whose own row is not there are left out: the row is not
/// reflected yet, or somebody made them up.
fn letters(tenant: &Arc<str>, rows: Vec<Row>) -> Result<Vec<Letter>, Problem> {
    let mut letters: Vec<Letter> = Vec::new();
    for row in rows {
        let Some(at) = scan::position(&row) else { continue };
        match row.key {
            RowKey::Redrive { copy, .. } => {
                if let Some(letter) = letters.last_mut().filter(|letter| letter.at == at) {
                    letter.tries.push(Tried {
                        partition: row.partition,
                        offset: copy,
                        row: Try::decode(&row.value).map_err(|cause| malformed(&cause))?,
                    });
                }
            }
            _ => letters.push(Letter {
                at,
                tenant: Arc::clone(tenant),
                row: DeadLetter::decode(&row.value).map_err(|cause| malformed(&cause))?,
                tries: Vec::new(),
            }),
        }
    }
    for letter in &mut letters {
        letter
            .tries
            .sort_by_key(|tried| (tried.row.at_ms, tried.partition, tried.offset));
    }
    Ok(letters)
}
