//! Restore.

use crate::rig::{RATE, each_key_counted_once, turn, wait_until};
use crate::services::{Services, audit};
use e2e::cql;
use e2e::paced::{Sender, Settings};
use e2e::world::{Cluster, PATIENCE};
use std::thread::sleep;
use std::time::Duration;

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
