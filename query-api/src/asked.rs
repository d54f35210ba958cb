//! A range of days, a zone and types, as they were asked for.

use crate::params::{Params, invalid};
use crate::zone::LocalDays;
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

/// Which days of which zone.
#[derive(Debug)]
pub(crate) struct Range {
    /// The zone.
    pub(crate) zone: Tz,
    /// The days.
    pub(crate) days: LocalDays,
}

/// Which types; all of them where none is named.
#[derive(Debug, Default)]
pub(crate) struct Types(BTreeSet<String>);

impl Range {
    /// Reads `from`, `to` and `tz`. Without `to` it is today's date in the zone, or `from` where that is later; without
    /// `from` it is the last seven days up to `to`.
    pub(crate) fn read(params: &Params, limits: &config::Query, now: Timestamp) -> Result<Self, Problem> {
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
        let days = to.signed_duration_since(from).num_days().saturating_add(1);
        if days < 1 {
            return Err(
                Problem::bad_request("range_invalid", "The range ends before it begins")
                    .detail(format!("from {from} is later than to {to}")),
            );
        }
        too_long(days, limits)?;
        Self::of(from, to, zone)
    }

    /// One day, of the zone in `tz`.
    pub(crate) fn day(date: NaiveDate, params: &Params) -> Result<Self, Problem> {
        Self::of(date, date, zone(params)?)
    }

    fn of(from: NaiveDate, to: NaiveDate, zone: Tz) -> Result<Self, Problem> {
        for (name, date) in [("from", from), ("to", to)] {
            // A day of margin on either side, since a zone may be that far from UTC.
            let first = NaiveDate::from_ymd_opt(limits::FIRST_YEAR, 1, 1).and_then(|date| date.pred_opt());
            let last = NaiveDate::from_ymd_opt(limits::LAST_YEAR + 1, 1, 1);
            if Some(date) < first || Some(date) > last {
                return Err(invalid(name, "must be in the years 1970 to 2200"));
            }
        }
        let days = LocalDays::new(from, to, zone).map_err(|error| {
            Problem::bad_request("zone_not_supported", "The zone is not supported at this time")
                .detail(error.to_string())
                .with("tz", zone.name())
                .with("day", error.date.to_string())
        })?;
        Ok(Self { zone, days })
    }
}

impl Types {
    /// Reads `type`, which may stand several times.
    pub(crate) fn read(params: &Params) -> Result<Self, Problem> {
        let types: BTreeSet<String> = params.all("type").map(str::to_owned).collect();
        match types.len() <= TYPES {
            true => Ok(Self(types)),
            false => Err(invalid("type", &format!("may stand {TYPES} times"))),
        }
    }

    /// Whether a type is asked for.
    pub(crate) fn has(&self, event_type: &str) -> bool {
        self.0.is_empty() || self.0.contains(event_type)
    }
}

/// 400 `range_too_long` for more days than a query may span.
pub(crate) fn too_long(days: i64, limits: &config::Query) -> Result<(), Problem> {
    if days <= i64::from(limits.range_limit_days) {
        return Ok(());
    }
    Err(Problem::bad_request("range_too_long", "The range is too long")
        .detail(format!("it has {days} days; ask for parts of it"))
        .with("limit_days", limits.range_limit_days))
}

fn zone(params: &Params) -> Result<Tz, Problem> {
    let name = params.one("tz")?.unwrap_or("UTC");
    name.parse().map_err(|_| {
        Problem::bad_request("zone_unknown", "The zone is unknown")
            .detail("tz must be a name of the IANA time zone database, such as Europe/Berlin")
    })
}

fn today(now: Timestamp, zone: Tz) -> NaiveDate {
    DateTime::<Utc>::from_timestamp_micros(now.0)
        .unwrap_or_default()
        .with_timezone(&zone)
        .date_naive()
}
