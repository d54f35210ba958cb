//! Faults of the services on Kafka other than kills: an owner that stands still and wakes, and a table that is emptied.

use crate::rig::{RATE, each_key_counted_once, produce, turn, wait_until};
use crate::services::{Services, audit};
use e2e::cql;
use e2e::model::Ledger;
use e2e::paced::{Sender, Settings};
use e2e::world::{Cluster, PATIENCE, SESSION_MS};
use std::thread::sleep;
use std::time::Duration;

/// The frozen aggregator is past its session and its transactions when it wakes, with a batch in hand that others concluded.
#[test]
fn a_frozen_aggregator_that_wakes_changes_nothing() {
    let _turn = turn();
    let world = Cluster::new("frozen").unwrap();
    let mut services = Services::start(&world, true);
    let sender = Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE / 2,
        keys: "k".to_owned(),
    });
    sleep(Duration::from_secs(2));
    services.aggregators[0].process.freeze().unwrap();
    sleep(Duration::from_millis(SESSION_MS + 1000));
    // Only the other one can conclude this.
    let before = Ledger::ask(world.query_address, PATIENCE).unwrap();
    wait_until(|| Ledger::ask(world.query_address, PATIENCE).unwrap().counted > before.counted + 20_000);
    services.aggregators[0].process.wake().unwrap();
    sleep(Duration::from_secs(3));
    let sent = sender.finish().unwrap();
    each_key_counted_once(world.query_address, &sent);
    // It is of use again: alone it must conclude what comes now.
    services.aggregators[1].process.kill().unwrap();
    assert!(
        services.aggregators[0].process.is_alive().unwrap(),
        "the frozen aggregator ended"
    );
    produce(&world, "alone", 0..1000);
    wait_until(|| Ledger::ask(world.query_address, PATIENCE).unwrap().counted == sent.keys + 1000);
    services.aggregators[1].restart().unwrap();
    services.stop();
    audit(&world);
}

/// A truncated table has lost its progress too, so it must be seen and filled from the changelog, under load and without a restart.
#[test]
fn an_emptied_table_is_filled_again() {
    let _turn = turn();
    let world = Cluster::new("emptied").unwrap();
    let services = Services::start(&world, true);
    let sender = Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE / 2,
        keys: "k".to_owned(),
    });
    for table in ["days_g1", "users_g1"] {
        sleep(Duration::from_secs(2));
        cql::execute(
            world.store,
            &format!("TRUNCATE {}.{table}", world.keyspace),
            PATIENCE,
        )
        .unwrap();
    }
    sleep(Duration::from_secs(2));
    let sent = sender.finish().unwrap();
    // The ledger lies in another table, so it says nothing of these two.
    wait_until(|| sent.counts.confirm(world.query_address).is_ok());
    each_key_counted_once(world.query_address, &sent);
    // At rest, too: nothing that comes would show it.
    cql::execute(
        world.store,
        &format!("TRUNCATE {}.days_g1", world.keyspace),
        PATIENCE,
    )
    .unwrap();
    wait_until(|| sent.counts.confirm(world.query_address).is_ok());
    services.stop();
    audit(&world);
}
