//! Time as Tidemark counts it: microseconds UTC since 1970, and the quarter-hours and days they fall into.
//! Quarter-hours make any zone's day exact whose offset is a multiple of 15 minutes.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use std::fmt;

/// Microseconds of a quarter-hour.
pub const QUARTER_MICROS: i64 = 900 * 1_000_000;
/// Quarter-hours of a UTC day.
pub const QUARTERS_A_DAY: u32 = 96;
const DAYS_FROM_CE_TO_1970: i32 = 719_163;

/// Microseconds UTC since 1970-01-01T00:00:00Z; an event's lies in the years 1970 to 2200.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// Quarter-hours since 1970-01-01T00:00Z; fits 23 bits until the year 2209.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quarter(pub u32);

/// UTC days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub u32);

impl Timestamp {
    /// The timestamp of a count of milliseconds, as Kafka stamps records.
    pub fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1000))
    }

    /// Milliseconds since 1970, rounded down.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The quarter-hour that this instant falls into; instants before 1970 fall into the first.
    pub fn quarter(self) -> Quarter {
        Quarter(u32::try_from(self.0.div_euclid(QUARTER_MICROS)).unwrap_or(0))
    }

    /// RFC 3339 with microseconds where they are not zero, in UTC.
    pub fn rfc3339(self) -> String {
        match DateTime::<Utc>::from_timestamp_micros(self.0) {
            Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            None => format!("{} us", self.0),
        }
    }
}

impl Quarter {
    /// The UTC day that this quarter-hour belongs to.
    pub fn day(self) -> Day {
        Day(self.0 / QUARTERS_A_DAY)
    }

    /// The place of this quarter-hour in its UTC day, 0 to 95.
    pub fn of_day(self) -> u8 {
        // Below 96 by the remainder, so it fits.
        (self.0 % QUARTERS_A_DAY) as u8
    }

    /// The instant at which this quarter-hour begins.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * QUARTER_MICROS)
    }
}

impl Day {
    /// The quarter-hour at place `of_day` (0 to 95) of this day.
    pub fn quarter(self, of_day: u8) -> Quarter {
        Quarter(
            self.0
                .saturating_mul(QUARTERS_A_DAY)
                .saturating_add(u32::from(of_day)),
        )
    }

    /// This day as a calendar date.
    pub fn date(self) -> NaiveDate {
        i32::try_from(self.0)
            .ok()
            .and_then(|days| days.checked_add(DAYS_FROM_CE_TO_1970))
            .and_then(NaiveDate::from_num_days_from_ce_opt)
            .unwrap_or(NaiveDate::MAX)
    }

    /// The day of a calendar date; `None` before 1970.
    pub fn from_date(date: NaiveDate) -> Option<Self> {
        u32::try_from(date.num_days_from_ce() - DAYS_FROM_CE_TO_1970)
            .ok()
            .map(Self)
    }

    /// The calendar year of this day.
    pub fn year(self) -> i32 {
        self.date().year()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_day_and_its_date_are_one() {
        let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
        let day = Day::from_date(date).unwrap();
        assert_eq!(day.date(), date);
        assert_eq!(day.quarter(95).day(), day);
        assert_eq!(day.quarter(95).of_day(), 95);
        assert_eq!(Timestamp(day.quarter(1).start().0 - 1).quarter(), day.quarter(0));
        assert_eq!(
            Day::from_date(NaiveDate::from_ymd_opt(1969, 12, 31).unwrap()),
            None
        );
    }
}
