//! What the tests of the whole program share: whose turn it is, seeded chance, what is hit, and the check at the end.

use e2e::model::Ledger;
use e2e::paced::{Sent, event_json, mix};
use e2e::world::{Cluster, PATIENCE};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// New events a second.
pub(crate) const RATE: u64 = 5000;
/// Until all that was sent is in the views.
pub(crate) const SETTLE: Duration = Duration::from_secs(120);
/// For an audit: it reads the whole log.
pub(crate) const AUDIT: Duration = Duration::from_secs(120);

/// Each of these tests needs the machine for itself: it is about what happens under load, not about waiting for a core. It is its turn until
/// what this gives is dropped. A file, since alerts are watched by a process of their own (`make test`).
pub(crate) fn turn() -> File {
    let turn = turns();
    turn.lock().unwrap();
    turn
}

/// Each of these waits more than it works: beside others of its kind, and never beside one of those above.
pub(crate) fn turn_with_others() -> File {
    let turn = turns();
    turn.lock_shared().unwrap();
    turn
}

fn turns() -> File {
    File::create(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/turn")).unwrap()
}

/// How many kills a test makes: `TIDEMARK_KILLS`, else few.
pub(crate) fn kills() -> u64 {
    match std::env::var("TIDEMARK_KILLS") {
        Ok(number) => number.parse().expect("TIDEMARK_KILLS is a number"),
        Err(_) => 4,
    }
}

/// Chance that can be had again: `TIDEMARK_SEED`, else one that is printed.
pub(crate) struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let seed = match std::env::var("TIDEMARK_SEED") {
            Ok(seed) => seed.parse().expect("TIDEMARK_SEED is a number"),
            Err(_) => now % 1_000_000,
        };
        println!("TIDEMARK_SEED={seed}");
        Self { seed, drawn: 0 }
    }

    /// A number below `below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.drawn += 1;
        mix(self.seed ^ (self.drawn << 32)) % below
    }

    /// Milliseconds from `from` to `to`.
    pub(crate) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// How often each thing was hit.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn add(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn print(&self) {
        println!("{} kills:", self.0.values().sum::<u64>());
        for (what, count) in &self.0 {
            println!("{count:5} {what}");
        }
    }
}

/// Waits until all is counted, and compares the ledger, each day and each user with what was sent.
pub(crate) fn each_key_counted_once(server: SocketAddr, sent: &Sent) -> Ledger {
    let ledger = Ledger::settled(server, SETTLE).unwrap();
    println!(
        "{} keys in {} batches, {} requests broke off: {ledger:?}",
        sent.keys, sent.batches, sent.broken
    );
    sent.counts.confirm(server).unwrap();
    assert_eq!(ledger.counted, sent.keys, "{ledger:?}");
    assert!(ledger.balanced, "{ledger:?}");
    assert_eq!(
        ledger.accepted,
        ledger.counted + ledger.duplicate + ledger.dead_lettered,
        "{ledger:?}"
    );
    assert!(ledger.accepted >= sent.records(), "{ledger:?}");
    assert!(ledger.duplicate >= sent.repeats(), "{ledger:?}");
    assert!(ledger.dead_lettered >= sent.conflicts(), "{ledger:?}");
    assert_eq!(
        ledger.reasons.keys().collect::<Vec<_>>(),
        ["key_conflict"],
        "{ledger:?}"
    );
    ledger
}

/// What goes on at the moment of a kill, as far as the ledger says.
pub(crate) fn lag(server: SocketAddr) -> String {
    match Ledger::ask(server, Duration::from_secs(1)) {
        Ok(ledger) => format!("{} records in flight", ledger.in_flight),
        Err(_) => "the ledger not answered".to_owned(),
    }
}

/// Puts events onto the topic as any producer may: JSON, the record's key being the event's, and the client's default partitioner.
pub(crate) fn produce(world: &Cluster, keys: &str, numbers: std::ops::Range<u64>) {
    let record = |number| {
        (
            format!("{keys}-{number}"),
            event_json(keys, number, 0).into_bytes(),
        )
    };
    produce_records(world, "consistent_random", numbers.map(record));
}

/// Puts records, a key and a value each, onto the topic, where the partitioner has them.
pub(crate) fn produce_records(
    world: &Cluster,
    partitioner: &str,
    records: impl Iterator<Item = (String, Vec<u8>)>,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.broker)
        .set("partitioner", partitioner)
        .create()
        .unwrap();
    for (key, value) in records {
        producer
            .send(BaseRecord::to(&world.events_topic).key(&key).payload(&value))
            .unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
}

/// Waits until it holds, at most [`SETTLE`].
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SETTLE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SETTLE:?}");
        sleep(Duration::from_millis(200));
    }
}
