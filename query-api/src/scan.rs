//! Dead letters in order of their acceptance, over days and tenants, oldest first.
//!
//! Each request looks at a bounded number of rows and days, since a rare reason may lie anywhere: a page may hold fewer than
//! was asked for, even none, and still have a cursor.

use crate::QueryApi;
use crate::cursor::Position;
use crate::tries::{self, Found, Letter, State};
use schemas::row::{LetterPlace, Row};
use schemas::time::{QUARTER_MICROS, QUARTERS_A_DAY};
use schemas::{Day, Reason, Timestamp};
use service::http::Problem;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Rows that one request looks at.
const SCANNED_ROWS: usize = 20_000;
/// Days that one request looks at.
const SCANNED_DAYS: u32 = 400;
/// Milliseconds of a UTC day.
const DAY_MS: i64 = QUARTER_MICROS / 1000 * QUARTERS_A_DAY as i64;

/// Which dead letters.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) tenants: Vec<Arc<str>>,
    pub(crate) filter: Filter,
    /// Accepted behind this place.
    pub(crate) after: Position,
    /// Accepted before this millisecond.
    pub(crate) to_ms: i64,
    pub(crate) limit: usize,
}

/// What a letter must be beside its time.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// All of them where none is named.
    pub(crate) reasons: BTreeSet<Reason>,
    /// The upload that it came in.
    pub(crate) upload: Option<Uuid>,
    /// Its user.
    pub(crate) user: Option<String>,
    /// Where its tries leave it.
    pub(crate) state: Option<State>,
}

impl Filter {
    fn takes(&self, letter: &Letter, most_tries: u32) -> bool {
        let row = &letter.row;
        let of_reason = self.reasons.is_empty() || self.reasons.contains(&row.reason);
        let of_upload = self
            .upload
            .is_none_or(|upload| row.upload.is_some_and(|(of, _)| of == upload));
        let of_user = self.user.as_ref().is_none_or(|user| *user == row.user);
        of_reason && of_upload && of_user && self.state.is_none_or(|state| letter.state(most_tries) == state)
    }

    /// The filter as a text, for whoever must tell two questions apart.
    pub(crate) fn words(&self) -> String {
        format!(
            "{:?} {:?} {:?} {:?}",
            self.reasons, self.upload, self.user, self.state
        )
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) letters: Vec<Letter>,
    /// Where to go on; none if there is nothing more.
    pub(crate) next: Option<Position>,
}

impl Scan {
    /// Reads on from `after`.
    pub(crate) async fn run(&self, api: &QueryApi) -> Result<Page, Problem> {
        let mut page = Page::default();
        let mut at = self.after;
        let mut scanned = 0;
        let first = day(at.accepted_ms.saturating_add(1));
        let last = day(self.to_ms.saturating_sub(1));
        for (looked_at, day) in (first.0..=last.0).zip(0_u32..).map(|(day, n)| (n, Day(day))) {
            if looked_at >= SCANNED_DAYS {
                page.next = Some(at.max(Position::before(i64::from(day.0) * DAY_MS)));
                return Ok(page);
            }
            loop {
                let found = self.letters(api, day, at).await?;
                scanned += found.rows;
                for letter in found.letters {
                    if letter.at.accepted_ms >= self.to_ms {
                        return Ok(page);
                    }
                    let place = letter.at;
                    if self.filter.takes(&letter, api.limits.redrive_tries) {
                        if page.letters.len() == self.limit {
                            page.next = Some(at);
                            return Ok(page);
                        }
                        page.letters.push(letter);
                    }
                    at = place;
                }
                let Some(known_to) = found.known_to else { break };
                at = at.max(known_to);
                if scanned >= SCANNED_ROWS {
                    page.next = Some(at);
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Letters of all tenants on a day behind a place, in order and without gaps.
    async fn letters(&self, api: &QueryApi, day: Day, at: Position) -> Result<Found, Problem> {
        let mut all = Found {
            letters: Vec::new(),
            known_to: None,
            rows: 0,
        };
        // Behind the last letter of a tenant that has more, another tenant's would overtake that tenant's.
        for tenant in &self.tenants {
            let found = tries::read(api, tenant, day, at).await?;
            all.letters.extend(found.letters);
            all.rows += found.rows;
            all.known_to = [all.known_to, found.known_to].into_iter().flatten().min();
        }
        if let Some(known_to) = all.known_to {
            all.letters.retain(|letter| letter.at <= known_to);
        }
        all.letters.sort_by_key(|letter| letter.at);
        Ok(all)
    }
}

/// The UTC day of a millisecond; what is before 1970 belongs to the first day.
pub(crate) fn day(ms: i64) -> Day {
    Timestamp::from_millis(ms).quarter().day()
}

/// The place of a dead letter's row, or of the letter that a row is a try for.
pub(crate) fn position(row: &Row) -> Option<Position> {
    LetterPlace::of(row).map(Position::of)
}
