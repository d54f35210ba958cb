//! Every format and encoding, and the answers to what is good.

use crate::rig::{FakeLog, Mode, NOW, Server, TOPIC};
use schemas::{Offset, Partition};
use serde_json::json;
use std::io::Write;

const CSV: &str = "\u{feff}userId,eventType,timestamp,page,note\r\n\
    u1,click,2026-11-20T10:00:00Z,{\"page\":\"home\",\"n\":[1,2]},\"said \"\"yes\"\", twice\"\r\n\
    \r\n\
    u2,view,2026-11-20T10:00:00Z,,";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_single_event_is_accepted_with_its_key_and_place() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let body =
        r#" {"userId":"u1","eventType":"click","amount":"12.50","idempotencyKey":"k1","page":"home"} "#;
    let answer = server.post("application/json", body).await;
    assert_eq!((answer.status, &answer.body["accepted"]), (202, &json!(1)));
    assert_eq!(answer.body["idempotency_key"], "k1");
    let events = server.log.events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].tenant.as_ref(), events[0].user_id.as_ref()),
        ("default", "u1")
    );
    assert_eq!(
        (events[0].occurred_at, events[0].occurred_at_assigned),
        (NOW, true)
    );
    assert_eq!(events[0].metadata, [("page".into(), "home".into())]);
    let partition = schemas::key::partition(b"k1", crate::rig::PARTITIONS);
    let receipt = answer.receipt();
    assert_eq!(
        (receipt.topic_id, receipt.next.into_iter().collect::<Vec<_>>()),
        (TOPIC, vec![(partition, Offset(1))])
    );
}

#[tokio::test]
async fn a_single_event_gets_the_key_of_its_header_or_a_fresh_one() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let body = r#"{"userId":"u1","eventType":"click"}"#;
    let answer = server
        .post_with("/v1/events", "idempotency-key: mine\r\n", body)
        .await;
    assert_eq!(answer.body["idempotency_key"], "mine");
    let answer = server.post("application/json", body).await;
    let key: uuid::Uuid = answer.body["idempotency_key"].as_str().unwrap().parse().unwrap();
    assert_eq!(key.get_version_num(), 7);
    assert_eq!(server.log.events().len(), 2);
}

#[tokio::test]
async fn an_array_tells_each_bad_row_and_each_fresh_key_and_takes_the_rest() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let body = r#"[{"userId":"u1","eventType":"click","idempotencyKey":"k1"},
        {"eventType":"click"}, 7, {"userId":"u2","eventType":"click"},
        {"userId":"u3","eventType":"click","timestamp":"2026-11-20"}, {"userId":]]"#;
    let answer = server.post("application/json", body.replace("]]", "}]")).await;
    assert_eq!(
        (answer.status, &answer.body["accepted"], &answer.body["invalid"]),
        (200, &json!(3), &json!(3))
    );
    let results = answer.body["results"].as_array().unwrap();
    let shape: Vec<_> = results
        .iter()
        .map(|r| (r["row"].clone(), r["outcome"].clone(), r["code"].clone()))
        .collect();
    let expected = [(2, "missing"), (3, "not_an_object"), (6, "not_json")];
    assert_eq!(
        shape,
        expected.map(|(row, code)| (json!(row), json!("invalid"), json!(code)))
    );
    assert_eq!(
        (&results[0]["field"], &answer.body["results_left_out"]),
        (&json!("user_id"), &json!(0))
    );
    assert!(results[0]["message"].is_string());
    let keys = answer.body["keys"].as_array().unwrap();
    assert_eq!((keys.len(), &keys[0]["row"]), (1, &json!(4)));
    let fresh = keys[0]["idempotency_key"].as_str().unwrap();
    let events = server.log.events();
    assert_eq!(events.len(), 3);
    assert_eq!(
        events
            .iter()
            .find(|event| event.idempotency_key == fresh)
            .unwrap()
            .user_id,
        "u2"
    );
    assert_eq!(server.metric("tidemark_ingest_accepted_events_total"), 3.0);
    assert_eq!(
        server.metric("tidemark_ingest_invalid_events_total{code=\"not_json\"}"),
        1.0
    );
    assert_eq!(
        server.metric("tidemark_ingest_requests_total{status=\"200\"}"),
        1.0
    );
}

#[tokio::test]
async fn csv_and_ndjson_are_read_plain_and_compressed_declared_or_not() {
    let lines = "{\"userId\":\"u1\",\"eventType\":\"click\",\"timestamp\":\"2026-11-20T10:00:00Z\",\"page\":{\"page\":\"home\",\"n\":[1,2]},\"note\":\"said \\\"yes\\\", twice\"}\n\n\
        {\"userId\":\"u2\",\"eventType\":\"view\",\"timestamp\":\"2026-11-20T10:00:00Z\"}";
    let mut all = Vec::new();
    for (headers, body) in [
        ("content-type: text/csv\r\n", CSV.as_bytes().to_vec()),
        ("", CSV.as_bytes().to_vec()),
        (
            "content-type: text/csv\r\ncontent-encoding: gzip\r\n",
            gzip(CSV.as_bytes()),
        ),
        (
            "content-type: text/csv\r\ncontent-encoding: zstd\r\n",
            zstd::encode_all(CSV.as_bytes(), 3).unwrap(),
        ),
        (
            "content-type: application/x-ndjson\r\n",
            lines.as_bytes().to_vec(),
        ),
        (
            "content-type: application/jsonl\r\ncontent-encoding: gzip\r\n",
            gzip(lines.as_bytes()),
        ),
        ("", format!("[{}]", lines.replace("\n\n", ",")).into_bytes()),
    ] {
        let server = Server::start(FakeLog::new(Mode::Record)).await;
        let answer = server.post_with("/v1/events", headers, body).await;
        assert_eq!(
            (answer.status, &answer.body["accepted"]),
            (200, &json!(2)),
            "{headers} {answer:?}"
        );
        assert_eq!(
            (&answer.body["results"], answer.body.get("keys")),
            (&json!([]), None)
        );
        all.push(server.log.events());
    }
    let first = &all[0];
    let click = first.iter().find(|event| event.user_id == "u1").unwrap();
    assert_eq!(
        click.metadata,
        [
            ("note".into(), "said \"yes\", twice".into()),
            ("page".into(), "{\"page\":\"home\",\"n\":[1,2]}".into()),
        ]
    );
    assert!(
        all.iter().all(|events| events == first),
        "the same events have the same keys in any format"
    );
}

