//! Adding up partials: a value is the sum of what each source partition contributed to it.

use crate::asked::Types;
use crate::buckets::{Buckets, Label};
use crate::cursor::Place;
use schemas::Day;
use schemas::amount::Sum;
use schemas::partial::{Cell, Cells};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Display;
use utoipa::ToSchema;

/// Events counted, and the exact sum of their amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Total {
    /// How many.
    pub(crate) count: u64,
    /// A decimal number in a text, so that no reader makes a float of it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, pattern = r"^-?[0-9]+(\.[0-9]+)?$", example = "12.5")]
    pub(crate) sum: Sum,
}

/// One line of an answer by bucket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BucketLine)]
pub(crate) struct Line {
    /// The quarter-hour since 1970 with which its bucket begins: with the type, its place in the answer's order.
    #[serde(skip)]
    pub(crate) start: i64,
    /// Its bucket.
    #[serde(flatten)]
    pub(crate) label: Label,
    /// The type.
    pub(crate) event_type: String,
    /// Its total in that bucket.
    #[serde(flatten)]
    pub(crate) total: Total,
}

impl Line {
    /// Its place in the answer's order.
    pub(crate) fn place(&self) -> Place {
        Place {
            start: self.start,
            event_type: self.event_type.clone(),
        }
    }
}

/// Totals by bucket and type.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<usize, BTreeMap<String, Total>>);

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
    /// Adds the cells of one type on one UTC day, as far as they belong to `buckets`.
    pub(crate) fn add(
        &mut self,
        utc_day: Day,
        event_type: &str,
        cells: &Cells,
        buckets: &Buckets,
        types: &Types,
    ) {
        if !types.has(event_type) {
            return;
        }
        // Cells rise, so those of one bucket stand together.
        let mut run: Option<(usize, Total)> = None;
        for cell in cells.cells() {
            let Some(index) = buckets.index(utc_day.quarter(cell.of_day)) else {
                continue;
            };
            match &mut run {
                Some((bucket, total)) if *bucket == index => total.add(cell),
                _ => {
                    if let Some((bucket, total)) = run.take() {
                        self.merge(bucket, event_type, &total);
                    }
                    let mut total = Total::default();
                    total.add(cell);
                    run = Some((index, total));
                }
            }
        }
        if let Some((bucket, total)) = run {
            self.merge(bucket, event_type, &total);
        }
    }

    fn merge(&mut self, bucket: usize, event_type: &str, total: &Total) {
        let types = self.0.entry(bucket).or_default();
        match types.get_mut(event_type) {
            Some(known) => known.merge(total),
            None => {
                types.insert(event_type.to_owned(), *total);
            }
        }
    }

    /// Takes out the lines of the buckets that end at `quarter` (since 1970) or before it, by bucket and type. What has no
    /// events has no line.
    pub(crate) fn take_before(&mut self, quarter: i64, buckets: &Buckets) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(entry) = self.0.first_entry() {
            let index = *entry.key();
            if buckets.start(index + 1) > quarter {
                break;
            }
            let types = entry.remove().into_iter();
            let (start, label) = (buckets.start(index), buckets.label(index));
            lines.extend(
                types
                    .filter(|(_, total)| total.count > 0)
                    .map(|(event_type, total)| Line {
                        start,
                        label: label.clone(),
                        event_type,
                        total,
                    }),
            );
        }
        lines
    }
}

/// Serializes what prints itself as its text.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
