//! Buckets of a zone against a calculation of its own: each quarter-hour belongs to what the zone's clocks show at its
//! beginning, and to the offset that they have then.

use crate::fixture::{Fixture, day};
use crate::zones::{counted, date, filled};
use chrono::{DateTime, NaiveDate, Offset, TimeDelta, Utc};
use chrono_tz::Tz;
use schemas::{Day, Quarter};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ZONES: [Tz; 5] = [
    chrono_tz::Europe::Berlin,
    chrono_tz::America::New_York,
    chrono_tz::Asia::Kathmandu,
    chrono_tz::Australia::Lord_Howe,
    chrono_tz::UTC,
];

/// (start, label) -> (count, sum).
type Expected = BTreeMap<(String, String), (u64, i128)>;

/// Groups the quarter-hours of the dates by what clocks show, in the form `shown`, and by the offset.
fn by_the_clocks(zone: Tz, from: NaiveDate, to: NaiveDate, shown: &str, label: &str) -> Expected {
    let mut groups = BTreeMap::<(String, i32), (DateTime<Tz>, u64, i128)>::new();
    let first = Day::from_date(from - TimeDelta::days(2)).unwrap().quarter(0).0;
    let behind = Day::from_date(to + TimeDelta::days(3)).unwrap().quarter(0).0;
    for quarter in (first..behind).map(Quarter) {
        let instant = DateTime::<Utc>::from_timestamp_micros(quarter.start().0).unwrap();
        let local = instant.with_timezone(&zone);
        if !(from..=to).contains(&local.date_naive()) {
            continue;
        }
        // A month is one bucket, whatever clocks do in it.
        let offset = if shown == "%Y-%m" {
            0
        } else {
            local.offset().fix().local_minus_utc()
        };
        let (count, sum) = counted(quarter);
        let key = (local.format(shown).to_string(), offset);
        let group = groups.entry(key).or_insert((local, 0, 0));
        *group = (group.0.min(local), group.1 + count, group.2 + sum);
    }
    let named = |(start, count, sum): (DateTime<Tz>, u64, i128)| {
        let text = start
            .format("%Y-%m-%dT%H:%M:%S%:z")
            .to_string()
            .replace("+00:00", "Z");
        ((text, start.format(label).to_string()), (count, sum))
    };
    groups.into_values().map(named).collect()
}

fn of_answer(body: &Value, label: &str) -> Expected {
    let lines = body["buckets"].as_array().unwrap().iter();
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let all: Expected = lines
        .clone()
        .map(|line| {
            let sum: schemas::Amount = text(line, "sum").parse().unwrap();
            let total = (
                line["count"].as_u64().unwrap(),
                i128::from(sum.millionths()) / 1_000_000,
            );
            ((text(line, "start"), text(line, label)), total)
        })
        .collect();
    assert_eq!(all.len(), lines.len(), "each bucket has one line of each type");
    all
}

#[tokio::test]
async fn hours_are_those_that_clocks_show_through_a_year() {
    let fixture = filled().await;
    let (from, to) = (date(2025, 1, 1), date(2025, 12, 31));
    for zone in ZONES {
        let body = fixture
            .ok(&format!("/v1/days?from={from}&to={to}&tz={zone}&bucket=1h"))
            .await;
        let expected = by_the_clocks(zone, from, to, "%Y-%m-%dT%H", "%Y-%m-%d");
        assert!(
            (8760..=8761).contains(&expected.len()),
            "{zone} {}",
            expected.len()
        );
        assert_eq!(of_answer(&body, "day"), expected, "{zone}");
        assert_eq!(
            (&body["tz"], &body["bucket"]),
            (&json!(zone.name()), &json!("1h"))
        );
    }
}

#[tokio::test]
async fn quarter_hours_are_those_that_clocks_show_around_each_of_their_changes() {
    let fixture = filled().await;
    for zone in ZONES {
        for around in [
            "2025-03-09",
            "2025-03-30",
            "2025-04-06",
            "2025-10-05",
            "2025-10-26",
            "2025-11-02",
        ] {
            let around: NaiveDate = around.parse().unwrap();
            let (from, to) = (around - TimeDelta::days(1), around + TimeDelta::days(1));
            let body = fixture
                .ok(&format!("/v1/days?from={from}&to={to}&tz={zone}&bucket=15m"))
                .await;
            let expected = by_the_clocks(zone, from, to, "%Y-%m-%dT%H:%M", "%Y-%m-%d");
            assert_eq!(of_answer(&body, "day"), expected, "{zone} {around}");
        }
    }
}

