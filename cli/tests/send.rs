//! `tidemark send`, stopped and killed, and a server killed under it: whatever ended a run, the next one goes on, and in the
//! end each row counts once.

use crate::rig::Rig;
use bench::generate::{Expectation, Settings};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Rows of the long file: 100,000, or what TIDEMARK_SEND_ROWS says.
fn rows() -> u64 {
    let rows = std::env::var("TIDEMARK_SEND_ROWS").ok();
    rows.map_or(100_000, |rows| rows.parse().unwrap())
}

/// A generated file: keys of its own, repeats of both kinds and rows that are refused.
fn generated(rig: &Rig, name: &str, rows: u64) -> Expectation {
    let settings = Settings {
        rows,
        users: 10_000,
        pages: true,
        ..Settings::default()
    };
    let mut file = std::fs::File::create(rig.path(name)).unwrap();
    bench::generate::write(&settings, &mut file).unwrap()
}

/// Checks days and ledger against what must come of a file.
fn check_counted(rig: &Rig, expected: &Expectation) {
    assert_eq!(rig.ledger("counted"), expected.totals.counted);
    let answer = rig.get("/v1/days?from=2025-10-01&to=2025-12-01");
    let mut found: Vec<String> = Vec::new();
    for day in answer["days"].as_array().unwrap() {
        let text = |name: &str| day[name].as_str().unwrap().to_owned();
        found.push(format!(
            "{} {} {} {}",
            text("day"),
            text("event_type"),
            day["count"],
            text("sum")
        ));
    }
    let days = expected.days().filter(|(_, _, tally)| tally.count > 0);
    let mut wanted: Vec<String> = days
        .map(|(day, event_type, tally)| {
            let sum = schemas::amount::Sum(i128::from(tally.sum));
            format!("{day} {event_type} {} {sum}", tally.count)
        })
        .collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn a_file_that_is_stopped_thrice_and_whose_server_is_killed_twice_counts_exactly() {
    let mut rig = Rig::new();
    let rows = rows();
    let expected = generated(&rig, "events.csv", rows);
    let rate = (rows / 6).to_string();
    let slow = ["events.csv", "--rate", &rate];
    let at = |part: u64| rows * part / 7;

    for part in [1, 2] {
        let mut sender = rig.sending(&slow);
        rig.until_sent(&mut sender, "events.csv", at(part));
        sender.signal("INT");
        assert_eq!(sender.end(), Some(3), "Ctrl-C");
    }
    // The server goes and comes back: the sender goes on by itself.
    let mut sender = rig.sending(&slow);
    rig.until_sent(&mut sender, "events.csv", at(3));
    rig.kill_server();
    rig.start();
    rig.until_sent(&mut sender, "events.csv", at(4));
    sender.signal("INT");
    assert_eq!(sender.end(), Some(3), "Ctrl-C");
    // It stays away for longer than the sender goes on trying.
    let mut sender = rig.sending(&[&slow[..], &["--retry-for", "1"]].concat());
    rig.until_sent(&mut sender, "events.csv", at(5));
    rig.kill_server();
    assert_eq!(sender.end(), Some(4), "gave up");
    rig.start();
    let before = rig.row_sent("events.csv");
    assert!(before >= at(5) && before < rows, "{before}");

    let sent = rig.send(&["events.csv", "--wait"]).ended(2);
    let invalid: u64 = expected.totals.invalid.iter().sum();
    sent.said("all of it is counted");
    check_counted(&rig, &expected);
    assert_eq!(
        rig.read("events.csv.refused.csv").lines().count() as u64,
        invalid + 1
    );
    rig.audit();
}

#[test]
fn rows_without_key_and_time_count_once_though_the_sender_is_killed_and_its_state_lost() {
    let mut rig = Rig::new();
    let rows = 30_000_u64;
    // Three rows in ten thousand differ: nothing but the place tells the others apart.
    let mut file = "type,userId,amount\r\n".to_owned();
    for row in 0..rows {
        let amount = if row % 10_000 == 7 { row } else { 1 };
        write!(file, "click,u{},{amount}\r\n", row % 3).unwrap();
    }
    rig.write("plain.csv", &file);
    let slow = ["plain.csv", "--rate", "6000"];
    for (part, signal, code) in [(1, "KILL", None), (2, "INT", Some(3)), (3, "KILL", None)] {
        let mut sender = rig.sending(&slow);
        rig.until_sent(&mut sender, "plain.csv", rows * part / 6);
        sender.signal(signal);
        assert_eq!(sender.end(), code);
        if part == 1 {
            rig.kill_server();
            rig.start();
        }
    }
    rig.send(&["plain.csv", "--wait"])
        .ended(0)
        .said("30,000 accepted");
    assert_eq!(rig.ledger("counted"), rows);
    // Without its state file, in slices of another size: nothing is new to the server.
    std::fs::remove_file(rig.path("plain.csv.send-state")).unwrap();
    rig.send(&["plain.csv", "--slice-bytes", "3000", "--wait"])
        .ended(0);
    // The same content elsewhere, compressed, and several slices at a time.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, file.as_bytes()).unwrap();
    rig.write("copy.csv.gz", gzip.finish().unwrap());
    rig.write("copy.csv.zst", zstd::encode_all(file.as_bytes(), 1).unwrap());
    rig.send(&[
        "copy.csv.*",
        "--slice-bytes",
        "20000",
        "--in-flight",
        "4",
        "--wait",
    ])
    .ended(0);
    assert_eq!((rig.ledger("counted"), rig.ledger("dead_lettered")), (rows, 0));
    rig.audit();
}

#[test]
fn a_compressed_file_is_gone_on_with_where_it_was_stopped() {
    let mut rig = Rig::new();
    let mut file = String::new();
    for row in 0..8000 {
        writeln!(
            file,
            r#"{{"userId":"u","type":"t","time":{}}}"#,
            1_762_257_600 + row
        )
        .unwrap();
    }
    rig.write("events.ndjson.zst", zstd::encode_all(file.as_bytes(), 1).unwrap());
    let mut sender = rig.sending(&["events.ndjson.zst", "--rate", "2000"]);
    rig.until_sent(&mut sender, "events.ndjson.zst", 1000);
    sender.signal("TERM");
    assert_eq!(sender.end(), Some(3));
    rig.send(&["events.ndjson.zst", "--wait"]).ended(0);
    // What was acknowledged was not sent again; what was under way then may have been.
    assert!(rig.ledger("duplicate") < 1500, "{}", rig.ledger("duplicate"));
    assert_eq!(rig.ledger("counted"), 8000);
    rig.audit();
}

#[test]
fn a_file_that_has_grown_is_gone_on_with_and_one_that_was_changed_is_not() {
    let rig = Rig::new();
    let lines = |count: usize| "{\"userId\":\"u\",\"type\":\"t\"}\n".repeat(count);
    rig.write("log.ndjson", lines(100));
    rig.send(&["log.ndjson"]).ended(0);
    rig.send(&["log.ndjson"]).ended(0).said("sent before");
    rig.write("log.ndjson", lines(150));
    rig.send(&["log.ndjson"]).ended(0).said("has grown");
    // The old rows keep their keys, also when all is sent again.
    rig.send(&["log.ndjson", "--fresh", "--wait"]).ended(0);
    assert_eq!(rig.ledger("counted"), 150);
    assert_eq!(rig.ledger("duplicate"), 150);

    rig.write("torn.ndjson", lines(1) + "{\"userId\":\"u\",\"type\":\"t\"");
    rig.send(&["torn.ndjson"]).ended(2);
    rig.write("torn.ndjson", lines(2));
    rig.send(&["torn.ndjson"]).ended(65).said("ended within a row");

    // Sent completely, and mended since: its old rows would have new keys.
    rig.write("done.ndjson", lines(2));
    rig.send(&["done.ndjson"]).ended(0);
    rig.write("done.ndjson", lines(2).replacen("\"t\"", "\"x\"", 1));
    rig.send(&["done.ndjson"]).ended(65).said("is another file");

    rig.write("half.csv", format!("userId,type\n{}", "u,t\n".repeat(4000)));
    let mut sender = rig.sending(&["half.csv", "--rate", "1000"]);
    rig.until_sent(&mut sender, "half.csv", 500);
    rig.send(&["half.csv"]).ended(64).said("by another");
    sender.signal("INT");
    assert_eq!(sender.end(), Some(3));
    rig.send(&["half.csv", "--map", "type=event_type"])
        .ended(64)
        .said("--map");
    rig.write("half.csv", format!("userId,type\n{}", "u,x\n".repeat(4000)));
    rig.send(&["half.csv"]).ended(65).said("was changed");
    rig.send(&["half.csv", "--fresh", "--wait"])
        .ended(0)
        .said("4,000 accepted");
}

#[test]
fn no_more_rows_are_sent_in_a_second_than_asked_for() {
    let rig = Rig::new();
    rig.write("events.csv", format!("userId,type\n{}", "u,t\n".repeat(3000)));
    let begun = Instant::now();
    rig.send(&["events.csv", "--rate", "1000"]).ended(0);
    // The first quarter of a second's rows go at once.
    assert!(
        begun.elapsed() >= Duration::from_millis(2700),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_server_that_lost_what_it_had_gets_all_of_it_again() {
    let mut rig = Rig::new();
    rig.write("events.csv", format!("userId,type\n{}", "u,t\n".repeat(1000)));
    rig.send(&["events.csv", "--wait"]).ended(0);
    rig.empty_server();
    rig.send(&["events.csv", "--wait"])
        .ended(0)
        .said("does not have what was sent");
    assert_eq!(rig.ledger("counted"), 1000);
}

#[test]
fn a_server_that_is_not_there_is_tried_again_and_then_given_up() {
    let mut rig = Rig::new();
    rig.write("events.csv", "userId,type\nu,t\n");
    rig.kill_server();
    rig.send(&["events.csv", "--retry-for", "1"])
        .ended(4)
        .said("gave up");
    let mut sender = rig.sending(&["events.csv"]);
    rig.start();
    assert_eq!(sender.end(), Some(0), "{}", rig.read("send.log"));
}
