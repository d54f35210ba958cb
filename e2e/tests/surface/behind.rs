//! What stands behind the numbers, and what can be done about them: outcomes that are waited for, the events of a user, distinct users,
//! dead letters that are put back, keys, and the document of the API.

use super::{DAY, PATIENCE, Surface};
use e2e::client::{self, Answer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Events of one user and day: more than its partitions remember together.
const EVENTS: u32 = 400;
const WAITS: &str = "/v1/events?wait=counted&timeout=60s";

pub(super) fn walk(at: &Surface) {
    outcomes_are_waited_for(at);
    events_and_users_stand_behind_the_numbers(at);
    dead_letters_are_put_back(at);
    rows_have_keys_by_their_file(at);
    keys_and_the_document_are_there(at);
}

/// Sends rows, and waits for what becomes of them.
fn outcomes(at: &Surface, kind: &str, body: &str) -> Value {
    let answer = at.send(WAITS, &[("Content-Type", kind)], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json().unwrap();
    assert_eq!(said["counted"], true, "{said}");
    said
}

fn rows(user: &str, keys: std::ops::Range<u32>) -> String {
    let row = |key: u32| format!("{user},seen,{DAY}T{:02}:00:00Z,{user}-{key},2\n", key % 24);
    let rows: String = keys.map(row).collect();
    format!("user_id,event_type,timestamp,idempotency_key,amount\n{rows}")
}

fn outcomes_are_waited_for(at: &Surface) {
    let said = outcomes(at, "text/csv", &rows("behind", 0..EVENTS));
    assert_eq!(said["outcomes"]["counted"], EVENTS, "{said}");
    // No waiting: what was answered is in the views.
    assert_eq!(at.count("behind"), u64::from(EVENTS));
    let said = outcomes(at, "text/csv", &rows("behind", 0..2));
    assert_eq!(said["outcomes"]["duplicate"], 2, "{said}");
    for n in 0..50 {
        at.taken(
            200,
            "/v1/events",
            "text/csv",
            rows(&format!("d{n}"), 0..1).as_bytes(),
        );
    }
    let back = json!({
        "user_id": "behind", "event_type": "seen", "timestamp": format!("{DAY}T00:00:00Z"),
        "idempotency_key": "behind-0", "amount": "2", "reverse": true,
    });
    let said = outcomes(at, "application/json", &json!([back]).to_string());
    assert_eq!(said["outcomes"]["reversed"], 1, "{said}");
}

/// All events of a user, page by page: how often each key is there.
fn events(at: &Surface, query: &str) -> BTreeMap<String, usize> {
    let (mut found, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = at.get(&format!("/v1/users/behind/events?{query}{cursor}"));
        for event in page["events"].as_array().unwrap() {
            let key = event["idempotency_key"].as_str().unwrap().to_owned();
            *found.entry(key).or_default() += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn events_and_users_stand_behind_the_numbers(at: &Surface) {
    let found = events(at, "limit=100");
    assert_eq!(found.len(), EVENTS as usize);
    // The one that was taken back, and what took it back.
    let twice = found.iter().filter(|(_, times)| **times != 1);
    assert_eq!(twice.collect::<Vec<_>>(), [(&"behind-0".to_owned(), &2)]);
    assert_eq!(events(at, "limit=50&type=other").len(), 0);
    // The fifty that were not waited for are counted when none is in flight.
    at.settled();
    let users = at.get(&format!("/v1/distinct-users?from={DAY}&to={DAY}&type=seen"));
    let of = |name: &str| users["total"][name].as_u64().unwrap();
    assert!(of("low") <= 51 && 51 <= of("high"), "{users}");
    assert_eq!(users["days"][0]["event_type"], "seen", "{users}");
}

fn redrive(at: &Surface, body: &Value) -> Answer {
    let headers = [("Content-Type", "application/json")];
    let body = body.to_string();
    let path = "POST /v1/dead-letters/redrive";
    client::call(at.query, path, &headers, body.as_bytes(), PATIENCE).unwrap()
}

/// What a redrive did, once it is counted.
fn redriven(at: &Surface, body: &Value) -> Value {
    let answer = redrive(at, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json().unwrap();
    if !said["receipt"].is_null() {
        at.reflects(&said);
    }
    said
}

fn dead_letters_are_put_back(at: &Surface) {
    // One that can never be counted as it is: mended, it is, and once.
    let letters = at.get("/v1/dead-letters?reason=key_conflict&user=forms&state=open");
    let id = letters["dead_letters"][0]["id"].as_str().unwrap();
    let event = json!({"user_id": "mended", "event_type": "sale", "amount": "7"});
    let mended = json!({"ids": [id], "event": event});
    assert_eq!(redriven(at, &mended)["redriven"], 1);
    let again = redriven(at, &mended);
    assert_eq!(again["skipped"]["redriven"], 1, "{again}");
    assert_eq!(at.count("mended"), 1);
    let one = at.get(&format!("/v1/dead-letters/{id}"));
    assert_eq!(
        (&one["state"], &one["tries"]),
        (&"redriven".into(), &1.into()),
        "{one}"
    );
    assert!(
        one["retention"].is_string() && one["kept_until"].is_null(),
        "{one}"
    );

    // One that heals by itself: the original came behind what takes it back.
    let event = |reverse: bool| {
        let event = json!({
            "user_id": "healed", "event_type": "sale", "timestamp": format!("{DAY}T10:00:00Z"),
            "idempotency_key": "healed-1", "amount": "3", "reverse": reverse,
        });
        json!([event]).to_string()
    };
    let said = outcomes(at, "application/json", &event(true));
    let result = &said["results"][0];
    assert_eq!(result["code"], "reversal_unmatched", "{said}");
    let id = result["dead_letter"].as_str().unwrap();
    outcomes(at, "application/json", &event(false));
    assert_eq!(at.count("healed"), 1);
    let filter = json!({"reason": ["reversal_unmatched"], "user": "healed"});
    let dry = redriven(at, &json!({"filter": filter, "dry_run": true}));
    assert_eq!(
        (&dry["redriven"], &dry["receipt"]),
        (&1.into(), &Value::Null),
        "{dry}"
    );
    assert_eq!(redriven(at, &json!({"filter": filter}))["redriven"], 1);
    assert_eq!(at.count("healed"), 0);
    let letters = at.get("/v1/dead-letters?state=redriven&user=healed");
    assert_eq!(letters["dead_letters"][0]["id"], id, "{letters}");
    assert_eq!(redrive(at, &json!({"ids": []})).status, 400);
}

fn rows_have_keys_by_their_file(at: &Surface) {
    let line = r#"{"userId":"lines","name":"add_revenue","value":5}"#;
    let body = format!("{line}\n{line}\nnot a line\n");
    let path = "/v1/uploads?format=lines-a&key=row&file=digest";
    // The same file twice: its rows are two events, however often it comes.
    for _ in 0..2 {
        let said = at.taken(201, path, "application/x-ndjson", body.as_bytes());
        let upload = format!("/v1/uploads/{}", said["upload"].as_str().unwrap());
        at.shown(&upload, "completed");
        let errors = at.ask(&format!("GET {upload}/errors?format=csv"), &[]);
        let text = errors.text();
        assert!(
            errors.status == 200 && text.lines().count() == 2 && text.contains("\n3,"),
            "{text}"
        );
    }
    assert_eq!(at.count("lines"), 2);
}

fn keys_and_the_document_are_there(at: &Surface) {
    assert_eq!(at.get("/v1/keys")["keys"], json!([]));
    let headers = [("Content-Type", "application/json")];
    let first = client::call(
        at.query,
        "POST /v1/keys",
        &headers,
        br#"{"scopes":["query"]}"#,
        PATIENCE,
    )
    .unwrap();
    let said = first.json().unwrap();
    assert_eq!(
        (first.status, &said["type"]),
        (409, &"/problems/first_key_needs_operator".into())
    );
    for (server, path) in [(at.ingest, "/v1/events"), (at.query, "/v1/days")] {
        let document = client::get_json(server, "/openapi.json", PATIENCE).unwrap();
        assert!(document["paths"][path].is_object(), "{path}");
        assert_eq!(client::get(server, "/api-docs", PATIENCE).unwrap().status, 200);
    }
}
