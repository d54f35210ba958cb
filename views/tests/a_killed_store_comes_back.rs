//! A store that is killed and started again is found again by the same session, and holds what it acknowledged: if it syncs
//! its commit log before it acknowledges. With Cassandra's default, every 10 s, one node forgets the last seconds.

use crate::rows::{day, scan};
use schemas::row::View;
use std::process::Command;
use std::time::Duration;
use views::cassandra::{Config, migrate};
use views::{Error, Store};

/// An instance of our own: other tests run on the default one.
fn engines(verb: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/engines/engines");
    let mut command = Command::new("bash");
    command.args([script, verb, "cassandra"]);
    command
        .env("TIDEMARK_ENGINES_INSTANCE", "views")
        .env("TIDEMARK_ENGINES_PORT_BASE", "31090")
        .env("TIDEMARK_ENGINES_COMMITLOG", "batch");
    assert!(command.status().unwrap().success(), "engines {verb}");
}

/// Leaves nothing behind, also when the test fails.
struct Wipe;

impl Drop for Wipe {
    fn drop(&mut self) {
        engines("wipe");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts, kills and wipes a Cassandra of its own, which takes a minute and 1.5 GB"]
async fn the_same_session_goes_on_after_the_store_was_killed() {
    let _wiped_at_the_end = Wipe;
    engines("up");
    let config = Config {
        connect_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_secs(2),
        retry_for: Duration::from_secs(4),
        ..Config::new(vec!["127.0.0.1:31092".into()], "killed", 1, 64)
    };
    migrate(&config).await.unwrap();
    let store = Store::connect(config).await.unwrap();
    store.upsert(vec![day("t", 5, "before", 0, 1)]).await.unwrap();
    engines("kill");
    let away = store.upsert(vec![day("t", 5, "while away", 0, 2)]).await;
    assert!(matches!(away, Err(Error::Away(_))), "{away:?}");
    assert!(matches!(
        store.day_rows("t", schemas::Day(5)).await,
        Err(Error::Away(_))
    ));
    // A caller that tries on while the store comes back.
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut tries = 0;
            while store.upsert(vec![day("t", 5, "after", 0, 3)]).await.is_err() {
                tries += 1;
                assert!(tries < 60, "the session never came back");
            }
        })
    };
    engines("start");
    waiting.await.unwrap();
    store.probe().await.unwrap();
    // "while away" may have been written or not: it was not acknowledged.
    for acknowledged in ["before", "after"] {
        let rows = scan(&store, View::Days).await;
        let found = rows
            .iter()
            .any(|found| found.row == day("t", 5, acknowledged, 0, found.row.version.0));
        assert!(found, "{acknowledged} is not in {rows:?}");
    }
}
