//! Every call of the surface, on the whole program, in both modes by the same steps: what a client of one mode does works in the other.
//! The single process is its log and store; the services are on Kafka, a registry, and Cassandra in ScyllaDB's place. What each call
//! refuses, and every corner of it, is tested beside its code; here it is shown that all of it is there, and agrees.

// Behind the numbers.
mod behind;

use crate::rig::{AUDIT, turn_with_others, wait_until};
use crate::services::{Services, audit};
use e2e::client::{self, Answer};
use e2e::world::{Cluster, Embedded, PATIENCE, Service};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

const DAY: &str = "2025-11-04";
const RANGE: &str = "from=2025-11-01&to=2025-11-30";

/// Where the calls go: one address in the single process.
struct Surface {
    ingest: SocketAddr,
    query: SocketAddr,
}

impl Surface {
    fn send(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        client::call(self.ingest, &format!("POST {path}"), headers, body, PATIENCE).unwrap()
    }

    /// Sends what must be taken; the answer.
    fn taken(&self, status: u16, path: &str, kind: &str, body: &[u8]) -> Value {
        let answer = self.send(path, &[("Content-Type", kind)], body);
        assert_eq!(answer.status, status, "{path} {kind}: {}", answer.text());
        answer.json().unwrap()
    }

    /// Sends what must be taken, and waits until it is counted.
    fn counted(&self, status: u16, kind: &str, body: &[u8]) {
        let said = self.taken(status, "/v1/events", kind, body);
        self.reflects(&said);
    }

    fn reflects(&self, said: &Value) {
        let receipt = said["receipt"].as_str().unwrap_or_else(|| panic!("{said}"));
        wait_until(|| self.get(&format!("/v1/receipts/{receipt}?wait=20s"))["counted"] == true);
    }

    fn ask(&self, what: &str, headers: &[(&str, &str)]) -> Answer {
        client::call(self.query, what, headers, b"", PATIENCE).unwrap()
    }

    fn get(&self, path: &str) -> Value {
        client::get_json(self.query, path, PATIENCE).unwrap()
    }

    /// The ledger, once nothing is on the log that is not in it.
    fn settled(&self) -> Value {
        let mut ledger = Value::Null;
        wait_until(|| {
            ledger = self.get("/v1/ledger");
            ledger["in_flight"] == 0
        });
        ledger
    }

    /// How many events a user has.
    fn count(&self, user: &str) -> u64 {
        self.get(&format!("/v1/users/{user}"))["total"]["count"]
            .as_u64()
            .unwrap()
    }

