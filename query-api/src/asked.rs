//! A range of days, a zone, buckets and types, as they were asked for.

use crate::buckets::{Buckets, Fault, Width};
use crate::format::Format;
use crate::params::{Params, invalid};
use crate::zone::{LocalDays, NotSupported};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use schemas::{Timestamp, limits};
use service::config;
use service::http::Problem;
use std::collections::BTreeSet;

/// Days of a range that names no beginning, its end among them.
const DEFAULT_DAYS: i64 = 7;
/// Most types that one query may name: more is a list, and all types are asked for by naming none.
const TYPES: usize = 100;
/// Buckets shorter than a day that one document may have: the hours of more than a year.
const BUCKETS: usize = 10_000;
/// The same of an export, which is streamed: the quarter-hours of almost three years.
const EXPORT_BUCKETS: usize = 100_000;

/// Which days of which zone, cut into buckets.
#[derive(Debug)]
pub(crate) struct Range {
    /// The first day.
    pub(crate) from: NaiveDate,
    /// The last day.
    pub(crate) to: NaiveDate,
    /// The zone.
    pub(crate) zone: Tz,
    /// Its days, in buckets.
    pub(crate) buckets: Buckets,
}

/// Which types; all of them where none is named.
#[derive(Debug, Default)]
pub(crate) struct Types(BTreeSet<String>);

impl Range {
    /// Reads `from`, `to`, `tz` and `bucket`. Without `to` it is today's date in the zone, or `from` where that is later; without
    /// `from` it is the last seven days up to `to`.
    pub(crate) fn read(
        params: &Params,
        format: Format,
        limits: &config::Query,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let zone = zone(params)?;
        let (from, to) = (params.date("from")?, params.date("to")?);
        let to = to.unwrap_or_else(|| {
            let today = today(now, zone);
            from.map_or(today, |from| today.max(from))
        });
        let from = from.unwrap_or_else(|| {
            to.checked_sub_signed(TimeDelta::days(DEFAULT_DAYS - 1))
                .unwrap_or(to)
        });
        span(from, to, limits.range_limit_days)?;
        let limit = if format.is_export() {
            EXPORT_BUCKETS
        } else {
            BUCKETS
        };
        Self::of(from, to, zone, width(params)?, limit)
    }

    /// All that an answer depends on of it.
    pub(crate) fn text(&self) -> String {
        let width = self.buckets.width().word();
        format!("{} {} {} {width}", self.from, self.to, self.zone.name())
    }

    /// One day, of the zone in `tz`, in buckets as in `bucket`.
    pub(crate) fn day(date: NaiveDate, params: &Params) -> Result<Self, Problem> {
        Self::of(date, date, zone(params)?, width(params)?, BUCKETS)
    }

    /// Days of a zone.
    pub(crate) fn days(from: NaiveDate, to: NaiveDate, zone: Tz) -> Result<Self, Problem> {
        Self::of(from, to, zone, Width::Day, 0)
    }

    fn of(from: NaiveDate, to: NaiveDate, zone: Tz, width: Width, limit: usize) -> Result<Self, Problem> {
        for (name, date) in [("from", from), ("to", to)] {
            // A day of margin on either side, since a zone may be that far from UTC.
            let first = NaiveDate::from_ymd_opt(limits::FIRST_YEAR, 1, 1).and_then(|date| date.pred_opt());
            let last = NaiveDate::from_ymd_opt(limits::LAST_YEAR + 1, 1, 1);
            if Some(date) < first || Some(date) > last {
                return Err(invalid(name, "must be in the years 1970 to 2200"));
            }
        }
        let days = LocalDays::new(from, to, zone).map_err(|cause| not_supported(zone, cause))?;
        let buckets = Buckets::cut(days, zone, width, limit).map_err(|fault| match fault {
            Fault::NotSupported(cause) => not_supported(zone, cause),
            Fault::TooMany => Problem::bad_request("too_many_buckets", "The answer would have too many buckets")
                .detail(format!(
                    "from {from} to {to} there are more than {limit} of bucket={}; ask for fewer days or longer buckets",
                    width.word()
                ))
                .with("parameter", "bucket")
                .with("limit_buckets", limit),
        })?;
        Ok(Self {
            from,
            to,
            zone,
            buckets,
        })
    }
}

