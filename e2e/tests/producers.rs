//! Producers that go straight onto the topic with a partitioner and a format of their own: Kafka's console producer (Java's partitioner,
//! JSON) and librdkafka (its default partitioner, JSON and Avro). Each key must be counted once, by whatever paths and however often it
//! came, and a record in the wrong partition must be rerouted, never dead-lettered.
//!
//! How many records lie in the wrong partition is known from where the broker acknowledged them, so `rerouted` is held to the very number.

use crate::rig::{SETTLE, turn_with_others, wait_until};
use crate::services::{Services, audit};
use e2e::client;
use e2e::model::Ledger;
use e2e::paced::{counts_of, event_json, mix};
use e2e::world::{Cluster, PATIENCE};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use schemas::{Timestamp, avro, json, key};
use serde_json::Value;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Partitions of the topic: the default of `kafka.partitions`.
const PARTITIONS: u32 = 4;
/// Keys of a run.
const KEYS: u64 = 4000;

/// How an event is written.
#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    /// In the Confluent wire format, under this schema id.
    Avro(u32),
}

/// Where a record is put.
#[derive(Clone, Copy, Debug)]
enum Placing {
    /// Where librdkafka's default partitioner puts it (CRC32): none of ours, so three records of four lie wrong.
    Default,
    /// Explicitly where it does not belong.
    Wrong,
}

#[test]
fn straight_onto_the_topic_by_other_partitioners() {
    let _turn = turn_with_others();
    let world = Cluster::new("straight").unwrap();
    let services = Services::start(&world, true);
    let mut misplaced = produce(&world, "s", 0..10_000);
    misplaced += produce(&world, "s", 5000..6000);
    let expected = counts_of(0..10_000);
    wait_until(|| expected.confirm(world.query_address).is_ok());
    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    println!("{misplaced} misplaced: {ledger:?}");
    assert_eq!((ledger.accepted, ledger.counted), (11_000, 10_000), "{ledger:?}");
    assert_eq!(ledger.duplicate, 1000 + repeated_copies(&ledger), "{ledger:?}");
    assert!(misplaced > 4000, "{misplaced}: the partitioners differ");
    assert_eq!(
        (ledger.rerouted, ledger.dead_lettered, ledger.balanced),
        (misplaced, 0, true),
        "{ledger:?}"
    );
    services.stop();
    audit(&world);
}

/// A partition that finds its owner late has copies written twice; each of these is a duplicate.
fn repeated_copies(ledger: &Ledger) -> u64 {
    ledger.copies - ledger.rerouted
}

/// The same keys by four paths at once, each in an order of its own. The console producer reads lines, and a line's bytes are text to it:
/// Avro does not survive that (a body may hold a line end, and bytes that are no UTF-8 are replaced), so it brings JSON.
#[test]
fn a_key_that_comes_by_every_path_is_counted_once() {
    let _turn = turn_with_others();
    let world = Cluster::new("paths").unwrap();
    let services = Services::start(&world, true);
    let id = schema_id();
    let misplaced = std::thread::scope(|scope| {
        let console = scope.spawn(|| console_producer(&world, "p", 0..KEYS));
        let http = scope.spawn(|| over_http(&world, "p", 0..KEYS));
        let world = &world;
        let others = [(3, Format::Json), (4, Format::Avro(id))].map(|(order, format)| {
            let numbers = shuffled(0..KEYS, order);
            scope.spawn(move || put(world, "p", numbers, format, Placing::Default))
        });
        console.join().unwrap();
        http.join().unwrap();
        others.map(|path| path.join().unwrap()).iter().sum::<u64>()
    });
    // A record that was rerouted is concluded before its copy is, so nothing in flight does not say yet that all has come.
    wait_until(|| Ledger::ask(world.query_address, PATIENCE).unwrap().duplicate >= 3 * KEYS);
    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    println!("schema id {id}, {misplaced} misplaced: {ledger:?}");
    counts_of(0..KEYS).confirm(world.query_address).unwrap();
    assert_eq!((ledger.accepted, ledger.counted), (4 * KEYS, KEYS), "{ledger:?}");
    // Those of librdkafka alone: Java's partitioner and ingest's agree with ours.
    assert_eq!(
        (ledger.rerouted, ledger.dead_lettered, ledger.balanced),
        (misplaced, 0, true),
        "{ledger:?}"
    );
    services.stop();
    audit(&world);
}