    /// Waits until an upload stands so; what is said of it.
    fn shown(&self, path: &str, status: &str) -> Value {
        let mut shown = Value::Null;
        wait_until(|| {
            let answer = client::get(self.query, path, PATIENCE).unwrap();
            // Before the first events of all are counted there is no view.
            shown = answer.json().unwrap_or_default();
            answer.status == 200 && shown["status"] == status
        });
        shown
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(body).unwrap();
    writer.finish().unwrap()
}

/// `POST /v1/events` in every form; 12 events of `forms`.
fn events_come_in_every_form(at: &Surface) {
    let event = |key: &str| json!({"user_id": "forms", "event_type": "click", "occurred_at": format!("{DAY}T12:00:00Z"), "amount": "1.50", "idempotency_key": key});
    let json = |value: &Value| value.to_string().into_bytes();
    at.counted(202, "application/json", &json(&event("j1")));
    at.counted(200, "application/json", &json(&json!([event("j2"), event("j3")])));
    let lines = format!("{}\n{}\n", event("n1"), event("n2"));
    at.counted(200, "application/x-ndjson", lines.as_bytes());
    let csv = format!(
        "\u{feff}userId,EventType,timestamp,amount,Idempotency_Key,page\r\nforms,click,{DAY}T12:00:00Z,1.50,c1,\"a,b\"\r\nforms,click,{DAY}T12:00:00Z,1.50,c2,{{\"p\":1}}\r\n"
    );
    at.counted(200, "text/csv", csv.as_bytes());
    let cloud = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/s", "type": "click", "subject": "forms", "time": format!("{DAY}T12:00:00Z"), "data": {"amount": "1.50"}});
    at.counted(202, "application/cloudevents+json", &json(&cloud("e1")));
    at.counted(
        200,
        "application/cloudevents-batch+json",
        &json(&json!([cloud("e2")])),
    );
    let time = format!("{DAY}T12:00:00Z");
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e3"),
        ("ce-source", "/s"),
        ("ce-type", "click"),
        ("ce-subject", "forms"),
        ("ce-time", &time),
        ("Content-Type", "application/json"),
    ];
    let answer = at.send("/v1/events", &binary, br#"{"amount":"1.50"}"#);
    assert_eq!(answer.status, 202, "{}", answer.text());
    for (coding, body) in [
        ("gzip", gzip(event("z1").to_string().as_bytes())),
        (
            "zstd",
            zstd::encode_all(event("z2").to_string().as_bytes(), 1).unwrap(),
        ),
    ] {
        let headers = [("Content-Type", "application/json"), ("Content-Encoding", coding)];
        let answer = at.send("/v1/events", &headers, &body);
        assert_eq!(answer.status, 202, "{coding}: {}", answer.text());
        at.reflects(&answer.json().unwrap());
    }
    let checked = at.taken(
        200,
        "/v1/events?validate=true",
        "application/json",
        &json(&json!([event("v1")])),
    );
    assert!(checked["receipt"].is_null(), "{checked}");
    // A repeat is a success and counts for nothing; another content is not silent.
    at.counted(202, "application/json", &json(&event("j1")));
    let mut other = event("j1");
    other["amount"] = json!("2");
    at.counted(202, "application/json", &json(&other));
    let mut back = event("j3");
    back["reverse"] = json!(true);
    at.counted(202, "application/json", &json(&back));
    assert_eq!(at.count("forms"), 11);
}

/// The calls that read days and users.
fn numbers_are_read_in_every_form(at: &Surface) {
    let days = at.get(&format!("/v1/days?{RANGE}&tz=UTC&type=click"));
    let line = &days["days"][0];
    assert_eq!(
        (&line["day"], &line["event_type"], &line["count"], &line["sum"]),
        (&DAY.into(), &"click".into(), &11.into(), &"16.50".into()),
        "{days}"
    );
    assert!(days["as_of"].is_object(), "{days}");
    assert_eq!(at.get(&format!("/v1/days/{DAY}"))["days"][0]["count"], 11);
    for bucket in ["15m", "1h", "1d", "1mo"] {
        let path = format!("/v1/days?from={DAY}&to={DAY}&bucket={bucket}&tz=Europe/Berlin");
        let list = if bucket == "1d" { "days" } else { "buckets" };
        let said = at.get(&path);
        assert_eq!(said[list][0]["count"], 11, "{bucket}: {said}");
    }
    for (format, kind, text) in [
        ("csv", "text/csv", format!("{DAY},click,11,16.50")),
        ("ndjson", "application/x-ndjson", "\"count\":11".to_owned()),
    ] {
        let answer = at.ask(&format!("GET /v1/days?{RANGE}"), &[("Accept", kind)]);
        assert!(
            answer.status == 200 && answer.text().contains(&text),
            "{format}: {}",
            answer.text()
        );
    }
    let top = at.get(&format!("/v1/days/{DAY}/users?limit=5"));
    assert_eq!(top["users"][0]["user_id"], "forms", "{top}");
    let user = at.get("/v1/users/forms");
    assert_eq!(
        (&user["total"]["sum"], &user["by_type"][0]["count"]),
        (&"16.50".into(), &11.into()),
        "{user}"
    );
    let by_day = at.get(&format!("/v1/users/forms/days?{RANGE}&tz=Europe/Berlin"));
    assert_eq!(by_day["days"][0]["count"], 11, "{by_day}");
    let answer = at.ask("GET /v1/users/forms", &[]);
    let tag = answer.head.lines().find_map(|line| line.strip_prefix("etag: "));
    let tag = tag.unwrap_or_else(|| panic!("{}", answer.head));
    assert_eq!(
        at.ask("GET /v1/users/forms", &[("If-None-Match", tag)]).status,
        304
    );
}

/// Uploads: whole, in a form, held and released, held and discarded, all or nothing.
fn uploads_live_their_lives(at: &Surface) {
    let file = |user: &str, keys: std::ops::Range<u32>| {
        let row = |key| format!("{user},sale,{DAY}T10:00:00Z,{user}-{key},2\n");
        let rows: String = keys.map(row).collect();
        format!("customer,what,when,idempotency_key,amount\n{rows}")
    };
    let map = "map=customer:user_id,what:event_type,when:timestamp";
    let said = at.taken(
        201,
        &format!("/v1/uploads?name=a.csv&{map}"),
        "text/csv",
        file("raw", 0..5).as_bytes(),
    );
    let id = said["upload"].as_str().unwrap();
    let shown = at.shown(&format!("/v1/uploads/{id}"), "completed");
    assert_eq!(
        (&shown["ledger"]["counted"], &shown["name"]),
        (&5.into(), &"a.csv".into()),
        "{shown}"
    );
    assert_eq!(at.get(&format!("/v1/uploads/{id}/errors"))["errors"], json!([]));
    let form = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.csv\"\r\nContent-Type: text/csv\r\n\r\n{}\r\n--b--\r\n",
        file("form", 0..3)
    );
    let said = at.taken(
        201,
        &format!("/v1/uploads?{map}"),
        "multipart/form-data; boundary=b",
        form.as_bytes(),
    );
    at.shown(
        &format!("/v1/uploads/{}", said["upload"].as_str().unwrap()),
        "completed",
    );
    assert_eq!((at.count("raw"), at.count("form")), (5, 3));

