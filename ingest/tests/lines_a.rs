//! Uploads of files that clients of the older service collected: lines `{userId, name, value}`.

use crate::rig::{FakeLog, Mode, Server};
use schemas::key;
use serde_json::json;

const LINES: &str = "content-type: application/x-ndjson\r\n";
const FILE: &str = concat!(
    r#"{"userId":"u1","name":"add_revenue","value":98}"#,
    "\n",
    r#"{"userId":"u1","name":"subtract_revenue","value":0.000001,"shop":"a"}"#,
    "\n\n",
    r#"{"userId":"u2","name":"add_revenue","value":0}"#,
    "\n",
    r#"{"userId":"u1","name":"add_revenue","value":98}"#,
);

#[tokio::test]
async fn lines_are_events_as_if_each_was_posted_alone() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let path = "/v1/uploads?format=lines-a&key=row&file=d1";
    let answer = server.post_with(path, LINES, FILE).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut events = server.log.events();
    events.sort_by_key(|event| event.row);
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let amount = event.amount.unwrap().millionths();
            (
                event.row.unwrap(),
                event.user_id.as_ref(),
                event.event_type.as_ref(),
                amount,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "u1", "add_revenue", 98_000_000),
            (2, "u1", "subtract_revenue", -1),
            (4, "u2", "add_revenue", 0),
            (5, "u1", "add_revenue", 98_000_000),
        ]
    );
    assert_eq!(events[1].metadata, [("shop".into(), "a".into())]);
    let keys: Vec<_> = events
        .iter()
        .map(|event| event.idempotency_key.to_string())
        .collect();
    assert_eq!(keys, [1, 2, 4, 5].map(|row| key::batch_key("d1", row)));
    // Without a digest each line is an event of its own each time, as there; the answer gives the keys.
    let answer = server.post_with("/v1/uploads?format=lines-a", LINES, FILE).await;
    assert_eq!(answer.body["keys"].as_array().unwrap().len(), 4, "{answer:?}");
    assert_eq!(server.log.events().len(), 8);
}

#[tokio::test]
async fn a_line_that_means_nothing_is_refused_by_its_number_and_the_words_of_that_service() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let lines = [
        r#"{"name":"add_revenue","value":1}"#,
        r#"{"userId":"u","value":1}"#,
        r#"{"userId":"u","name":"buy","value":1}"#,
        r#"{"userId":"u","name":"add_revenue"}"#,
        r#"{"userId":"u","name":"add_revenue","value":0.0000001}"#,
        r#"{"userId":"u","name":"add_revenue","value":"--1"}"#,
        r#"{"userId":"u","name":"add_revenue","value":1,"value":2}"#,
        r#"{"userId":"u","name":"add_revenue","value":1,"metadata":{"name":"x"}}"#,
        "nonsense",
        r#"{"userId":"u","name":"add_revenue","value":1}"#,
    ];
    let answer = server
        .post_with(
            "/v1/uploads?format=lines-a",
            "content-type: text/plain\r\n",
            lines.join("\n"),
        )
        .await;
    assert_eq!(
        (answer.status, &answer.body["accepted"]),
        (201, &json!(1)),
        "{answer:?}"
    );
    let results = answer.body["results"].as_array().unwrap();
    let told: Vec<_> = results
        .iter()
        .map(|row| {
            (
                row["row"].as_u64().unwrap(),
                row["field"].as_str().unwrap(),
                row["code"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "userId", "missing"),
            (2, "name", "missing"),
            (3, "name", "not_known"),
            (4, "value", "missing"),
            (5, "value", "not_a_number"),
            (6, "value", "not_a_number"),
            (7, "value", "twice"),
            (8, "name", "twice"),
            (9, "event", "not_json"),
        ]
    );
    assert_eq!(server.log.events().len(), 1);
    // All or none, and as the file of a form.
    let form = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"revenue.txt\"\r\n\r\n{}\r\n--b--",
        lines.join("\n")
    );
    let answer = server
        .post_with(
            "/v1/uploads?format=lines-a&atomic=true",
            "content-type: multipart/form-data; boundary=b\r\n",
            form,
        )
        .await;
    assert_eq!(
        (answer.status, answer.problem()),
        (422, "rows_invalid"),
        "{answer:?}"
    );
    assert_eq!(answer.body["rows"], json!(10));
}
