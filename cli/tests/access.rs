//! Keys as their users meet them: made and revoked on the command line, demanded by a running server, and never printed again.

use crate::rig::{PATIENCE, Rig, until};
use crate::{text, tidemark};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

/// Every endpoint, with the method.
const ENDPOINTS: [&str; 26] = [
    "POST /v1/events",
    "POST /v1/uploads",
    "GET /v1/uploads",
    "GET /v1/uploads/00000000-0000-7000-8000-000000000000",
    "GET /v1/uploads/00000000-0000-7000-8000-000000000000/errors",
    "POST /v1/uploads/00000000-0000-7000-8000-000000000000/process",
    "DELETE /v1/uploads/00000000-0000-7000-8000-000000000000",
    "GET /v1/days",
    "GET /v1/days/2025-11-04",
    "GET /v1/days?format=csv",
    "GET /v1/users/u1",
    "GET /v1/days/2025-11-04/users",
    "GET /v1/users/u1/days",
    "GET /userEvents/u1",
    "GET /v1/live",
    "GET /v1/receipts/x",
    "GET /v1/ledger",
    "GET /v1/dead-letters",
    "GET /v1/dead-letters/0-0",
    "GET /v1/keys",
    "POST /v1/keys",
    "DELETE /v1/keys/0123456789abcdef",
    "POST /v1/dead-letters/redrive",
    "GET /v1/users/u1/events",
    "GET /v1/distinct-users",
    "GET /no/such/path",
];
const RANGE: &str = "from=2025-11-01&to=2025-11-30";

/// An answer: its status, its head, its JSON if it is JSON, and its body.
struct Said {
    status: u16,
    head: String,
    json: Value,
    text: String,
}

