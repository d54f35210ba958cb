//! CloudEvents in their three modes, and what is wrong with them.

use crate::rig::{FakeLog, Mode, NOW, Server};
use schemas::key::cloud_event_key;
use serde_json::{Value, json};
use std::io::Write;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const EVENT: &str = r#"{"specversion":"1.0","id":"a-1","source":"/shop","type":"sale","subject":"u1",
    "time":"2026-11-20T10:00:00Z","region":"eu","data":{"amount":"12.50","page":"home"}}"#;

/// The head of [`EVENT`] in the binary mode.
const HEAD: &str = "ce-specversion: 1.0\r\nce-id: a-1\r\nce-source: /shop\r\nce-type: sale\r\nce-subject: u1\r\n\
    ce-time: 2026-11-20T10:00:00Z\r\nce-region: eu\r\n";

fn with(changes: &[(&str, Value)]) -> String {
    let mut event: Value = serde_json::from_str(EVENT).unwrap();
    for (name, value) in changes {
        event[*name] = value.clone();
    }
    event.to_string()
}

#[tokio::test]
async fn one_event_is_the_same_in_every_mode() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let structured = server.post(&format!("{STRUCTURED}; charset=utf-8"), EVENT).await;
    let key = cloud_event_key("/shop", "a-1");
    assert_eq!(
        (structured.status, &structured.body["accepted"]),
        (202, &json!(1)),
        "{structured:?}"
    );
    assert_eq!(structured.body["idempotency_key"], key);
    let batch = server.post(BATCH, format!("[{EVENT}]")).await;
    assert_eq!(
        (batch.status, &batch.body["accepted"]),
        (200, &json!(1)),
        "{batch:?}"
    );
    for kind in ["content-type: application/json\r\n", ""] {
        let headers = format!("{HEAD}{kind}");
        let binary = server
            .post_with("/v1/events", &headers, r#"{"amount":"12.50","page":"home"}"#)
            .await;
        assert_eq!(
            (binary.status, &binary.body["idempotency_key"]),
            (202, &json!(key)),
            "{binary:?}"
        );
    }
    let events = server.log.events();
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| *event == events[0]), "{events:?}");
    let event = &events[0];
    assert_eq!(
        (event.user_id.as_ref(), event.event_type.as_ref()),
        ("u1", "sale")
    );
    assert_eq!(
        event.amount.unwrap().to_string(),
        "12.50".parse::<schemas::Amount>().unwrap().to_string()
    );
    assert_eq!(event.occurred_at.0, 1_795_168_800_000_000);
    let metadata = [("page".into(), "home".into()), ("region".into(), "eu".into())];
    assert_eq!(event.metadata, metadata);
}

#[tokio::test]
async fn a_batch_takes_the_good_and_names_the_bad_by_row_and_attribute() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let events = [
        with(&[("id", json!("a-1"))]),
        with(&[("subject", Value::Null), ("data", json!({"userId": "u2"}))]),
        with(&[("subject", Value::Null)]),
        with(&[("specversion", json!("0.3"))]),
        with(&[("source", json!(""))]),
        with(&[("type", json!("t".repeat(129)))]),
        with(&[("time", json!("2026-02-30T00:00:00Z"))]),
        with(&[("data", json!({"amount": "1.1234567"}))]),
        with(&[("data", json!({"region": "us"}))]),
        "7".to_owned(),
        r#"{"id":}"#.to_owned(),
        with(&[("id", json!("a-12")), ("time", Value::Null)]),
    ];
    let answer = server.post(BATCH, format!("[{}]", events.join(","))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (&answer.body["accepted"], &answer.body["invalid"]),
        (&json!(3), &json!(9))
    );
    let results = answer.body["results"].as_array().unwrap();
    let found: Vec<_> = results
        .iter()
        .map(|r| (&r["row"], &r["field"], &r["code"]))
        .collect();
    let expected = [
        (3, "subject", "missing"),
        (4, "specversion", "not_supported"),
        (5, "source", "missing"),
        (6, "type", "too_long"),
        (7, "time", "not_a_time"),
        (8, "data.amount", "out_of_range"),
        (9, "metadata", "twice"),
        (10, "event", "not_an_object"),
        (11, "event", "not_json"),
    ];
    for (found, (row, field, code)) in found.into_iter().zip(expected) {
        assert_eq!(found, (&json!(row), &json!(field), &json!(code)));
    }
    let events = server.log.events();
    let assigned: Vec<_> = events.iter().filter(|event| event.occurred_at_assigned).collect();
    assert_eq!((assigned.len(), assigned[0].occurred_at), (1, NOW));
    // A code that metrics do not know would be counted as `other`.
    let metric = "tidemark_ingest_invalid_events_total{code=\"not_supported\"}";
    assert_eq!(server.metric(metric), 1.0);
}

