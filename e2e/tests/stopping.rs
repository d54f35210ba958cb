//! Each service is stopped under load as a supervisor does it, by SIGTERM. Whoever is refused finds that it said it was not ready; what it has
//! in hand it finishes; it ends with 0 and in time. What was acknowledged is counted exactly, once it runs again.
//!
//! Between the signal and the closing of the port lies `http.drain_delay_ms`, in which a new request is served. What a second signal does, and a
//! signal to one that waits to begin: `cli/tests/main.rs`.

use crate::moments::{Fate, Moment};
use crate::rig::{AUDIT, RATE, each_key_counted_once, turn, wait_until};
use crate::services::{Services, audit};
use e2e::client;
use e2e::paced::{Sender, Settings, event_json};
use e2e::process::{Role, last_lines};
use e2e::proxy::{Api, Proxy};
use e2e::world::{Cluster, Embedded, PATIENCE, Service};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

const DELAY_MS: &str = "TIDEMARK_HTTP__DRAIN_DELAY_MS";
const DELAY: Duration = Duration::from_secs(2);
const DRAIN_MS: &str = "TIDEMARK_HTTP__DRAIN_DEADLINE_MS";
/// What requests, lanes and projector have, each. Other than the default, so that the setting is what counts.
const DRAIN: Duration = Duration::from_secs(10);
/// For a request that nobody finishes; less than the time that its body may pause.
const CUT: Duration = Duration::from_secs(2);
/// On top, for the admin port, which closes last, and for a test machine that does other things.
const REST: Duration = Duration::from_secs(5);
/// Between two looks at a port.
const LOOK: Duration = Duration::from_millis(1);
/// Batches that are acknowledged before each stop.
const BATCHES: u64 = 60;
/// Events of a request in hand.
const HELD: u64 = 10;

fn load(server: SocketAddr) -> Sender {
    Sender::start(Settings {
        server,
        rate: RATE,
        keys: "k".to_owned(),
    })
}

/// A request that a service works on: it has asked for the body, and waits for it.
struct InHand {
    stream: BufReader<TcpStream>,
    body: String,
}

impl InHand {
    fn begin(server: SocketAddr, path: &str, kind: &str, body: String) -> Self {
        let stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        // RFC 9110, 10.1.1: the body is asked for by whoever begins to read it.
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 100 "), "{line:?}");
        stream.read_line(&mut line).unwrap();
        Self { stream, body }
    }

    /// Events `0..HELD` under keys of their own.
    fn events(server: SocketAddr) -> Self {
        let lines: Vec<String> = (0..HELD).map(|number| event_json("held", number, 0)).collect();
        Self::begin(server, "/v1/events", "application/x-ndjson", lines.join("\n"))
    }

    /// Sends the body; the whole answer.
    fn end(mut self) -> String {
        self.stream.get_mut().write_all(self.body.as_bytes()).unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// What `/ready` says: the status, and the first condition.
fn readiness(admin: SocketAddr) -> (u16, Value) {
    let answer = client::get(admin, "/ready", PATIENCE).unwrap();
    (answer.status, answer.json().unwrap()["conditions"][0].clone())
}

fn draining() -> (u16, Value) {
    let why = json!({"name": "draining", "ready": false, "reason": "the process is stopping"});
    (503, why)
}

/// It says that it drains while whoever comes is served still; then the public port closes.
fn not_ready_before_anybody_is_refused(admin: SocketAddr, server: SocketAddr) {
    let begun = Instant::now();
    until_it_drains(admin);
    let answer = client::get(server, "/health", PATIENCE).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let deadline = begun + PATIENCE;
    while TcpStream::connect_timeout(&server, PATIENCE).is_ok() {
        assert!(Instant::now() < deadline, "{server} is open after {PATIENCE:?}");
        sleep(LOOK);
    }
    assert_eq!(readiness(admin), draining());
}

/// Waits until it says that it drains.
fn until_it_drains(admin: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while readiness(admin) != draining() {
        assert!(
            Instant::now() < deadline,
            "not draining after {PATIENCE:?}: {:?}",
            readiness(admin)
        );
        sleep(LOOK);
    }
}

/// SIGTERM. `meanwhile` runs while it drains, and finishes what it waits for; it must end with 0, within the deadlines of its `parts`.
fn stop(service: Service, parts: u32, meanwhile: impl FnOnce()) -> Role {
    let Service { role, process } = service;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(move || process.stop(DELAY + DRAIN * parts + REST));
        meanwhile();
        stopping.join().unwrap().unwrap();
    });
    println!("{} ended {:?} after the signal", role.name, begun.elapsed());
    role
}

/// [`stop`] of a service with a public port and a request in hand, which must be answered.
fn stop_serving(mut service: Service, server: SocketAddr, parts: u32, in_hand: InHand) -> Role {
    service.process.wait_ready(PATIENCE).unwrap();
    let admin = service.role.admin.unwrap();
    stop(service, parts, || {
        not_ready_before_anybody_is_refused(admin, server);
        let answer = in_hand.end();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    })
}

