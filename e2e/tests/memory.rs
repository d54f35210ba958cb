//! Memory: more keys than the budget of the dedup index holds by far. What does not fit lies on disk, the counts are the same, and a
//! process stays small, also one that has to read all of it from the chain at its start.

use crate::rig::{SETTLE, turn};
use crate::services::audit;
use bench::generate::{self, Expectation};
use e2e::client;
use e2e::model::{Counts, Ledger};
use e2e::process::Memory;
use e2e::world::{Cluster, PATIENCE, Service};
use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Rows such that three million are the first of their key.
const ROWS: u64 = 3_200_000;
const LEAST_KEYS: u64 = 3_000_000;
const USERS: u32 = 20_000;
/// Users that are asked for over HTTP, the busiest; the audit compares all.
const ASKED: u32 = 300;
/// Bytes of memory for the dedup index of a process: a tenth of what all keys need there.
const BUDGET: u64 = 8 * 1024 * 1024;
/// Bytes that an aggregator may have resident at any time.
const RESIDENT: u64 = 200 * 1024 * 1024;
/// Bytes of one request.
const REQUEST_BYTES: usize = 16 * 1024 * 1024;

#[test]
#[ignore = "three million keys take minutes: `make prove` runs it"]
fn three_million_keys_on_a_small_budget_are_counted_alike_in_little_memory() {
    let _turn = turn();
    let world = Cluster::new("memory").unwrap();
    let mut aggregators = ["aggregate-1", "aggregate-2"].map(|name| {
        let mut role = world.aggregate(name, true).unwrap();
        role.env.push((
            "TIDEMARK_AGGREGATOR__DEDUP_MEMORY_BYTES".to_owned(),
            BUDGET.to_string(),
        ));
        Service::start(role).unwrap()
    });
    let ingest = Service::start(world.ingest().unwrap()).unwrap();
    let query = Service::start(world.query().unwrap()).unwrap();

    let begun = Instant::now();
    let expectation = load_rows(world.ingest_address, ROWS);
    let totals = &expectation.totals;
    assert!(totals.counted >= LEAST_KEYS, "{} keys", totals.counted);
    println!("{ROWS} rows sent in {:?}", begun.elapsed());
    show("sent", &aggregators);
    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    println!("counted after {:?}: {ledger:?}", begun.elapsed());
    confirm(&world, &expectation, &ledger);
    show("counted", &aggregators);
    let keys: Vec<u64> = aggregators.iter().map(within).collect();
    assert_eq!(
        keys.iter().sum::<u64>(),
        ledger.counted,
        "each key is in one index"
    );

    // The one that comes back reads all keys of its partitions from the chain.
    aggregators[0].process.kill().unwrap();
    aggregators[0].restart().unwrap();
    let mut again = generated();
    again.rows = 10_000;
    send_again(&world, &again, &ledger);
    show("restarted", &aggregators);
    assert_eq!(within(&aggregators[0]), keys[0], "it holds what it held before");

    ingest.process.stop(PATIENCE).unwrap();
    for aggregator in aggregators {
        aggregator.process.stop(PATIENCE).unwrap();
    }
    query.process.stop(PATIENCE).unwrap();
    audit(&world);
    forget(&world);
}

fn generated() -> generate::Settings {
    generate::Settings {
        rows: ROWS,
        users: USERS,
        ..Default::default()
    }
}

/// Sends a generated file of so many rows in requests of some size, each with the header.
pub(crate) fn load_rows(ingest: SocketAddr, rows: u64) -> Expectation {
    let mut requests = Requests::new(ingest);
    let mut settings = generated();
    settings.rows = rows;
    let expectation = generate::write(&settings, &mut requests).unwrap();
    requests.send();
    let totals = &expectation.totals;
    assert_eq!(
        (requests.accepted, requests.invalid),
        (totals.accepted, totals.invalid.iter().sum())
    );
    expectation
}

fn confirm(world: &Cluster, expectation: &Expectation, ledger: &Ledger) {
    let totals = &expectation.totals;
    assert_eq!(
        (ledger.accepted, ledger.counted, ledger.duplicate),
        (totals.accepted, totals.counted, totals.duplicate),
        "{ledger:?}"
    );
    assert_eq!(
        (ledger.dead_lettered, ledger.balanced),
        (totals.key_conflict, true),
        "{ledger:?}"
    );
    confirm_totals(world, expectation, None);
}

