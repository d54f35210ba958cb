//! Redrives of dead letters: whoever dies while they are put back, each letter has its effect once, and those that never heal are
//! quarantined.

use crate::rig::{AUDIT, Chance, Tally, turn, wait_until};
use crate::services::{Services, audit};
use e2e::client::{self, Answer};
use e2e::world::{Cluster, Embedded, PATIENCE, Service};
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::SocketAddr;
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

const PATH: &str = "/v1/dead-letters/redrive";
/// For one call of a redrive, which keeps its rate meanwhile.
const CALL: Duration = Duration::from_secs(60);
/// Letters of one call.
const LIMIT: u64 = 500;
/// Of ten letters the one that never heals.
const STUCK: u64 = 10;

/// Reversals of events that are not there, one for each number; or the events themselves, without those that never come.
fn lines(count: u64, reverse: bool) -> Vec<u8> {
    let mut lines = String::new();
    for number in (0..count).filter(|number| reverse || number % STUCK != 0) {
        let line = json!({
            "user_id": format!("u{}", number % 97), "event_type": "sale", "amount": "1.50",
            "occurred_at": "2024-01-15T10:00:00Z", "idempotency_key": format!("k{number}"), "reverse": reverse,
        });
        writeln!(lines, "{line}").unwrap();
    }
    lines.into_bytes()
}

fn send(server: SocketAddr, lines: &[u8]) {
    let answer = client::post(server, "/v1/events", "application/x-ndjson", lines, CALL).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json().unwrap()["invalid"], 0);
}

fn ledger(server: SocketAddr) -> Option<Value> {
    let answer = client::get(server, "/v1/ledger", PATIENCE).ok()?;
    (answer.status == 200).then(|| answer.json().unwrap())
}

fn number(server: SocketAddr, name: &str) -> u64 {
    ledger(server).map_or(0, |ledger| ledger[name].as_u64().unwrap())
}

/// Nothing is on the log that is not in the ledger.
fn settled(server: SocketAddr) -> Value {
    wait_until(|| ledger(server).is_some_and(|ledger| ledger["in_flight"] == 0));
    ledger(server).unwrap()
}

fn call(server: SocketAddr, body: &Value) -> anyhow::Result<Answer> {
    client::post(
        server,
        PATH,
        "application/json",
        body.to_string().as_bytes(),
        CALL,
    )
}

/// What one run over all letters did, page by page, or that it broke off.
fn run(server: SocketAddr, mut body: Value) -> Result<Value, String> {
    let mut sum = json!({"matched": 0, "redriven": 0, "quarantined": 0, "done": 0});
    body["filter"] = json!({"reason": ["reversal_unmatched"]});
    loop {
        let answer = call(server, &body).map_err(|error| error.to_string())?;
        let page = answer.json().map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("{} {page}", answer.status));
        }
        for (name, count) in [
            ("matched", &page["matched"]),
            ("redriven", &page["redriven"]),
            ("quarantined", &page["skipped"]["quarantined"]),
            ("done", &page["skipped"]["redriven"]),
        ] {
            sum[name] = json!(sum[name].as_u64().unwrap() + count.as_u64().unwrap());
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => body["cursor"] = json!(cursor),
            None => return Ok(sum),
        }
    }
}

/// The same, again where the server says that it is not there yet.
fn run_to_end(server: SocketAddr, body: &Value) -> Value {
    let mut done = None;
    wait_until(|| {
        let ran = run(server, body.clone());
        if let Err(why) = &ran {
            println!("once more: {why}");
        }
        done = ran.ok();
        done.is_some()
    });
    done.unwrap()
}

fn start(server: SocketAddr, rate: u64) -> JoinHandle<Result<Value, String>> {
    std::thread::spawn(move || run(server, json!({"limit": LIMIT, "rate": rate})))
}

/// How many letters are in a state, and the most tries that one of them had.
fn listed(server: SocketAddr, state: &str) -> (u64, u64) {
    let (mut count, mut tries, mut cursor) = (0, 0, String::new());
    loop {
        let path = format!("/v1/dead-letters?state={state}&limit=1000{cursor}");
        let page = client::get_json(server, &path, PATIENCE).unwrap();
        for letter in page["dead_letters"].as_array().unwrap() {
            count += 1;
            tries = tries.max(letter["tries"].as_u64().unwrap());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (count, tries),
        }
    }
}

/// What must be in the end: each letter that can heal took its event back once, and the others never counted.
fn each_letter_had_its_effect_once(server: SocketAddr, letters: u64) {
    let ledger = settled(server);
    println!("{ledger}");
    let healed = letters - letters / STUCK;
    assert_eq!(
        (&ledger["counted"], &ledger["reversed"], &ledger["balanced"]),
        (&json!(healed), &json!(healed), &json!(true)),
        "{ledger}"
    );
    assert_eq!(ledger["accepted"], json!(letters + healed), "{ledger}");
    let days = "/v1/days?from=2024-01-15&to=2024-01-15";
    let days = client::get_json(server, days, PATIENCE).unwrap();
    let left = days["days"].as_array().unwrap().iter();
    let left: Vec<&Value> = left
        .filter(|day| day["count"] != 0 || day["sum"] != "0")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(listed(server, "redriven").0, healed);
    assert_eq!(
        listed(server, "quarantined").0 + listed(server, "open").0,
        letters / STUCK
    );
}

