//! The services on Kafka and the view store: a file, and random kills under load.

use crate::rig::{AUDIT, Chance, RATE, SETTLE, each_key_counted_once, kills, lag, turn};
use bench::generate;
use e2e::client;
use e2e::model::{Counts, Ledger};
use e2e::paced::{Sender, Settings};
use e2e::world::{Cluster, PATIENCE, SESSION_MS, Service};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// One kill, with a take-over by the other aggregator.
const A_KILL: Duration = Duration::from_secs(90);

/// All services: ingest, query, and two aggregators.
pub(crate) struct Services {
    pub(crate) ingest: Service,
    pub(crate) query: Service,
    pub(crate) aggregators: [Service; 2],
}

impl Services {
    pub(crate) fn start(world: &Cluster, is_static: bool) -> Self {
        let aggregate = |name| Service::start(world.aggregate(name, is_static).unwrap()).unwrap();
        Self {
            aggregators: [aggregate("aggregate-1"), aggregate("aggregate-2")],
            ingest: Service::start(world.ingest().unwrap()).unwrap(),
            query: Service::start(world.query().unwrap()).unwrap(),
        }
    }

    /// Stops all of them as an operator would, readers last.
    pub(crate) fn stop(self) {
        self.ingest.process.stop(PATIENCE).unwrap();
        for aggregator in self.aggregators {
            aggregator.process.stop(PATIENCE).unwrap();
        }
        self.query.process.stop(PATIENCE).unwrap();
    }
}

/// The audit reads the raw log with a fold of its own and compares every row of every view. To be called once all have stopped: a drain
/// must leave the store at the very end of the chain.
pub(crate) fn audit(world: &Cluster) {
    assert_eq!(
        world.audit(60).run(AUDIT).unwrap(),
        0,
        "the audit found differences, or could not look"
    );
}

#[test]
fn a_file_through_kafka_equals_its_expectation() {
    let _turn = turn();
    let world = Cluster::new("file").unwrap();
    let services = Services::start(&world, true);
    let settings = generate::Settings {
        rows: 20_000,
        users: 300,
        repeats: 0.1,
        invalid: 0.01,
        ..Default::default()
    };
    let mut file = Vec::new();
    let expectation = generate::write(&settings, &mut file).unwrap();
    let answer = client::post(world.ingest_address, "/v1/events", "text/csv", &file, PATIENCE).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json().unwrap();
    let totals = &expectation.totals;
    assert_eq!(said["accepted"], totals.accepted);
    assert_eq!(said["invalid"], totals.invalid.iter().sum::<u64>());

    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    assert_eq!(
        (ledger.accepted, ledger.counted),
        (totals.accepted, totals.counted),
        "{ledger:?}"
    );
    assert_eq!(ledger.duplicate, totals.duplicate, "{ledger:?}");
    assert_eq!(
        ledger.reasons.get("key_conflict").copied().unwrap_or_default(),
        totals.key_conflict,
        "{ledger:?}"
    );
    assert!(ledger.balanced, "{ledger:?}");
    let mut expected = Counts::default();
    for (day, event_type, tally) in expectation.days() {
        expected.add_day(&day.to_string(), event_type, (tally.count, tally.sum.into()));
    }
    for (user, event_type, _, tally) in expectation.users() {
        expected.add_user(&user, event_type, (tally.count, tally.sum.into()));
    }
    expected.confirm(world.query_address).unwrap();
    services.stop();
    audit(&world);
}

/// As of the single process, with two aggregators and ingest as victims. Half of the aggregators' kills last longer than a session, so
/// that the other one takes over; the others come back as the same static member.
#[test]
fn kills_of_aggregators_and_ingest_lose_nothing_and_count_nothing_twice() {
    let _turn = turn();
    let mut chance = Chance::new();
    let world = Cluster::new("kills").unwrap();
    let mut services = Services::start(&world, true);
    let sender = Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE,
        keys: "k".to_owned(),
    });
    let (wanted, begun, mut broken) = (kills(), Instant::now(), 0);
    let mut done = 0;
    while done < wanted {
        assert!(
            begun.elapsed() < A_KILL * (wanted as u32 + 1),
            "{done} kills of {wanted}"
        );
        sender.wait_for(1, PATIENCE).unwrap();
        sleep(chance.ms(200, 2000));
        let lag = lag(world.query_address);
        sender.wait_open(Duration::from_secs(1));
        sleep(Duration::from_micros(chance.below(10_000)));
        let open = sender.open();
        let victim = chance.below(3) as usize;
        if victim == 2 {
            let moment = services.ingest.process.kill().unwrap();
            services.ingest.restart().unwrap();
            let broke = sender.broken_at(moment);
            done += u64::from(broke > 0);
            println!("kill {done}: ingest, {open} requests open, {broke} of them broke off, {lag}");
        } else {
            // Requests are open and records in flight all the time, so each of these counts.
            let victim = &mut services.aggregators[victim];
            victim.process.kill().unwrap();
            let away = match chance.below(4) {
                0 => Duration::from_millis(SESSION_MS) + chance.ms(500, 3000),
                _ => chance.ms(0, 500),
            };
            sleep(away);
            victim.restart().unwrap();
            done += 1;
            println!(
                "kill {done}: {} for {away:?}, {open} requests open, {lag}",
                victim.role.name
            );
        }
        broken += sender.forget_broken();
    }
    let mut sent = sender.finish().unwrap();
    sent.broken += broken;
    each_key_counted_once(world.query_address, &sent);
    services.stop();
    audit(&world);
}
