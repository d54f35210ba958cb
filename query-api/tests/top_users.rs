//! Who has the most events.

use crate::fixture::{Fixture, day, row};
use schemas::partial::UserPartial;
use schemas::row::RowKey;
use serde_json::{Value, json};

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let (monday, tuesday, wednesday) = (day("2025-11-03"), day("2025-11-04"), day("2025-11-05"));
    for n in 0..40_u32 {
        let user = format!("user {n:02}");
        let events: Vec<_> = (0..n % 20).map(|_| ("click", 40, Some("0.50"))).collect();
        fixture.count_user(n % 2, &user, tuesday, &events).await;
    }
    fixture
        .count_user(
            0,
            "user 19",
            tuesday,
            &[("click", 41, None), ("sale", 41, Some("98"))],
        )
        .await;
    // 20:15 UTC: the next day in Kathmandu.
    fixture
        .count_user(0, "late", tuesday, &[("click", 81, None); 50])
        .await;
    fixture
        .count_user(0, "early", monday, &[("click", 81, None); 30])
        .await;
    fixture
        .count_user(0, "early", wednesday, &[("click", 0, None); 5])
        .await;
    fixture.reflect_all(9, Some((monday, wednesday))).await;
    fixture
}

fn users(body: &Value) -> Vec<(String, u64)> {
    let lines = body["users"].as_array().unwrap().iter();
    lines
        .map(|line| {
            (
                line["user_id"].as_str().unwrap().to_owned(),
                line["count"].as_u64().unwrap(),
            )
        })
        .collect()
}

fn named(users: &[(&str, u64)]) -> Vec<(String, u64)> {
    users
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn those_with_the_most_events_come_first() {
    let fixture = filled().await;
    let body = fixture.ok("/v1/days/2025-11-04/users?limit=4").await;
    assert_eq!(
        users(&body),
        named(&[("late", 50), ("user 19", 21), ("user 39", 19), ("user 18", 18)])
    );
    assert_eq!(
        body["users"][1],
        json!({"user_id": "user 19", "count": 21, "sum": "107.50"})
    );
    assert_eq!(
        (&body["complete"], &body["tz"], &body["from"]),
        (&json!(true), &json!("UTC"), &json!("2025-11-04"))
    );
    assert_eq!(body["as_of"]["offsets"], json!({"0": 9, "1": 9}));
    assert_eq!(
        fixture.ok("/v1/days/2025-11-04/users").await["users"]
            .as_array()
            .unwrap()
            .len(),
        10
    );
    // Those without events that day are not there.
    assert_eq!(
        fixture.ok("/v1/days/2025-11-04/users?limit=1000").await["users"]
            .as_array()
            .unwrap()
            .len(),
        39
    );
    let body = fixture.ok("/v1/days/2025-11-04/users?type=sale").await;
    assert_eq!(users(&body), named(&[("user 19", 1)]));
    assert_eq!(users(&fixture.ok("/v1/days/2025-12-04/users").await), []);
}

#[tokio::test]
async fn the_day_is_one_of_the_zone_and_a_range_adds_up() {
    let fixture = filled().await;
    let body = fixture
        .ok("/v1/days/2025-11-04/users?limit=2&tz=Asia/Kathmandu")
        .await;
    assert_eq!(users(&body), named(&[("early", 30), ("user 19", 21)]));
    let body = fixture.ok("/v1/days/2025-11-05/users?tz=Asia/Kathmandu").await;
    assert_eq!(users(&body), named(&[("late", 50), ("early", 5)]));
    let body = fixture
        .ok("/v1/days/2025-11-03/users?to=2025-11-05&limit=2")
        .await;
    assert_eq!(users(&body), named(&[("late", 50), ("early", 35)]));
}

#[tokio::test]
async fn a_look_that_would_be_too_long_ends_and_says_so() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    let mut partial = UserPartial::default();
    partial.add("click", 3, None);
    let of_user = |n: u32| {
        let key = RowKey::User {
            tenant: "default".into(),
            user: format!("{n}"),
            day: tuesday,
        };
        row(key, 0, 1, partial.encode())
    };
    fixture
        .store
        .upsert((0..51_000).map(of_user).collect::<Vec<_>>())
        .await
        .unwrap();
    fixture.reflect_all(9, Some((tuesday, tuesday))).await;
    let body = fixture.ok("/v1/days/2025-11-04/users").await;
    assert_eq!((&body["complete"], users(&body).len()), (&json!(false), 10));
}

#[tokio::test]
async fn what_makes_no_sense_is_named() {
    let fixture = filled().await;
    for (path, code, parameter) in [
        ("/v1/days/today/users", "parameter_invalid", json!("date")),
        (
            "/v1/days/2025-11-04/users?limit=0",
            "parameter_invalid",
            json!("limit"),
        ),
        (
            "/v1/days/2025-11-04/users?limit=1001",
            "parameter_invalid",
            json!("limit"),
        ),
        (
            "/v1/days/2025-11-04/users?to=2025-11-03",
            "range_invalid",
            Value::Null,
        ),
        (
            "/v1/days/2025-11-04/users?to=2025-12-05",
            "range_too_long",
            json!("from"),
        ),
        (
            "/v1/days/2025-11-04/users?from=2025-11-04",
            "unknown_parameter",
            Value::Null,
        ),
        ("/v1/days/2025-11-04/users?tz=X", "zone_unknown", Value::Null),
    ] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.problem(), (400, code), "{path}");
        assert_eq!(answer.body["parameter"], parameter, "{path}");
    }
}
