//! The days of a zone, cut into the quarter-hours that the views have.
//!
//! A day begins at the first instant at which the zone's clocks show its midnight or later, and lasts until the next day
//! begins. So a midnight that clocks skip begins at the first instant behind the gap, one that they show twice begins at the
//! earlier, a day that a zone left out is empty, and each instant is in exactly one day. That is exact as long as each
//! of these beginnings falls on a quarter-hour; where one does not, the answer is an error and never an estimate.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
use schemas::{Day, Quarter};

/// Seconds of a quarter-hour.
pub(crate) const QUARTER_S: i64 = 900;

/// Consecutive days of a zone.
#[derive(Debug)]
pub(crate) struct LocalDays {
    first: NaiveDate,
    /// The quarter-hour since 1970 with which each day begins, and behind them where the last one ends. Below zero before
    /// 1970. Never falling; equal where a day is empty.
    starts: Vec<i64>,
}

/// Why days of a zone cannot be told from quarter-hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("in this zone the clocks of {date} do not keep to quarter-hours of UTC")]
pub(crate) struct NotSupported {
    /// The first such day.
    pub(crate) date: NaiveDate,
}

impl LocalDays {
    /// The days from `first` to `last`, both included.
    pub(crate) fn new(first: NaiveDate, last: NaiveDate, zone: Tz) -> Result<Self, NotSupported> {
        let behind = last.succ_opt().unwrap_or(last);
        let starts = first
            .iter_days()
            .take_while(|date| *date <= behind)
            .map(|date| start(date, zone).ok_or(NotSupported { date }))
            .collect::<Result<_, _>>()?;
        Ok(Self { first, starts })
    }

    /// The place among these days of the one that a quarter-hour (since 1970) belongs to.
    pub(crate) fn index(&self, quarter: i64) -> Option<usize> {
        index(&self.starts, quarter)
    }

    /// Where each day begins, in quarter-hours since 1970, and behind them where the last one ends.
    pub(crate) fn starts(&self) -> &[i64] {
        &self.starts
    }

    /// The date of the day at a place.
    pub(crate) fn date(&self, index: usize) -> NaiveDate {
        let days = u64::try_from(index).unwrap_or(u64::MAX);
        self.first
            .checked_add_days(chrono::Days::new(days))
            .unwrap_or(NaiveDate::MAX)
    }

    /// First and last UTC day that have part in these days; none if all of them are empty.
    pub(crate) fn utc_days(&self) -> Option<(Day, Day)> {
        let (first, behind) = (self.starts.first()?, self.starts.last()?);
        // Before 1970 there are no events.
        let (first, last) = (
            u32::try_from((*first).max(0)).ok()?,
            u32::try_from(behind - 1).ok()?,
        );
        (first <= last).then(|| (Quarter(first).day(), Quarter(last).day()))
    }
}

/// The place among `starts`, which do not fall, of the piece that a quarter-hour belongs to; the last start only ends it.
pub(crate) fn index(starts: &[i64], quarter: i64) -> Option<usize> {
    let index = starts.partition_point(|start| *start <= quarter).checked_sub(1)?;
    (index + 1 < starts.len()).then_some(index)
}

/// The quarter-hour at which a day begins; `None` if it begins within one.
fn start(date: NaiveDate, zone: Tz) -> Option<i64> {
    let instant = first_instant(date, zone)?.timestamp();
    (instant.rem_euclid(QUARTER_S) == 0).then_some(instant / QUARTER_S)
}

/// The first instant at which clocks of the zone show this date's midnight or later.
fn first_instant(date: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let midnight = date.and_time(NaiveTime::MIN);
    match zone.offset_from_local_datetime(&midnight) {
        LocalResult::None => Some(GapInfo::new(&midnight, &zone)?.end?.to_utc()),
        LocalResult::Single(offset) => at(midnight, &offset),
        LocalResult::Ambiguous(first, second) => {
            let (first, second) = (at(midnight, &first)?, at(midnight, &second)?);
            Some(first.min(second))
        }
    }
}