    let hold = |user: &str| {
        let said = at.taken(
            201,
            &format!("/v1/uploads?hold=true&{map}"),
            "text/csv",
            file(user, 0..4).as_bytes(),
        );
        let path = format!("/v1/uploads/{}", said["upload"].as_str().unwrap());
        at.shown(&path, "held");
        path
    };
    let (kept, dropped) = (hold("kept"), hold("dropped"));
    assert_eq!((at.count("kept"), at.count("dropped")), (0, 0));
    let released = at.ask(&format!("POST {kept}/process"), &[]);
    assert!(matches!(released.status, 200 | 202), "{}", released.text());
    assert_eq!(at.ask(&format!("DELETE {dropped}"), &[]).status, 200);
    assert_eq!(at.shown(&kept, "completed")["ledger"]["counted"], 4);
    at.shown(&dropped, "discarded");
    assert_eq!((at.count("kept"), at.count("dropped")), (4, 0));
    assert_eq!(at.ask(&format!("POST {dropped}/process"), &[]).status, 409);

    let bad = format!(
        "{}\n,sale,{DAY}T10:00:00Z,bad,2\n",
        file("atomic", 0..3).trim_end()
    );
    let said = at.taken(
        422,
        &format!("/v1/uploads?atomic=true&{map}"),
        "text/csv",
        bad.as_bytes(),
    );
    assert_eq!(said["type"], "/problems/rows_invalid", "{said}");
    let said = at.taken(
        201,
        &format!("/v1/uploads?atomic=true&{map}"),
        "text/csv",
        file("atomic", 0..3).as_bytes(),
    );
    at.shown(
        &format!("/v1/uploads/{}", said["upload"].as_str().unwrap()),
        "completed",
    );
    assert_eq!(at.count("atomic"), 3);
    assert_eq!(
        at.get("/v1/uploads?limit=100")["uploads"]
            .as_array()
            .unwrap()
            .len(),
        6
    );
}

/// Both older services, by unchanged requests.
fn clients_of_the_older_services_work(at: &Surface) {
    let event = |name: &str, value: u32| json!({"userId": "user1", "name": name, "value": value}).to_string();
    let send = |secret: &str, body: &str| {
        let headers = [("Authorization", secret), ("Content-Type", "application/json")];
        at.send("/liveEvent", &headers, body.as_bytes())
    };
    let saved = send("secret", &event("add_revenue", 98));
    assert_eq!((saved.status, saved.text().as_str()), (200, "Event saved"));
    assert_eq!(send("secret", &event("subtract_revenue", 8)).status, 200);
    assert_eq!(send("secret", &event("add_revenue", 0)).status, 200);
    assert_eq!(send("other", &event("add_revenue", 98)).status, 403);
    assert_eq!(
        send("secret", r#"{"userId":"user1","name":"add_revenue"}"#).status,
        400
    );
    wait_until(|| {
        let answer = client::get(at.query, "/userEvents/user1", PATIENCE).unwrap();
        answer.status == 200 && answer.json().unwrap() == json!([{"user_id": "user1", "revenue": 90}])
    });
    assert_eq!(at.ask("GET /userEvents/nobody", &[]).status, 404);

    let upload = |csv: &str| {
        let form = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"e.csv\"\r\nContent-Type: text/csv\r\n\r\n{csv}\r\n--b--\r\n"
        );
        at.send(
            "/api/uploads",
            &[("Content-Type", "multipart/form-data; boundary=b")],
            form.as_bytes(),
        )
    };
    let good = upload(
        "userId,eventType,timestamp,meta\nb1,click,2024-01-15T10:00:00Z,{\"page\":\"home\"}\nb1,click,2024-01-15T10:00:00Z,{\"page\":\"cart\"}\n",
    );
    let said = good.json().unwrap();
    assert_eq!((good.status, &said["totalEvents"]), (201, &2.into()), "{said}");
    let id = said["batchId"].as_str().unwrap().to_owned();
    at.shown(&format!("/api/batches/{id}"), "uploaded");
    let empty = json!({"date": "2024-01-15", "metrics": []});
    assert_eq!(at.get("/api/metrics?date=2024-01-15"), empty);
    let processed = at.ask(&format!("POST /api/batches/{id}/process"), &[]);
    assert_eq!(
        (processed.status, &processed.json().unwrap()["jobsEnqueued"]),
        (202, &1.into())
    );
    at.shown(&format!("/api/batches/{id}"), "completed");
    let metrics = at.get("/api/metrics?date=2024-01-15");
    assert_eq!(metrics["metrics"], json!([{"eventType": "click", "count": 2}]));
    assert!(
        at.get("/api/batches")["batches"]
            .as_array()
            .unwrap()
            .iter()
            .any(|batch| batch["batchId"] == id.as_str())
    );
    let bad = upload("userId,eventType,timestamp\nb1,click,yesterday\n");
    let said = bad.json().unwrap();
    assert_eq!(
        (bad.status, &said["error"], &said["details"][0]["row"]),
        (400, &"CSV Validation Failed".into(), &2.into())
    );
    let queue = "GET /api/queues/event-processing/dlq?limit=100";
    assert_eq!(at.ask(queue, &[]).status, 401);
    let jobs = at.ask(queue, &[("X-API-Key", "any")]);
    assert!(
        jobs.status == 200 && jobs.json().unwrap()["failedJobs"].is_array(),
        "{}",
        jobs.text()
    );
    assert_eq!(
        at.ask("GET /api/queues/other/dlq", &[("X-API-Key", "any")])
            .status,
        400
    );
    assert_eq!(at.ask("GET /api/nothing", &[]).status, 404);
}

