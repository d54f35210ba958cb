//! What one user did.

use crate::fixture::{Fixture, day};
use schemas::row::View;
use serde_json::json;

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let (old, new) = (day("2019-12-31"), day("2025-11-04"));
    fixture
        .count_user(0, "u1", old, &[("sale", 95, Some("1.50")), ("click", 0, None)])
        .await;
    fixture.count_user(0, "u1", new, &[("click", 4, None)]).await;
    fixture
        .count_user(1, "u1", new, &[("click", 4, None), ("sale", 95, Some("96.50"))])
        .await;
    fixture
        .count_user(1, "u10", new, &[("click", 4, Some("1000"))])
        .await;
    fixture
        .count_user(1, "ü/1 x", new, &[("click", 4, Some("7"))])
        .await;
    fixture.reflect_all(9, Some((old, new))).await;
    fixture
}

#[tokio::test]
async fn a_users_total_is_over_all_time_and_partitions() {
    let fixture = filled().await;
    let mut body = fixture.ok("/v1/users/u1").await;
    let as_of = body.as_object_mut().unwrap().remove("as_of").unwrap();
    assert_eq!(as_of["offsets"], json!({"0": 9, "1": 9}));
    let expected = json!({
        "user_id": "u1",
        "total": {"count": 5, "sum": "98.00"},
        "by_type": [
            {"event_type": "click", "count": 3, "sum": "0"},
            {"event_type": "sale", "count": 2, "sum": "98.00"},
        ],
    });
    assert_eq!(body, expected);
    assert_eq!(
        fixture.ok("/v1/users/%C3%BC%2F1%20x").await["total"]["sum"],
        "7.00"
    );
}

#[tokio::test]
async fn a_users_days_are_those_of_the_zone() {
    let fixture = filled().await;
    let body = fixture
        .ok("/v1/users/u1/days?from=2025-11-01&to=2025-11-05&tz=Europe/Berlin")
        .await;
    assert_eq!(
        (&body["user_id"], &body["tz"]),
        (&json!("u1"), &json!("Europe/Berlin"))
    );
    let expected = json!([
        {"day": "2025-11-04", "event_type": "click", "count": 2, "sum": "0"},
        {"day": "2025-11-05", "event_type": "sale", "count": 1, "sum": "96.50"},
    ]);
    assert_eq!(body["days"], expected);
    let body = fixture
        .ok("/v1/users/u1/days?from=2019-12-01&to=2019-12-31&type=sale")
        .await;
    assert_eq!(body["days"][0]["sum"], "1.50");
}

#[tokio::test]
async fn a_user_without_events_has_zeros_and_as_of() {
    let fixture = filled().await;
    let body = fixture.ok("/v1/users/nobody").await;
    assert_eq!(
        (&body["total"], &body["by_type"]),
        (&json!({"count": 0, "sum": "0"}), &json!([]))
    );
    assert_eq!(body["as_of"]["lag_records"], 0);
    let long = "x".repeat(257);
    for id in [long.as_str(), "a%00b", "a%0Ab"] {
        let answer = fixture.get(&format!("/v1/users/{id}")).await;
        assert_eq!(answer.problem(), (400, "parameter_invalid"), "{id}");
    }
    assert_eq!(
        fixture.get("/v1/users/%FF").await.problem(),
        (400, "path_invalid")
    );
}

#[tokio::test]
async fn a_users_view_that_was_emptied_is_not_a_user_without_events() {
    let fixture = Fixture::new().await;
    fixture.log.set_end(1, 3);
    for view in [View::Days, View::Progress] {
        fixture.reflect(view, 1, 3, None).await;
    }
    for path in ["/v1/users/u1", "/v1/users/u1/days"] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.problem(), (503, "view_not_ready"), "{path}");
        assert_eq!(answer.body["view"], "users");
    }
}

#[tokio::test]
async fn clients_of_the_older_service_read_a_users_revenue() {
    let fixture = filled().await;
    let answer = fixture.get("/userEvents/u1").await;
    assert_eq!(
        (answer.status.as_u16(), answer.body),
        (200, json!([{"user_id": "u1", "revenue": 98}]))
    );
    // As there, what nobody knows is ignored.
    assert_eq!(
        fixture.ok("/userEvents/u10?cache=1").await,
        json!([{"user_id": "u10", "revenue": 1000}])
    );
    assert_eq!(fixture.get("/userEvents/nobody").await.status, 404);
}

#[tokio::test]
async fn pages_of_a_users_days_hold_each_line_once() {
    let fixture = Fixture::new().await;
    let (first, last) = (day("2024-11-06"), day("2025-11-05"));
    for n in (first.0..=last.0).step_by(3) {
        for partition in 0..2 {
            let types = ["click", "sale", "a,b"];
            let events: Vec<_> = types
                .iter()
                .map(|name| (*name, (n % 96) as u8, Some("1")))
                .collect();
            let events = &events[..1 + (n as usize / 3 + partition as usize) % 3];
            fixture.count_user(partition, "u1", schemas::Day(n), events).await;
        }
    }
    fixture.reflect_all(9, Some((first, last))).await;
    let path = "/v1/users/u1/days?from=2024-11-06&to=2025-11-05&tz=America/New_York";
    let whole = fixture.ok(path).await;
    let whole = whole["days"].as_array().unwrap();
    assert!(whole.len() > 200, "{}", whole.len());
    for limit in [1, 7, 1000, whole.len(), whole.len() - 1] {
        let (mut pages, mut all, mut cursor) = (0, Vec::new(), String::new());
        loop {
            let body = fixture.ok(&format!("{path}&limit={limit}{cursor}")).await;
            let lines = body["days"].as_array().unwrap();
            assert!((1..=limit).contains(&lines.len()));
            all.extend(lines.iter().cloned());
            pages += 1;
            assert!(pages <= whole.len(), "a page that does not go on");
            match body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(&all, whole, "{limit}");
        assert_eq!(pages, whole.len().div_ceil(limit), "{limit}");
    }
    assert_eq!(fixture.ok(path).await.get("next_cursor"), None);
}

#[tokio::test]
async fn a_cursor_of_another_users_days_is_an_error() {
    let fixture = filled().await;
    let range = "from=2019-12-01&to=2025-11-05";
    let body = fixture.ok(&format!("/v1/users/u1/days?{range}&limit=1")).await;
    let cursor = body["next_cursor"].as_str().unwrap();
    let next = fixture
        .ok(&format!("/v1/users/u1/days?{range}&limit=2&cursor={cursor}"))
        .await;
    assert_eq!(next["days"][0]["event_type"], "sale");
    for path in [
        format!("/v1/users/u10/days?{range}"),
        format!("/v1/users/u1/days?{range}&tz=Europe/Berlin"),
        format!("/v1/users/u1/days?{range}&type=click"),
        "/v1/users/u1/days?from=2019-12-02&to=2025-11-05".to_owned(),
    ] {
        let answer = fixture.get(&format!("{path}&limit=1&cursor={cursor}")).await;
        assert_eq!(answer.problem(), (400, "cursor_of_another_query"), "{path}");
    }
    let answer = fixture
        .get(&format!("/v1/users/u1/days?{range}&cursor={cursor}"))
        .await;
    assert_eq!(answer.problem(), (400, "parameter_invalid"));
}
