//! Logs that fail, refuse, or stand still.

use crate::rig::{FakeLog, Mode, PATIENCE, Server, eventually, http_chunk};
use service::config::Http;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const EVENT: &str = r#"{"userId":"u","type":"t"}"#;

#[tokio::test]
async fn a_single_event_that_is_not_acknowledged_is_a_503_that_carries_its_key() {
    let server = Server::start(FakeLog::new(Mode::FailAfter(0))).await;
    let answer = server.post("application/json", EVENT).await;
    assert_eq!((answer.status, answer.problem()), (503, "log_unavailable"));
    assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
    assert_eq!(
        (&answer.body["accepted"], &answer.body["unknown"]),
        (&0.into(), &1.into())
    );
    assert!(
        !answer.body.to_string().contains("secret broker"),
        "no inner cause"
    );
    let key = answer.body["idempotency_key"].as_str().unwrap().to_owned();
    *server.log.mode.lock().unwrap() = Mode::Record;
    let answer = server
        .post_with("/v1/events", &format!("idempotency-key: {key}\r\n"), EVENT)
        .await;
    assert_eq!(
        (answer.status, answer.body["idempotency_key"].as_str()),
        (202, Some(key.as_str()))
    );
}

#[tokio::test]
async fn a_batch_that_is_acknowledged_in_part_says_which_part() {
    let server = Server::start(FakeLog::new(Mode::FailAfter(2))).await;
    let lines: String = (0..400)
        .map(|n| format!("{{\"userId\":\"u{n}\",\"type\":\"t\"}}\n"))
        .collect();
    let answer = server.post("application/x-ndjson", lines + "{}\n").await;
    assert_eq!((answer.status, answer.problem()), (503, "log_unavailable"));
    let number = |name: &str| answer.body[name].as_u64().unwrap();
    assert_eq!(
        (number("accepted") + number("unknown"), number("invalid")),
        (400, 1)
    );
    assert_eq!(number("accepted"), server.log.len());
    assert_eq!(answer.receipt().next.len(), 2);
    assert_eq!(answer.body["keys"].as_array().unwrap().len(), 400);
    assert_eq!(answer.body["results"][0]["row"], 401);
    assert_eq!(
        server.metric("tidemark_ingest_accepted_events_total"),
        number("accepted") as f64
    );
    assert_eq!(server.metric("tidemark_ingest_in_flight_batches"), 0.0);
}

#[tokio::test]
async fn a_large_body_is_given_up_soon_after_the_log_fails() {
    let server = Server::start(FakeLog::new(Mode::FailAfter(0))).await;
    let lines = "{\"userId\":\"u\",\"type\":\"t\",\"timestamp\":\"2026-11-20\"}\n".repeat(1_000_000);
    let answer = server.post("application/x-ndjson", lines).await;
    assert_eq!(answer.status, 503);
    assert!(server.log.chunks.load(Ordering::SeqCst) < 40);
}

#[tokio::test]
async fn what_the_log_refuses_is_told_row_by_row() {
    let server = Server::start(FakeLog::new(Mode::Refuse)).await;
    let answer = server
        .post("application/json", format!("[{EVENT},{{}},{EVENT}]"))
        .await;
    assert_eq!(answer.status, 200);
    let results = answer.body["results"].as_array().unwrap();
    let outcomes: Vec<_> = results
        .iter()
        .map(|result| result["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["refused", "invalid", "refused"]);
    assert_eq!(
        (&answer.body["accepted"], &answer.body["refused"]),
        (&0.into(), &2.into())
    );
    let answer = server.post("application/json", EVENT).await;
    assert_eq!(
        (answer.status, answer.problem(), answer.body["code"].as_str()),
        (400, "invalid_event", Some("refused"))
    );
}

#[tokio::test]
async fn nothing_is_answered_before_the_log_has_it() {
    let server = Server::start(FakeLog::held()).await;
    let (log, answering) = (server.log.clone(), server.post("application/json", EVENT));
    tokio::pin!(answering);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut answering)
            .await
            .is_err()
    );
    log.gate.add_permits(1);
    assert_eq!(
        tokio::time::timeout(PATIENCE, answering).await.unwrap().status,
        202
    );
}

