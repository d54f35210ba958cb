//! The program as its user meets it, on the embedded log and store: settings, the sample file, the audit.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

// A server and senders.
mod rig;
// `tidemark send`, whose runs end in all ways.
mod send;
// What `tidemark send` makes of its files.
mod send_files;
// Uploads, from their first row to their last outcome.
mod uploads;
// Dead letters, redriven from a shell.
mod dead_letters;
// The events behind a user's number, and distinct users.
mod behind;
// The answer that waits for what becomes of its events.
mod outcomes;
// Completions and manual pages.
mod manual;
// The console, in a real browser.
mod console;
// Keys: tenants that are apart, and everything that is refused.
mod access;
// Keys over HTTP, beside those on the command line.
mod keys;
// A client of the older service that counts events per day.
mod older_counts;
// The document of the API.
mod openapi;

use schemas::partial::DayPartial;
use schemas::row::{Row, RowKey};
use schemas::{Day, Offset, Partition};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn tidemark() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEMARK_")) {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Names a certificate that is not there.
const NO_CERTIFICATE: [&str; 2] = [
    "--set=http.tls.certificate_file=no-such-file",
    "--set=http.tls.key_file=no-such-file",
];

#[test]
fn a_bad_setting_ends_it_with_64_before_a_port_opens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let bad = |args: &[&str]| tidemark().args(args).output().unwrap();
    for args in [
        &["run", "--set", "aggregator.lanes=0"][..],
        &["run", "--set", "no.such=1"],
        &["run", "--listen", "0.0.0.0:1"],
        &["run", "--listen", taken.as_str()],
        &["run", NO_CERTIFICATE[0], NO_CERTIFICATE[1]],
        &["ingest"],
        &["query", "--set", "kafka.brokers=127.0.0.1:1"],
        &[
            "aggregate",
            "--set",
            "kafka.brokers=127.0.0.1:1",
            "--set",
            "store.nodes=127.0.0.1:1",
        ],
        &["migrate"],
    ] {
        let output = bad(args);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    assert_eq!(bad(&["no-such-role"]).status.code(), Some(64));
}