/// What was refused, and that all adds up.
fn nothing_disappears(at: &Surface) {
    let letters = at.get("/v1/dead-letters?reason=key_conflict");
    let letter = &letters["dead_letters"][0];
    assert_eq!(letter["user_id"], "forms", "{letters}");
    let one = at.get(&format!("/v1/dead-letters/{}", letter["id"].as_str().unwrap()));
    assert_eq!(
        (&one["key"], &one["reason"]),
        (&"j1".into(), &"key_conflict".into()),
        "{one}"
    );
    let ledger = at.settled();
    assert_eq!(
        (&ledger["balanced"], &ledger["dead_lettered"]),
        (&true.into(), &1.into()),
        "{ledger}"
    );
}

/// Reads `GET /v1/live` until an event of this name; its id and data.
fn live(at: &Surface, since: Option<&str>, event: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(at.query).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let since = since.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
    let path = format!("/v1/live?from={DAY}&to={DAY}");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{since}\r\n",
        at.query
    )
    .unwrap();
    let (mut id, mut name) = (String::new(), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        match line.split_once(':').map(|(field, value)| (field, value.trim())) {
            Some(("id", value)) => value.clone_into(&mut id),
            Some(("event", value)) => value.clone_into(&mut name),
            Some(("data", value)) if name == event => return (id, serde_json::from_str(value).unwrap()),
            _ => {}
        }
    }
    panic!("the stream ended without {event}");
}

fn totals_are_live(at: &Surface) {
    let (_, total) = live(at, None, "total");
    assert!(total["count"].as_u64().unwrap() > 0, "{total}");
    let (id, _) = live(at, None, "as_of");
    let (again, _) = live(at, Some(&id), "as_of");
    assert!(!id.is_empty() && !again.is_empty());
}

fn walk(at: &Surface) {
    assert_eq!(client::get(at.ingest, "/health", PATIENCE).unwrap().status, 200);
    assert_eq!(client::get(at.query, "/health", PATIENCE).unwrap().status, 200);
    events_come_in_every_form(at);
    numbers_are_read_in_every_form(at);
    uploads_live_their_lives(at);
    clients_of_the_older_services_work(at);
    nothing_disappears(at);
    totals_are_live(at);
    behind::walk(at);
    let ledger = at.settled();
    assert_eq!(ledger["balanced"], true, "{ledger}");
}

fn admin_answers(service: &Service) {
    let admin = service.role.admin.unwrap();
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(client::get(admin, path, PATIENCE).unwrap().status, 200, "{path}");
    }
}

#[test]
fn every_call_works_in_the_single_process() {
    let _turn = turn_with_others();
    let world = Embedded::new("surface").unwrap();
    let service = Service::start(world.run()).unwrap();
    admin_answers(&service);
    walk(&Surface {
        ingest: world.address,
        query: world.address,
    });
    service.process.stop(PATIENCE).unwrap();
    assert_eq!(
        world.audit().run(AUDIT).unwrap(),
        0,
        "the audit found differences"
    );
}

#[test]
fn every_call_works_on_kafka_and_the_view_store() {
    let _turn = turn_with_others();
    let world = Cluster::new("surface").unwrap();
    let services = Services::start(&world, true);
    [&services.ingest, &services.query]
        .into_iter()
        .chain(&services.aggregators)
        .for_each(admin_answers);
    walk(&Surface {
        ingest: world.ingest_address,
        query: world.query_address,
    });
    services.stop();
    audit(&world);
}
