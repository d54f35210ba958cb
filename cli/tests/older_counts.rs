//! A client of the older service that counts events per day, written from its public description alone: it uploads CSV files, has batches
//! processed, and reads metrics and failed jobs. It knows nothing of Tidemark.

use crate::rig::{Rig, until};
use crate::{text, tidemark};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const MISSING: &str = "00000000-0000-4000-8000-000000000000";

struct Said {
    status: u16,
    head: String,
    json: Value,
}

/// What the client does, with some headers of its own.
fn ask(rig: &Rig, what: &str, headers: &str, body: &str) -> Said {
    let mut stream = TcpStream::connect(rig.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    // It may come in one chunk.
    let json = body.find('{').zip(body.rfind('}'));
    let json = json.and_then(|(start, end)| serde_json::from_str(&body[start..=end]).ok());
    Said {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        json: json.unwrap_or_default(),
    }
}

fn get(rig: &Rig, path: &str) -> Said {
    ask(rig, &format!("GET {path}"), "", "")
}

fn upload(rig: &Rig, name: &str, csv: &str) -> Said {
    let body = format!(
        "------form\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/csv\r\n\r\n\
         {csv}\r\n------form--\r\n"
    );
    ask(
        rig,
        "POST /api/uploads",
        "Content-Type: multipart/form-data; boundary=----form\r\n",
        &body,
    )
}

/// Uploads a file that must be good; its batch.
fn batch(rig: &Rig, csv: &str, events: u64) -> String {
    let said = upload(rig, "events.csv", csv);
    assert_eq!(
        (said.status, &said.json["totalEvents"]),
        (201, &json!(events)),
        "{}",
        said.json
    );
    said.json["batchId"].as_str().unwrap().to_owned()
}

fn process(rig: &Rig, batch: &str) -> (u16, Value) {
    let said = ask(rig, &format!("POST /api/batches/{batch}/process"), "", "");
    (said.status, said.json)
}

/// A batch, once it stands so.
fn shown(rig: &Rig, batch: &str, status: &str) -> Value {
    until(status, || {
        let said = get(rig, &format!("/api/batches/{batch}"));
        (said.status == 200 && said.json["status"] == status).then_some(said.json)
    })
}

fn metrics(rig: &Rig, date: &str) -> Value {
    let said = get(rig, &format!("/api/metrics?date={date}"));
    assert_eq!(said.status, 200, "{}", said.json);
    said.json
}

/// Rows of one user at one moment, each with a page of its own.
fn rows(count: u32) -> String {
    let row = |number: u32| format!("u1,click,2024-01-15T23:59:59.999Z,{{\"page\":\"p{number}\"}}\n");
    let rows: String = (0..count).map(row).collect();
    format!("userId,eventType,timestamp,metadata\n{rows}")
}

#[test]
fn a_batch_is_uploaded_processed_and_counted_once() {
    let mut rig = Rig::new();
    let csv = "UserID, eventtype ,TIMESTAMP,page,amount\nu1,click,2024-01-15T10:00:00Z,\"{\"\"page\"\":\"\"home\"\"}\",n/a\n\
        u1,click,2024-01-15T10:00:00Z,{\"page\":\"cart\",\"n\":1},\nu2,view,2024-01-15T00:00:00Z,,7\nu2,view,2024-01-16T00:00:00Z,,\n";
    let id = batch(&rig, csv, 4);
    let held = shown(&rig, &id, "uploaded");
    assert_eq!(
        (
            &held["fileName"],
            &held["totalEvents"],
            &held["processedEvents"],
            &held["processedAt"]
        ),
        (&json!("events.csv"), &json!(4), &json!(0), &Value::Null),
        "{held}"
    );
    assert!(held["uploadedAt"].is_string() && held["batchId"] == id.as_str());
    // It counts only after the call.
    assert_eq!(
        metrics(&rig, "2024-01-15"),
        json!({"date": "2024-01-15", "metrics": []})
    );

    let (status, said) = process(&rig, &id);
    assert_eq!(
        (status, &said["jobsEnqueued"], &said["batchId"]),
        (202, &json!(1), &json!(id)),
        "{said}"
    );
    assert!(said["message"].is_string());
    let done = shown(&rig, &id, "completed");
    assert_eq!(
        (&done["processedEvents"], done["processedAt"].is_string()),
        (&json!(4), true),
        "{done}"
    );
    let counts = json!([{"eventType": "click", "count": 2}, {"eventType": "view", "count": 1}]);
    assert_eq!(metrics(&rig, "2024-01-15")["metrics"], counts);
    assert_eq!(
        metrics(&rig, "2024-01-16")["metrics"],
        json!([{"eventType": "view", "count": 1}])
    );
    let (status, said) = process(&rig, &id);
    assert_eq!((status, &said["jobsEnqueued"]), (200, &json!(0)), "{said}");

    // The same file again is another batch of the same events.
    let again = batch(&rig, csv, 4);
    assert_eq!(process(&rig, &again).0, 202);
    shown(&rig, &again, "completed");
    assert_eq!(metrics(&rig, "2024-01-15")["metrics"], counts);
    let list = get(&rig, "/api/batches");
    let ids: Vec<_> = list.json["batches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["batchId"].clone())
        .collect();
    assert_eq!((list.status, ids), (200, vec![json!(again), json!(id)]));
    // Today has no events yet.
    let today = get(&rig, "/api/metrics");
    assert_eq!((today.status, &today.json["metrics"]), (200, &json!([])));
    rig.audit();
}

#[test]
fn a_batch_of_more_than_ten_thousand_events_is_processed_whole() {
    let mut rig = Rig::new();
    // All of one user at one millisecond: they differ, so they are different events.
    let id = batch(&rig, &rows(12_050), 12_050);
    // Its end is behind all of its rows.
    shown(&rig, &id, "uploaded");
    let (status, said) = process(&rig, &id);
    assert_eq!((status, &said["jobsEnqueued"]), (202, &json!(121)), "{said}");
    assert_eq!(shown(&rig, &id, "completed")["processedEvents"], 12_050);
    let counts = json!([{"eventType": "click", "count": 12_050}]);
    assert_eq!(metrics(&rig, "2024-01-15")["metrics"], counts);
    rig.audit();
}

#[test]
fn a_file_with_bad_rows_is_refused_whole_and_leaves_no_batch() {
    let mut rig = Rig::new();
    let csv = "userId,eventType,timestamp\nu1,click,2024-01-15T10:00:00Z\n,click,2024-01-15T10:00:00Z\nu1,click,yesterday\n";
    let said = upload(&rig, "events.csv", csv);
    assert_eq!(
        (said.status, &said.json["error"]),
        (400, &json!("CSV Validation Failed")),
        "{}",
        said.json
    );
    let details = said.json["details"].as_array().unwrap();
    let found: Vec<_> = details
        .iter()
        .map(|d| (d["row"].clone(), d["field"].clone()))
        .collect();
    assert_eq!(
        found,
        [(json!(3), json!("userId")), (json!(4), json!("timestamp"))]
    );
    let good = batch(&rig, "userId,eventType,timestamp\nu2,click,2024-01-15\n", 1);
    assert_eq!(process(&rig, &good).0, 202);
    shown(&rig, &good, "completed");
    assert_eq!(
        metrics(&rig, "2024-01-15")["metrics"],
        json!([{"eventType": "click", "count": 1}])
    );
    let list = get(&rig, "/api/batches").json;
    assert_eq!(list["batches"].as_array().unwrap().len(), 1, "{list}");
    // What came by another door is no batch of its own.
    let (_, other) = rig_upload(&rig);
    assert_eq!(get(&rig, &format!("/api/batches/{other}")).status, 404);
    rig.audit();
}

/// A held upload of `/v1/uploads`.
fn rig_upload(rig: &Rig) -> (u16, String) {
    let body = "user_id,event_type,timestamp\nu9,click,2024-01-15\n";
    let said = ask(
        rig,
        "POST /v1/uploads?hold=true",
        "Content-Type: text/csv\r\n",
        body,
    );
    (said.status, said.json["upload"].as_str().unwrap().to_owned())
}

#[test]
fn errors_have_the_older_form() {
    let rig = Rig::new();
    batch(&rig, "userId,eventType,timestamp\nu2,click,2024-01-15\n", 1);
    for (what, status) in [
        ("GET /api/nothing", 404),
        ("POST /api/batches", 405),
        (&format!("GET /api/batches/{MISSING}"), 404),
        ("GET /api/batches/no-id", 404),
        (&format!("POST /api/batches/{MISSING}/process"), 404),
        ("GET /api/metrics?date=15.01.2024", 400),
        ("GET /api/metrics?date=2024-02-30", 400),
        ("POST /api/uploads", 400),
        ("GET /api/queues/event-processing/dlq", 401),
    ] {
        let said = ask(&rig, what, "X-Correlation-ID: mine-7\r\n", "");
        assert_eq!(said.status, status, "{what}: {}", said.json);
        assert!(
            said.json["error"].is_string() && said.json["message"].is_string(),
            "{what}: {}",
            said.json
        );
        assert!(said.head.contains("x-correlation-id: mine-7"), "{}", said.head);
        assert!(
            said.head.contains("content-type: application/json"),
            "{}",
            said.head
        );
    }
    // Of the ten of this minute eight are left.
    for _ in 0..8 {
        batch(&rig, "userId,eventType,timestamp\nu2,click,2024-01-15\n", 1);
    }
    let said = upload(
        &rig,
        "events.csv",
        "userId,eventType,timestamp\nu2,click,2024-01-15\n",
    );
    assert_eq!(
        (said.status, &said.json["error"]),
        (429, &json!("Too Many Requests")),
        "{}",
        said.json
    );
    assert!(
        said.json["retryAfter"].is_u64() && said.head.contains("retry-after: "),
        "{}",
        said.head
    );
}

#[test]
fn failed_jobs_are_the_dead_letters() {
    let rig = Rig::new();
    let csv = "user_id,event_type,idempotency_key,amount\nu1,click,k1,1\nu1,click,k1,2\n";
    assert_eq!(
        ask(&rig, "POST /v1/events", "Content-Type: text/csv\r\n", csv).status,
        200
    );
    let queue = |name: &str, key: &str| ask(&rig, &format!("GET /api/queues/{name}/dlq?limit=100"), key, "");
    let key = "X-API-Key: whatever-it-was\r\n";
    let jobs = until("a dead letter", || {
        let said = queue("event-processing", key);
        let jobs = said.json["failedJobs"].as_array().cloned().unwrap_or_default();
        (!jobs.is_empty()).then_some(said)
    });
    assert_eq!(
        (jobs.status, &jobs.json["queueName"]),
        (200, &json!("event-processing"))
    );
    let job = &jobs.json["failedJobs"][0];
    assert_eq!(
        (&job["error"], &job["data"]["userId"]),
        (&json!("key_conflict"), &json!("u1")),
        "{job}"
    );
    assert!(
        job["id"].is_string() && job["failedReason"].is_string() && job["timestamp"].is_u64(),
        "{job}"
    );
    assert_eq!(queue("event-processing", "").status, 401);
    assert_eq!(queue("another", key).status, 400);
    assert_eq!(
        ask(&rig, "GET /api/queues/event-processing/dlq?limit=no", key, "").status,
        400
    );
}

#[test]
fn where_keys_are_needed_one_of_ours_is_shown() {
    let mut rig = Rig::idle();
    let key = |tenant: &str, scopes: &[&str]| {
        let mut command = tidemark();
        command.args(["keys", "create", "--tenant", tenant]);
        scopes.iter().for_each(|scope| {
            command.args(["--scope", scope]);
        });
        let made = command.arg("--data").arg(rig.path("data")).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        format!("X-API-Key: {}\r\n", text(&made.stdout).trim())
    };
    let (all, other) = (
        key("acme", &["ingest", "query", "admin"]),
        key("other", &["ingest", "query"]),
    );
    rig.start();
    let form = "Content-Type: multipart/form-data; boundary=b\r\n";
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n\
        userId,eventType,timestamp\nu1,click,2024-01-15\n\r\n--b--\r\n";
    for what in [
        "POST /api/uploads",
        "GET /api/batches",
        "GET /api/metrics",
        "GET /api/queues/event-processing/dlq",
    ] {
        let said = ask(&rig, what, "X-API-Key: whatever-it-was\r\n", "");
        assert_eq!(
            (said.status, said.json["error"].is_string()),
            (401, true),
            "{what} {}",
            said.json
        );
    }
    let said = ask(&rig, "POST /api/uploads", &format!("{form}{all}"), body);
    assert_eq!(said.status, 201, "{}", said.json);
    let id = said.json["batchId"].as_str().unwrap();
    for (key, status) in [(&other, 404), (&all, 202)] {
        let said = ask(&rig, &format!("POST /api/batches/{id}/process"), key, "");
        assert_eq!(said.status, status, "{}", said.json);
    }
    until("it is completed", || {
        let said = ask(&rig, &format!("GET /api/batches/{id}"), &all, "");
        (said.json["status"] == "completed").then_some(())
    });
    for (key, batches, counts) in [(&other, 0, 0), (&all, 1, 1)] {
        let list = ask(&rig, "GET /api/batches", key, "").json;
        assert_eq!(list["batches"].as_array().unwrap().len(), batches, "{list}");
        let metrics = ask(&rig, "GET /api/metrics?date=2024-01-15", key, "").json;
        assert_eq!(metrics["metrics"].as_array().unwrap().len(), counts, "{metrics}");
    }
    let queue = "GET /api/queues/event-processing/dlq";
    assert_eq!(ask(&rig, queue, &other, "").status, 403);
    assert_eq!(ask(&rig, queue, &all, "").status, 200);
}