impl Types {
    /// Reads `type`, which may stand several times and hold several types with commas between them. A comma of a type itself
    /// is written `\,` and a backslash before a comma `\\`.
    pub(crate) fn read(params: &Params) -> Result<Self, Problem> {
        let types: BTreeSet<String> = params.all("type").flat_map(split).collect();
        if types.contains("") {
            return Err(invalid("type", "must not be empty"));
        }
        match types.len() <= TYPES {
            true => Ok(Self(types)),
            false => Err(invalid("type", &format!("may name {TYPES} types")).with("limit_types", TYPES)),
        }
    }

    /// All that an answer depends on of them.
    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.0)
    }

    /// Whether a type is asked for.
    pub(crate) fn has(&self, event_type: &str) -> bool {
        self.0.is_empty() || self.0.contains(event_type)
    }
}

/// Checks that a range does not end before it begins, and has `limit` days at most.
///
/// Errors: 400 `range_invalid`, 400 `range_too_long`.
pub(crate) fn span(from: NaiveDate, to: NaiveDate, limit: u32) -> Result<(), Problem> {
    let days = to.signed_duration_since(from).num_days().saturating_add(1);
    if days < 1 {
        return Err(
            Problem::bad_request("range_invalid", "The range ends before it begins")
                .detail(format!("from {from} is later than to {to}")),
        );
    }
    too_long(days, limit)
}

/// 400 `range_too_long` for more days than a query may span.
pub(crate) fn too_long(days: i64, limit: u32) -> Result<(), Problem> {
    if days <= i64::from(limit) {
        return Ok(());
    }
    Err(Problem::bad_request("range_too_long", "The range is too long")
        .detail(format!(
            "it has {days} days, and {limit} are allowed here; ask for parts of it"
        ))
        .with("parameter", "from")
        .with("limit_days", limit))
}

/// The types of a list.
fn split(list: &str) -> Vec<String> {
    let mut types = vec![String::new()];
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = match letter {
            '\\' => letters.next_if(|next| matches!(next, ',' | '\\')),
            ',' => {
                types.push(String::new());
                continue;
            }
            _ => None,
        };
        if let Some(last) = types.last_mut() {
            last.push(escaped.unwrap_or(letter));
        }
    }
    types
}

fn width(params: &Params) -> Result<Width, Problem> {
    let Some(word) = params.one("bucket")? else {
        return Ok(Width::default());
    };
    let width = Width::ALL.into_iter().find(|width| width.word() == word);
    width.ok_or_else(|| {
        let words = Width::ALL.map(Width::word).join(", ");
        invalid("bucket", &format!("must be one of {words}"))
    })
}

fn not_supported(zone: Tz, cause: NotSupported) -> Problem {
    Problem::bad_request("zone_not_supported", "The zone is not supported at this time")
        .detail(cause.to_string())
        .with("tz", zone.name())
        .with("day", cause.date.to_string())
}

/// The zone of `tz`.
///
/// Errors: 400 `zone_unknown`.
pub(crate) fn zone(params: &Params) -> Result<Tz, Problem> {
    let name = params.one("tz")?.unwrap_or("UTC");
    name.parse().map_err(|_| {
        Problem::bad_request("zone_unknown", "The zone is unknown")
            .detail("tz must be a name of the IANA time zone database, such as Europe/Berlin")
    })
}

/// The date that clocks of a zone show.
pub(crate) fn today(now: Timestamp, zone: Tz) -> NaiveDate {
    DateTime::<Utc>::from_timestamp_micros(now.0)
        .unwrap_or_default()
        .with_timezone(&zone)
        .date_naive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_types_is_cut_at_commas_that_are_not_escaped() {
        for (list, types) in [
            ("a", vec!["a"]),
            ("a,b c", vec!["a", "b c"]),
            ("a\\,b,c", vec!["a,b", "c"]),
            ("a\\\\,b", vec!["a\\", "b"]),
            ("a\\b\\", vec!["a\\b\\"]),
            ("", vec![""]),
            ("a,", vec!["a", ""]),
        ] {
            assert_eq!(split(list), types, "{list}");
        }
    }
}
