//! Brings one slice to the server, until each of its rows is accepted or refused by name.
//!
//! An answer counts only if its numbers add up to the rows that were sent: a body that was cut short on the way, or rows
//! that the server sees otherwise, must never pass for delivered. An answer lists so many refused rows and says how many
//! it left out; these are asked for by checking parts of the slice (`validate=true`), small enough to be listed whole.

use crate::client::{Client, Failed};
use crate::progress::Progress;
use crate::slice::{Refusal, Slice};
use schemas::receipt::Receipt;
use serde::Deserialize;
use std::ops::Range;

/// Rows of a part when the server does not say how many it lists.
const PART_ROWS: usize = 500;

/// What became of a slice.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) accepted: u64,
    /// By place in the slice.
    pub(crate) refused: Vec<Refusal>,
    /// Where the accepted rows are.
    pub(crate) receipt: Option<Receipt>,
}

/// What the server says of one request.
#[derive(Debug, Deserialize)]
struct Answer {
    accepted: u64,
    invalid: u64,
    #[serde(default)]
    refused: u64,
    receipt: Option<String>,
    results: Vec<RowResult>,
    #[serde(default)]
    results_left_out: u64,
}

#[derive(Debug, Deserialize)]
struct RowResult {
    row: usize,
    outcome: String,
    code: String,
    field: String,
    message: String,
}

impl RowResult {
    /// Whether it says that the row is not recorded; answers may list other outcomes as well.
    fn is_refusal(&self) -> bool {
        matches!(self.outcome.as_str(), "invalid" | "refused")
    }
}

/// A slice on its way.
pub(crate) struct Delivery<'d> {
    pub(crate) client: &'d Client,
    pub(crate) progress: Progress,
    pub(crate) media_type: &'static str,
    /// Check only.
    pub(crate) dry_run: bool,
}

impl Delivery<'_> {
    /// Delivers all rows of `slice`.
    pub(crate) async fn slice(&self, slice: &Slice) -> Result<Outcome, Failed> {
        let mut outcome = Outcome::default();
        // From the back, so that the first rows come first.
        let mut ranges: Vec<Range<usize>> = std::iter::once(0..slice.to_send()).collect();
        while let Some(range) = ranges.pop() {
            if range.is_empty() {
                continue;
            }
            match self.range(slice, range.clone()).await {
                Ok(part) => outcome.add(part),
                Err(Failed::Said {
                    status: 413,
                    code,
                    detail,
                }) => {
                    let half = range.start + range.len() / 2;
                    if range.len() > 1 {
                        ranges.extend([half..range.end, range.start..half]);
                    } else {
                        outcome
                            .refused
                            .push(refusal(slice, range.start, "event", &code, &detail)?);
                    }
                }
                Err(failed) => return Err(failed),
            }
        }
        outcome.refused.extend(slice.refused.iter().cloned());
        outcome.refused.sort_by_key(|refusal| refusal.at);
        Ok(outcome)
    }

    async fn range(&self, slice: &Slice, range: Range<usize>) -> Result<Outcome, Failed> {
        let (mut outcome, answer) = self.post(slice, range.clone(), self.dry_run).await?;
        if answer.results_left_out == 0 {
            return named(outcome, &answer);
        }
        let listed = match answer.results.len() {
            0 => PART_ROWS,
            listed => listed,
        };
        if answer.refused == 0 {
            let found = self.parts(slice, range.clone(), listed, true).await?;
            if found.refused.len() as u64 == answer.invalid {
                outcome.refused = found.refused;
                return Ok(outcome);
            }
        }
        // What is valid depends on the time, or the log refused rows: only answers of parts that were really sent say it all.
        let receipt = outcome.receipt.take();
        let mut sent = self.parts(slice, range, listed, self.dry_run).await?;
        sent.merge(receipt);
        Ok(sent)
    }

    /// The same rows in parts of `rows`.
    async fn parts(
        &self,
        slice: &Slice,
        range: Range<usize>,
        rows: usize,
        validate: bool,
    ) -> Result<Outcome, Failed> {
        let mut outcome = Outcome::default();
        for start in range.clone().step_by(rows.max(1)) {
            let part = start..range.end.min(start + rows.max(1));
            let (sent, answer) = self.post(slice, part, validate).await?;
            outcome.add(named(sent, &answer)?);
        }
        Ok(outcome)
    }

    /// One request, and what its answer says of the rows that it names.
    async fn post(
        &self,
        slice: &Slice,
        range: Range<usize>,
        validate: bool,
    ) -> Result<(Outcome, Answer), Failed> {
        let call = self
            .client
            .events(self.media_type, slice.request(range.clone()), validate);
        let answer = self.client.call(&call, &self.progress).await?;
        let answer: Answer = serde_json::from_value(answer).map_err(|error| wrong(&error.to_string()))?;
        let rows = range.len() as u64;
        let told = answer
            .accepted
            .saturating_add(answer.invalid)
            .saturating_add(answer.refused);
        if rows != told {
            return Err(wrong(&format!("it speaks of {told} rows, and {rows} were sent")));
        }
        let receipt = answer.receipt.as_deref().map(str::parse).transpose();
        let mut outcome = Outcome {
            accepted: answer.accepted,
            refused: Vec::new(),
            receipt: receipt.map_err(|_| wrong("its receipt is none"))?,
        };
        for result in answer.results.iter().filter(|result| result.is_refusal()) {
            // The first row is the second of the request, behind its head.
            let place = result.row.checked_sub(2).map(|row| range.start + row);
            let place = place
                .filter(|place| range.contains(place))
                .ok_or_else(|| wrong("it names a row that was not sent"))?;
            outcome.refused.push(refusal(
                slice,
                place,
                &result.field,
                &result.code,
                &result.message,
            )?);
        }
        Ok((outcome, answer))
    }
}

/// `outcome`, if each refused row is named.
fn named(outcome: Outcome, answer: &Answer) -> Result<Outcome, Failed> {
    match outcome.refused.len() as u64 == answer.invalid.saturating_add(answer.refused) {
        true => Ok(outcome),
        false => Err(wrong("it does not name each row that it refuses")),
    }
}

fn refusal(slice: &Slice, place: usize, field: &str, code: &str, reason: &str) -> Result<Refusal, Failed> {
    let at = slice
        .row_sent_at(place)
        .ok_or_else(|| wrong("it names a row that was not sent"))?;
    Ok(Refusal {
        at,
        field: field.to_owned(),
        code: code.to_owned(),
        reason: reason.to_owned(),
    })
}

/// An answer that cannot be relied on.
fn wrong(why: &str) -> Failed {
    Failed::GaveUp(format!("the server's answer cannot be relied on: {why}"))
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused.extend(other.refused);
        self.merge(other.receipt);
    }

    fn merge(&mut self, receipt: Option<Receipt>) {
        merge(&mut self.receipt, receipt);
    }
}

/// Adds to one receipt what another stands for. One of another log takes its place.
pub(crate) fn merge(all: &mut Option<Receipt>, other: Option<Receipt>) {
    match (all.as_mut(), other) {
        (Some(all), Some(other)) if all.topic_id == other.topic_id => {
            for (partition, next) in other.next {
                all.extend(partition, next);
            }
        }
        (_, Some(other)) => *all = Some(other),
        (_, None) => {}
    }
}

#[cfg(test)]
mod tests;
