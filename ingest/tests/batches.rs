//! Unchanged clients of the older service that counts events per day, where they send files.

use crate::rig::{Answer, FakeLog, Mode, Server};
use schemas::upload::What;
use serde_json::json;

const GOOD: &str = "userId,eventType,timestamp,page\nu1,click,2024-01-15T10:00:00Z,{\"page\":\"home\"}\nu1,view,2024-01-15T10:00:00Z,\n";

fn form(name: &str, kind: &str, content: &str) -> String {
    format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n\
         {content}\r\n--xyz--\r\n"
    )
}

async fn send(server: &Server, body: &str) -> Answer {
    let headers = "content-type: multipart/form-data; boundary=xyz\r\n";
    server.post_with("/api/uploads", headers, body).await
}

async fn generous() -> Server {
    let log = FakeLog::new(Mode::Record);
    Server::with(log, Default::default(), |limits| limits.older_uploads = 1000).await
}

#[tokio::test]
async fn a_good_file_is_held_and_answered_as_it_was_there() {
    let server = generous().await;
    let answer = send(&server, &form("events.csv", "application/octet-stream", GOOD)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.body["batchId"].as_str().unwrap();
    assert!(id.parse::<uuid::Uuid>().is_ok());
    let expected = json!({"batchId": id, "totalEvents": 2, "message": "Successfully uploaded 2 events"});
    assert_eq!(answer.body, expected);
    assert!(answer.head.contains("x-correlation-id: "), "{}", answer.head);
    let life = server.log.life();
    let [What::Begun(begun), What::Held { totals, release, .. }] = &life[..] else {
        panic!("{life:?}");
    };
    assert_eq!(
        (begun.hold, begun.door.as_str(), begun.name.as_deref()),
        (true, "b", Some("events.csv"))
    );
    assert_eq!((totals.accepted, totals.invalid, *release), (2, 0, false));
}

#[tokio::test]
async fn every_bad_row_is_listed_and_nothing_of_the_file_will_count() {
    let server = generous().await;
    let csv = "EventType , USERID,timestamp,amount\nclick,u1,2024-01-15T10:00:00Z,n/a\nclick,,2024-01-15T10:00:00Z,\n\
        ,u2,2024-01-15T10:00:00Z,\nclick,u3,,\nclick,u4,2024-02-30,\nclick,u5\n";
    let answer = send(&server, &form("a.csv", "text/csv", csv)).await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (400, &json!("CSV Validation Failed")),
        "{answer:?}"
    );
    assert!(
        answer.head.contains("content-type: application/json"),
        "{}",
        answer.head
    );
    let details = answer.body["details"].as_array().unwrap();
    let found: Vec<_> = details
        .iter()
        .map(|d| (d["row"].as_u64().unwrap(), d["field"].as_str().unwrap()))
        .collect();
    let expected = [
        (3, "userId"),
        (4, "eventType"),
        (5, "timestamp"),
        (6, "timestamp"),
        (7, "row"),
    ];
    assert_eq!(found, expected);
    assert!(details.iter().all(|detail| detail["message"].is_string()));
    let life = server.log.life();
    assert!(matches!(life.last(), Some(What::Failed { .. })), "{life:?}");
}

#[tokio::test]
async fn what_is_no_file_of_events_is_refused_in_the_older_form() {
    let server = generous().await;
    let many = format!("userId,eventType,timestamp\n{}", "u,,2024-01-15\n".repeat(5000));
    for (body, error, row, count) in [
        (form("a.csv", "text/csv", ""), "CSV Validation Failed", 0, 1),
        (
            form("a.csv", "text/csv", "userId,eventType,timestamp\n"),
            "CSV Validation Failed",
            0,
            1,
        ),
        (
            form("a.csv", "text/csv", "user_id,eventType,time\nu,t,1\n"),
            "CSV Validation Failed",
            0,
            2,
        ),
        (form("a.csv", "text/csv", &many), "CSV Validation Failed", 2, 5000),
        (
            form("a.json", "application/json", "{}"),
            "Invalid File Type",
            0,
            0,
        ),
        (form("a.txt", "text/plain", GOOD), "Invalid File Type", 0, 0),
        ("--xyz--\r\n".to_owned(), "No File Uploaded", 0, 0),
    ] {
        let answer = send(&server, &body).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (400, &json!(error)),
            "{answer:?}"
        );
        assert!(answer.body["message"].is_string());
        let details = answer.body["details"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(details.len(), count, "{error}");
        assert!(
            details.first().is_none_or(|first| first["row"] == row),
            "{answer:?}"
        );
    }
    let answer = server
        .post_with("/api/uploads", "content-type: text/csv\r\n", GOOD)
        .await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (400, &json!("No File Uploaded"))
    );
    let answer = server
        .post_with("/api/nothing", "x-correlation-id: c-1\r\n", "")
        .await;
    assert_eq!((answer.status, &answer.body["error"]), (404, &json!("Not found")));
    assert!(answer.head.contains("x-correlation-id: c-1"), "{}", answer.head);
}

#[tokio::test]
async fn ten_a_minute_and_then_429() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    for _ in 0..10 {
        assert_eq!(send(&server, &form("a.csv", "text/csv", GOOD)).await.status, 201);
    }
    let before = server.log.len();
    let answer = send(&server, &form("a.csv", "text/csv", GOOD)).await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (429, &json!("Too Many Requests")),
        "{answer:?}"
    );
    let wait_s = answer.body["retryAfter"].as_u64().unwrap();
    assert!((1..=60).contains(&wait_s) && answer.body["message"].is_string());
    assert!(
        answer.head.contains(&format!("retry-after: {wait_s}")),
        "{}",
        answer.head
    );
    assert_eq!(server.log.len(), before);
}

#[tokio::test]
async fn success_is_never_said_of_a_file_that_is_not_durable() {
    let server = Server::start(FakeLog::new(Mode::FailAfter(1))).await;
    let answer = send(&server, &form("a.csv", "text/csv", GOOD)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(
        answer.body["error"].is_string() && answer.head.contains("retry-after: "),
        "{answer:?}"
    );
}
