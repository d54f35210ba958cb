//! Adding up partials: a value is the sum of what each source partition contributed to it.

use crate::asked::Types;
use crate::zone::LocalDays;
use chrono::NaiveDate;
use schemas::Day;
use schemas::amount::Sum;
use schemas::partial::{Cell, Cells};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Events counted, and the exact sum of their amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Total {
    /// How many.
    pub(crate) count: u64,
    /// A decimal number in a text, so that no reader makes a float of it.
    #[serde(serialize_with = "text")]
    pub(crate) sum: Sum,
}

/// One line of an answer by day.
#[derive(Debug, Serialize)]
pub(crate) struct DayLine {
    /// The date in the zone that was asked for.
    #[serde(serialize_with = "text")]
    pub(crate) day: NaiveDate,
    /// The type.
    pub(crate) event_type: String,
    /// Its total on that day.
    #[serde(flatten)]
    pub(crate) total: Total,
}

/// Totals by day of a zone and type.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    days: BTreeMap<usize, BTreeMap<String, Total>>,
    lines: usize,
}

impl Total {
    pub(crate) fn add(&mut self, cell: &Cell) {
        self.merge(&Self {
            count: cell.count,
            sum: cell.sum,
        });
    }

    /// Sums of what was really counted cannot overflow; a store's broken bytes can.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum.0 = self.sum.0.saturating_add(other.sum.0);
    }
}

impl Tally {
    /// Adds the cells of one type on one UTC day, as far as they belong to `days`.
    pub(crate) fn add(
        &mut self,
        utc_day: Day,
        event_type: &str,
        cells: &Cells,
        days: &LocalDays,
        types: &Types,
    ) {
        if !types.has(event_type) {
            return;
        }
        // Cells rise, so those of one local day stand together.
        let mut run: Option<(usize, Total)> = None;
        for cell in cells.cells() {
            let Some(index) = days.index(utc_day.quarter(cell.of_day)) else {
                continue;
            };
            match &mut run {
                Some((day, total)) if *day == index => total.add(cell),
                _ => {
                    if let Some((day, total)) = run.take() {
                        self.merge(day, event_type, &total);
                    }
                    let mut total = Total::default();
                    total.add(cell);
                    run = Some((index, total));
                }
            }
        }
        if let Some((day, total)) = run {
            self.merge(day, event_type, &total);
        }
    }

    fn merge(&mut self, day: usize, event_type: &str, total: &Total) {
        let types = self.days.entry(day).or_default();
        match types.get_mut(event_type) {
            Some(known) => known.merge(total),
            None => {
                types.insert(event_type.to_owned(), *total);
                self.lines += 1;
            }
        }
    }

    /// How many lines the answer has by now.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// The lines by day and type. What has no events has no line.
    pub(crate) fn into_lines(self, days: &LocalDays) -> Vec<DayLine> {
        let by_day = self.days.into_iter();
        by_day
            .flat_map(|(index, types)| {
                let day = days.date(index);
                types
                    .into_iter()
                    .filter(|(_, total)| total.count > 0)
                    .map(move |(event_type, total)| DayLine {
                        day,
                        event_type,
                        total,
                    })
            })
            .collect()
    }
}

/// Serializes what prints itself as its text.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