/// A request, with a key or none.
fn ask(rig: &Rig, what: &str, key: &str, body: &str) -> Said {
    let mut stream = TcpStream::connect(rig.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let key = match key {
        "" => String::new(),
        key => format!("Authorization: Bearer {key}\r\n"),
    };
    let kind = match body.starts_with('{') {
        true if what.ends_with("/redrive") => "application/json",
        true => "application/x-ndjson",
        false => "text/csv",
    };
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{key}\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{what}: {answer:?}"));
    // A problem comes in one chunk.
    let json = body.find(['{', '[']).zip(body.rfind(['}', ']']));
    let json = json.and_then(|(start, end)| serde_json::from_str(&body[start..=end]).ok());
    Said {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        json: json.unwrap_or_default(),
        text: body.to_owned(),
    }
}

/// The status of a request with a key.
pub(crate) fn status(rig: &Rig, what: &str, key: &str) -> u16 {
    ask(rig, what, key, "").status
}

fn get(rig: &Rig, path: &str, key: &str) -> Value {
    let said = ask(rig, &format!("GET {path}"), key, "");
    assert_eq!(said.status, 200, "{path}: {}", said.text);
    said.json
}

fn keys(rig: &Rig, args: &[&str]) -> Output {
    let mut command = tidemark();
    command.arg("keys").args(args).arg("--data").arg(rig.path("data"));
    command.output().unwrap()
}

/// A new key, and its id.
pub(crate) fn create(rig: &Rig, tenant: &str, scopes: &[&str], more: &[&str]) -> (String, String) {
    let mut args = vec!["create", "--tenant", tenant];
    scopes.iter().for_each(|scope| args.extend(["--scope", scope]));
    args.extend(more);
    let made = keys(rig, &args);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let key = text(&made.stdout).trim().to_owned();
    let id = key.split('_').nth(1).unwrap().to_owned();
    // What is said about it does not hold it, so a script may log it.
    assert!(!text(&made.stderr).contains(&key) && text(&made.stderr).contains(&id));
    (key, id)
}

/// Sends rows, and waits until they are counted.
fn send(rig: &Rig, key: &str, rows: &str) {
    let said = ask(rig, "POST /v1/events", key, rows);
    assert_eq!(said.status, 200, "{}", said.text);
    let receipt = said.json["receipt"].as_str().unwrap();
    until("it is counted", || {
        let counted = get(rig, &format!("/v1/receipts/{receipt}?wait=20s"), key);
        (counted["counted"] == true).then_some(())
    });
}

/// Rows of the users `u1` and `u2`, the same keys for whoever sends them.
fn rows(amount: u32) -> String {
    let row = |number: u32| {
        format!(
            "u{},click,2025-11-04T12:00:0{number}Z,{amount},k{number}\n",
            number % 2 + 1
        )
    };
    let rows: String = (0..8).map(row).collect();
    format!("user_id,event_type,occurred_at,amount,idempotency_key\n{rows}")
}

#[test]
fn two_tenants_with_the_same_keys_and_users_are_apart_on_every_endpoint() {
    let mut rig = Rig::idle();
    let all = ["ingest", "query", "admin"];
    let (acme, _) = create(&rig, "acme", &all, &[]);
    let (other, _) = create(&rig, "other", &all, &[]);
    let (operator, _) = create(&rig, "ops", &["operator", "admin"], &[]);
    rig.start();
    // The same keys with other content: of one tenant they would be conflicts.
    send(&rig, &acme, &rows(1));
    send(&rig, &other, &rows(3));
    // And one real conflict each.
    let conflict = "user_id,event_type,occurred_at,idempotency_key\nu9,view,2025-11-04T12:00:00Z,k0\n";
    send(&rig, &acme, conflict);
    send(&rig, &other, conflict);
    let mut letters = Vec::new();
    for (key, amount) in [(&acme, 1), (&other, 3)] {
        let days = get(&rig, &format!("/v1/days?{RANGE}"), key)["days"].clone();
        assert_eq!(days.as_array().unwrap().len(), 1, "{days}");
        assert_eq!(
            (&days[0]["count"], &days[0]["sum"]),
            (&8.into(), &format!("{}.00", 8 * amount).into())
        );
        let user = get(&rig, "/v1/users/u1", key);
        assert_eq!(user["total"]["sum"], format!("{}.00", 4 * amount), "{user}");
        assert_eq!(get(&rig, "/userEvents/u1", key)[0]["revenue"], 4 * amount);
        let top = get(&rig, "/v1/days/2025-11-04/users", key)["users"].clone();
        assert!(
            top.as_array().unwrap().iter().all(|user| user["count"] == 4),
            "{top}"
        );
        let by_day = get(&rig, &format!("/v1/users/u2/days?{RANGE}"), key);
        assert_eq!(by_day["days"][0]["count"], 4);
        let csv = ask(&rig, &format!("GET /v1/days?{RANGE}&format=csv"), key, "");
        assert!(
            csv.text.contains(&format!("click,8,{}", 8 * amount)),
            "{}",
            csv.text
        );
        let refused = get(&rig, "/v1/dead-letters", key)["dead_letters"].clone();
        assert_eq!(refused.as_array().unwrap().len(), 1, "{refused}");
        assert_eq!(refused[0]["reason"], "key_conflict");
        letters.push(refused[0]["id"].as_str().unwrap().to_owned());
        let ledger = ask(&rig, "GET /v1/ledger", key, "");
        assert_eq!((ledger.status, &ledger.json["scope"]), (403, &"operator".into()));
    }
    for (key, own, others) in [(&acme, 0, 1), (&other, 1, 0)] {
        let letter = |of: usize| ask(&rig, &format!("GET /v1/dead-letters/{}", letters[of]), key, "").status;
        assert_eq!((letter(own), letter(others)), (200, 404));
        let redriven = |of: usize| {
            let body = format!(r#"{{"ids":["{}"],"dry_run":true}}"#, letters[of]);
            let said = ask(&rig, "POST /v1/dead-letters/redrive", key, &body);
            assert_eq!(said.status, 200, "{}", said.text);
            said.json["redriven"].clone()
        };
        assert_eq!((redriven(own), redriven(others)), (1.into(), 0.into()));
    }
    uploads_are_apart(&rig, [&acme, &other]);
    let ledger = get(&rig, "/v1/ledger", &operator);
    let number = |name: &str| ledger[name].as_u64().unwrap();
    assert_eq!(
        (number("counted"), number("duplicate"), number("dead_lettered")),
        (16, 0, 2),
        "{ledger}"
    );
    assert_eq!(
        get(&rig, "/v1/dead-letters", &operator)["dead_letters"],
        Value::Array(Vec::new())
    );
    // A repeat is a duplicate of one's own, and nobody else's.
    send(&rig, &acme, &rows(1));
    assert_eq!(get(&rig, "/v1/ledger", &operator)["duplicate"], 8);
    rig.audit();
}

/// What one holds, the other neither sees nor decides on.
fn uploads_are_apart(rig: &Rig, [owner, other]: [&String; 2]) {
    let row = "user_id,event_type,occurred_at\nu1,held,2025-11-04T12:00:00Z\n";
    let said = ask(rig, "POST /v1/uploads?hold=true", owner, row);
    assert_eq!(said.status, 201, "{}", said.text);
    let id = said.json["upload"].as_str().unwrap().to_owned();
    let wait = format!("?after={}&wait=30s", said.json["receipt"].as_str().unwrap());
    assert_eq!(
        get(rig, &format!("/v1/uploads/{id}{wait}"), owner)["status"],
        "held"
    );
    let listed = |key| get(rig, "/v1/uploads", key)["uploads"].as_array().unwrap().len();
    assert_eq!((listed(owner), listed(other)), (1, 0));
    for what in [
        "GET /v1/uploads/{}",
        "GET /v1/uploads/{}/errors",
        "POST /v1/uploads/{}/process",
        "DELETE /v1/uploads/{}",
    ] {
        assert_eq!(
            ask(rig, &what.replace("{}", &id), other, "").status,
            404,
            "{what}"
        );
    }
    assert_eq!(get(rig, &format!("/v1/uploads/{id}"), owner)["status"], "held");
    let discarded = ask(rig, &format!("DELETE /v1/uploads/{id}"), owner, "");
    assert_eq!(discarded.status, 200, "{}", discarded.text);
}

#[test]
fn nothing_but_health_is_answered_without_a_key_that_fits() {
    let mut rig = Rig::idle();
    let (nothing, id) = create(&rig, "acme", &["operator"], &["--name", "for the ledger"]);
    let (rated, _) = create(&rig, "acme", &["query"], &["--rate", "1"]);
    rig.start();
    let unknown = format!("tmk_{id}_{}", "0".repeat(64));
    for endpoint in ENDPOINTS {
        for (key, code) in [
            ("", "key_missing"),
            (unknown.as_str(), "key_unknown"),
            ("secret", "key_unknown"),
        ] {
            let said = ask(&rig, endpoint, key, "");
            assert_eq!(
                (said.status, &said.json["type"]),
                (401, &format!("/problems/{code}").into()),
                "{endpoint}"
            );
            assert!(said.head.contains("www-authenticate: bearer"), "{}", said.head);
        }
        let said = ask(&rig, endpoint, &nothing, "");
        let expected = match endpoint {
            "GET /v1/ledger" | "GET /v1/keys" => 200,
            // Of no key, and with no JSON to make one of.
            "DELETE /v1/keys/0123456789abcdef" | "GET /no/such/path" => 404,
            "POST /v1/keys" => 415,
            _ => 403,
        };
        assert_eq!(said.status, expected, "{endpoint}");
    }
    assert_eq!(ask(&rig, "GET /health", "", "").status, 200);
    // The page holds nobody's data; it asks for a key itself.
    for page in ["GET /", "GET /console/about.json", "GET /console/app.js"] {
        assert_eq!(ask(&rig, page, "", "").status, 200, "{page}");
    }
    let older = r#"{"userId":"u","name":"add_revenue","value":1}"#;
    assert_eq!(ask(&rig, "POST /liveEvent", "", older).status, 403);
    let limited = until("one a second is exceeded", || {
        let said = ask(&rig, "GET /v1/days", &rated, "");
        (said.status == 429).then_some(said)
    });
    assert_eq!(limited.json["type"], "/problems/rate_exceeded");
    assert!(limited.head.contains("retry-after: 1"), "{}", limited.head);
    let listed = text(&keys(&rig, &["list"]).stdout);
    assert!(
        listed.contains("for the ledger") && listed.contains("never"),
        "{listed}"
    );
    // A key that is revoked while the server runs holds for two seconds at most; a new one as well.
    let revoked = keys(&rig, &["revoke", &id]);
    assert_eq!(revoked.status.code(), Some(0), "{}", text(&revoked.stderr));
    until("the key is revoked", || {
        let said = ask(&rig, "GET /v1/ledger", &nothing, "");
        (said.json["type"] == "/problems/key_revoked").then_some(())
    });
    let (late, _) = create(&rig, "acme", &["operator"], &[]);
    until("the new key holds", || {
        (ask(&rig, "GET /v1/ledger", &late, "").status == 200).then_some(())
    });
    rig.audit();
    // The server has ended, and has written what was used.
    let listed = text(&keys(&rig, &["list", "--json"]).stdout);
    let lines: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines[0]["last_used_at"].is_string() && lines[0]["revoked_at"].is_string(),
        "{listed}"
    );
    let data = [
        rig.read("server.log"),
        rig.read("data/keys.jsonl"),
        rig.read("data/keys.jsonl.used"),
        listed,
    ];
    for key in [&nothing, &rated, &late] {
        let secret = key.rsplit('_').next().unwrap();
        assert!(data.iter().all(|text| !text.contains(secret)));
    }
}

#[test]
fn keys_of_a_server_that_runs_without_any_close_it_for_others() {
    let rig = Rig::new();
    assert_eq!(ask(&rig, "GET /v1/days", "", "").status, 200);
    let (key, _) = create(&rig, "acme", &["query"], &[]);
    until("a key is demanded", || {
        (ask(&rig, "GET /v1/days", "", "").status == 401).then_some(())
    });
    assert_eq!(ask(&rig, "GET /v1/days", &key, "").status, 200);
    // A damaged file changes nothing, and is said.
    rig.write("data/keys.jsonl", "no key");
    until("it is said", || {
        rig.read("server.log")
            .contains("the file of keys cannot be read")
            .then_some(())
    });
    assert_eq!(ask(&rig, "GET /v1/days", &key, "").status, 200);
    assert_eq!(ask(&rig, "GET /v1/days", "", "").status, 401);
}

#[test]
fn live_totals_end_with_the_key_that_they_are_shown_to() {
    let mut rig = Rig::idle();
    let (key, id) = create(&rig, "acme", &["query"], &[]);
    rig.start();
    let mut stream = TcpStream::connect(rig.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /v1/live HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n"
    )
    .unwrap();
    let mut seen = String::new();
    while !seen.contains("event: range") {
        let mut piece = [0; 4096];
        let bytes = stream.read(&mut piece).unwrap();
        assert!(bytes > 0, "{seen}");
        seen.push_str(&text(&piece[..bytes]));
    }
    assert_eq!(keys(&rig, &["revoke", &id]).status.code(), Some(0));
    // The body of a stream ends with a chunk of no bytes; without that it would go on for ever.
    let begun = Instant::now();
    while !seen.ends_with("0\r\n\r\n") {
        assert!(begun.elapsed() < PATIENCE, "{seen}");
        let mut piece = [0; 4096];
        let bytes = stream.read(&mut piece).unwrap();
        assert!(bytes > 0, "{seen}");
        seen.push_str(&text(&piece[..bytes]));
    }
}

#[test]
fn what_keys_cannot_do_is_said_with_its_exit_code() {
    let rig = Rig::idle();
    let fails = |code: i32, args: &[&str]| {
        let output = keys(&rig, args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stderr)
    };
    fails(66, &["list"]);
    fails(66, &["revoke", "0123456789abcdef"]);
    assert!(!rig.path("data/keys.jsonl").exists());
    for wrong in [
        &["create"][..],
        &["create", "--tenant", "acme"],
        &["create", "--tenant", "acme", "--scope", "root"],
        &["create", "--tenant", "", "--scope", "query"],
        &["create", "--tenant", "a\nb", "--scope", "query"],
        &["create", "--tenant", "acme", "--scope", "query", "--rate", "0"],
        &["create", "--tenant", "acme", "--scope", "query", "--quota", "0"],
    ] {
        fails(64, wrong);
    }
    assert!(!rig.path("data/keys.jsonl").exists());
    let (key, _) = create(&rig, "acme", &["query"], &[]);
    let said = fails(65, &["revoke", &key]);
    assert!(!said.contains(&key), "{said}");
    rig.write("data/keys.jsonl", "no key");
    for args in [&["list"][..], &["create", "--tenant", "acme", "--scope", "query"]] {
        assert!(fails(65, args).contains("damaged: line 1"));
    }
    assert_eq!(rig.read("data/keys.jsonl"), "no key");
    // A server does not start with what it cannot read, nor without what it was told of.
    let start = |args: &[&str]| {
        let mut command = tidemark();
        command.args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--data",
        ]);
        let output = command.arg(rig.path("data")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(start(&[]).contains("damaged: line 1"));
    assert!(start(&["--set", "access.keys_file=/no/such/file"]).contains("/no/such/file"));
}

#[test]
fn send_shows_its_key_to_the_server_and_to_nobody_else() {
    let mut rig = Rig::idle();
    let (key, id) = create(&rig, "acme", &["ingest"], &[]);
    let (other, _) = create(&rig, "other", &["ingest"], &[]);
    let (reader, _) = create(&rig, "acme", &["query"], &[]);
    let (operator, _) = create(&rig, "ops", &["operator"], &[]);
    rig.start();
    rig.write("events.csv", rows(1));
    rig.write("key", format!("{key}\n"));
    let quick = |args: &[&str]| rig.send(&[&["events.csv", "--retry-for", "1"], args].concat());
    quick(&[]).ended(4).said("A key is needed");
    quick(&["--key", &reader]).ended(4).said("lacks the scope");
    let wrong = quick(&["--key", "hush"]).ended(64);
    assert!(!wrong.text().contains("hush"));
    quick(&["--key-file", "no-file"]).ended(66);
    // It waits with a key that may only send, and says nothing of a ledger that is not its own.
    let sent = quick(&["--key-file", "key", "--wait"])
        .ended(0)
        .said("all of it is counted");
    assert!(!sent.text().contains("duplicates"), "{}", sent.text());
    let counted = |name: &str| get(&rig, "/v1/ledger", &operator)[name].as_u64();
    assert_eq!(counted("counted"), Some(8));
    quick(&["--key", &key]).ended(0);
    assert_eq!((counted("counted"), counted("duplicate")), (Some(8), Some(0)));
    // With another key it may be another tenant's, so nothing of it was sent yet.
    quick(&["--key", &other, "--wait"]).ended(0);
    assert_eq!(counted("counted"), Some(16));
    let state = rig.read("events.csv.send-state");
    let secret = |key: &str| key.rsplit('_').next().unwrap().to_owned();
    assert!(
        !state.contains(&secret(&key)) && !state.contains(&secret(&other)),
        "{state}"
    );
    assert!(!rig.read("server.log").contains(&secret(&key)) && !id.is_empty());
    let help = tidemark()
        .args(["send", "--help"])
        .env("TIDEMARK_KEY", &key)
        .output()
        .unwrap();
    assert!(!text(&help.stdout).contains(&secret(&key)));
    rig.audit();
}

#[test]
fn an_address_that_others_reach_is_served_with_keys() {
    let rig = Rig::idle();
    let run = |data: &Path| {
        let mut command = tidemark();
        command
            .args(["check-config", "--listen", "0.0.0.0:0", "--data"])
            .arg(data);
        command.output().unwrap()
    };
    let refused = run(&rig.path("data"));
    assert_eq!(refused.status.code(), Some(64));
    assert!(
        text(&refused.stderr).contains("without API keys"),
        "{}",
        text(&refused.stderr)
    );
    let (key, _) = create(&rig, "acme", &["query"], &[]);
    let shown = run(&rig.path("data"));
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert!(!text(&shown.stdout).contains(key.rsplit('_').next().unwrap()));
}
