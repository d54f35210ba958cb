//! Counts and sums per day.

use crate::fixture::{Fixture, day, eventually};
use schemas::row::{Progress, View};
use schemas::{Offset, Partition};
use serde_json::json;

#[tokio::test]
async fn partials_of_several_partitions_add_up() {
    let fixture = Fixture::new().await;
    let (monday, tuesday) = (day("2025-11-03"), day("2025-11-04"));
    fixture
        .count(0, "click", &[(monday, 3, 2, "0"), (tuesday, 0, 1, "0.10")])
        .await;
    fixture
        .count(1, "click", &[(tuesday, 0, 2, "0.20"), (tuesday, 95, 1, "-3")])
        .await;
    fixture.count(1, "sale", &[(tuesday, 40, 1, "98")]).await;
    fixture.reflect(View::Days, 0, 5, Some((monday, tuesday))).await;
    fixture.reflect(View::Days, 1, 7, Some((tuesday, tuesday))).await;
    fixture.log.set_end(0, 9);
    fixture.log.set_end(1, 7);
    let body = fixture.ok("/v1/days").await;
    let expected = json!({
        "tz": "UTC",
        "as_of": {
            "offsets": {"0": 5, "1": 7},
            "newest_accepted_at": "2025-11-05T11:59:59Z",
            "lag_records": 4,
        },
        "days": [
            {"day": "2025-11-03", "event_type": "click", "count": 2, "sum": "0"},
            {"day": "2025-11-04", "event_type": "click", "count": 4, "sum": "-2.50"},
            {"day": "2025-11-04", "event_type": "sale", "count": 1, "sum": "98.00"},
        ],
    });
    assert_eq!(body, expected);
    let body = fixture.ok("/v1/days/2025-11-04?type=sale&type=nothing").await;
    assert_eq!(
        body["days"],
        json!([{"day": "2025-11-04", "event_type": "sale", "count": 1, "sum": "98.00"}])
    );
}

#[tokio::test]
async fn without_a_range_it_is_the_last_seven_days_of_the_zone() {
    let fixture = Fixture::new().await;
    let (first, last) = (day("2025-10-25"), day("2025-11-09"));
    let noons: Vec<_> = (first.0..=last.0)
        .map(|d| (schemas::Day(d), 48, 1, "0"))
        .collect();
    fixture.count(0, "click", &noons).await;
    fixture.reflect_all(9, Some((first, last))).await;
    let dates = async |query: &str| -> Vec<String> {
        let body = fixture.ok(&format!("/v1/days{query}")).await;
        let lines = body["days"].as_array().unwrap().clone();
        lines
            .iter()
            .map(|line| line["day"].as_str().unwrap().to_owned())
            .collect()
    };
    let week = dates("").await;
    assert_eq!(
        (week.len(), &*week[0], &*week[6]),
        (7, "2025-10-30", "2025-11-05")
    );
    // It is noon in UTC, and the next day there.
    let week = dates("?tz=Pacific/Kiritimati").await;
    assert_eq!((week.len(), &*week[6]), (7, "2025-11-06"));
    assert_eq!(dates("?to=2025-10-26").await, ["2025-10-25", "2025-10-26"]);
    assert_eq!(dates("?from=2025-11-04").await, ["2025-11-04", "2025-11-05"]);
    assert_eq!(dates("?from=2025-11-08").await, ["2025-11-08"]);
    assert_eq!(dates("?from=2025-11-02&to=2025-11-02").await, ["2025-11-02"]);
}

#[tokio::test]
async fn a_view_that_is_behind_the_log_or_was_emptied_never_answers_with_silent_zeros() {
    let fixture = Fixture::new().await;
    // Nothing was ever sent: zero is the truth.
    let body = fixture.ok("/v1/days").await;
    assert_eq!(body["days"], json!([]));
    let as_of = json!({"offsets": {"0": 0, "1": 0}, "newest_accepted_at": null, "lag_records": 0});
    assert_eq!(body["as_of"], as_of);

    let tuesday = day("2025-11-04");
    fixture.count(0, "click", &[(tuesday, 3, 2, "0")]).await;
    for view in [View::Users, View::DeadLetters, View::Progress] {
        fixture.reflect(view, 0, 5, Some((tuesday, tuesday))).await;
    }
    fixture.log.set_end(0, 5);
    // What is known of the log's end may be older than that.
    eventually(async || fixture.get("/v1/days").await.status == 503).await;
    for path in ["/v1/days", "/v1/days/2025-11-04"] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.problem(), (503, "view_not_ready"), "{path}");
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(
            (&answer.body["view"], &answer.body["partition"]),
            (&json!("days"), &json!(0))
        );
    }
    // The other views are what they are.
    fixture.ok("/v1/users/u1").await;
    fixture.ok("/v1/dead-letters").await;
    fixture.ok("/v1/ledger").await;
    // A table that was emptied begins another life, and what is said in the name of the former one counts no more.
    let former = Progress {
        next: Offset(5),
        changelog: Offset(1),
        ..Progress::default()
    };
    fixture
        .store
        .begin(View::Days, Partition(0), uuid::Uuid::nil())
        .await
        .unwrap();
    fixture
        .store
        .write_progress(View::Days, Partition(0), &former)
        .await
        .unwrap();
    assert_eq!(fixture.get("/v1/days").await.problem(), (503, "view_not_ready"));
    // A partition in which nothing ever was needs no progress.
    fixture.reflect(View::Days, 0, 5, Some((tuesday, tuesday))).await;
    assert_eq!(fixture.ok("/v1/days").await["days"][0]["count"], 2);
}

#[tokio::test]
async fn a_log_that_is_away_costs_the_lag_and_not_the_answer() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    fixture.count(0, "click", &[(tuesday, 3, 2, "0")]).await;
    fixture.log.set_away(true);
    // Whether there is anything is not known.
    let answer = fixture.get("/v1/days").await;
    assert_eq!(answer.problem(), (503, "log_away"));
    assert!(!answer.body.to_string().contains("10.0.0.8"));
    fixture.reflect_all(5, Some((tuesday, tuesday))).await;
    let body = fixture.ok("/v1/days").await;
    assert_eq!(
        (&body["days"][0]["count"], &body["as_of"]["lag_records"]),
        (&json!(2), &json!(null))
    );
    // Nobody looked again for every question.
    assert_eq!(fixture.log.looks(), 1);
    assert_eq!(fixture.get("/v1/ledger").await.problem(), (503, "log_away"));
}
