//! Distinct users by day, type and in all, from sketches of several partitions.

use crate::fixture::{Fixture, day, row};
use schemas::distinct::Distinct;
use schemas::row::{RowKey, View};
use serde_json::{Value, json};
use std::ops::Range;

/// Writes the sketch of a day and type in a partition.
async fn meet(fixture: &Fixture, partition: u32, date: &str, kind: &str, users: Range<u32>) {
    let mut sketch = Distinct::default();
    users.for_each(|user| sketch.add(&format!("user-{user}")));
    let key = RowKey::Distinct {
        tenant: "default".to_owned(),
        day: day(date),
        event_type: kind.to_owned(),
    };
    let rows = vec![row(key, partition, 1, sketch.encode())];
    fixture.store.upsert(rows).await.unwrap();
}

fn holds(line: &Value, count: u64) -> bool {
    let number = |name: &str| line[name].as_u64().unwrap();
    let off = number("users").abs_diff(count) as f64;
    number("low") <= count && count <= number("high") && off <= count as f64 * 0.033
}

#[tokio::test]
async fn users_are_counted_once_over_partitions_types_and_days() {
    let fixture = Fixture::new().await;
    meet(&fixture, 0, "2025-11-03", "click", 0..6_000).await;
    meet(&fixture, 1, "2025-11-03", "click", 4_000..10_000).await;
    meet(&fixture, 1, "2025-11-03", "sale", 9_000..9_010).await;
    meet(&fixture, 0, "2025-11-04", "click", 9_990..10_100).await;
    let span = Some((day("2025-11-01"), day("2025-11-05")));
    fixture.reflect_all(9, span).await;
    let body = fixture
        .ok("/v1/distinct-users?from=2025-11-01&to=2025-11-05")
        .await;
    assert_eq!(
        (&body["tz"], &body["error_percent"]),
        (&json!("UTC"), &json!(1.6))
    );
    assert_eq!(body["as_of"]["offsets"], json!({"0": 9, "1": 9}));
    let days = body["days"].as_array().unwrap();
    let places: Vec<_> = days
        .iter()
        .map(|line| (&line["day"], &line["event_type"]))
        .collect();
    assert_eq!(
        places,
        [
            (&json!("2025-11-03"), &json!("click")),
            (&json!("2025-11-03"), &json!("sale")),
            (&json!("2025-11-04"), &json!("click")),
        ]
    );
    for (line, count) in days.iter().zip([10_000, 10, 110]) {
        assert!(holds(line, count), "{line}");
    }
    assert_eq!(
        (&days[1]["users"], &days[1]["low"], &days[1]["high"]),
        (&json!(10), &json!(10), &json!(10))
    );
    assert!(holds(&body["total"], 10_100), "{body}");
    let sale = fixture
        .ok("/v1/distinct-users?from=2025-11-01&to=2025-11-05&type=sale")
        .await;
    assert_eq!(
        (sale["days"].as_array().unwrap().len(), &sale["total"]["users"]),
        (1, &json!(10))
    );
    let none = fixture.ok("/v1/distinct-users?from=2025-11-05").await;
    assert_eq!(
        (&none["days"], &none["total"]),
        (&json!([]), &json!({"users": 0, "low": 0, "high": 0}))
    );
}

#[tokio::test]
async fn a_view_of_users_that_was_emptied_is_not_one_without_users() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(9, None).await;
    fixture.log.set_end(0, 9);
    assert_eq!(fixture.get("/v1/distinct-users").await.status, 200);
    let fixture = Fixture::new().await;
    fixture.log.set_end(0, 9);
    for view in View::ALL.into_iter().filter(|view| *view != View::Distinct) {
        fixture.reflect(view, 0, 9, None).await;
        fixture.reflect(view, 1, 9, None).await;
    }
    assert_eq!(
        fixture.get("/v1/distinct-users").await.problem(),
        (503, "view_not_ready")
    );
    for (query, code) in [
        ("?tz=UTC", "unknown_parameter"),
        ("?from=2025-11-05&to=2025-11-01", "range_invalid"),
        ("?type=", "parameter_invalid"),
    ] {
        let path = format!("/v1/distinct-users{query}");
        assert_eq!(fixture.get(&path).await.problem(), (400, code), "{path}");
    }
}
