//! Held uploads: whoever dies while their rows are copied, each row counts once.

use crate::rig::{AUDIT, Chance, Tally, turn, wait_until};
use crate::services::{Services, audit};
use e2e::client;
use e2e::model::Ledger;
use e2e::world::{Cluster, Embedded, PATIENCE, Service};
use serde_json::Value;
use std::fmt::Write;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

/// For one answer of a process that may be dead.
const SHORT: Duration = Duration::from_secs(2);

/// Rows of the upload: `TIDEMARK_HELD_ROWS`, else few.
fn rows() -> u64 {
    match std::env::var("TIDEMARK_HELD_ROWS") {
        Ok(number) => number.parse().expect("TIDEMARK_HELD_ROWS is a number"),
        Err(_) => 20_000,
    }
}

/// A file of so many events, each of its own time.
fn file(rows: u64) -> Vec<u8> {
    let mut file = String::from("userId,eventType,timestamp\n");
    for row in 0..rows {
        let micros = 1_700_000_000_000_000 + row * 1000;
        writeln!(file, "user-{},click,{micros}", row % 97).unwrap();
    }
    file.into_bytes()
}

/// Sends the file, to be held; its id.
fn hold(server: SocketAddr, rows: u64) -> String {
    let path = "/v1/uploads?hold=true&name=held.csv";
    let answer = client::post(server, path, "text/csv", &file(rows), PATIENCE).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let said = answer.json().unwrap();
    assert_eq!(
        (&said["status"], &said["accepted"]),
        (&"held".into(), &rows.into())
    );
    said["upload"].as_str().unwrap().to_owned()
}

fn status(server: SocketAddr, id: &str) -> Option<Value> {
    let answer = client::get(server, &format!("/v1/uploads/{id}"), SHORT).ok()?;
    (answer.status == 200).then(|| answer.json().unwrap())
}

/// How many of its rows have their final outcome.
fn counted(server: SocketAddr, id: &str) -> u64 {
    status(server, id).map_or(0, |said| said["ledger"]["counted"].as_u64().unwrap())
}

/// Asks for the release; true if that was answered.
fn process(server: SocketAddr, id: &str) -> bool {
    let path = format!("/v1/uploads/{id}/process");
    let Ok(answer) = client::post(server, &path, "text/plain", b"", SHORT) else {
        return false;
    };
    // Right behind a start it may not be reflected yet, or the view not be ready.
    assert!(
        matches!(answer.status, 200 | 202 | 404 | 503),
        "{} {}",
        answer.status,
        answer.text()
    );
    matches!(answer.status, 200 | 202)
}

/// What must be in the end: each row counted once, whatever was copied twice.
fn each_row_counted_once(server: SocketAddr, id: &str, rows: u64) {
    wait_until(|| status(server, id).is_some_and(|said| said["status"] == "completed"));
    let said = status(server, id).unwrap();
    println!("{said}");
    let ledger = &said["ledger"];
    assert_eq!(
        (&ledger["counted"], &ledger["duplicate"]),
        (&rows.into(), &0.into()),
        "{said}"
    );
    let days = "/v1/days?from=2023-11-14&to=2023-11-15";
    let days = client::get_json(server, days, PATIENCE).unwrap();
    let counts = days["days"].as_array().unwrap().iter();
    assert_eq!(
        counts.map(|day| day["count"].as_u64().unwrap()).sum::<u64>(),
        rows
    );
    let all = Ledger::ask(server, PATIENCE).unwrap();
    assert!(all.balanced, "{all:?}");
    assert_eq!((all.accepted, all.counted), (rows, rows), "{all:?}");
}

#[test]
fn a_held_upload_on_kafka_counts_once_whoever_dies_while_it_is_released() {
    let _turn = turn();
    let mut chance = Chance::new();
    let world = Cluster::new("held").unwrap();
    let mut services = Services::start(&world, true);
    let (server, rows) = (world.query_address, rows());
    let id = hold(world.ingest_address, rows);
    wait_until(|| status(server, &id).is_some_and(|said| said["status"] == "held"));
    assert_eq!(counted(server, &id), 0, "nothing counts before it is released");
    // The one that is asked dies before it can answer, or just after, and with it the one that took the rows.
    let asked = std::thread::spawn({
        let id = id.clone();
        move || process(server, &id)
    });
    sleep(Duration::from_micros(chance.below(20_000)));
    services.query.process.kill().unwrap();
    services.ingest.process.kill().unwrap();
    println!(
        "the release was answered before the kill: {}",
        asked.join().unwrap()
    );
    services.query.restart().unwrap();
    services.ingest.restart().unwrap();
    wait_until(|| process(server, &id));
    let mut tally = Tally::default();
    for victim in [0, 1, 0, 1] {
        wait_until(|| {
            let before = counted(server, &id);
            before == rows || before > chance.below(rows)
        });
        let at = counted(server, &id);
        services.aggregators[victim].process.kill().unwrap();
        services.aggregators[victim].restart().unwrap();
        tally.add(format!(
            "aggregator, {}",
            if at < rows {
                "rows being copied"
            } else {
                "all copied"
            }
        ));
    }
    tally.print();
    assert!(process(server, &id), "once more");
    each_row_counted_once(server, &id, rows);
    services.stop();
    audit(&world);
}

#[test]
fn a_held_upload_in_the_single_process_counts_once_whenever_it_dies() {
    let _turn = turn();
    let mut chance = Chance::new();
    let world = Embedded::new("held").unwrap();
    let mut service = Service::start(world.run()).unwrap();
    let (server, rows) = (world.address, rows());
    let id = hold(server, rows);
    for kill in 0..8 {
        // First while the release is asked for, then while rows are copied: that begins each time where the chain says.
        let asked = std::thread::spawn({
            let id = id.clone();
            move || process(server, &id)
        });
        sleep(chance.ms(0, 40 * (kill + 1)));
        service.process.kill().unwrap();
        let answered = asked.join().unwrap();
        service.restart().unwrap();
        println!(
            "kill {kill}: answered {answered}, {} rows counted behind it",
            counted(server, &id)
        );
    }
    wait_until(|| process(server, &id));
    each_row_counted_once(server, &id, rows);
    service.process.stop(PATIENCE).unwrap();
    assert_eq!(
        world.audit().run(AUDIT).unwrap(),
        0,
        "the audit found differences, or could not look"
    );
}
