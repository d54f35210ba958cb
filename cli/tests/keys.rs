//! Keys over HTTP on the whole program: tenants are apart there as everywhere, and nothing is lost where the command line and the server
//! change the file at once.

use crate::access::create;
use crate::rig::{PATIENCE, Rig, until};
use crate::{text, tidemark};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Status and JSON of an answer to a request with a key and a JSON body.
fn ask(rig: &Rig, what: &str, key: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(rig.address()).unwrap();
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn ids(rig: &Rig, key: &str) -> BTreeSet<String> {
    let (status, answer) = ask(rig, "GET /v1/keys", key, "");
    assert_eq!(status, 200, "{answer}");
    let keys = answer["keys"].as_array().unwrap().iter();
    keys.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tenants_see_and_change_keys_of_their_own_alone_and_the_operator_those_of_all() {
    let mut rig = Rig::idle();
    let (root, root_id) = create(&rig, "ops", &["operator", "admin"], &[]);
    let (acme, acme_id) = create(&rig, "acme", &["admin", "query"], &[]);
    let (other, other_id) = create(&rig, "other", &["admin", "query"], &[]);
    rig.start();
    let set = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&rig, &root), set(&[&root_id, &acme_id, &other_id]));
    assert_eq!(ids(&rig, &acme), set(&[&acme_id]));
    assert_eq!(ids(&rig, &other), set(&[&other_id]));
    let wanted = |tenant: &str| json!({"tenant": tenant, "scopes": ["query"]}).to_string();
    assert_eq!(ask(&rig, "POST /v1/keys", &acme, &wanted("other")).0, 403);
    assert_eq!(
        ask(&rig, &format!("DELETE /v1/keys/{other_id}"), &acme, "").0,
        404
    );
    let (status, made) = ask(&rig, "POST /v1/keys", &acme, &wanted("acme"));
    assert_eq!(status, 201, "{made}");
    let key = made["key"].as_str().unwrap();
    // It holds from the answer on, sees its tenant's numbers, and is gone from the answer on.
    assert_eq!(ask(&rig, "GET /v1/days", key, "").0, 200);
    let path = format!("DELETE /v1/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(ask(&rig, &path, &other, "").0, 404);
    assert_eq!(ask(&rig, "GET /v1/days", key, "").0, 200);
    assert_eq!(ask(&rig, &path, &acme, "").0, 204);
    assert_eq!(ask(&rig, "GET /v1/days", key, "").0, 401);
    rig.audit();
    let secret = key.rsplit('_').next().unwrap();
    for file in ["server.log", "data/keys.jsonl", "data/keys.jsonl.used"] {
        assert!(!rig.read(file).contains(secret), "{file}");
    }
}

#[test]
fn keys_made_on_the_command_line_and_over_http_at_once_are_all_there() {
    let mut rig = Rig::idle();
    let (root, root_id) = create(&rig, "ops", &["operator", "admin"], &[]);
    rig.start();
    let made: BTreeSet<String> = std::thread::scope(|scope| {
        let by_line = scope.spawn(|| {
            let of = |number: usize| create(&rig, &format!("line-{number}"), &["query"], &[]).1;
            (0..6).map(of).collect::<Vec<_>>()
        });
        let over_http = scope.spawn(|| {
            let of = |number: usize| {
                let body = json!({"tenant": format!("http-{number}"), "scopes": ["query"]}).to_string();
                let (status, made) = ask(&rig, "POST /v1/keys", &root, &body);
                assert_eq!(status, 201, "{made}");
                made["id"].as_str().unwrap().to_owned()
            };
            (0..30).map(of).collect::<Vec<_>>()
        });
        let (line, http) = (by_line.join().unwrap(), over_http.join().unwrap());
        line.into_iter().chain(http).chain([root_id]).collect()
    });
    assert_eq!(made.len(), 37);
    until("all are listed", || (ids(&rig, &root) == made).then_some(()));
    let listed = crate::tidemark()
        .args(["keys", "list", "--data"])
        .arg(rig.path("data"))
        .output()
        .unwrap();
    assert_eq!(text(&listed.stdout).lines().count(), made.len() + 1);
}

#[test]
fn a_file_of_keys_that_cannot_be_read_ends_the_command_with_74() {
    let rig = Rig::idle();
    std::fs::create_dir_all(rig.path("data/keys.jsonl")).unwrap();
    for args in [&["list"][..], &["create", "--tenant", "t", "--scope", "query"]] {
        let mut command = crate::tidemark();
        command.arg("keys").args(args).arg("--data").arg(rig.path("data"));
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{args:?}: {said}");
    }
}

/// The file holds for the start, and for what is put into it later.
#[test]
fn the_secret_of_clients_of_the_older_service_follows_its_file() {
    let mut rig = Rig::idle();
    let file = rig.write("secret", "first\n");
    rig.set(&[&format!("http.live_event_secret_file={}", file.display())]);
    rig.start();
    let status = |secret: &str| {
        let event = br#"{"userId":"u","name":"add_revenue","value":1}"#;
        let headers = [("Content-Type", "application/json"), ("Authorization", secret)];
        let answer = e2e::client::call(rig.address(), "POST /liveEvent", &headers, event, PATIENCE);
        answer.unwrap().status
    };
    assert_eq!(
        (status("first"), status("secret"), status("second")),
        (200, 403, 403)
    );
    rig.write("secret", "second");
    until("the new secret holds", || (status("second") == 200).then_some(()));
    assert_eq!(status("first"), 403);
    // What cannot be read changes nothing.
    rig.write("secret", "");
    let log = "the secret before it stays";
    until("it was looked at", || {
        rig.read("server.log").contains(log).then_some(())
    });
    assert_eq!(status("second"), 200);
    let shown = tidemark()
        .args([
            "check-config",
            "--set",
            &format!("http.live_event_secret_file={}", file.display()),
        ])
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(64), "an empty file is no secret");
    assert!(
        text(&shown.stderr).contains("holds nothing"),
        "{}",
        text(&shown.stderr)
    );
}
