//! Receipts, and waiting for them.

use crate::fixture::{EVENTS_ID, Fixture, day, eventually, receipt};
use schemas::receipt::Receipt;
use schemas::row::View;
use serde_json::json;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[tokio::test]
async fn a_receipt_says_how_far_it_is() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(5, None).await;
    fixture.log.set_end(1, 8);
    let body = fixture.ok(&format!("/v1/receipts/{}", receipt(&[(0, 5)]))).await;
    assert_eq!(body["counted"], true);
    let path = format!("/v1/receipts/{}", receipt(&[(0, 4), (1, 7)]));
    let body = fixture.ok(&path).await;
    let partitions = json!([
        {"partition": 0, "next_offset": 4, "projected": 5},
        {"partition": 1, "next_offset": 7, "projected": 5},
    ]);
    assert_eq!(
        (&body["counted"], &body["partitions"]),
        (&json!(false), &partitions)
    );
    assert_eq!(body["as_of"]["offsets"], json!({"0": 5, "1": 5}));
    // Counted is what every view has.
    for view in View::ALL.into_iter().filter(|view| *view != View::Users) {
        fixture.reflect(view, 1, 8, None).await;
    }
    assert_eq!(fixture.ok(&path).await["counted"], false);
    fixture.reflect(View::Users, 1, 8, None).await;
    assert_eq!(fixture.ok(&path).await["counted"], true);
    assert_eq!(
        fixture.ok(&format!("/v1/receipts/{}", receipt(&[]))).await["counted"],
        true
    );
}

#[tokio::test]
async fn a_receipt_of_another_log_beyond_the_end_or_made_up_is_an_error_at_once() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(5, None).await;
    let other = Receipt {
        topic_id: Uuid::from_u128(9),
        ..receipt(&[(0, 1)])
    };
    let text = receipt(&[(0, 5)]).to_string();
    let began = Instant::now();
    for (receipt, code) in [
        (other.to_string(), "receipt_of_another_log"),
        (receipt(&[(0, 6)]).to_string(), "receipt_beyond_end"),
        (receipt(&[(2, 1)]).to_string(), "receipt_invalid"),
        (text[1..].to_owned(), "receipt_invalid"),
        ("x".to_owned(), "receipt_invalid"),
    ] {
        for path in [
            format!("/v1/receipts/{receipt}?wait=2s"),
            format!("/v1/days?after={receipt}&wait=2s"),
            format!("/v1/users/u?after={receipt}&wait=2s"),
            format!("/v1/ledger?after={receipt}&wait=2s"),
        ] {
            assert_eq!(fixture.get(&path).await.problem(), (400, code), "{path}");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "some of these waited");
    assert_eq!(EVENTS_ID, receipt(&[]).topic_id);
}

#[tokio::test]
async fn a_receipt_that_is_younger_than_what_is_known_of_the_end_is_not_refused() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(5, None).await;
    fixture.ok("/v1/days").await;
    fixture.log.set_end(0, 6);
    let answer = fixture
        .get(&format!("/v1/days?after={}", receipt(&[(0, 6)])))
        .await;
    assert_eq!(answer.problem(), (503, "not_yet"));
}

#[tokio::test]
async fn a_query_waits_until_the_receipt_is_reflected() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    fixture.reflect_all(5, Some((tuesday, tuesday))).await;
    fixture.log.set_end(0, 6);
    let after = receipt(&[(0, 6)]);
    let waiting: Vec<_> = ["days?", "users/u1?", "users/u1/days?", "ledger?", "dead-letters?"]
        .into_iter()
        .map(|path| fixture.start(format!("/v1/{path}after={after}&wait=2s")))
        .chain([fixture.start(format!("/v1/receipts/{after}?wait=2s"))])
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(waiting.iter().all(|query| !query.is_finished()), "nobody waited");
    fixture.count(0, "click", &[(tuesday, 3, 1, "0")]).await;
    for view in View::ALL {
        fixture.reflect(view, 0, 6, Some((tuesday, tuesday))).await;
    }
    for query in waiting {
        assert_eq!(query.await.unwrap(), 200);
    }
    let body = fixture.ok(&format!("/v1/days?after={after}")).await;
    assert_eq!(
        (&body["days"][0]["count"], &body["as_of"]["offsets"]["0"]),
        (&json!(1), &json!(6))
    );
}

#[tokio::test]
async fn a_wait_that_is_over_says_how_far_it_is() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(5, None).await;
    fixture.log.set_end(0, 9);
    let after = receipt(&[(0, 9)]);
    // The limit of the settings is 2 s, whatever is asked for.
    for (wait, least_ms, most_ms) in [
        ("", 0, 1_000),
        ("&wait=60", 60, 1_500),
        ("&wait=30s", 2_000, 20_000),
    ] {
        let began = Instant::now();
        let answer = fixture.get(&format!("/v1/days?after={after}{wait}")).await;
        let took = began.elapsed().as_millis();
        assert_eq!(answer.problem(), (503, "not_yet"), "{wait}");
        assert!((least_ms..most_ms).contains(&took), "{wait}: {took} ms");
        assert_eq!(answer.headers["retry-after"], "1");
        let partitions = json!([{"partition": 0, "next_offset": 9, "projected": 5}]);
        assert_eq!(answer.body["partitions"], partitions);
    }
    let body = fixture.ok(&format!("/v1/receipts/{after}?wait=20ms")).await;
    assert_eq!(body["counted"], false);
}

#[tokio::test]
async fn nobody_waits_for_a_process_that_stops() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(5, None).await;
    fixture.log.set_end(0, 9);
    let query = fixture.start(format!("/v1/days?after={}&wait=2s", receipt(&[(0, 9)])));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    fixture.shutdown.begin();
    eventually(async || query.is_finished()).await;
    assert!(began.elapsed() < Duration::from_millis(1_500));
    assert_eq!(query.await.unwrap(), 503);
}
