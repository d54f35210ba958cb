//! The buckets of an answer: quarter-hours, hours, days or months of a zone, as its clocks show them.
//!
//! A bucket holds whole quarter-hours and lies within the days that were asked for: the first and last month of a range
//! count what of them is in the range. An hour begins where clocks show a full hour and where they are changed, so an hour
//! that clocks show twice is two buckets, told apart by the offset of their start, and one that they skip is none. As with
//! days, what quarter-hours cannot tell is an error and never an estimate.

use crate::tally::text;
use crate::zone::{LocalDays, NotSupported, QUARTER_S, index};
use chrono::{DateTime, Datelike, NaiveDate, Offset, SecondsFormat, TimeZone};
use chrono_tz::Tz;
use schemas::Quarter;
use serde::Serialize;
use utoipa::ToSchema;

const HOUR_S: i64 = 3600;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Width {
    /// A quarter-hour.
    Quarter,
    /// An hour of the clocks.
    Hour,
    /// A day of the zone.
    #[default]
    Day,
    /// A month of the zone.
    Month,
}

/// Consecutive buckets.
#[derive(Debug)]
pub(crate) struct Buckets {
    width: Width,
    zone: Tz,
    days: LocalDays,
    /// Where each bucket begins, and behind them where the last one ends; none where the buckets are the days.
    starts: Option<Vec<i64>>,
}

/// Why there are no such buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They are more than the limit.
    TooMany,
    /// Quarter-hours cannot tell them.
    NotSupported(NotSupported),
}

/// What a bucket is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Bucket)]
pub(crate) enum Label {
    /// A day of the zone.
    Day {
        #[serde(serialize_with = "text")]
        #[schema(value_type = String, format = Date)]
        day: NaiveDate,
    },
    /// A part of a day: when it begins, RFC 3339 with the zone's offset then, and which day it is part of.
    Part {
        #[schema(format = DateTime)]
        start: String,
        #[serde(serialize_with = "text")]
        #[schema(value_type = String, format = Date)]
        day: NaiveDate,
    },
    /// A month of the zone, or what of it was asked for: when that begins, and the month as in `2025-11`.
    Month {
        #[schema(format = DateTime)]
        start: String,
        #[schema(pattern = "^[0-9]{4}-[0-9]{2}$")]
        month: String,
    },
}

impl Width {
    /// Every width, shortest first.
    pub(crate) const ALL: [Self; 4] = [Self::Quarter, Self::Hour, Self::Day, Self::Month];

    /// The members of a line of such buckets, as a table shows them.
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Quarter | Self::Hour => &["start", "day", "event_type", "count", "sum"],
            Self::Day => &["day", "event_type", "count", "sum"],
            Self::Month => &["start", "month", "event_type", "count", "sum"],
        }
    }

    /// Its word in queries and answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Quarter => "15m",
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::Month => "1mo",
        }
    }
}

impl Buckets {
    /// Cuts `days` of `zone`; there may be `limit` buckets that are shorter than a day.
    pub(crate) fn cut(days: LocalDays, zone: Tz, width: Width, limit: usize) -> Result<Self, Fault> {
        let starts = match width {
            Width::Quarter => Some(quarters(&days, limit)?),
            Width::Hour => Some(hours(&days, zone, limit)?),
            Width::Day => None,
            Width::Month => Some(months(&days)),
        };
        Ok(Self {
            width,
            zone,
            days,
            starts,
        })
    }

    /// How long they are.
    pub(crate) fn width(&self) -> Width {
        self.width
    }

    /// The days that they are cut from.
    pub(crate) fn days(&self) -> &LocalDays {
        &self.days
    }

    /// The place of the bucket that a quarter-hour belongs to.
    pub(crate) fn index(&self, quarter: Quarter) -> Option<usize> {
        index(self.starts(), quarter.0.into())
    }

    /// The quarter-hour with which the bucket at a place begins, since 1970; behind the last one where that ends.
    pub(crate) fn start(&self, index: usize) -> i64 {
        let starts = self.starts();
        starts.get(index).or(starts.last()).copied().unwrap_or(0)
    }

    /// What the bucket at a place is called.
    pub(crate) fn label(&self, index: usize) -> Label {
        let start = self.start(index);
        let day = match (self.width, self.days.index(start)) {
            (Width::Day, _) | (_, None) => self.days.date(index),
            (_, Some(day)) => self.days.date(day),
        };
        match self.width {
            Width::Quarter | Width::Hour => Label::Part {
                start: self.rfc3339(start),
                day,
            },
            Width::Day => Label::Day { day },
            Width::Month => Label::Month {
                start: self.rfc3339(start),
                month: day.format("%Y-%m").to_string(),
            },
        }
    }

    fn starts(&self) -> &[i64] {
        self.starts.as_deref().unwrap_or(self.days.starts())
    }

