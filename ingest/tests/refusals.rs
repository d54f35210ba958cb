//! What is refused, and how that is said.

use crate::rig::{Answer, FakeLog, Mode, Server, http_chunk};
use serde_json::json;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_single_event_that_is_not_valid_names_its_field() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    for (body, code, field) in [
        (r#"{"userId":"u"}"#.to_owned(), "missing", "event_type"),
        (
            r#"{"userId":"u","type":"t","amount":"1.1234567"}"#.to_owned(),
            "out_of_range",
            "amount",
        ),
        (
            format!(
                r#"{{"userId":"u","type":"t","a":{}}}"#,
                "[".repeat(100_000) + &"]".repeat(100_000)
            ),
            "too_long",
            "metadata",
        ),
        (
            format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024)),
            "too_long",
            "event",
        ),
    ] {
        let answer = server.post("application/json", &body).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "invalid_event"),
            "{code}"
        );
        assert_eq!(
            (&answer.body["code"], &answer.body["field"]),
            (&json!(code), &json!(field)),
            "{answer:?}"
        );
        assert!(answer.body["detail"].as_str().unwrap().len() < 300);
    }
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_stores_nothing() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let good = r#"{"userId":"u","type":"t"}"#;
    for (content_type, body, code) in [
        ("application/json", String::new(), "body_empty"),
        ("", String::new(), "body_empty"),
        ("text/csv", String::new(), "body_empty"),
        ("text/csv", "\u{feff}\r\n".to_owned(), "body_empty"),
        ("application/json", "hello".to_owned(), "json_invalid"),
        ("application/json", format!("{good}\n{good}"), "json_invalid"),
        ("application/json", format!("[{good} {good}]"), "json_invalid"),
        ("application/json", format!("[{good}"), "json_invalid"),
        (
            "text/csv",
            "userId,userId,eventType\nu,u,t\n".to_owned(),
            "csv_invalid",
        ),
        ("text/csv", "user,eventType\nu,t\n".to_owned(), "csv_invalid"),
        (
            "text/csv",
            "\"userId\"x,eventType\nu,t\n".to_owned(),
            "csv_invalid",
        ),
        (
            "text/csv",
            format!("userId,{}\nu,t\n", "x".repeat(2_000_000)),
            "csv_invalid",
        ),
    ] {
        let answer = server.post(content_type, &body).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (400, code),
            "{content_type} {answer:?}"
        );
        assert!(answer.body["detail"].is_string() && answer.body["instance"].is_string());
    }
    assert_eq!(server.log.len(), 0);
    assert_eq!(
        server.metric("tidemark_ingest_broken_requests_total{reason=\"format\"}"),
        12.0
    );
}

#[tokio::test]
async fn a_bad_header_of_a_large_file_is_answered_and_not_reset() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let body = format!("user,eventType\n{}", "u,t\n".repeat(2_000_000));
    let mut stream = server.begin("content-type: text/csv\r\n").await;
    // Fails where the server closes the connection on what it did not read.
    stream.write_all(&http_chunk(body.as_bytes())).await.unwrap();
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!(answer.problem(), "csv_invalid");
    assert!(
        answer.body["detail"].as_str().unwrap().contains("userId"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_the_head_says_wrongly_is_refused_before_the_body() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let good = r#"{"userId":"u","type":"t"}"#;
    for (path, headers, status, code) in [
        ("/v1/events?wait=true", "", 400, "query_invalid"),
        (
            "/v1/events",
            "content-type: text/html\r\n",
            415,
            "media_type_not_supported",
        ),
        (
            "/v1/events",
            "content-type: text/csv; charset=utf-16\r\n",
            415,
            "charset_not_supported",
        ),
        (
            "/v1/events",
            "content-encoding: br\r\n",
            415,
            "encoding_not_supported",
        ),
        (
            "/v1/events",
            "idempotency-key: a b\r\n",
            400,
            "idempotency_key_invalid",
        ),
    ] {
        let answer = server.post_with(path, headers, good).await;
        assert_eq!((answer.status, answer.problem()), (status, code), "{headers}");
    }
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn a_bomb_is_refused() {
    let server = Server::start(FakeLog::new(Mode::Count)).await;
    let bomb = "{\"userId\":\"u\",\"type\":\"t\"}\n".repeat(4_000_000);
    let body = zstd::encode_all(bomb.as_bytes(), 1).unwrap();
    let headers = "content-type: application/x-ndjson\r\ncontent-encoding: zstd\r\n";
    let answer = server.post_with("/v1/events", headers, body).await;
    assert_eq!((answer.status, answer.problem()), (413, "body_too_compressed"));
    assert_eq!(answer.body["accepted"], server.log.len());
    assert_eq!(
        server.metric("tidemark_ingest_broken_requests_total{reason=\"bomb\"}"),
        1.0
    );
}