/// Redrives all again and again, until nothing is left that may be.
fn until_quarantined(server: SocketAddr, letters: u64) {
    for _ in 0..5 {
        let ran = run_to_end(server, &json!({"limit": 10_000, "rate": 10_000}));
        settled(server);
        println!("{ran}");
    }
    let last = run_to_end(server, &json!({"limit": 10_000, "dry_run": true}));
    let expected = json!({
        "matched": letters, "redriven": 0, "quarantined": letters / STUCK, "done": letters - letters / STUCK,
    });
    assert_eq!(last, expected);
    let (count, tries) = listed(server, "quarantined");
    assert_eq!(count, letters / STUCK);
    assert!(tries >= 5, "{tries}");
}

fn letters(default: u64) -> u64 {
    match std::env::var("TIDEMARK_LETTERS") {
        Ok(number) => number.parse().expect("TIDEMARK_LETTERS is a number"),
        Err(_) => default,
    }
}

/// Letters, and then the originals of those that can heal; a dry run sees them and changes nothing.
fn prepare(ingest: SocketAddr, query: SocketAddr, letters: u64) {
    send(ingest, &lines(letters, true));
    wait_until(|| number(query, "dead_lettered") == letters);
    send(ingest, &lines(letters, false));
    wait_until(|| number(query, "counted") == letters - letters / STUCK);
    let before = settled(query);
    let dry = run_to_end(query, &json!({"limit": LIMIT, "dry_run": true}));
    assert_eq!(
        (&dry["matched"], &dry["redriven"]),
        (&json!(letters), &json!(letters))
    );
    assert_eq!(settled(query), before, "a dry run changed something");
    assert_eq!(listed(query, "open"), (letters, 0));
}

#[test]
fn a_redrive_in_the_single_process_has_each_effect_once_whenever_it_dies() {
    let _turn = turn();
    let mut chance = Chance::new();
    let world = Embedded::new("redrive").unwrap();
    let mut service = Service::start(world.run()).unwrap();
    let (server, letters) = (world.address, letters(10_000));
    prepare(server, server, letters);
    let healed = letters - letters / STUCK;
    for kill in 1..=3 {
        let before = number(server, "reversed");
        let redrive = start(server, letters / 4);
        // In the middle: some of this run are taken back, and many are left.
        let some = before + 1 + chance.below((healed - before) / 3);
        wait_until(|| number(server, "reversed") >= some);
        service.process.kill().unwrap();
        let broke = redrive.join().unwrap();
        service.restart().unwrap();
        let after = settled(server)["reversed"].as_u64().unwrap();
        println!("kill {kill}: {before} letters were healed before this run, {after} behind it; {broke:?}");
        assert!(broke.is_err(), "the redrive was over before the kill");
        assert!(
            before < after && after < healed,
            "the kill did not come in the middle"
        );
    }
    let rest = run_to_end(server, &json!({"limit": 10_000, "rate": 10_000}));
    assert_eq!(rest["matched"], letters);
    each_letter_had_its_effect_once(server, letters);
    until_quarantined(server, letters);
    each_letter_had_its_effect_once(server, letters);
    // Forced, one of them is tried once more.
    let page = client::get_json(server, "/v1/dead-letters?state=quarantined&limit=1", PATIENCE).unwrap();
    let forced = json!({"ids": [page["dead_letters"][0]["id"]], "force": true});
    let answer = call(server, &forced).unwrap().json().unwrap();
    assert_eq!(answer["redriven"], 1, "{answer}");
    settled(server);
    service.process.stop(PATIENCE).unwrap();
    assert_eq!(
        world.audit().run(AUDIT).unwrap(),
        0,
        "the audit found differences, or could not look"
    );
}

#[test]
fn a_redrive_on_kafka_has_each_effect_once_whoever_dies() {
    let _turn = turn();
    let mut chance = Chance::new();
    let world = Cluster::new("redrive").unwrap();
    let mut services = Services::start(&world, true);
    let (server, letters) = (world.query_address, letters(2_000));
    prepare(world.ingest_address, server, letters);
    let healed = letters - letters / STUCK;
    // The one that redrives dies in the middle of it.
    let redrive = start(server, letters / 4);
    let some = 1 + chance.below(healed / 3);
    wait_until(|| number(server, "reversed") >= some);
    services.query.process.kill().unwrap();
    let broke = redrive.join().unwrap();
    services.query.restart().unwrap();
    let after = settled(server)["reversed"].as_u64().unwrap();
    println!("query killed: {after} letters of {healed} healed; {broke:?}");
    assert!(
        broke.is_err() && after < healed,
        "the kill did not come in the middle"
    );
    // Those that count die while copies come.
    let mut tally = Tally::default();
    let redrive = start(server, letters / 4);
    for victim in [0, 1] {
        let before = number(server, "reversed");
        wait_until(|| {
            let now = number(server, "reversed");
            now > before || now == healed
        });
        services.aggregators[victim].process.kill().unwrap();
        let at = number(server, "reversed");
        services.aggregators[victim].restart().unwrap();
        let when = if at < healed {
            "copies being counted"
        } else {
            "all counted"
        };
        tally.add(format!("aggregator, {when}"));
        sleep(chance.ms(0, 500));
    }
    tally.print();
    println!("{:?}", redrive.join().unwrap());
    run_to_end(server, &json!({"limit": 10_000, "rate": 10_000}));
    each_letter_had_its_effect_once(server, letters);
    until_quarantined(server, letters);
    each_letter_had_its_effect_once(server, letters);
    services.stop();
    audit(&world);
}