#[test]
fn a_run_that_is_misplaced_in_every_record_is_rerouted_in_every_record() {
    let _turn = turn_with_others();
    let world = Cluster::new("misplaced").unwrap();
    let services = Services::start(&world, true);
    let (json, avro) = (0..KEYS / 2, KEYS / 2..KEYS);
    let mut misplaced = put(&world, "m", shuffled(json, 1), Format::Json, Placing::Wrong);
    misplaced += put(
        &world,
        "m",
        shuffled(avro, 1),
        Format::Avro(schema_id()),
        Placing::Wrong,
    );
    assert_eq!(misplaced, KEYS, "each record lies in a wrong partition");
    let expected = counts_of(0..KEYS);
    wait_until(|| expected.confirm(world.query_address).is_ok());
    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    println!("{ledger:?}");
    assert_eq!(
        (ledger.accepted, ledger.counted, ledger.rerouted),
        (KEYS, KEYS, KEYS),
        "{ledger:?}"
    );
    assert_eq!(
        (ledger.duplicate, ledger.dead_lettered, ledger.balanced),
        (repeated_copies(&ledger), 0, true),
        "{ledger:?}"
    );
    services.stop();
    audit(&world);
}

/// A broker looks at what compression leaves of a batch, so a record may be far longer than one of ours, and than a copy of it may be.
#[test]
fn a_record_that_is_longer_than_a_copy_may_be_is_refused_and_holds_up_nobody() {
    let _turn = turn_with_others();
    let world = Cluster::new("longer").unwrap();
    let services = Services::start(&world, true);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &world.broker);
    config
        .set("compression.type", "lz4")
        .set("message.max.bytes", "8000000");
    let producer: BaseProducer<Places> = config.create_with_context(Places::default()).unwrap();
    let long = "x".repeat(3 * 1024 * 1024);
    let almost = "x".repeat(900 * 1024);
    let tenant = format!(r#"{{"tenant":"{almost}","user_id":"u1","event_type":"sale"}}"#);
    for (key, value) in [("k", long.as_str()), (&long, "{}"), (&almost, &tenant)] {
        let record = BaseRecord::to(&world.events_topic).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
    let places = producer.context();
    assert_eq!(
        places.right.load(Ordering::SeqCst) + places.wrong.load(Ordering::SeqCst),
        3
    );
    produce(&world, "l", 0..1000);
    let expected = counts_of(0..1000);
    wait_until(|| expected.confirm(world.query_address).is_ok());
    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    assert_eq!((ledger.dead_lettered, ledger.balanced), (3, true), "{ledger:?}");
    let letters = client::get_json(world.query_address, "/v1/dead-letters", PATIENCE).unwrap();
    for letter in letters["dead_letters"].as_array().unwrap() {
        let path = format!("/v1/dead-letters/{}", letter["id"].as_str().unwrap());
        assert_eq!(
            client::get(world.query_address, &path, PATIENCE).unwrap().status,
            200
        );
    }
    services.stop();
    audit(&world);
}

/// Puts events onto the topic as any producer may: JSON, the record's key being the event's, and the client's default partitioner. How
/// many of them lie in a wrong partition.
pub(crate) fn produce(world: &Cluster, keys: &str, numbers: Range<u64>) -> u64 {
    put(world, keys, numbers.collect(), Format::Json, Placing::Default)
}

/// Puts events onto the topic by librdkafka; how many of them lie in a wrong partition.
fn put(world: &Cluster, keys: &str, numbers: Vec<u64>, format: Format, placing: Placing) -> u64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &world.broker);
    let producer: BaseProducer<Places> = config.create_with_context(Places::default()).unwrap();
    let count = numbers.len() as u64;
    for number in numbers {
        let (key, value) = (format!("{keys}-{number}"), write(keys, number, format));
        let record = BaseRecord::to(&world.events_topic).key(&key).payload(&value);
        let record = match placing {
            Placing::Default => record,
            Placing::Wrong => {
                let right = key::partition(key.as_bytes(), PARTITIONS).0;
                let other = u32::try_from(mix(number) % u64::from(PARTITIONS - 1)).unwrap();
                record.partition(i32::try_from((right + 1 + other) % PARTITIONS).unwrap())
            }
        };
        producer.send(record).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
    let places = producer.context();
    let [right, wrong] = [&places.right, &places.wrong].map(|of| of.load(Ordering::SeqCst));
    assert_eq!(right + wrong, count, "each record was acknowledged");
    wrong
}

