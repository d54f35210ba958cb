//! The measured runs: the same rows through the bare client, ingest, the aggregator without and with the store, and the single process.
//! Every run checks that its result is exact before it says how long it took.

use crate::generate::{Expectation, Settings, write};
use crate::{bare, cost};
use anyhow::{Context, ensure};
use e2e::client;
use e2e::collector::Collector;
use e2e::model::{Counts, Ledger};
use e2e::process::Role;
use e2e::world::{Cluster, Embedded, PATIENCE, Service};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// Source partitions, as `migrate` makes them by default.
const PARTITIONS: u32 = 4;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Between two scrapes.
const SCRAPE: Duration = Duration::from_secs(1);
/// For one run.
const RUN: Duration = Duration::from_secs(180);

/// The file of all runs.
#[derive(Debug)]
pub struct Input {
    file: Vec<u8>,
    expectation: Expectation,
}

impl Input {
    /// Makes it.
    ///
    /// # Errors
    /// Those of the generator.
    pub fn new(rows: u64) -> anyhow::Result<Self> {
        let settings = Settings {
            rows,
            ..Settings::default()
        };
        let mut file = Vec::new();
        let expectation = write(&settings, &mut file)?;
        Ok(Self { file, expectation })
    }

    /// Records that the log must get.
    fn records(&self) -> u64 {
        self.expectation.totals.accepted
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> usize {
        self.file.len()
    }

    /// Sends all of it in one request, and checks what is said.
    fn send(&self, server: SocketAddr) -> anyhow::Result<()> {
        let answer = client::post(server, "/v1/events", "text/csv", &self.file, RUN)?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        let accepted = answer.json()?.get("accepted").and_then(serde_json::Value::as_u64);
        ensure!(
            accepted == Some(self.records()),
            "accepted {accepted:?}, not {}",
            self.records()
        );
        Ok(())
    }

    /// Compares the ledger and each day with the generator's expectation.
    fn confirm(&self, server: SocketAddr, ledger: &Ledger) -> anyhow::Result<()> {
        let totals = &self.expectation.totals;
        let found = (
            ledger.accepted,
            ledger.counted,
            ledger.duplicate,
            ledger.dead_lettered,
        );
        let expected = (
            totals.accepted,
            totals.counted,
            totals.duplicate,
            totals.key_conflict,
        );
        ensure!(
            found == expected && ledger.balanced,
            "expected {expected:?}: {ledger:?}"
        );
        // The days here; every user's row is compared by the audit.
        let mut days = Counts::default();
        for (day, event_type, tally) in self.expectation.days() {
            days.add_day(&day.to_string(), event_type, (tally.count, tally.sum.into()));
        }
        days.confirm(server)
    }
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Wall time in seconds.
    pub seconds: f64,
    /// Records.
    pub records: u64,
    /// Processor seconds of our processes, of the broker, and of the store.
    pub cpu_s: [f64; 3],
    /// Growth of resident memory of the process that took the file, at its highest; in bytes.
    pub growth: u64,
}

struct Meter {
    begun: Instant,
    ours: Vec<u32>,
    engines: Option<(u32, u32)>,
    before: [f64; 3],
    resident: u64,
}

impl Meter {
    fn start(ours: &[u32], on_kafka: bool) -> anyhow::Result<Self> {
        let engines = if on_kafka { Some(cost::engines()?) } else { None };
        let mut resident = 0;
        if let Some(first) = ours.first() {
            cost::forget_peak(*first)?;
            resident = cost::resident(*first)?.0;
        }
        let mut meter = Self {
            begun: Instant::now(),
            ours: ours.to_vec(),
            engines,
            before: [0.0; 3],
            resident,
        };
        meter.before = meter.cpu()?;
        meter.begun = Instant::now();
        Ok(meter)
    }

