//! What a client is told of single rows: at most so many of them, and how many were left out.

use schemas::Invalid;
use schemas::input::RowError;
use serde::Serialize;
use utoipa::ToSchema;

/// A row that was not plainly accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RowResult {
    /// Its number: of a CSV record, the header being 1 and blank lines not counted; of a line of NDJSON; of an array's element from 1.
    pub(crate) row: u64,
    /// `invalid`, or `refused` by the log.
    pub(crate) outcome: &'static str,
    /// A stable word.
    pub(crate) code: &'static str,
    /// The field at fault.
    pub(crate) field: &'static str,
    /// What is wrong, for people.
    pub(crate) message: String,
}

/// A key that was made for a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FreshKey {
    pub(crate) row: u64,
    pub(crate) idempotency_key: String,
}

/// The counts and lists of one request.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Most rows in each list.
    limit: usize,
    /// Rows that are events.
    pub(crate) valid: u64,
    /// Rows that are none.
    pub(crate) invalid: u64,
    /// Invalid rows by code.
    pub(crate) codes: Vec<(&'static str, u64)>,
    pub(crate) results: Vec<RowResult>,
    /// Results that are not in the list.
    pub(crate) results_left_out: u64,
    pub(crate) keys: Vec<FreshKey>,
    /// Keys that are not in the list.
    pub(crate) keys_left_out: u64,
    /// Rows that were not accepted and are yet to be written down, where somebody does.
    pub(crate) errors: Vec<RowError>,
    /// How many more may be.
    errors_left: usize,
    /// How many were not, beyond that.
    pub(crate) unlisted: u64,
}

impl Tally {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            valid: 0,
            invalid: 0,
            codes: Vec::new(),
            results: Vec::new(),
            results_left_out: 0,
            keys: Vec::new(),
            keys_left_out: 0,
            errors: Vec::new(),
            errors_left: 0,
            unlisted: 0,
        }
    }

    /// Rows that are not accepted are to be written down, the first `limit` of them.
    pub(crate) fn list_errors(&mut self, limit: usize) {
        self.errors_left = limit;
    }

    /// How many an answer lists.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// An answer lists `limit` results.
    pub(crate) fn list_results(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) fn invalid(&mut self, row: u64, invalid: Invalid) {
        self.invalid += 1;
        match self.codes.iter_mut().find(|(code, _)| *code == invalid.code) {
            Some((_, count)) => *count += 1,
            // Codes are constants of the code, so the list is short.
            None => self.codes.push((invalid.code, 1)),
        }
        let field = invalid.field.name();
        self.result(RowResult {
            row,
            outcome: "invalid",
            code: invalid.code,
            field,
            message: invalid.message,
        });
    }

    /// Adds that the log refused `count` events, whose first are in `rows`; nothing comes behind that.
    pub(crate) fn finish(&mut self, rows: &[u64], count: u64) {
        self.refused(rows, count);
        self.results.sort_by_key(|result| result.row);
    }

    fn refused(&mut self, rows: &[u64], count: u64) {
        for row in rows {
            let message = "the event log refused the batch of records that held this event".to_owned();
            self.result(RowResult {
                row: *row,
                outcome: "refused",
                code: "refused",
                field: "event",
                message,
            });
        }
        let untold = count.saturating_sub(rows.len() as u64);
        self.results_left_out += untold;
        self.unlisted += untold;
    }

    pub(crate) fn fresh_key(&mut self, row: u64, idempotency_key: String) {
        match self.keys.len() < self.limit {
            true => self.keys.push(FreshKey { row, idempotency_key }),
            false => self.keys_left_out += 1,
        }
    }

    fn result(&mut self, result: RowResult) {
        match self.errors_left.checked_sub(1) {
            None => self.unlisted += 1,
            Some(left) => {
                self.errors_left = left;
                self.errors.push(RowError {
                    row: result.row,
                    code: result.code.to_owned(),
                    field: result.field.to_owned(),
                    message: result.message.clone(),
                });
            }
        }
        match self.results.len() < self.limit {
            true => self.results.push(result),
            false => self.results_left_out += 1,
        }
    }
}
