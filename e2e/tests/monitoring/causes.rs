//! The causes of the alerts, in the order in which they are made. A step makes one, or takes one away that a step before has made. That
//! alerts clear needs no word here: behind the last step none may fire.

use super::prometheus::until;
use super::stage::{CERTIFICATE, CERTIFICATE_KEY, KEYS_FILE, Stage, registry, write_certificate};
use super::{KEYS, RATE};
use crate::rig::produce_records;
use e2e::client;
use e2e::cql;
use e2e::model::Ledger;
use e2e::paced::{event_foreign, event_json, foreign_schema};
use e2e::proxy::{Action, Api, Event, NO_GENERATION};
use e2e::world::{Cluster, PATIENCE, Service};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What is done, and what fires thereupon.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// In words.
    what: &'static str,
    make: fn(&mut Stage),
    /// Done again and again until all of them fire.
    meanwhile: fn(&mut Stage),
    fires: Fires,
}

/// Alerts, and labels that say of whom or of what.
type Fires = &'static [(&'static str, &'static str)];

/// Events that come at once: of more keys than fit into the memory of [`NARROW`].
pub(crate) const BURST: u64 = 40_000;
/// Records in a schema that nobody has asked the registry for.
pub(crate) const FOREIGN: u64 = 40;
/// Records that are no events.
const UNREADABLE: u64 = 300;
/// Partitions of the topic: the default of `kafka.partitions`.
const PARTITIONS: i32 = 4;
/// A generation that no group of a test has: the broker refuses it as it refuses an old one.
const STALE: i32 = 1_000_000;
/// Rows whose flush takes five seconds at the pace of [`NARROW`]: a burst is counted meanwhile.
const FLUSH_ROWS: u64 = 5 * NARROW[1].1;
/// The least memory for dedup, and so few rows a second that flushes take long.
const NARROW: Settings = [
    ("TIDEMARK_AGGREGATOR__DEDUP_MEMORY_BYTES", 1024 * 1024),
    ("TIDEMARK_STORE__ROWS_PER_S_FRESH", 20),
    ("TIDEMARK_STORE__ROWS_PER_S_BULK", 20),
];
/// Their defaults.
const WIDE: Settings = [
    ("TIDEMARK_AGGREGATOR__DEDUP_MEMORY_BYTES", 1024 * 1024 * 1024),
    ("TIDEMARK_STORE__ROWS_PER_S_FRESH", 20_000),
    ("TIDEMARK_STORE__ROWS_PER_S_BULK", 0),
];