fn at(local: chrono::NaiveDateTime, offset: &impl Offset) -> Option<DateTime<Utc>> {
    let offset = TimeDelta::seconds(i64::from(offset.fix().local_minus_utc()));
    local.checked_sub_signed(offset).map(|time| time.and_utc())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use chrono::{Datelike, Timelike};
    use std::collections::BTreeMap;

    const DAY_S: i64 = 86_400;

    fn date(year: i32, month: u32, day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, month, day).unwrap()
    }

    fn local(instant_s: i64, zone: Tz) -> chrono::NaiveDateTime {
        let instant = DateTime::<Utc>::from_timestamp(instant_s, 0).unwrap();
        instant.with_timezone(&zone).naive_local()
    }

    /// Puts each quarter-hour of two years into the day that clocks show at its beginning.
    #[test]
    fn days_of_a_zone_are_those_that_its_clocks_show() {
        for (zone, lengths) in [
            (chrono_tz::Europe::Berlin, [92, 96, 100]),
            (chrono_tz::America::New_York, [92, 96, 100]),
            (chrono_tz::Asia::Kathmandu, [96, 96, 96]),
            (chrono_tz::Australia::Lord_Howe, [94, 96, 98]),
            (chrono_tz::America::Havana, [92, 96, 100]),
        ] {
            let (first, last) = (date(2023, 1, 1), date(2024, 12, 31));
            let days = LocalDays::new(first, last, zone).unwrap();
            let (mut mine, mut clocks) = (BTreeMap::new(), BTreeMap::<NaiveDate, u32>::new());
            let from = date(2022, 12, 30).and_time(NaiveTime::MIN).and_utc().timestamp() / QUARTER_S;
            for quarter in from..from + 96 * 735 {
                let shown = local(quarter * QUARTER_S, zone).date();
                if (first..=last).contains(&shown) {
                    *clocks.entry(shown).or_default() += 1;
                }
                if let Some(index) = days.index(quarter) {
                    assert_eq!(days.date(index), shown, "{zone}");
                    *mine.entry(shown).or_default() += 1;
                }
            }
            assert_eq!(mine, clocks, "{zone}");
            assert_eq!(mine.len(), 731, "{zone}");
            let mut seen: Vec<u32> = mine.into_values().collect();
            seen.sort_unstable();
            seen.dedup();
            let mut lengths = lengths.to_vec();
            lengths.dedup();
            assert_eq!(seen, lengths, "{zone}");
        }
    }

    /// In every zone that there is, around every change of its clocks near a midnight from 1970 to 2037: against a search
    /// through all instants.
    #[test]
    fn a_day_begins_when_clocks_first_show_it() {
        let mut looked_at = 0;
        for zone in chrono_tz::TZ_VARIANTS {
            for week in 0..3550 {
                let Some(change) = change_within(week * 7 * DAY_S, (week + 1) * 7 * DAY_S, zone) else {
                    continue;
                };
                let around = local(change, zone);
                let before = local(change - 60, zone);
                if ![around.hour(), before.hour()]
                    .iter()
                    .any(|hour| [22, 23, 0, 1].contains(hour))
                {
                    continue;
                }
                for date in around.date().pred_opt().unwrap().iter_days().take(3) {
                    let midnight = date.and_time(NaiveTime::MIN);
                    let begin = midnight.and_utc().timestamp() - 16 * 3600;
                    let minute = (0..)
                        .map(|m| begin + m * 60)
                        .find(|s| local(*s, zone) >= midnight)
                        .unwrap();
                    let second = (minute - 59..=minute)
                        .find(|s| local(*s, zone) >= midnight)
                        .unwrap();
                    let mine = first_instant(date, zone).unwrap().timestamp();
                    assert_eq!(mine, second, "{zone} {date}");
                    looked_at += 1;
                }
            }
        }
        assert!(looked_at > 1000, "{looked_at}");
    }

    /// The first minute behind a change of the clocks, if there is one.
    fn change_within(mut low: i64, mut high: i64, zone: Tz) -> Option<i64> {
        let offset = |s: i64| local(s, zone).and_utc().timestamp() - s;
        if offset(low) == offset(high) {
            return None;
        }
        while high - low > 60 {
            let middle = low.midpoint(high);
            if offset(middle) == offset(low) {
                low = middle
            } else {
                high = middle
            }
        }
        Some(high)
    }

    #[test]
    fn a_day_that_a_zone_left_out_is_empty() {
        let apia = chrono_tz::Pacific::Apia;
        let days = LocalDays::new(date(2011, 12, 29), date(2011, 12, 31), apia).unwrap();
        assert_eq!(days.starts[1], days.starts[2]);
        assert_eq!(days.index(days.starts[1]), Some(2));
        assert_eq!(days.date(2).day(), 31);
    }

    #[test]
    fn a_zone_off_the_quarter_hours_is_refused_only_where_it_was_so() {
        let monrovia = chrono_tz::Africa::Monrovia;
        let first = date(1971, 6, 1);
        let refused = LocalDays::new(first, date(1971, 6, 2), monrovia).unwrap_err();
        assert_eq!(refused, NotSupported { date: first });
        assert!(LocalDays::new(date(1972, 1, 1), date(1972, 1, 20), monrovia).is_err());
        assert!(LocalDays::new(date(1972, 1, 8), date(1972, 1, 20), monrovia).is_ok());
    }

    #[test]
    fn nothing_is_before_1970() {
        let days = LocalDays::new(
            date(1969, 12, 30),
            date(1969, 12, 31),
            chrono_tz::America::New_York,
        )
        .unwrap();
        assert_eq!(days.utc_days(), Some((Day(0), Day(0))));
        assert_eq!(days.index(0), Some(1));
        assert_eq!(days.index(20), None);
        let days = LocalDays::new(date(1969, 12, 30), date(1969, 12, 31), chrono_tz::UTC).unwrap();
        assert_eq!(days.utc_days(), None);
    }
}