/// Compares each day and the busiest users with what was sent, and with what else was.
pub(crate) fn confirm_totals(world: &Cluster, expectation: &Expectation, others: Option<&Counts>) {
    let mut expected = others.cloned().unwrap_or_default();
    for (day, event_type, tally) in expectation.days() {
        expected.add_day(&day.to_string(), event_type, (tally.count, tally.sum.into()));
    }
    let asked: Vec<String> = (1..=ASKED).map(|user| format!("user-{user}")).collect();
    for (user, event_type, _, tally) in expectation.users().filter(|(user, ..)| asked.contains(user)) {
        expected.add_user(&user, event_type, (tally.count, tally.sum.into()));
    }
    expected.confirm(world.query_address).unwrap();
}

/// Sends the first rows of the file again: none of them may be counted, though their keys left memory long ago.
fn send_again(world: &Cluster, settings: &generate::Settings, before: &Ledger) {
    let mut requests = Requests::new(world.ingest_address);
    generate::write(settings, &mut requests).unwrap();
    requests.send();
    let deadline = Instant::now() + SETTLE;
    loop {
        let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
        if ledger.accepted == before.accepted + requests.accepted {
            assert_eq!(ledger.counted, before.counted, "{ledger:?}");
            return;
        }
        assert!(Instant::now() < deadline, "{ledger:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn show(when: &str, aggregators: &[Service]) {
    for aggregator in aggregators {
        let Memory { resident, peak } = aggregator.process.memory().unwrap();
        let mib = |bytes: u64| bytes / 1024 / 1024;
        println!(
            "{when}: {} has {} MiB resident, {} MiB at most",
            aggregator.role.name,
            mib(resident),
            mib(peak)
        );
    }
}

/// Checks the memory of an aggregator; how many keys it remembers.
fn within(aggregator: &Service) -> u64 {
    let name = &aggregator.role.name;
    let [keys, spilled, bytes] = ["keys", "spilled_keys", "memory_bytes"].map(|of| {
        let metric = format!("tidemark_lane_dedup_{of}");
        aggregator.process.metric(&metric).unwrap() as u64
    });
    println!(
        "{name}: {keys} keys, {spilled} of them on disk, {bytes} bytes of memory for the rest and the filters"
    );
    assert!(
        spilled > keys / 2,
        "{name}: the budget holds a small part of the keys, so most lie on disk"
    );
    assert!(bytes <= BUDGET, "{name}: {bytes} bytes");
    let memory = aggregator.process.memory().unwrap();
    assert!(memory.peak <= RESIDENT, "{name}: {memory:?}");
    keys
}

/// A broker keeps topics for ever, and these take most of a gigabyte.
pub(crate) fn forget(world: &Cluster) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", &world.broker).create().unwrap();
    let changelog = world.events_topic.replace(".events", ".changelog.g1");
    let topics = [world.events_topic.as_str(), &changelog];
    let deleted = block_on(admin.delete_topics(&topics, &AdminOptions::new())).unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
}

/// A file as requests: each holds whole lines and begins with the header.
struct Requests {
    server: SocketAddr,
    header: Vec<u8>,
    body: Vec<u8>,
    accepted: u64,
    invalid: u64,
}

impl Requests {
    fn new(server: SocketAddr) -> Self {
        Self {
            server,
            header: Vec::new(),
            body: Vec::new(),
            accepted: 0,
            invalid: 0,
        }
    }

    /// Sends what is there up to its last line end.
    fn send(&mut self) {
        let Some(end) = self.body.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = self.body.split_off(end + 1);
        if self.header.is_empty() {
            let end = self.body.iter().position(|byte| *byte == b'\n').unwrap();
            self.header = self.body[..=end].to_vec();
        }
        let answer = client::post(self.server, "/v1/events", "text/csv", &self.body, PATIENCE).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let said = answer.json().unwrap();
        self.accepted += said["accepted"].as_u64().unwrap();
        self.invalid += said["invalid"].as_u64().unwrap();
        self.body.clear();
        if !rest.is_empty() {
            self.body.extend_from_slice(&self.header);
            self.body.extend_from_slice(&rest);
        }
    }
}

impl Write for Requests {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.body.is_empty() {
            self.body.extend_from_slice(&self.header);
        }
        self.body.extend_from_slice(bytes);
        if self.body.len() >= REQUEST_BYTES {
            self.send();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
