//! Dead letters in order of their acceptance, over days and tenants, oldest first.
//!
//! Each request looks at a bounded number of rows and days, since a rare reason may lie anywhere: a page may hold fewer than
//! was asked for, even none, and still have a cursor.

use crate::QueryApi;
use crate::cursor::Position;
use crate::reads::{CALL_DEADLINE, malformed};
use schemas::row::{DeadLetter, Row, RowKey};
use schemas::time::{QUARTER_MICROS, QUARTERS_A_DAY};
use schemas::{Day, Reason, Timestamp};
use service::http::Problem;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows that one call of the store brings.
const CALL_ROWS: usize = 500;
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
    /// All of them where none is named.
    pub(crate) reasons: BTreeSet<Reason>,
    /// Accepted behind this place.
    pub(crate) after: Position,
    /// Accepted before this millisecond.
    pub(crate) to_ms: i64,
    pub(crate) limit: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) letters: Vec<(Position, DeadLetter)>,
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
                let (rows, is_all) = self.rows(api, day, at).await?;
                scanned += rows.len();
                for (position, row) in rows {
                    if position.accepted_ms >= self.to_ms {
                        return Ok(page);
                    }
                    let letter = DeadLetter::decode(&row.value).map_err(|cause| malformed(&cause))?;
                    if self.reasons.is_empty() || self.reasons.contains(&letter.reason) {
                        if page.letters.len() == self.limit {
                            page.next = Some(at);
                            return Ok(page);
                        }
                        page.letters.push((position, letter));
                    }
                    at = position;
                }
                if is_all {
                    break;
                }
                if scanned >= SCANNED_ROWS {
                    page.next = Some(at);
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Rows of all tenants on a day behind a place, in order and without gaps, and whether these are all of that day.
    async fn rows(
        &self,
        api: &QueryApi,
        day: Day,
        at: Position,
    ) -> Result<(Vec<(Position, Row)>, bool), Problem> {
        let mut rows = Vec::new();
        // Behind the last row of a tenant that has more, another tenant's rows would overtake that tenant's.
        let mut known_to: Option<Position> = None;
        for tenant in &self.tenants {
            let call = api.store.dead_letter_rows(tenant, day, Some(at.key()), CALL_ROWS);
            let found = api.read(CALL_DEADLINE, call).await?;
            let is_full = found.len() >= CALL_ROWS;
            rows.extend(found.into_iter().filter_map(|row| Some((position(&row)?, row))));
            if is_full {
                let last = rows.last().map(|(position, _)| *position);
                known_to = [known_to, last].into_iter().flatten().min();
            }
        }
        if let Some(known_to) = known_to {
            rows.retain(|(position, _)| *position <= known_to);
        }
        rows.sort_by_key(|(position, _)| *position);
        Ok((rows, known_to.is_none()))
    }
}

/// The UTC day of a millisecond; what is before 1970 belongs to the first day.
pub(crate) fn day(ms: i64) -> Day {
    Timestamp::from_millis(ms).quarter().day()
}

/// The place of a dead letter's row.
pub(crate) fn position(row: &Row) -> Option<Position> {
    match row.key {
        RowKey::DeadLetter {
            accepted_ms, offset, ..
        } => Some(Position {
            accepted_ms,
            partition: row.partition,
            offset,
        }),
        _ => None,
    }
}