type Settings = [(&'static str, u64); 3];

/// All steps.
pub(crate) const STEPS: &[Step] = &[
    step(
        "a certificate that ends tomorrow",
        |stage| {
            for file in [CERTIFICATE, CERTIFICATE_KEY] {
                stage.set_aside(file);
            }
            write_certificate(&stage.world, 1).unwrap();
        },
        &[
            (
                "TidemarkCertificateEnds",
                r#"severity="ticket",instance="query-2""#,
            ),
            ("TidemarkCertificateEnds", r#"severity="page",instance="query-2""#),
        ],
    ),
    step(
        "the certificate that was there before",
        |stage| {
            for file in [CERTIFICATE, CERTIFICATE_KEY] {
                stage.put_back(file);
            }
        },
        &[],
    ),
    step(
        "a file of keys with a line that is no key",
        |stage| {
            stage.set_aside(KEYS_FILE);
            std::fs::write(stage.world.path(KEYS_FILE), "no key\n").unwrap();
        },
        &[("TidemarkKeysFileDamaged", r#"instance="query-2""#)],
    ),
    step("the file as it was", |stage| stage.put_back(KEYS_FILE), &[]),
    step(
        "a disk of which less than a tenth is free",
        |stage| stage.disk.fill(),
        &[("TidemarkDiskFills", r#"instance="disk""#)],
    ),
    step("room on it", |stage| stage.disk.empty(), &[]),
    step(
        "a role of which no process is found",
        |stage| stage.prometheus.lose("tidemark-ingest"),
        &[("TidemarkRoleGone", r#"job="tidemark-ingest""#)],
    ),
    step(
        "its processes found again",
        |stage| stage.prometheus.find("tidemark-ingest"),
        &[],
    ),
    step(
        "requests without a key",
        nothing,
        &[(
            "TidemarkClientsRefused",
            r#"job="tidemark-query",reason="key_missing""#,
        )],
    )
    .with(|stage| {
        // The first may come before the certificate does that the tunnel believes.
        let _ = client::get(stage.tunnel.address, "/v1/days", PATIENCE);
    }),
    step(
        "records that are no events",
        |stage| {
            let record = |number: u64| (format!("no-{number}"), b"no event".to_vec());
            produce_records(&stage.world, "murmur2_random", (0..UNREADABLE).map(record));
        },
        &[("TidemarkDeadLettersSurge", r#"outcome="undecodable""#)],
    ),
    step(
        "all tables emptied",
        |stage| {
            cql::truncate_all(stage.world.store, &stage.world.keyspace, PATIENCE).unwrap();
        },
        &[("TidemarkViewEmptied", r#"job="tidemark-aggregate""#)],
    ),
    step(
        "the registry away, and records in a schema that is not known yet",
        |stage| {
            let id = register(&stage.world);
            stage.registry.cut();
            let record = |number| (format!("f-{number}"), event_foreign(id, "f", number));
            produce_records(&stage.world, "murmur2_random", (0..FOREIGN).map(record));
        },
        &[
            ("TidemarkRegistryAway", r#"instance="aggregate-1""#),
            ("TidemarkNotReady", r#"instance="aggregate-1""#),
        ],
    ),
    step("the registry back", |stage| stage.registry.heal(), &[]),
    step(
        "the store away",
        |stage| stage.store.cut(),
        &[
            ("TidemarkProjectorStopped", r#"instance="aggregate-1""#),
            ("TidemarkNotReady", r#"instance="aggregate-1""#),
        ],
    ),
    step("the store back", |stage| stage.store.heal(), &[]),
    step(
        "a transaction that another team holds open, and queries that ask for what is behind it",
        hold_a_transaction,
        &[
            ("TidemarkCanaryLost", ""),
            ("TidemarkLaneBehind", r#"instance="aggregate-2""#),
            ("TidemarkRequestsFail", r#"job="tidemark-query""#),
        ],
    )
    .with(ask_too_early),
    step(
        "its end, more than ten seconds later",
        |stage| {
            let other = stage.other.take().unwrap();
            other.abort_transaction(PATIENCE).unwrap();
        },
        &[("TidemarkCanaryLate", "")],
    ),
    step(
        "offsets that the broker refuses, as it does of who is no longer in the group",
        |stage| offsets_name(stage, STALE),
        &[("TidemarkLaneBeginsAgain", r#"instance="aggregate-1""#)],
    ),
    step("offsets that it takes", |stage| stage.kafka.clear_rules(), &[]),
    step(
        "a lane that stands still, and commits what another one has concluded",
        wake_a_zombie,
        &[("TidemarkBatchesSuperseded", "")],
    ),
    step("its fence back", |stage| stage.kafka.clear_rules(), &[]),
    step(
        "the broker away",
        |stage| stage.kafka.cut(),
        &[
            ("TidemarkKafkaAway", r#"instance="aggregate-1""#),
            ("TidemarkCanaryRefused", r#"instance="query-2""#),
        ],
    ),
    step("the broker back", |stage| stage.kafka.heal(), &[]),
    step(
        "a process killed",
        |stage| {
            stage.services.query.process.kill().unwrap();
        },
        &[("TidemarkInstanceDown", r#"instance="query""#)],
    ),
    step(
        "the same started again, and killed again and again",
        |stage| stage.services.query.restart().unwrap(),
        &[("TidemarkRestarts", r#"instance="query""#)],
    )
    .with(kill_again),
    step(
        "little memory, few rows a second, and many events at once",
        |stage| {
            let narrow = &mut stage.services.aggregators[1];
            restart_with(narrow, NARROW);
            // What comes while a flush takes long is behind it, whatever the pace of the machine.
            until("a flush that takes seconds has begun", || {
                narrow.metric("tidemark_projector_dirty_rows").unwrap() >= FLUSH_ROWS
            });
            let record = |number| (format!("b-{number}"), event_json("b", number, 0).into_bytes());
            produce_records(&stage.world, "murmur2_random", (0..BURST).map(record));
        },
        &[
            ("TidemarkDedupSpilled", r#"instance="aggregate-2""#),
            ("TidemarkViewsBehind", r#"instance="aggregate-2""#),
        ],
    ),
    step(
        "enough of both",
        |stage| restart_with(&mut stage.services.aggregators[1], WIDE),
        &[],
    ),
];

const fn step(what: &'static str, make: fn(&mut Stage), fires: Fires) -> Step {
    Step {
        what,
        make,
        meanwhile: nothing,
        fires,
    }
}

fn nothing(_: &mut Stage) {}

impl Step {
    const fn with(self, meanwhile: fn(&mut Stage)) -> Self {
        Self { meanwhile, ..self }
    }

    /// What fires thereupon.
    pub(crate) fn alerts(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.fires.iter().map(|(alert, _)| *alert)
    }

    /// Does it, and waits until all fires that did not before.
    pub(crate) fn take(&self, stage: &mut Stage) {
        for (alert, labels) in self.fires {
            until(&format!("{alert} is quiet before: {}", self.what), || {
                !stage.prometheus.fires(alert, labels)
            });
        }
        let begun = Instant::now();
        (self.make)(stage);
        for (alert, labels) in self.fires {
            until(&format!("{alert} fires of: {}", self.what), || {
                (self.meanwhile)(stage);
                stage.prometheus.fires(alert, labels)
            });
            println!("{alert} fires after {:?}: {}", begun.elapsed(), self.what);
        }
    }
}

/// Asks for an answer that reflects what was taken a moment ago, and does not wait: a 503 `not_yet`, unless the lanes were faster. The
/// event is one that the sender sends as well.
pub(crate) fn ask_too_early(stage: &mut Stage) {
    let (world, line) = (&stage.world, event_json(KEYS, 0, 0));
    let answer = client::post(
        world.ingest_address,
        "/v1/events",
        "application/x-ndjson",
        line.as_bytes(),
        PATIENCE,
    );
    let said = answer.unwrap().json().unwrap();
    let receipt = said["receipt"].as_str().unwrap();
    let path = format!("/v1/days?from=2025-11-01&to=2025-11-04&after={receipt}");
    client::get(world.query_address, &path, PATIENCE).unwrap();
}

/// Puts a record into each partition in a transaction that stays open: lanes read committed records alone, so it holds them up.
fn hold_a_transaction(stage: &mut Stage) {
    let topic = &stage.world.events_topic;
    let other: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &stage.world.broker)
        .set("transactional.id", format!("{topic}.other"))
        .create()
        .unwrap();
    other.init_transactions(PATIENCE).unwrap();
    other.begin_transaction().unwrap();
    let (key, value) = ("held-0".to_owned(), event_json("held", 0, 0));
    for partition in 0..PARTITIONS {
        let record = BaseRecord::to(topic).key(&key).payload(&value);
        other.send(record.partition(partition)).unwrap();
    }
    other.flush(PATIENCE).unwrap();
    stage.other = Some(other);
}

/// From now on the offsets that aggregate-1 commits name this generation.
fn offsets_name(stage: &Stage, generation: i32) {
    stage
        .kafka
        .rule(move |request| (request.api == Api::TxnOffsetCommit).then_some(Action::Generation(generation)));
}

/// aggregate-1 stands still with a batch in hand until another one has concluded its records, and commits it all the same, by the hole in
/// the broker's fence that `tears.rs` tells of.
fn wake_a_zombie(stage: &mut Stage) {
    let zombie = &stage.services.aggregators[0].process;
    // Before its transaction has begun at the broker: an open one would hold up whoever takes over.
    let beginning = [Api::AddPartitionsToTxn, Api::AddOffsetsToTxn];
    let mark = stage.kafka.mark();
    let (mut has_ended, mut wanted) = (false, beginning.to_vec());
    stage.kafka.rule(move |request| {
        has_ended |= request.api == Api::EndTxn;
        let at = wanted.iter().position(|api| has_ended && *api == request.api)?;
        wanted.remove(at);
        Some(Action::Hold)
    });
    let held = beginning.map(|api| {
        let is_held = |event: &Event| {
            let held = event.held().is_some_and(|(_, request)| request.api == api);
            event.sequence > mark && held
        };
        let event = stage.kafka.wait_for(is_held, PATIENCE).unwrap();
        event.held().unwrap().0
    });
    stage.kafka.clear_rules();
    zombie.freeze().unwrap();
    let server = stage.world.query_address;
    let before = Ledger::ask(server, PATIENCE).map_or(0, |ledger| ledger.counted);
    // Half of the lanes alone would need ten seconds for so many, and leave as many in flight.
    until("another one has concluded its records", || {
        let ledger = Ledger::ask(server, PATIENCE);
        ledger.is_ok_and(|ledger| ledger.counted > before + 5 * RATE && ledger.in_flight < RATE)
    });
    offsets_name(stage, NO_GENERATION);
    zombie.wake().unwrap();
    for request in held {
        stage.kafka.release(request).unwrap();
    }
}

/// Kills `query` once its processor time was scraped, which begins at zero again, and starts it.
fn kill_again(stage: &mut Stage) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seen = format!(
        "timestamp(tidemark_process_cpu_seconds_total{{instance=\"query\"}}) > {}",
        now.as_secs_f64()
    );
    until("query was scraped", || stage.prometheus.has(&seen));
    let query = &mut stage.services.query;
    query.process.kill().unwrap();
    query.restart().unwrap();
}

/// Kills a service and starts it with other settings.
fn restart_with(service: &mut Service, settings: Settings) {
    for (variable, value) in settings {
        service.role.env.push((variable.to_owned(), value.to_string()));
    }
    service.process.kill().unwrap();
    service.restart().unwrap();
}

/// Registers a schema of other writers; its id.
fn register(world: &Cluster) -> u32 {
    let subject = format!("{}-foreign", world.events_topic);
    let schema = foreign_schema(&subject.replace(['-', '.'], "_"));
    let (address, path) = registry(world);
    let answer = client::post(
        address,
        &format!("/{path}/subjects/{subject}/versions"),
        "application/json",
        json!({ "schema": schema }).to_string().as_bytes(),
        PATIENCE,
    );
    let said = answer.unwrap().json().unwrap();
    said["id"].as_u64().unwrap() as u32
}
