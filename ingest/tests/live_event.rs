//! Unchanged clients of the older service that kept revenue per user.

use crate::rig::{FakeLog, Mode, Server};

const SECRET: &str = "authorization: secret\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn revenue_is_added_and_subtracted_exactly() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    for body in [
        r#"{"userId":"user1","name":"add_revenue","value":98}"#,
        r#"{"userId":"user1","name":"add_revenue","value":0}"#,
        r#"{"userId":"user1","name":"subtract_revenue","value":12.50}"#,
        r#"{"userId":"user1","name":"subtract_revenue","value":-1}"#,
        // What meant nothing there is kept.
        r#"{"userId":"user1","name":"add_revenue","value":7,"type":"x","amount":5}"#,
        // Twice the same is two events: they have no key and no time.
        r#"{"userId":"user1","name":"add_revenue","value":98}"#,
    ] {
        let answer = server.post_with("/liveEvent", SECRET, body).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (200, "Event saved"),
            "{body}"
        );
    }
    let events = server.log.events();
    let mut amounts: Vec<String> = events
        .iter()
        .map(|event| event.amount.unwrap().to_string())
        .collect();
    amounts.sort();
    assert_eq!(
        amounts,
        ["-12.50", "0", "1", "7", "98", "98"].map(|amount| {
            // However an amount is written, it is the same number.
            amount.parse::<schemas::Amount>().unwrap().to_string()
        })
    );
    assert!(
        events
            .iter()
            .all(|event| event.user_id == "user1" && event.occurred_at_assigned)
    );
    let types: Vec<_> = events
        .iter()
        .filter(|event| event.event_type == "subtract_revenue")
        .collect();
    assert_eq!(types.len(), 2);
}

#[tokio::test]
async fn what_is_no_event_is_refused_with_the_older_services_words() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let good = r#"{"userId":"user1","name":"add_revenue","value":98}"#;
    for headers in ["", "authorization: wrong\r\n", "authorization: Secret\r\n"] {
        let answer = server.post_with("/liveEvent", headers, good).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (403, "Forbidden"),
            "{headers}"
        );
    }
    for body in [
        "",
        "no json",
        "[]",
        r#"{"name":"add_revenue","value":98}"#,
        r#"{"userId":"user1","value":98}"#,
        r#"{"userId":"user1","name":"add_revenue"}"#,
        r#"{"userId":"user1","name":"add_revenue","value":null}"#,
        r#"{"userId":"user1","name":"add_revenue","value":"much"}"#,
        r#"{"userId":"user1","name":"subtract_revenue","value":"--5"}"#,
        r#"{"userId":"user1","name":"add_revenue","value":1,"value":2}"#,
        r#"{"userId":"user1","name":"add_revenue","metadata":{"value":5},"value":1}"#,
        r#"{"userId":"user1","name":"add_revenue","value":0.1234567}"#,
        r#"{"userId":"user1","name":"multiply_revenue","value":2}"#,
        r#"{"userId":"","name":"add_revenue","value":2}"#,
    ] {
        let answer = server.post_with("/liveEvent", SECRET, body).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (400, "Invalid event data"),
            "{body}"
        );
    }
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn a_key_in_the_header_makes_a_repeat_harmless() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let headers = format!("{SECRET}idempotency-key: line-1\r\n");
    for _ in 0..2 {
        let body = r#"{"userId":"u","name":"add_revenue","value":1}"#;
        assert_eq!(server.post_with("/liveEvent", &headers, body).await.status, 200);
    }
    let keys: Vec<_> = server
        .log
        .events()
        .into_iter()
        .map(|event| event.idempotency_key)
        .collect();
    assert_eq!(keys, ["line-1", "line-1"]);
}

#[tokio::test]
async fn success_is_never_said_of_what_is_not_durable() {
    let server = Server::start(FakeLog::new(Mode::FailAfter(0))).await;
    let answer = server
        .post_with(
            "/liveEvent",
            SECRET,
            r#"{"userId":"u","name":"add_revenue","value":1}"#,
        )
        .await;
    assert_eq!(answer.status, 503, "{}", answer.text);
}

#[tokio::test]
async fn a_body_is_bounded_and_may_be_compressed() {
    use std::io::Write;
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let good = r#"{"userId":"u","name":"add_revenue","value":1}"#;
    let long = good.to_owned() + &" ".repeat(3_000_000);
    let answer = server.post_with("/liveEvent", SECRET, &long).await;
    assert_eq!(
        (answer.status, answer.problem()),
        (413, "body_too_large"),
        "{}",
        answer.text
    );
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let headers = format!("{SECRET}content-encoding: gzip\r\n");
    assert_eq!(
        server.post_with("/liveEvent", &headers, gzip(good)).await.status,
        200
    );
    assert_eq!(
        server.post_with("/liveEvent", &headers, gzip(&long)).await.status,
        413
    );
    assert_eq!(server.post_with("/liveEvent", &headers, good).await.status, 400);
    let headers = format!("{SECRET}content-encoding: br\r\n");
    assert_eq!(server.post_with("/liveEvent", &headers, good).await.status, 415);
    assert_eq!(server.log.len(), 1);
}
