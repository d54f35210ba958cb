//! Two tenants on Kafka and the view store, with the same keys, users and days: neither sees, counts into or suppresses anything of the
//! other, on any call. The same on the single process is in `cli/tests/access.rs`.

use crate::rig::{turn_with_others, wait_until};
use crate::services::{Services, audit};
use e2e::client::{self, Answer};
use e2e::world::{Cluster, PATIENCE};
use serde_json::Value;
use std::net::SocketAddr;

const RANGE: &str = "from=2025-11-01&to=2025-11-30";

/// A call with a key.
fn ask(server: SocketAddr, key: &str, what: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "text/csv")];
    client::call(server, what, &headers, body.as_bytes(), PATIENCE).unwrap()
}

fn get(server: SocketAddr, key: &str, path: &str) -> Value {
    let answer = ask(server, key, &format!("GET {path}"), "");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json().unwrap()
}

/// Makes a key with the program's own command: its text is the last word that it prints.
fn create(world: &Cluster, tenant: &str, scopes: &[&str]) -> String {
    let mut role = world.role("keys", "keys");
    role.args.insert(1, "create".to_owned());
    role.args.push(format!("--tenant={tenant}"));
    role.args
        .extend(scopes.iter().map(|scope| format!("--scope={scope}")));
    assert_eq!(
        role.run(PATIENCE).unwrap(),
        0,
        "{}",
        e2e::process::last_lines(&role.log)
    );
    let printed = std::fs::read_to_string(&role.log).unwrap();
    let key = printed.split_whitespace().rfind(|word| word.starts_with("tmk_"));
    key.unwrap_or_else(|| panic!("{printed}")).to_owned()
}

/// Rows of the users `u0` and `u1`, the same keys for whoever sends them.
fn rows(amount: u32) -> String {
    let row = |n: u32| format!("u{},click,2025-11-04T12:00:0{n}Z,{amount},k{n}\n", n % 2);
    let rows: String = (0..8).map(row).collect();
    format!("user_id,event_type,occurred_at,amount,idempotency_key\n{rows}")
}

/// Sends rows to ingest, and waits at query until they are counted.
fn send(world: &Cluster, key: &str, rows: &str) {
    let answer = ask(world.ingest_address, key, "POST /v1/events", rows);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json().unwrap();
    let path = format!("/v1/receipts/{}?wait=20s", said["receipt"].as_str().unwrap());
    wait_until(|| get(world.query_address, key, &path)["counted"] == true);
}

#[test]
fn two_tenants_on_kafka_are_apart_on_every_call() {
    let _turn = turn_with_others();
    let mut world = Cluster::new("tenants").unwrap();
    let file = world.path("keys.jsonl");
    world.set("TIDEMARK_ACCESS__KEYS_FILE", file.display());
    let all = ["ingest", "query", "admin"];
    let (acme, other) = (create(&world, "acme", &all), create(&world, "other", &all));
    let operator = create(&world, "ops", &["operator", "admin"]);
    let services = Services::start(&world, true);
    let query = world.query_address;
    for server in [world.ingest_address, query] {
        let path = if server == query {
            "GET /v1/days"
        } else {
            "POST /v1/events"
        };
        assert_eq!(ask(server, "none", path, "").status, 401, "{path}");
    }
    // The same keys with other content, and one real conflict each.
    let conflict = "user_id,event_type,occurred_at,idempotency_key\nu9,view,2025-11-04T12:00:00Z,k0\n";
    for (key, amount) in [(&acme, 1), (&other, 3)] {
        send(&world, key, &rows(amount));
        send(&world, key, conflict);
    }
    let mut letters = Vec::new();
    for (key, amount) in [(&acme, 1), (&other, 3)] {
        let days = get(query, key, &format!("/v1/days?{RANGE}"));
        let line = &days["days"][0];
        assert_eq!(
            (&line["count"], &line["sum"]),
            (&8.into(), &format!("{}.00", 8 * amount).into()),
            "{days}"
        );
        assert_eq!(days["days"].as_array().unwrap().len(), 1, "{days}");
        assert_eq!(
            get(query, key, "/v1/users/u1")["total"]["sum"],
            format!("{}.00", 4 * amount)
        );
        assert_eq!(
            get(query, key, &format!("/v1/users/u1/days?{RANGE}"))["days"][0]["count"],
            4
        );
        assert_eq!(
            get(query, key, "/v1/days/2025-11-04/users")["users"][0]["count"],
            4
        );
        assert_eq!(get(query, key, "/userEvents/u1")[0]["revenue"], 4 * amount);
        let refused = get(query, key, "/v1/dead-letters")["dead_letters"].clone();
        assert_eq!(refused.as_array().unwrap().len(), 1, "{refused}");
        letters.push(refused[0]["id"].as_str().unwrap().to_owned());
        assert_eq!(ask(query, key, "GET /v1/ledger", "").status, 403);
    }
    for (key, own, others) in [(&acme, 0, 1), (&other, 1, 0)] {
        let letter = |of: usize| ask(query, key, &format!("GET /v1/dead-letters/{}", letters[of]), "").status;
        assert_eq!((letter(own), letter(others)), (200, 404));
    }
    uploads_are_apart(&world, [&acme, &other]);
    // A repeat is a duplicate of one's own, and nobody else's.
    send(&world, &acme, &rows(1));
    let ledger = get(query, &operator, "/v1/ledger");
    let number = |name: &str| ledger[name].as_u64().unwrap();
    assert_eq!(
        (number("counted"), number("duplicate"), number("dead_lettered")),
        (16, 8, 2),
        "{ledger}"
    );
    services.stop();
    audit(&world);
}

/// What one holds, the other neither sees nor decides on.
fn uploads_are_apart(world: &Cluster, [owner, other]: [&String; 2]) {
    let row = "user_id,event_type,occurred_at\nu1,held,2025-11-04T12:00:00Z\n";
    let answer = ask(world.ingest_address, owner, "POST /v1/uploads?hold=true", row);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let said = answer.json().unwrap();
    let (query, path) = (
        world.query_address,
        format!("/v1/uploads/{}", said["upload"].as_str().unwrap()),
    );
    let wait = format!("{path}?after={}&wait=30s", said["receipt"].as_str().unwrap());
    assert_eq!(get(query, owner, &wait)["status"], "held");
    let listed = |key| {
        get(query, key, "/v1/uploads")["uploads"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((listed(owner), listed(other)), (1, 0));
    for what in [
        format!("GET {path}"),
        format!("GET {path}/errors"),
        format!("POST {path}/process"),
        format!("DELETE {path}"),
    ] {
        assert_eq!(ask(query, other, &what, "").status, 404, "{what}");
    }
    assert_eq!(get(query, owner, &path)["status"], "held");
    assert_eq!(ask(query, owner, &format!("DELETE {path}"), "").status, 200);
}