#[test]
fn check_config_says_every_value_and_where_it_came_from() {
    let mut command = tidemark();
    let output = command
        .env("TIDEMARK_AGGREGATOR__LANES", "3")
        .args(["check-config", "--set", "embedded.partitions=2"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    let line = |key: &str| {
        printed
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_else(|| panic!("{key} in {printed}"))
            .to_owned()
    };
    assert!(
        line("aggregator.lanes").contains("= 3")
            && line("aggregator.lanes").contains("TIDEMARK_AGGREGATOR__LANES")
    );
    assert!(line("embedded.partitions").contains("= 2"));
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Asks it to stop, and waits for it.
    fn stop(self) -> Option<i32> {
        self.signal("TERM");
        self.end()
    }

    /// Sends a signal, such as `INT`.
    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; gives its exit code, and nothing if a signal ended it.
    fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not stop");
    }
}

/// Two free ports.
fn ports() -> [String; 2] {
    let listeners = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

/// What `/ready` says, status and body, once the admin port answers.
fn readiness(admin: &str) -> (u16, String) {
    let answer = rig::until("the admin port answers", || {
        e2e::client::get(admin.parse().unwrap(), "/ready", Duration::from_secs(5)).ok()
    });
    (answer.status, answer.text())
}

/// A role that is started, whose log lines nobody reads.
fn started(args: &[&str], data: &Path) -> Running {
    let mut command = tidemark();
    command.args(args).arg("--data").arg(data);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Running(child.unwrap())
}

/// What `tidemark ready` says of it by its exit code.
fn is_ready(admin: &str) -> Option<i32> {
    let output = tidemark().args(["ready", "--admin-listen", admin]).output();
    output.unwrap().status.code()
}

/// What it waits for may never come, so to be stopped meanwhile is no failure. It ends once the question to Kafka that is under way has
/// no answer, which takes ten seconds.
#[test]
fn a_role_that_is_stopped_while_it_waits_for_kafka_ends_with_75() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = ["ingest", "aggregate", "query"].map(|role| {
        let [listen, admin] = ports();
        let nobody = [
            "--set=kafka.brokers=127.0.0.1:1",
            "--set=store.nodes=127.0.0.1:1",
            "--set=registry.url=http://127.0.0.1:1",
        ];
        let args = [role, "--listen", &listen, "--admin-listen", &admin];
        // Without a public port nobody needs its certificate.
        let tls: &[&str] = if role == "aggregate" { &NO_CERTIFICATE } else { &[] };
        let running = started(&[&args[..], &nobody, tls].concat(), &folder.path().join(role));
        let (status, said) = readiness(&admin);
        assert_eq!(status, 503, "{said}");
        assert!(said.contains("starting") && !said.contains("draining"), "{said}");
        running
    });
    waiting.iter().for_each(|running| running.signal("TERM"));
    assert_eq!(waiting.map(Running::end), [Some(75); 3]);
}

/// The first signal waits for the request in hand, the second one for nothing.
#[test]
fn a_second_signal_ends_it_at_once_with_130_whatever_it_has_in_hand() {
    let folder = tempfile::tempdir().unwrap();
    let [listen, admin] = ports();
    let args = ["run", "--listen", &listen, "--admin-listen", &admin];
    let running = started(&args, &folder.path().join("data"));
    rig::until("it is ready", || (readiness(&admin).0 == 200).then_some(()));
    assert_eq!(is_ready(&admin), Some(0));
    let mut stream = TcpStream::connect(&listen).unwrap();
    stream.set_read_timeout(Some(rig::PATIENCE)).unwrap();
    write!(
        stream,
        "POST /v1/events HTTP/1.1\r\nHost: {listen}\r\nContent-Type: text/csv\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    )
    .unwrap();
    // It asks for the body, so it works on the request.
    let mut asked = [0; 12];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(text(&asked), "HTTP/1.1 100");
    running.signal("TERM");
    rig::until("it drains", || {
        readiness(&admin).1.contains("draining").then_some(())
    });
    assert_eq!(is_ready(&admin), Some(1));
    let begun = Instant::now();
    running.signal("INT");
    assert_eq!(running.end(), Some(130));
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "{took:?}: the drain would have had 20 s"
    );
    assert_eq!(is_ready(&admin), Some(69));
}

/// At rest the metrics must say so within seconds, though no commit follows the last one.
fn no_lag_is_shown(admin: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut stream = TcpStream::connect(admin).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut shown = String::new();
        stream.read_to_string(&mut shown).unwrap();
        let lags: Vec<&str> = shown
            .lines()
            .filter(|line| line.starts_with("tidemark_lane_lag_records{"))
            .collect();
        assert!(!lags.is_empty(), "{shown}");
        if lags.iter().all(|line| line.ends_with(" 0")) {
            return;
        }
        assert!(Instant::now() < deadline, "{lags:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn audit(data: &str) -> Output {
    tidemark()
        .args(["audit", "--embedded", "--data", data])
        .output()
        .unwrap()
}

#[test]
fn the_sample_is_counted_as_expected_and_the_audit_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../sample/events.csv");
    let expected = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../sample/events.expected.tsv"
    ))
    .unwrap();
    let total = |name: &str| {
        let start = format!("total\t{name}\t");
        expected
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .unwrap()
            .to_owned()
    };
    let load = || {
        let [listen, admin] = ports();
        let mut child = tidemark()
            .args([
                "run",
                "--data",
                &data,
                "--listen",
                &listen,
                "--admin-listen",
                &admin,
                "--load",
                sample,
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let running = Running(child);
        let lines: Vec<String> = out
            .lines()
            .map(Result::unwrap)
            .take_while(|line| !line.starts_with("look at"))
            .collect();
        assert_eq!(
            audit(&data).status.code(),
            Some(2),
            "a folder in use cannot be audited"
        );
        no_lag_is_shown(&admin);
        assert_eq!(running.stop(), Some(0));
        lines.join("\n")
    };
    let printed = load();
    let counted = format!(
        "counted {}, duplicates {}, dead letters {}",
        total("counted"),
        total("duplicate"),
        total("key_conflict")
    );
    assert!(
        printed.contains(&format!("{} accepted", total("accepted"))),
        "{printed}"
    );
    assert!(printed.contains(&counted), "{printed} should hold {counted}");
    let audited = audit(&data);
    assert_eq!(
        audited.status.code(),
        Some(0),
        "{}{}",
        text(&audited.stdout),
        text(&audited.stderr)
    );

    // The same file once more: nothing is counted twice.
    let again = load();
    assert!(
        again.contains(&format!("counted {}, ", total("counted"))),
        "{again}"
    );
    let audited = audit(&data);
    assert_eq!(
        audited.status.code(),
        Some(0),
        "{}{}",
        text(&audited.stdout),
        text(&audited.stderr)
    );
}

/// A view that says more than the log does.
#[test]
fn an_audit_that_finds_a_difference_says_it_and_ends_with_1() {
    let mut rig = rig::Rig::new();
    rig.post_events(
        "text/csv",
        b"user_id,event_type,timestamp\nu1,click,2025-11-04T10:00:00Z\n",
    );
    rig.audit();
    let mut partial = DayPartial::default();
    partial.add(0, None);
    let key = RowKey::Day {
        tenant: "nobody".to_owned(),
        day: Day(20_000),
        event_type: "click".to_owned(),
    };
    let row = Row {
        key,
        partition: Partition(0),
        version: Offset(1_000),
        value: partial.encode(),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = views::Store::open(&rig.path("data/views"), 1).await.unwrap();
        store.upsert(vec![row]).await.unwrap();
    });
    let audited = audit(&rig.path("data").display().to_string());
    let printed = text(&audited.stdout);
    assert_eq!(
        audited.status.code(),
        Some(1),
        "{printed}{}",
        text(&audited.stderr)
    );
    assert!(printed.contains("1 differences:"), "{printed}");
}