fn write(keys: &str, number: u64, format: Format) -> Vec<u8> {
    let text = event_json(keys, number, 0);
    let Format::Avro(id) = format else {
        return text.into_bytes();
    };
    let event = json::decode(text.as_bytes(), "", Timestamp(0)).unwrap();
    let mut bytes = Vec::new();
    avro::encode(&event, id, &mut bytes);
    bytes
}

/// Where the broker acknowledged the records of one producer.
#[derive(Default)]
struct Places {
    right: AtomicU64,
    wrong: AtomicU64,
}

impl ClientContext for Places {}

impl ProducerContext for Places {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // One that failed is missed at the end.
        let Ok(record) = result else { return };
        let right = key::partition(record.key().unwrap(), PARTITIONS);
        let place = if i32::try_from(right.0) == Ok(record.partition()) {
            &self.right
        } else {
            &self.wrong
        };
        place.fetch_add(1, Ordering::SeqCst);
    }
}

/// Kafka's own: a line is the key, a tab, and the value.
fn console_producer(world: &Cluster, keys: &str, numbers: Range<u64>) {
    let engines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/engines/engines");
    let mut command = Command::new("bash");
    command
        .arg(engines)
        .args(["console-producer", "--bootstrap-server", &world.broker])
        .args(["--topic", &world.events_topic])
        .args(["--reader-property", "parse.key=true"])
        .args(["--command-property", "acks=all"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines: Vec<String> = shuffled(numbers, 1)
        .into_iter()
        .map(|number| format!("{keys}-{number}\t{}\n", event_json(keys, number, 0)))
        .collect();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.concat().as_bytes())
        .unwrap();
    assert!(
        child.wait().unwrap().success(),
        "the console producer sent everything"
    );
}

fn over_http(world: &Cluster, keys: &str, numbers: Range<u64>) {
    let count = numbers.end - numbers.start;
    let lines: Vec<String> = shuffled(numbers, 2)
        .into_iter()
        .map(|number| event_json(keys, number, 0))
        .collect();
    let body = lines.join("\n");
    let answer = client::post(
        world.ingest_address,
        "/v1/events",
        "application/x-ndjson",
        body.as_bytes(),
        PATIENCE,
    );
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json().unwrap()["accepted"], count);
}

/// The id under which the registry has our schema, as any other producer would look it up.
fn schema_id() -> u32 {
    let url = std::env::var("TIDEMARK_TEST_REGISTRY").unwrap();
    let (server, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let asked = serde_json::json!({ "schema": avro::SCHEMA }).to_string();
    let answer = client::post(
        server.parse().unwrap(),
        &format!("/{path}/subjects/events-value"),
        "application/vnd.schemaregistry.v1+json",
        asked.as_bytes(),
        PATIENCE,
    );
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json().unwrap().get("id").and_then(Value::as_u64);
    u32::try_from(id.unwrap()).unwrap()
}

/// In one of many orders, so that each path begins with other keys.
fn shuffled(numbers: Range<u64>, order: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_by_key(|number| mix(number ^ order << 32));
    numbers
}