    fn cpu(&self) -> anyhow::Result<[f64; 3]> {
        let mut ours = 0.0;
        for pid in &self.ours {
            ours += cost::cpu_s(*pid)?;
        }
        Ok(match self.engines {
            Some((broker, store)) => [ours, cost::cpu_s(broker)?, cost::cpu_s(store)?],
            None => [ours, 0.0, 0.0],
        })
    }

    fn end(self, records: u64) -> anyhow::Result<Run> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let after = self.cpu()?;
        let growth = match self.ours.first() {
            Some(first) => cost::resident(*first)?.1.saturating_sub(self.resident),
            None => 0,
        };
        let mut cpu_s = after;
        for (after, before) in cpu_s.iter_mut().zip(self.before) {
            *after -= before;
        }
        Ok(Run {
            seconds,
            records,
            cpu_s,
            growth,
        })
    }
}

/// Runs of the parts on Kafka, one after the other on one topic.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// librdkafka's batch produce of the records that ingest made of the file.
    pub produce: Run,
    /// librdkafka's batch consume of them.
    pub consume: Run,
    /// The file by HTTP until its answer.
    pub ingest: Run,
    /// A backlog of these records through one aggregator without a store.
    pub aggregate: Run,
}

/// Measures the parts. What is produced bare is what ingest produced, byte for byte.
///
/// # Errors
/// If anything fails or is not exact.
pub fn parts(input: &Input) -> anyhow::Result<Parts> {
    let world = Cluster::new("bench-parts")?;
    let service = Service::start(world.ingest()?)?;
    let meter = Meter::start(&[service.process.pid()], true)?;
    input.send(world.ingest_address)?;
    let ingest = meter.end(input.records())?;
    service.process.stop(PATIENCE)?;

    let me = [std::process::id()];
    let mut records = vec![bare::Records::new(); PARTITIONS as usize];
    bare::consume(
        &world.broker,
        &world.events_topic,
        PARTITIONS,
        input.records(),
        |partition, key, value| {
            if let Some(list) = records.get_mut(partition) {
                list.push((key.to_vec(), value.to_vec()));
            }
        },
    )?;
    let topic = format!("{}.bare", world.events_topic);
    make_topic(&world.broker, &topic)?;
    let meter = Meter::start(&me, true)?;
    let took = bare::produce(&world.broker, &topic, &records)?;
    let produce = Run {
        seconds: took.as_secs_f64(),
        ..meter.end(input.records())?
    };
    drop(records);
    let mut bytes = 0;
    let meter = Meter::start(&me, true)?;
    let took = bare::consume(
        &world.broker,
        &topic,
        PARTITIONS,
        input.records(),
        |_, key, value| {
            bytes += key.len() + value.len();
        },
    )?;
    let consume = Run {
        seconds: took.as_secs_f64(),
        ..meter.end(input.records())?
    };
    ensure!(bytes > 0, "nothing was read");
    let aggregate = backlog(&world, input.records())?;
    Ok(Parts {
        produce,
        consume,
        ingest,
        aggregate,
    })
}

/// From the first outcome that one aggregator without a store has read back to the last: what comes before is joining the group.
fn backlog(world: &Cluster, records: u64) -> anyhow::Result<Run> {
    let mut role = world.aggregate("aggregate-1", true)?;
    role.args.push("--without-store".to_owned());
    let admin = role.admin.context("it has an admin port")?;
    let process = role.spawn()?;
    let outcomes = || -> anyhow::Result<u64> {
        let answer = client::get(admin, "/metrics", PATIENCE)?;
        let text = answer.text();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("tidemark_lane_outcomes_records_total"));
        Ok(lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum())
    };
    let (begun, mut first) = (Instant::now(), None);
    loop {
        ensure!(begun.elapsed() < RUN, "the backlog is not done in {RUN:?}");
        sleep(LOOK);
        // Its port may not be open yet.
        let done = outcomes().unwrap_or(0);
        match &first {
            None if done > 0 => first = Some((done, Meter::start(&[process.pid()], true)?)),
            Some(_) if done >= records => break,
            _ => {}
        }
    }
    let (before, meter) = first.context("nothing came")?;
    let run = meter.end(records.saturating_sub(before))?;
    process.stop(PATIENCE)?;
    Ok(run)
}

