//! Days of a zone against a calculation of its own: each quarter-hour of two years belongs to the date that the zone's
//! clocks show at its beginning.

use crate::fixture::Fixture;
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use schemas::partial::{Cell, DayPartial};
use schemas::row::RowKey;
use schemas::{Day, Quarter, amount::Sum};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

/// What was counted in a quarter-hour: another number in each of a day.
pub fn counted(quarter: Quarter) -> (u64, i128) {
    (u64::from(quarter.0 % 89 + 1), i128::from(quarter.0 % 97) - 40)
}

/// Fills each quarter-hour of 2024, 2025 and some days around them, in turns in both partitions.
pub async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let first = Day::from_date(date(2023, 12, 30)).unwrap();
    let last = Day::from_date(date(2026, 1, 2)).unwrap();
    let mut rows = Vec::new();
    for day in (first.0..=last.0).map(Day) {
        for partition in 0..2_u8 {
            let mut partial = DayPartial::default();
            for of_day in (partition..96).step_by(2) {
                let (count, sum) = counted(day.quarter(of_day));
                partial.add_cell(Cell {
                    of_day,
                    count,
                    sum: Sum(sum * 1_000_000),
                });
            }
            let key = RowKey::Day {
                tenant: "default".to_owned(),
                day,
                event_type: "click".to_owned(),
            };
            rows.push(crate::fixture::row(
                key,
                u32::from(partition),
                1,
                partial.encode(),
            ));
        }
    }
    fixture.store.upsert(rows).await.unwrap();
    fixture.reflect_all(9, Some((first, last))).await;
    fixture
}

fn by_the_clocks(zone: Tz, from: NaiveDate, to: NaiveDate) -> BTreeMap<String, (u64, i128)> {
    let mut days = BTreeMap::new();
    let first = Day::from_date(date(2023, 12, 30)).unwrap().quarter(0).0;
    let behind = Day::from_date(date(2026, 1, 3)).unwrap().quarter(0).0;
    for quarter in (first..behind).map(Quarter) {
        let instant = DateTime::<Utc>::from_timestamp_micros(quarter.start().0).unwrap();
        let shown = instant.with_timezone(&zone).date_naive();
        if (from..=to).contains(&shown) {
            let (count, sum) = counted(quarter);
            let day: &mut (u64, i128) = days.entry(shown.to_string()).or_default();
            *day = (day.0 + count, day.1 + sum);
        }
    }
    days
}

fn of_answer(body: &Value) -> BTreeMap<String, (u64, i128)> {
    let lines = body["days"].as_array().unwrap().iter();
    let of_line = |line: &Value| {
        let sum: schemas::Amount = line["sum"].as_str().unwrap().parse().unwrap();
        let total = (
            line["count"].as_u64().unwrap(),
            i128::from(sum.millionths()) / 1_000_000,
        );
        (line["day"].as_str().unwrap().to_owned(), total)
    };
    lines.map(of_line).collect()
}

#[tokio::test]
async fn days_of_23_and_25_hours_are_exact_on_every_day_of_two_years() {
    let fixture = filled().await;
    let (from, to) = (date(2024, 1, 1), date(2025, 12, 31));
    for zone in [
        chrono_tz::Europe::Berlin,
        chrono_tz::America::New_York,
        chrono_tz::Asia::Kathmandu,
        chrono_tz::Australia::Lord_Howe,
        chrono_tz::UTC,
    ] {
        let body = fixture
            .ok(&format!("/v1/days?from={from}&to={to}&tz={}", zone.name()))
            .await;
        let expected = by_the_clocks(zone, from, to);
        assert_eq!(expected.len(), 731);
        assert_eq!(of_answer(&body), expected, "{zone}");
        assert_eq!(body["tz"], zone.name());
    }
}

#[tokio::test]
async fn a_day_on_which_clocks_change_is_exact_when_it_is_asked_for_alone() {
    let fixture = filled().await;
    for (zone, day) in [
        (chrono_tz::Europe::Berlin, date(2025, 3, 30)),
        (chrono_tz::Europe::Berlin, date(2025, 10, 26)),
        (chrono_tz::America::New_York, date(2025, 3, 9)),
        (chrono_tz::America::New_York, date(2025, 11, 2)),
        (chrono_tz::Australia::Lord_Howe, date(2025, 4, 6)),
        (chrono_tz::Australia::Lord_Howe, date(2025, 10, 5)),
        // Midnight itself is skipped there, or shown twice.
        (chrono_tz::America::Havana, date(2025, 3, 9)),
        (chrono_tz::America::Havana, date(2025, 11, 2)),
        (chrono_tz::Africa::Cairo, date(2025, 4, 25)),
        (chrono_tz::Africa::Cairo, date(2025, 10, 31)),
    ] {
        let body = fixture.ok(&format!("/v1/days/{day}?tz={}", zone.name())).await;
        assert_eq!(of_answer(&body), by_the_clocks(zone, day, day), "{zone} {day}");
    }
}

#[tokio::test]
async fn a_zone_that_quarter_hours_cannot_tell_is_an_error_and_no_estimate() {
    let fixture = Fixture::new().await;
    let answer = fixture
        .get("/v1/days?from=1971-06-01&to=1971-06-03&tz=Africa/Monrovia")
        .await;
    assert_eq!(answer.problem(), (400, "zone_not_supported"));
    assert_eq!(answer.body["day"], json!("1971-06-01"));
    let answer = fixture
        .get("/v1/users/u/days?from=1971-06-01&to=1971-06-03&tz=Africa/Monrovia")
        .await;
    assert_eq!(answer.problem(), (400, "zone_not_supported"));
    fixture
        .ok("/v1/days?from=1973-06-01&to=1973-06-03&tz=Africa/Monrovia")
        .await;
    for path in [
        "/v1/days?tz=Middle/Earth",
        "/v1/days?tz=",
        "/v1/days/2025-01-01?tz=CEST",
    ] {
        assert_eq!(fixture.get(path).await.problem(), (400, "zone_unknown"), "{path}");
    }
}