#[test]
fn a_dedup_index_that_fills_is_told_in_time_and_ends_the_counting_rather_than_forget() {
    let mut rig = rig::Rig::idle();
    rig.set(&["aggregator.dedup_max_keys=10", "embedded.partitions=1"]);
    rig.start();
    let rows = |keys: std::ops::Range<u32>| {
        let rows = keys.map(|key| format!("u{key},click,2025-11-04T10:00:00Z,1,key-{key}\n"));
        format!(
            "userId,eventType,timestamp,amount,idempotency_key\n{}",
            rows.collect::<String>()
        )
    };
    rig.post_events("text/csv", rows(0..7).as_bytes());
    assert!(!rig.read("server.log").contains("nearly full"));
    rig.post_events("text/csv", rows(7..8).as_bytes());
    assert!(rig.read("server.log").contains("nearly full"));
    let (status, answer) = rig.post("/v1/events", "text/csv", rows(8..10));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(rig.server_ends(), Some(70));
    assert!(rig.read("server.log").contains("dedup_max_keys: raise it"));
    rig.set(&["aggregator.dedup_max_keys=12", "embedded.partitions=1"]);
    rig.start();
    rig.post_events("text/csv", rows(0..1).as_bytes());
    assert_eq!([rig.ledger("counted"), rig.ledger("duplicate")], [10, 1]);
    rig.audit();
}

/// `tidemark run` on a folder that it must refuse, to its end.
fn run_on(rig: &rig::Rig) -> Output {
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut command = tidemark();
    command.arg("run").args(ports).arg("--data").arg(rig.path("data"));
    command.output().unwrap()
}

/// The views of another log would be told as if they were counted.
#[test]
fn views_that_were_filled_from_another_log_are_refused_at_the_start() {
    let mut rig = rig::Rig::new();
    rig.post_events(
        "text/csv",
        b"user_id,event_type,timestamp\nu1,click,2025-11-04T10:00:00Z\n",
    );
    rig.audit();
    std::fs::rename(rig.path("data/log"), rig.path("log-of-before")).unwrap();
    let refused = run_on(&rig);
    assert_eq!(refused.status.code(), Some(70), "{}", text(&refused.stderr));
    assert!(
        text(&refused.stderr).contains("filled from another log"),
        "{}",
        text(&refused.stderr)
    );
    std::fs::remove_dir_all(rig.path("data/views")).unwrap();
    rig.start();
    rig.post_events(
        "text/csv",
        b"user_id,event_type,timestamp\nu2,click,2025-11-04T10:00:00Z\n",
    );
    assert_eq!(rig.ledger("counted"), 1);
    rig.audit();
}

/// Under another secret each key would count a second time.
#[test]
fn a_log_whose_generation_is_gone_or_changed_is_refused_at_the_start() {
    let mut rig = rig::Rig::new();
    rig.post_events(
        "text/csv",
        b"user_id,event_type,timestamp\nu1,click,2025-11-04T10:00:00Z\n",
    );
    rig.audit();
    let path = rig.path("data/log/generation.json");
    let was = std::fs::read_to_string(&path).unwrap();
    let refused = |rig: &rig::Rig, why: &str| {
        let refused = run_on(rig);
        assert_eq!(refused.status.code(), Some(70), "{}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    };
    std::fs::remove_file(&path).unwrap();
    refused(&rig, "generation.json is gone");
    let (before, secret) = was.split_once("secret\": \"").unwrap();
    let digit = if secret.starts_with('0') { "1" } else { "0" };
    std::fs::write(&path, format!("{before}secret\": \"{digit}{}", &secret[1..])).unwrap();
    refused(&rig, "is not as it was written");
    std::fs::write(&path, was).unwrap();
    rig.start();
    rig.post_events(
        "text/csv",
        b"user_id,event_type,timestamp\nu1,click,2025-11-04T10:00:00Z\n",
    );
    assert_eq!([rig.ledger("counted"), rig.ledger("duplicate")], [1, 1]);
    rig.audit();
}