#[tokio::test]
async fn a_slow_log_holds_back_the_body_and_bounds_what_is_in_flight() {
    let server = Server::with(FakeLog::held(), Http::default(), |limits| {
        (limits.chunk_bytes, limits.bulk_chunk_bytes) = (10_000, 20_000);
        // Less than partitions: of one partition only one chunk at a time is at the log.
        limits.chunks_in_flight = 3;
    })
    .await;
    let log = server.log.clone();
    let body = "{\"userId\":\"user\",\"type\":\"type\"}\n".repeat(200_000);
    let release = async {
        eventually("three chunks wait", || log.chunks.load(Ordering::SeqCst) == 3).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(log.chunks.load(Ordering::SeqCst), 3);
        log.gate.add_permits(1_000_000);
    };
    let (answer, ()) = tokio::join!(server.post("application/x-ndjson", body), release);
    assert_eq!((answer.status, &answer.body["accepted"]), (200, &200_000.into()));
    assert_eq!(log.most_in_flight.load(Ordering::SeqCst), 3);
    // A piece of a body may make some more than the limit of a chunk.
    assert!(log.largest_chunk.load(Ordering::SeqCst) < 20_000 + 200_000);
}

#[tokio::test]
async fn when_there_is_no_room_new_requests_are_told_to_come_back() {
    let server = Server::with(FakeLog::held(), Http::default(), |limits| {
        limits.held_bytes = 400_000;
        limits.room_timeout = Duration::from_millis(300);
        limits.retry_after_s = 3;
    })
    .await;
    let log = server.log.clone();
    let mut stream = server.begin("content-type: application/x-ndjson\r\n").await;
    let body = http_chunk(
        "{\"userId\":\"user\",\"type\":\"type\"}\n"
            .repeat(20_000)
            .as_bytes(),
    );
    let (mut read_half, mut write_half) = stream.split();
    let _ = tokio::time::timeout(Duration::from_secs(2), write_half.write_all(&body)).await;
    eventually("chunks wait for the log", || {
        log.chunks.load(Ordering::SeqCst) > 0
    })
    .await;
    eventually("no room", || {
        server.metric("tidemark_ingest_held_bytes") > 330_000.0
    })
    .await;
    let answer = server.post("application/json", EVENT).await;
    assert_eq!((answer.status, answer.problem()), (503, "too_busy"));
    assert!(answer.head.contains("retry-after: 3"));
    // The first is given up after its time, once the log has decided what it took.
    tokio::time::sleep(Duration::from_millis(400)).await;
    log.gate.add_permits(1_000_000);
    let mut text = String::new();
    let _ = tokio::io::AsyncReadExt::read_to_string(&mut read_half, &mut text).await;
    assert!(
        text.starts_with("HTTP/1.1 503") && text.contains("too_busy"),
        "{text}"
    );
    assert!(text.contains(&format!("\"accepted\":{}", log.len())), "{text}");
    eventually("all room is given back", || {
        server.metric("tidemark_ingest_held_bytes") == 0.0
    })
    .await;
    assert_eq!(server.post("application/json", EVENT).await.status, 202);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_what_was_handed_over_counted() {
    let server = Server::with(FakeLog::held(), Http::default(), |limits| {
        limits.chunk_bytes = 10_000
    })
    .await;
    let log = server.log.clone();
    let mut stream = server.begin("content-type: application/x-ndjson\r\n").await;
    let body = http_chunk(
        "{\"userId\":\"user\",\"type\":\"type\"}\n"
            .repeat(5_000)
            .as_bytes(),
    );
    stream.write_all(&body).await.unwrap();
    eventually("a chunk waits for the log", || {
        log.chunks.load(Ordering::SeqCst) > 0
    })
    .await;
    drop(stream);
    log.gate.add_permits(1_000_000);
    eventually("nothing is held", || {
        server.metric("tidemark_ingest_held_bytes") == 0.0
    })
    .await;
    let accepted = server.metric("tidemark_ingest_accepted_events_total");
    assert!(accepted > 0.0 && accepted == log.len() as f64);
    // Also the next one is served.
    assert_eq!(server.post("application/json", EVENT).await.status, 202);
}