#[tokio::test]
async fn a_csv_row_is_numbered_with_its_header_and_its_key_follows_its_number() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let body = "userId,eventType\n\nu1,click\n,click\nu2,click,x\n\"u3\"x,y\nu4,view\n\u{ff},y\n";
    let body: Vec<u8> = body.chars().map(|c| c as u8).collect();
    let answer = server
        .post_with(
            "/v1/events",
            "content-type: text/csv\r\nidempotency-key: file-1\r\n",
            body,
        )
        .await;
    let rows: Vec<_> = answer.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (&r["row"], &r["code"]))
        .collect();
    let expected = [(3, "missing"), (4, "columns"), (5, "not_csv"), (7, "not_utf8")];
    assert_eq!(
        rows,
        expected
            .map(|(row, code)| (json!(row), json!(code)))
            .iter()
            .map(|e| (&e.0, &e.1))
            .collect::<Vec<_>>()
    );
    let mut expected = [
        schemas::key::batch_key("file-1", 2),
        schemas::key::batch_key("file-1", 6),
    ];
    expected.sort();
    let keys: Vec<_> = server
        .log
        .events()
        .into_iter()
        .map(|event| event.idempotency_key.into_owned())
        .collect();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn a_receipt_covers_every_partition_that_got_an_event() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let mut body = "userId,eventType,idempotencyKey\n".to_owned();
    for n in 0..1000 {
        body += &format!("u{n},click,key-{n}\n");
    }
    let first = server.post("text/csv", &body).await;
    let second = server.post("text/csv", &body).await;
    assert_eq!(first.body["accepted"], 1000);
    let ends = server.log.ends.lock().unwrap().clone();
    assert_eq!(ends.len(), crate::rig::PARTITIONS as usize);
    let expected = |times| {
        ends.iter()
            .map(|(p, end)| (Partition(*p), Offset(end * times / 2)))
            .collect()
    };
    assert_eq!(first.receipt().next, expected(1));
    assert_eq!(second.receipt().next, expected(2));
}

#[tokio::test]
async fn what_is_only_validated_is_not_recorded() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let body = "[{\"userId\":\"u\",\"eventType\":\"t\"},{}]";
    let answer = server
        .post_with(
            "/v1/events?validate=true",
            "content-type: application/json\r\n",
            body,
        )
        .await;
    assert_eq!((answer.status, &answer.body["recorded"]), (200, &json!(false)));
    assert_eq!(
        (&answer.body["accepted"], &answer.body["invalid"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (answer.body.get("receipt"), answer.body.get("keys")),
        (None, None)
    );
    let single = server
        .post_with(
            "/v1/events?validate=true",
            "",
            "{\"userId\":\"u\",\"eventType\":\"t\"}",
        )
        .await;
    assert_eq!((single.status, &single.body["recorded"]), (202, &json!(false)));
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn a_body_of_no_rows_is_good_and_a_body_of_bad_rows_is_answered_row_by_row() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    for (content_type, body) in [
        ("application/json", "[]"),
        ("application/x-ndjson", ""),
        ("text/csv", "userId,type"),
    ] {
        let answer = server.post(content_type, body).await;
        assert_eq!(
            (answer.status, &answer.body["accepted"]),
            (200, &json!(0)),
            "{content_type} {answer:?}"
        );
        assert!(answer.receipt().next.is_empty());
    }
    let answer = server.post("application/x-ndjson", "x\n{}\n").await;
    assert_eq!(
        (answer.status, &answer.body["accepted"], &answer.body["invalid"]),
        (200, &json!(0), &json!(2))
    );
}

#[tokio::test]
async fn lists_in_an_answer_are_bounded_and_say_what_they_leave_out() {
    let http = service::config::Http {
        results_limit: 5,
        ..service::config::Http::default()
    };
    let server = Server::with(FakeLog::new(Mode::Record), http, |_| {}).await;
    let body = "{}\n{\"userId\":\"u\",\"type\":\"t\"}\n".repeat(20);
    let answer = server.post("application/x-ndjson", body).await;
    assert_eq!(
        (&answer.body["accepted"], &answer.body["invalid"]),
        (&json!(20), &json!(20))
    );
    for (list, left_out) in [("results", "results_left_out"), ("keys", "keys_left_out")] {
        assert_eq!(
            (
                answer.body[list].as_array().unwrap().len(),
                &answer.body[left_out]
            ),
            (5, &json!(15))
        );
    }
}

#[tokio::test]
async fn health_says_what_is_degraded() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request)
        .await
        .unwrap();
    let answer = crate::rig::Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.body), (200, json!({"status": "ok"})));
}
