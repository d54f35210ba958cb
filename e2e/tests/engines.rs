//! The engines die under load: the broker, the store, the registry. Each test kills the engines that every other test uses, so
//! only `make prove` runs them, on engines of its own.

use crate::rig::{RATE, SETTLE, each_key_counted_once, produce_records, turn, wait_until};
use crate::services::{Services, audit};
use e2e::client;
use e2e::engines::Engines;
use e2e::model::Ledger;
use e2e::paced::{Sender, Settings, event_foreign, event_json, foreign_schema};
use e2e::world::{Cluster, PATIENCE};
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Deaths of each engine.
const DEATHS: u64 = 2;
/// Batches that are acknowledged before each death.
const BATCHES: u64 = 60;
/// Milliseconds after which ingest says that it does not know what became of records. Shorter than the sender's patience, so that it
/// hears of it.
const PRODUCE_MS: u64 = 3000;
/// Events that the broker is away for, and records in a schema that nobody has asked the registry for.
const SOME: u64 = 100;

fn load(world: &Cluster) -> Sender {
    Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE,
        keys: "k".to_owned(),
    })
}

/// Waits until new events are counted and less than a second of them waits, and says how long that took.
fn wait_caught_up(world: &Cluster, sender: &Sender) -> Duration {
    let begun = Instant::now();
    sender.wait_for(BATCHES, PATIENCE).unwrap();
    loop {
        let said = Ledger::ask(world.query_address, PATIENCE);
        if said.as_ref().is_ok_and(|ledger| ledger.in_flight < RATE) {
            return begun.elapsed();
        }
        assert!(
            begun.elapsed() < SETTLE,
            "not caught up within {SETTLE:?}: {said:?}"
        );
        sleep(Duration::from_millis(200));
    }
}

/// The services were never started again: they must have lived through it all.
fn end(world: &Cluster, services: Services) {
    services.stop();
    audit(world);
}

#[test]
#[ignore = "kills the engines of all tests: make prove runs it"]
fn a_killed_broker_costs_no_event_and_ingest_says_what_it_does_not_know() {
    let _turn = turn();
    let engines = Engines::of_this_run().unwrap();
    let mut world = Cluster::new("broker").unwrap();
    world.set("TIDEMARK_KAFKA__PRODUCE_DEADLINE_MS", PRODUCE_MS);
    let services = Services::start(&world, true);
    let sender = load(&world);
    // Events that the sender sends as well: duplicates, whatever became of these.
    let lines: Vec<String> = (0..SOME).map(|number| event_json("k", number, 0)).collect();
    for death in 1..=DEATHS {
        sender.wait_for(BATCHES, PATIENCE).unwrap();
        let open = sender.open();
        let outage = engines.kill("kafka").unwrap();
        let answer = client::post(
            world.ingest_address,
            "/v1/events",
            "application/x-ndjson",
            lines.join("\n").as_bytes(),
            PATIENCE,
        );
        let answer = answer.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        let said = answer.json().unwrap();
        let (accepted, unknown) = (
            said["accepted"].as_u64().unwrap(),
            said["unknown"].as_u64().unwrap(),
        );
        assert!(unknown > 0 && accepted + unknown <= SOME, "{said}");
        outage.end().unwrap();
        println!(
            "broker killed {death}: {open} requests open; ingest said {unknown} unknown; caught up in {:?}",
            wait_caught_up(&world, &sender)
        );
    }
    let sent = sender.finish().unwrap();
    each_key_counted_once(world.query_address, &sent);
    end(&world, services);
}

#[test]
#[ignore = "kills the engines of all tests: make prove runs it"]
fn a_killed_store_is_waited_for_and_events_are_taken_meanwhile() {
    let _turn = turn();
    let engines = Engines::of_this_run().unwrap();
    let world = Cluster::new("store").unwrap();
    let services = Services::start(&world, true);
    let sender = load(&world);
    for death in 1..=DEATHS {
        sender.wait_for(BATCHES, PATIENCE).unwrap();
        let outage = engines.kill("cassandra").unwrap();
        // The log is the truth; the store is only behind.
        sender.wait_for(BATCHES, PATIENCE).unwrap();
        let answer = client::get(world.query_address, "/v1/ledger", PATIENCE).unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        outage.end().unwrap();
        println!(
            "store killed {death}: caught up in {:?}",
            wait_caught_up(&world, &sender)
        );
    }
    let sent = sender.finish().unwrap();
    each_key_counted_once(world.query_address, &sent);
    end(&world, services);
}

/// Records of a schema that nobody asked for yet wait for the registry; they are no dead letters.
#[test]
#[ignore = "kills the engines of all tests: make prove runs it"]
fn a_killed_registry_is_waited_for_and_makes_no_dead_letter() {
    let _turn = turn();
    let engines = Engines::of_this_run().unwrap();
    let world = Cluster::new("registry").unwrap();
    let services = Services::start(&world, true);
    let sender = load(&world);
    for death in 0..DEATHS {
        let id = register(&world, death);
        sender.wait_for(BATCHES, PATIENCE).unwrap();
        let outage = engines.kill("registry").unwrap();
        let numbers = death * SOME..(death + 1) * SOME;
        let record = |number| (format!("f-{number}"), event_foreign(id, "f", number));
        // Each into the partition where it belongs.
        produce_records(&world, "murmur2_random", numbers.map(record));
        let sum = |metric| {
            let aggregators = services.aggregators.iter();
            aggregators
                .map(|aggregator| aggregator.metric(metric).unwrap())
                .sum::<u64>()
        };
        wait_until(|| sum("tidemark_lane_waiting_partitions") > 0);
        wait_until(|| sum("tidemark_ready_unmet_conditions") > 0);
        sender.wait_for(BATCHES, PATIENCE).unwrap();
        outage.end().unwrap();
        println!(
            "registry killed {}: caught up in {:?}",
            death + 1,
            wait_caught_up(&world, &sender)
        );
        wait_until(|| sum("tidemark_ready_unmet_conditions") == 0);
    }
    let mut sent = sender.finish().unwrap();
    sent.also(0..DEATHS * SOME);
    each_key_counted_once(world.query_address, &sent);
    end(&world, services);
}

/// A schema that the registry has not seen before; its id.
fn register(world: &Cluster, number: u64) -> u32 {
    let subject = format!("{}-foreign-{number}", world.events_topic);
    let namespace = subject.replace(['-', '.'], "_");
    let address = world.registry.strip_prefix("http://").unwrap();
    let (host, path) = address.split_once('/').unwrap();
    let answer = client::post(
        host.parse().unwrap(),
        &format!("/{path}/subjects/{subject}/versions"),
        "application/json",
        json!({ "schema": foreign_schema(&namespace) })
            .to_string()
            .as_bytes(),
        PATIENCE,
    );
    let said = answer.unwrap().json().unwrap();
    said["id"].as_u64().unwrap() as u32
}