#[tokio::test]
async fn months_are_those_that_clocks_show_and_a_range_clips_them() {
    let fixture = filled().await;
    for zone in ZONES {
        for (from, to) in [
            (date(2024, 1, 1), date(2025, 12, 31)),
            (date(2024, 2, 29), date(2025, 3, 30)),
            (date(2025, 11, 30), date(2025, 12, 1)),
        ] {
            let body = fixture
                .ok(&format!("/v1/days?from={from}&to={to}&tz={zone}&bucket=1mo"))
                .await;
            let expected = by_the_clocks(zone, from, to, "%Y-%m", "%Y-%m");
            assert_eq!(of_answer(&body, "month"), expected, "{zone} {from}");
        }
    }
}

#[tokio::test]
async fn a_day_alone_has_buckets_too_and_days_keep_their_shape() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    fixture
        .count(0, "click", &[(tuesday, 39, 1, "0.10"), (tuesday, 40, 1, "0.20")])
        .await;
    fixture.count(1, "click", &[(tuesday, 40, 2, "0.30")]).await;
    fixture.reflect_all(9, Some((tuesday, tuesday))).await;
    let body = fixture
        .ok("/v1/days/2025-11-04?bucket=1h&tz=Asia/Kathmandu")
        .await;
    let lines = json!([
        {"start": "2025-11-04T15:00:00+05:45", "day": "2025-11-04", "event_type": "click", "count": 4, "sum": "0.90"},
    ]);
    assert_eq!(body["buckets"], lines);
    assert_eq!(body.get("days"), None);
    let body = fixture.ok("/v1/days/2025-11-04?bucket=1d").await;
    let lines = json!([{"day": "2025-11-04", "event_type": "click", "count": 4, "sum": "0.90"}]);
    assert_eq!(body["days"], lines);
    assert_eq!((body.get("buckets"), body.get("bucket")), (None, None));
}

#[tokio::test]
async fn types_stand_in_a_list_or_one_by_one() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    for event_type in ["a", "b", "a,b", "c\\"] {
        fixture.count(0, event_type, &[(tuesday, 0, 1, "0")]).await;
    }
    fixture.reflect_all(9, Some((tuesday, tuesday))).await;
    let types = async |query: &str| -> Vec<String> {
        let body = fixture.ok(&format!("/v1/days/2025-11-04?{query}")).await;
        let lines = body["days"].as_array().unwrap().clone();
        lines
            .iter()
            .map(|line| line["event_type"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(types("").await, ["a", "a,b", "b", "c\\"]);
    assert_eq!(types("type=a,b").await, ["a", "b"]);
    assert_eq!(types("type=a&type=b").await, ["a", "b"]);
    assert_eq!(types("type=a&type=b,c%5C").await, ["a", "b", "c\\"]);
    assert_eq!(types("type=a%5C,b").await, ["a,b"]);
}

#[tokio::test]
async fn too_many_buckets_are_an_error_that_names_the_limit() {
    let fixture = Fixture::new().await;
    for (query, fits) in [
        ("from=2025-01-01&to=2025-04-14&bucket=15m", true),
        ("from=2025-01-01&to=2025-04-15&bucket=15m", false),
        ("from=2024-11-11&to=2025-12-31&bucket=1h", true),
        ("from=2024-11-10&to=2025-12-31&bucket=1h", false),
        ("from=2016-01-01&to=2025-12-31&bucket=1mo", true),
    ] {
        let answer = fixture.get(&format!("/v1/days?{query}")).await;
        if fits {
            assert_eq!(answer.status, 200, "{query}: {}", answer.body);
            continue;
        }
        assert_eq!(answer.problem(), (400, "too_many_buckets"), "{query}");
        assert_eq!(
            (&answer.body["parameter"], &answer.body["limit_buckets"]),
            (&json!("bucket"), &json!(10_000))
        );
        assert!(answer.body["detail"].as_str().unwrap().contains("10000"));
    }
}
