//! What an operator may lose, lost under load: the local folders of the aggregators, one table of the store or all of them, and all of this
//! at once. All of it follows from the log, so it must come back by itself, exact, and soon.

use crate::rig::{turn, wait_until};
use crate::services::{Services, audit};
use bench::generate;
use e2e::client;
use e2e::cql;
use e2e::model::{Counts, Ledger};
use e2e::paced::{Sender, Settings};
use e2e::world::{Cluster, PATIENCE};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Events a second while something is lost: the load is there, and the machine is not taken up by it.
const LOAD: u64 = 1000;
/// For the file, which is as large as the number of keys.
const FILE: Duration = Duration::from_secs(300);
/// Shares of the file's rows.
const REPEATS: f64 = 0.05;
const INVALID: f64 = 0.001;
/// One query of each view.
const VIEWS: [&str; 4] = [
    "/v1/days?from=2025-01-01&to=2026-01-01",
    "/v1/users/user-1",
    "/v1/dead-letters?limit=1",
    LEDGER,
];
const LEDGER: &str = "/v1/ledger";

/// Keys that are there before anything is lost: `TIDEMARK_KEYS`, else few.
fn keys() -> u64 {
    let keys = std::env::var("TIDEMARK_KEYS").unwrap_or_else(|_| "30000".to_owned());
    keys.parse().expect("TIDEMARK_KEYS is a number")
}

/// Seconds that a restore may take: `TIDEMARK_RESTORE_S`; else it is not looked at, since beside other tests it says nothing.
fn limit() -> Option<Duration> {
    let seconds = std::env::var("TIDEMARK_RESTORE_S").ok()?;
    Some(Duration::from_secs(
        seconds.parse().expect("TIDEMARK_RESTORE_S is a number"),
    ))
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Folders,
    Table(usize),
    Tables,
    FoldersAndTables,
}

#[test]
fn what_is_lost_of_folders_and_tables_comes_back() {
    let _turn = turn();
    let world = Cluster::new("restore").unwrap();
    let mut services = Services::start(&world, true);
    let begun = Instant::now();
    let mut expected = load_file(&world);
    let ledger = Ledger::settled(world.query_address, FILE).unwrap();
    println!("{} keys counted after {:?}", ledger.counted, begun.elapsed());
    assert!(ledger.counted >= keys(), "{ledger:?}");

    let tables = cql::tables(world.store, &world.keyspace, PATIENCE).unwrap().len();
    let mut slowest = Duration::ZERO;
    let all = [Lost::Folders, Lost::Tables, Lost::FoldersAndTables];
    for (round, lost) in all.into_iter().chain((0..tables).map(Lost::Table)).enumerate() {
        let sender = Sender::start(Settings {
            server: world.ingest_address,
            rate: LOAD,
            keys: format!("k{round}"),
        });
        sender.wait_for(5, PATIENCE).unwrap();
        let (before, _) = reflected(&world, LEDGER).unwrap();
        let begun = lose(lost, &world, &mut services);
        // New events are in each view, and it is not behind.
        let is_back =
            |path| reflected(&world, path).is_some_and(|(all, lag)| all > before + LOAD / 2 && lag < LOAD);
        wait_until(|| VIEWS.iter().all(|path| is_back(path)));
        let took = begun.elapsed();
        println!("{lost:?} restored after {took:?}, under load");
        slowest = slowest.max(took);
        expected.merge(sender.finish().unwrap().counts);
        exact(&world, &expected);
    }
    // At rest, too: nothing that comes would show it.
    let begun = lose(Lost::Tables, &world, &mut services);
    exact(&world, &expected);
    println!("{:?} restored after {:?}, at rest", Lost::Tables, begun.elapsed());
    services.stop();
    audit(&world);
    if let Some(limit) = limit() {
        assert!(slowest <= limit, "a restore took {slowest:?}");
    }
}

/// Waits until each view reflects all, and compares.
fn exact(world: &Cluster, expected: &Counts) {
    let reflects_all = |path| reflected(world, path).is_some_and(|(_, lag)| lag == 0);
    wait_until(|| VIEWS.iter().all(|path| reflects_all(path)));
    let ledger = Ledger::ask(world.query_address, PATIENCE).unwrap();
    assert_eq!(ledger.counted, expected.count(), "{ledger:?}");
    assert!(ledger.balanced, "{ledger:?}");
    expected.confirm(world.query_address).unwrap();
}

/// Loses it, and gives the moment from which on it may come back.
fn lose(lost: Lost, world: &Cluster, services: &mut Services) -> Instant {
    let folders = matches!(lost, Lost::Folders | Lost::FoldersAndTables);
    if folders {
        for aggregator in &mut services.aggregators {
            aggregator.process.kill().unwrap();
            aggregator.role.forget().unwrap();
        }
    }
    match lost {
        Lost::Folders => {}
        Lost::Tables | Lost::FoldersAndTables => {
            cql::truncate_all(world.store, &world.keyspace, PATIENCE).unwrap();
        }
        Lost::Table(number) => {
            let tables = cql::tables(world.store, &world.keyspace, PATIENCE).unwrap();
            let statement = format!("TRUNCATE {}.{}", world.keyspace, tables[number]);
            println!("{statement}");
            cql::execute(world.store, &statement, PATIENCE).unwrap();
        }
    }
    let begun = Instant::now();
    if folders {
        for aggregator in &mut services.aggregators {
            aggregator.process = aggregator.role.spawn().unwrap();
        }
    }
    begun
}

/// How many records an answer reflects, and how many it does not; `None` where there is no answer.
fn reflected(world: &Cluster, path: &str) -> Option<(u64, u64)> {
    let answer = client::get_json(world.query_address, path, PATIENCE).ok()?;
    let offsets = answer["as_of"]["offsets"].as_object()?.values();
    Some((
        offsets.filter_map(Value::as_u64).sum(),
        answer["as_of"]["lag_records"].as_u64()?,
    ))
}

/// Sends a file of many users and days; what must be counted of it.
fn load_file(world: &Cluster) -> Counts {
    let settings = generate::Settings {
        rows: (keys() as f64 / (1.0 - REPEATS - INVALID) * 1.001) as u64,
        users: u32::try_from(keys()).unwrap(),
        repeats: REPEATS,
        invalid: INVALID,
        ..Default::default()
    };
    let mut file = Vec::new();
    let expectation = generate::write(&settings, &mut file).unwrap();
    let answer = client::post(world.ingest_address, "/v1/events", "text/csv", &file, FILE).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut expected = Counts::default();
    for (day, event_type, tally) in expectation.days() {
        expected.add_day(&day.to_string(), event_type, (tally.count, tally.sum.into()));
    }
    for (user, event_type, _, tally) in expectation.users() {
        expected.add_user(&user, event_type, (tally.count, tally.sum.into()));
    }
    expected
}