#[tokio::test]
async fn the_binary_mode_takes_any_data_and_decodes_its_headers() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let head = |id: &str, more: &str| {
        format!("ce-specversion: 1.0\r\nce-id: {id}\r\nce-source: /s\r\nce-type: t\r\n{more}")
    };
    let text = head("1", "ce-subject: Jos%C3%A9%20%25\r\ncontent-type: text/plain\r\n");
    let csv = head("2", "ce-subject: u\r\ncontent-type: text/csv\r\n");
    let none = head("3", "ce-subject: u\r\nce-reverse: true\r\n");
    let user = head("4", "content-type: application/vnd.x+json\r\n");
    let array = head("5", "ce-subject: u\r\ncontent-type: application/json\r\n");
    for (headers, body) in [
        (&text, "hello"),
        (&csv, "a,b\n1,2\n"),
        (&none, ""),
        (&user, r#"{"user_id":"u4"}"#),
        (&array, "[1, 2]"),
    ] {
        let answer = server.post_with("/v1/events", headers, body).await;
        assert_eq!(answer.status, 202, "{headers} {answer:?}");
    }
    let mut events = server.log.events();
    let keys = ["1", "2", "3", "4", "5"].map(|id| cloud_event_key("/s", id));
    let event = |key: &String| events.remove(events.iter().position(|e| e.idempotency_key == *key).unwrap());
    let [text, csv, none, user, array] = keys.each_ref().map(event);
    assert_eq!(text.user_id, "José %");
    assert_eq!(
        text.metadata,
        [
            ("data".into(), "hello".into()),
            ("datacontenttype".into(), "text/plain".into())
        ]
    );
    assert_eq!(csv.metadata[0], ("data".into(), "a,b\n1,2\n".into()));
    assert!(none.metadata.is_empty() && none.reverse);
    assert_eq!((user.user_id.as_ref(), user.metadata.len()), ("u4", 0));
    assert_eq!(array.metadata, [("data".into(), "[1,2]".into())]);
}

#[tokio::test]
async fn a_single_cloud_event_that_is_not_valid_names_its_attribute() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let binary =
        |id: &str| format!("ce-specversion: 1.0\r\n{id}ce-source: /s\r\nce-type: t\r\nce-subject: u\r\n");
    let structured = format!("content-type: {STRUCTURED}\r\n");
    let json = format!("{}content-type: application/json\r\n", binary("ce-id: 1\r\n"));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    for (headers, body, field, code) in [
        (&structured, "{}".to_owned(), "specversion", "missing"),
        (&structured, with(&[("id", json!(7))]), "id", "not_text"),
        (
            &structured,
            with(&[("subject", json!("u\n"))]),
            "subject",
            "control_character",
        ),
        (
            &structured,
            EVENT.replacen("\"id\"", "\"id\":\"b\",\"id\"", 1),
            "id",
            "twice",
        ),
        (&structured, large.clone(), "event", "too_long"),
        (&binary(""), String::new(), "id", "missing"),
        (
            &"ce-id: 1\r\n".to_owned(),
            String::new(),
            "specversion",
            "missing",
        ),
        (&json, "{".to_owned(), "data", "not_json"),
        (&json, large, "event", "too_long"),
        (
            &json,
            r#"{"reverse":"perhaps"}"#.to_owned(),
            "reverse",
            "not_a_boolean",
        ),
    ] {
        let answer = server.post_with("/v1/events", headers, &body).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "invalid_event"),
            "{headers} {answer:?}"
        );
        let found = (&answer.body["field"], &answer.body["code"]);
        assert_eq!(found, (&json!(field), &json!(code)), "{headers} {answer:?}");
    }
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn a_request_of_cloud_events_that_is_not_what_it_says_stores_nothing() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let kind = |kind: &str| format!("content-type: {kind}\r\n");
    for (headers, body, expected) in [
        (kind(STRUCTURED), format!("[{EVENT}]"), (400, "json_invalid")),
        (kind(STRUCTURED), "[]".to_owned(), (400, "json_invalid")),
        (kind(STRUCTURED), String::new(), (400, "body_empty")),
        (
            kind(STRUCTURED),
            format!("{EVENT}\n{EVENT}"),
            (400, "json_invalid"),
        ),
        (kind(BATCH), EVENT.to_owned(), (400, "json_invalid")),
        (kind(BATCH), format!("[{EVENT},"), (400, "json_invalid")),
        (
            kind("application/cloudevents+avro"),
            String::new(),
            (415, "media_type_not_supported"),
        ),
        (
            kind(&format!("{STRUCTURED}; charset=latin1")),
            EVENT.to_owned(),
            (415, "charset_not_supported"),
        ),
        (
            format!("{HEAD}{}", kind("application/json; charset=utf-16")),
            "{}".to_owned(),
            (415, "charset_not_supported"),
        ),
        (
            format!("{HEAD}ce-id: 2\r\n"),
            "{}".to_owned(),
            (400, "header_invalid"),
        ),
        (
            format!("{HEAD}ce-note: 100%\r\n"),
            "{}".to_owned(),
            (400, "header_invalid"),
        ),
        (
            format!("{HEAD}ce-note: %ff\r\n"),
            "{}".to_owned(),
            (400, "header_invalid"),
        ),
    ] {
        let answer = server.post_with("/v1/events", &headers, &body).await;
        assert_eq!(
            (answer.status, answer.problem()),
            expected,
            "{headers} {body} {answer:?}"
        );
    }
    assert_eq!(server.log.len(), 0);
    // An empty batch is a batch.
    assert_eq!(server.post(BATCH, "[]").await.body["accepted"], 0);
}

#[tokio::test]
async fn cloud_events_may_be_compressed_and_only_looked_at() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(br#"{"amount":1}"#).unwrap();
    let gzip = encoder.finish().unwrap();
    let headers = format!("{HEAD}content-encoding: gzip\r\ncontent-type: application/json\r\n");
    let answer = server
        .post_with("/v1/events?validate=true", &headers, &gzip)
        .await;
    assert_eq!(
        (answer.status, &answer.body["recorded"]),
        (202, &json!(false)),
        "{answer:?}"
    );
    assert_eq!(server.log.len(), 0);
    assert_eq!(server.post_with("/v1/events", &headers, &gzip).await.status, 202);
    assert_eq!(server.log.events()[0].amount.unwrap().to_string(), "1.00");
}