/// The file through ingest, Kafka, two aggregators, the store and queries, from its first byte until the views reflect all of it; exact
/// by the generator and by the audit.
///
/// # Errors
/// If anything fails or is not exact.
pub fn whole(input: &Input) -> anyhow::Result<Run> {
    let world = Cluster::new("bench-whole")?;
    let roles = [
        world.ingest()?,
        world.aggregate("aggregate-1", true)?,
        world.aggregate("aggregate-2", true)?,
        world.query()?,
    ];
    let services = roles
        .into_iter()
        .map(Service::start)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let pids: Vec<u32> = services.iter().map(|service| service.process.pid()).collect();
    let meter = Meter::start(&pids, true)?;
    input.send(world.ingest_address)?;
    let ledger = Ledger::settled(world.query_address, RUN)?;
    let run = meter.end(input.records())?;
    input.confirm(world.query_address, &ledger)?;
    for service in services {
        service.process.stop(PATIENCE)?;
    }
    let code = world.audit(60).run(RUN)?;
    ensure!(code == 0, "the audit ended with {code}");
    Ok(run)
}

/// The file through the single process, from its first byte until the views reflect all of it; exact by the generator and by the audit.
///
/// # Errors
/// If anything fails or is not exact.
pub fn embedded(input: &Input) -> anyhow::Result<Run> {
    let world = Embedded::new("bench-embedded")?;
    single(input, &world, world.run())
}

/// The same while somebody looks: all of the metrics are read each second, and every request is traced.
///
/// # Errors
/// Those of [`embedded`], and if no trace came.
pub fn observed(input: &Input) -> anyhow::Result<Run> {
    let world = Embedded::new("bench-observed")?;
    let collector = Collector::start()?;
    let mut role = world.run();
    let admin = role.admin.context("it has an admin port")?;
    role.env
        .push(("TIDEMARK_TRACES__ENDPOINT".to_owned(), collector.endpoint()));
    role.env
        .push(("TIDEMARK_TRACES__SHARE".to_owned(), "1".to_owned()));
    let (stop, stopped) = channel::<()>();
    let scraper = spawn(move || {
        let mut scrapes = 0_u32;
        while stopped.recv_timeout(SCRAPE).is_err() {
            // Its port may not be open yet, or not any more.
            scrapes += u32::from(client::get(admin, "/metrics", PATIENCE).is_ok());
        }
        scrapes
    });
    let run = single(input, &world, role);
    stop.send(())?;
    let scrapes = scraper
        .join()
        .map_err(|_| anyhow::anyhow!("the scraper panicked"))?;
    ensure!(scrapes > 0, "the metrics were never read");
    collector.wait_for(&[b"POST /v1/events"], PATIENCE)?;
    run
}

fn single(input: &Input, world: &Embedded, role: Role) -> anyhow::Result<Run> {
    let service = Service::start(role)?;
    let meter = Meter::start(&[service.process.pid()], false)?;
    input.send(world.address)?;
    let ledger = Ledger::settled(world.address, RUN)?;
    let run = meter.end(input.records())?;
    input.confirm(world.address, &ledger)?;
    service.process.stop(PATIENCE)?;
    let code = world.audit().run(RUN)?;
    ensure!(code == 0, "the audit ended with {code}");
    Ok(run)
}

fn make_topic(brokers: &str, name: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let topic = NewTopic::new(name, PARTITIONS as i32, TopicReplication::Fixed(1));
    let made = futures::executor::block_on(admin.create_topics([&topic], &AdminOptions::new()))?;
    for result in made {
        result.map_err(|(name, code)| anyhow::anyhow!("{name}: {code}"))?;
    }
    Ok(())
}