/// [`stop`] of an aggregator that stands within a transaction when the signal comes, and goes on once it has said that it drains.
fn stop_aggregator(service: Service, proxy: &Proxy) -> Role {
    let admin = service.role.admin.unwrap();
    let moment = Moment {
        api: Api::EndTxn,
        fate: Fate::Late,
    };
    let held = moment.reach(proxy).flatten().expect("it has partitions");
    stop(service, 2, || {
        until_it_drains(admin);
        proxy.release(held).unwrap();
    })
}

#[test]
fn the_single_process_that_is_stopped_under_load_loses_nothing() {
    let _turn = turn();
    let world = Embedded::new("stopping").unwrap();
    let role = world.run().with(DRAIN_MS, DRAIN.as_millis());
    let service = Service::start(role.with(DELAY_MS, DELAY.as_millis())).unwrap();
    let sender = load(world.address);
    sender.wait_for(BATCHES, PATIENCE).unwrap();
    let in_hand = InHand::events(world.address);
    let role = stop_serving(service, world.address, 3, in_hand);
    // What the lanes committed last is in the views.
    assert_eq!(world.audit().run(AUDIT).unwrap(), 0, "behind the drain");
    let service = Service::start(role).unwrap();
    sender.wait_for(BATCHES, PATIENCE).unwrap();
    let mut sent = sender.finish().unwrap();
    sent.also(0..HELD);
    each_key_counted_once(world.address, &sent);
    service.process.stop(PATIENCE).unwrap();
    assert_eq!(world.audit().run(AUDIT).unwrap(), 0, "at rest");
}

#[test]
fn a_request_that_never_ends_holds_a_stop_up_until_the_deadline_and_no_longer() {
    let _turn = turn();
    let world = Embedded::new("cut").unwrap();
    let service = Service::start(world.run().with(DRAIN_MS, CUT.as_millis())).unwrap();
    let in_hand = InHand::events(world.address);
    let begun = Instant::now();
    service.process.stop(CUT * 3 + REST).unwrap();
    assert!(begun.elapsed() >= CUT, "{:?}", begun.elapsed());
    drop(in_hand);
}

#[test]
fn each_service_on_kafka_that_is_stopped_under_load_loses_nothing() {
    let _turn = turn();
    let mut world = Cluster::new("stopping").unwrap();
    world.set(DRAIN_MS, DRAIN.as_millis());
    world.set(DELAY_MS, DELAY.as_millis());
    let proxy = Proxy::start(world.broker.parse().unwrap()).unwrap();
    let role = |name| world.aggregate(name, true).unwrap();
    let behind = role("aggregate-1").with("TIDEMARK_KAFKA__BROKERS", proxy.address());
    let Services {
        ingest,
        query,
        aggregators: [first, second],
    } = Services::with(&world, [behind, role("aggregate-2")]);
    let sender = load(world.ingest_address);
    // All views are there: else a redrive has nothing to look at.
    let ledger = || client::get(world.query_address, "/v1/ledger", PATIENCE).unwrap();
    wait_until(|| ledger().status == 200);

    sender.wait_for(BATCHES, PATIENCE).unwrap();
    let in_hand = InHand::events(world.ingest_address);
    let role = stop_serving(ingest, world.ingest_address, 1, in_hand);
    let ingest = Service::start(role).unwrap();

    sender.wait_for(BATCHES, PATIENCE).unwrap();
    let asked = json!({"dry_run": true, "ids": ["0-0"]}).to_string();
    let in_hand = InHand::begin(
        world.query_address,
        "/v1/dead-letters/redrive",
        "application/json",
        asked,
    );
    let role = stop_serving(query, world.query_address, 1, in_hand);
    let query = Service::start(role).unwrap();

    sender.wait_for(BATCHES, PATIENCE).unwrap();
    let first = Service::start(stop_aggregator(first, &proxy)).unwrap();

    sender.wait_for(BATCHES, PATIENCE).unwrap();
    let mut sent = sender.finish().unwrap();
    sent.also(0..HELD);
    each_key_counted_once(world.query_address, &sent);
    Services {
        ingest,
        query,
        aggregators: [first, second],
    }
    .stop();
    audit(&world);
}

/// Where nobody ran `migrate`: its topics are not there.
#[test]
fn a_service_without_a_generation_ends_with_69() {
    let _turn = turn();
    let world = Cluster::new("unmade").unwrap();
    let prefix = world.events_topic.replace(".events", ".unmade");
    for role in [world.ingest(), world.query(), world.aggregate("aggregate", true)] {
        let role = role.unwrap().with("TIDEMARK_KAFKA__PREFIX", &prefix);
        let code = role.run(PATIENCE).unwrap();
        let said = last_lines(&role.log);
        assert_eq!(code, 69, "{said}");
        assert!(said.contains("run `tidemark migrate` first"), "{said}");
    }
}