    fn rfc3339(&self, quarter: i64) -> String {
        let instant = DateTime::from_timestamp(quarter.saturating_mul(QUARTER_S), 0).unwrap_or_default();
        let local = instant.with_timezone(&self.zone);
        local.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

fn quarters(days: &LocalDays, limit: usize) -> Result<Vec<i64>, Fault> {
    let (Some(first), Some(behind)) = (days.starts().first(), days.starts().last()) else {
        return Ok(Vec::new());
    };
    match usize::try_from(behind - first) {
        Ok(count) if count <= limit => Ok((*first..=*behind).collect()),
        _ => Err(Fault::TooMany),
    }
}

fn hours(days: &LocalDays, zone: Tz, limit: usize) -> Result<Vec<i64>, Fault> {
    let mut starts = Vec::new();
    let mut before = None;
    for (place, pair) in days.starts().windows(2).enumerate() {
        let [from, to] = pair else { continue };
        for quarter in *from..*to {
            let instant = quarter * QUARTER_S;
            let offset = offset_s(zone, instant);
            let is_changed = before.is_some_and(|before| before != offset);
            // A change within a quarter-hour: what of it is in which hour is not known.
            if is_changed && before != Some(offset_s(zone, instant - 1)) {
                let date = days.date(place);
                return Err(Fault::NotSupported(NotSupported { date }));
            }
            before = Some(offset);
            if quarter == *from || is_changed || (instant + offset) % HOUR_S == 0 {
                if starts.len() == limit {
                    return Err(Fault::TooMany);
                }
                starts.push(quarter);
            }
        }
    }
    starts.extend(days.starts().last());
    Ok(starts)
}

fn months(days: &LocalDays) -> Vec<i64> {
    let month = |place| {
        let date = days.date(place);
        (date.year(), date.month())
    };
    let count = days.starts().len().saturating_sub(1);
    let begins = (0..count).filter(|place| *place == 0 || month(*place) != month(*place - 1));
    let mut starts: Vec<i64> = begins
        .filter_map(|place| days.starts().get(place).copied())
        .collect();
    starts.extend(days.starts().last());
    starts
}

/// Seconds that the zone's clocks are ahead of UTC at an instant, in seconds since 1970.
fn offset_s(zone: Tz, instant: i64) -> i64 {
    let utc = DateTime::from_timestamp(instant, 0)
        .unwrap_or_default()
        .naive_utc();
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn cut(first: &str, last: &str, zone: Tz, width: Width, limit: usize) -> Result<Buckets, Fault> {
        let days = LocalDays::new(first.parse().unwrap(), last.parse().unwrap(), zone).unwrap();
        Buckets::cut(days, zone, width, limit)
    }

    fn labels(buckets: &Buckets) -> Vec<String> {
        let of = |place| match buckets.label(place) {
            Label::Day { day } => day.to_string(),
            Label::Part { start, .. } | Label::Month { start, .. } => start,
        };
        (0..buckets.starts().len() - 1).map(of).collect()
    }

    #[test]
    fn an_hour_that_clocks_show_twice_is_two_buckets_and_a_skipped_one_is_none() {
        let berlin = chrono_tz::Europe::Berlin;
        let autumn = cut("2025-10-26", "2025-10-26", berlin, Width::Hour, 25).unwrap();
        let names = labels(&autumn);
        assert_eq!(names.len(), 25);
        assert_eq!(
            names[2..4],
            ["2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00"]
        );
        let spring = cut("2025-03-30", "2025-03-30", berlin, Width::Hour, 23).unwrap();
        let names = labels(&spring);
        assert_eq!(names.len(), 23);
        assert_eq!(
            names[1..3],
            ["2025-03-30T01:00:00+01:00", "2025-03-30T03:00:00+02:00"]
        );
    }

    #[test]
    fn half_an_hour_that_clocks_show_again_is_a_bucket_of_its_own() {
        let lord_howe = chrono_tz::Australia::Lord_Howe;
        let autumn = cut("2025-04-06", "2025-04-06", lord_howe, Width::Hour, 100).unwrap();
        let names = labels(&autumn);
        assert_eq!(
            names[1..4],
            [
                "2025-04-06T01:00:00+11:00",
                "2025-04-06T01:30:00+10:30",
                "2025-04-06T02:00:00+10:30"
            ]
        );
    }

    #[test]
    fn a_month_is_clipped_to_the_range_and_begins_where_the_clip_does() {
        let new_york = chrono_tz::America::New_York;
        let months = cut("2025-10-20", "2025-12-03", new_york, Width::Month, 0).unwrap();
        assert_eq!(
            labels(&months),
            [
                "2025-10-20T00:00:00-04:00",
                "2025-11-01T00:00:00-04:00",
                "2025-12-01T00:00:00-05:00"
            ]
        );
        let Label::Month { month, .. } = months.label(1) else {
            panic!("a month")
        };
        assert_eq!(month, "2025-11");
        // A month that began before there was anything begins when it did.
        let first = cut("1969-12-31", "1970-01-02", new_york, Width::Month, 0).unwrap();
        assert_eq!(
            labels(&first),
            ["1969-12-31T00:00:00-05:00", "1970-01-01T00:00:00-05:00"]
        );
        assert_eq!(first.index(Quarter(19)), Some(0));
        assert_eq!(first.index(Quarter(20)), Some(1));
    }

    #[test]
    fn as_many_as_the_limit_are_taken_and_one_more_is_not() {
        let utc = chrono_tz::UTC;
        for (width, a_day) in [(Width::Quarter, 96), (Width::Hour, 24)] {
            assert!(cut("2025-11-04", "2025-11-05", utc, width, 2 * a_day).is_ok());
            let refused = cut("2025-11-04", "2025-11-05", utc, width, 2 * a_day - 1);
            assert_eq!(refused.unwrap_err(), Fault::TooMany);
        }
    }

    /// St. John's changed its clocks a minute past midnight.
    #[test]
    fn hours_with_a_change_within_a_quarter_hour_are_refused_and_its_days_and_quarters_are_not() {
        let zone = chrono_tz::America::St_Johns;
        let (first, last) = ("2005-10-29", "2005-10-31");
        let Err(Fault::NotSupported(refused)) = cut(first, last, zone, Width::Hour, 100) else {
            panic!("refused")
        };
        assert_eq!(refused.date.to_string(), "2005-10-30");
        assert!(cut("2005-11-01", "2005-11-02", zone, Width::Hour, 100).is_ok());
        for width in [Width::Quarter, Width::Day, Width::Month] {
            assert!(cut(first, last, zone, width, 1000).is_ok());
        }
    }
}
