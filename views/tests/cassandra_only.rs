//! What only ScyllaDB and Cassandra can show: tables that others emptied, wrote to or changed, and a store that is not there.

use crate::keyspace::Keyspace;
use crate::rows::{day, living, progress};
use schemas::row::View;
use schemas::{Day, Partition};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use views::cassandra::{Config, migrate};
use views::{Error, Store};

async fn wrong(store: &Store, words: &str) {
    match store.probe().await {
        Err(Error::Wrong(text)) => assert!(text.contains(words), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_truncated_table_has_lost_its_progress_and_no_other() {
    let keyspace = Keyspace::new().await;
    let store = keyspace.store().await;
    let mut written = BTreeMap::new();
    for view in View::ALL {
        let row = living(&store, view, 0, 5, 6).await;
        store.write_progress(view, Partition(0), &row).await.unwrap();
        written.insert(view, row);
    }
    for view in View::ALL {
        keyspace.run(&format!("TRUNCATE KS.{}_g1", view.name())).await;
        for other in View::ALL {
            let rows = store.progress(other).await.unwrap();
            assert_eq!(rows.is_empty(), other == view, "{other:?} after {view:?}");
        }
        // One that does not know of it yet writes on.
        store
            .write_progress(view, Partition(0), &written[&view])
            .await
            .unwrap();
        assert!(store.progress(view).await.unwrap().is_empty(), "{view:?}");
        let row = living(&store, view, 0, 1, 7).await;
        assert_ne!(row.birth, written[&view].birth);
        store.write_progress(view, Partition(0), &row).await.unwrap();
        assert_eq!(store.progress(view).await.unwrap()[&Partition(0)], row);
    }
    keyspace.remove().await;
}

#[tokio::test]
async fn the_probe_finds_what_was_written_without_a_stamp() {
    let keyspace = Keyspace::new().await;
    let store = keyspace.store().await;
    store.upsert(vec![day("t", 5, "x", 0, 7)]).await.unwrap();
    store
        .write_progress(View::Users, Partition(0), &progress(5, 6))
        .await
        .unwrap();
    store.probe().await.unwrap();
    for (write, table, words) in [
        (
            "INSERT INTO KS.days_g1 (tenant, day, event_type, p, value) VALUES ('t', 5, 'x', 0, 0x00)",
            "days",
            "a clock's",
        ),
        (
            "INSERT INTO KS.users_g1 (bucket, year, tenant, user_id, day, p, value) VALUES (-1, 0, '', '', 0, 0, 0x00)",
            "users",
            "a progress row has the stamp",
        ),
        (
            "INSERT INTO KS.dead_letters_g1 (tenant, day, accepted_ms, p, log_offset, q, copy_offset, value) VALUES ('', -2, 0, 0, 0, 0, 0, 0x00)",
            "dead_letters",
            "the probe's row has the stamp",
        ),
        (
            "INSERT INTO KS.days_g1 (tenant, day, event_type, p, value) VALUES ('t', 5, 'x', 0, 0x00) USING TIMESTAMP 7 AND TTL 500",
            "days",
            "will vanish",
        ),
        (
            "INSERT INTO KS.days_g1 (tenant, day, event_type, p) VALUES ('t', 5, 'x', 9)",
            "days",
            "no value",
        ),
        (
            "INSERT INTO KS.progress_g1 (view_name, p, value) VALUES ('probe', 0, 0x01) USING TIMESTAMP 50",
            "progress",
            "the probe wrote",
        ),
    ] {
        keyspace.run(write).await;
        wrong(&store, words).await;
        wrong(&store, &format!("{table}_g1")).await;
        if words == "a clock's" {
            assert!(
                matches!(store.day_rows("t", Day(5)).await, Err(Error::Wrong(_))),
                "a frozen row is no answer"
            );
        }
        keyspace.run(&format!("TRUNCATE KS.{table}_g1")).await;
        store.probe().await.unwrap();
    }
    keyspace.remove().await;
}

#[tokio::test]
async fn migrating_twice_and_by_two_at_once_changes_nothing() {
    let keyspace = Keyspace::without_tables().await;
    let (first, second) = tokio::join!(migrate(&keyspace.config), migrate(&keyspace.config));
    first.unwrap();
    second.unwrap();
    let store = keyspace.store().await;
    store.upsert(vec![day("t", 5, "x", 0, 7)]).await.unwrap();
    migrate(&keyspace.config).await.unwrap();
    assert_eq!(store.day_rows("t", Day(5)).await.unwrap().len(), 1);
    store.probe().await.unwrap();
    let next = Config {
        generation: 2,
        ..keyspace.config.clone()
    };
    migrate(&next).await.unwrap();
    assert!(
        Store::connect(next)
            .await
            .unwrap()
            .day_rows("t", Day(5))
            .await
            .unwrap()
            .is_empty()
    );
    keyspace.remove().await;
}

#[tokio::test]
async fn a_table_that_was_changed_is_refused() {
    let keyspace = Keyspace::new().await;
    let store = keyspace.store().await;
    for (change, back, words) in [
        (
            "ALTER TABLE KS.days_g1 WITH default_time_to_live = 9",
            "ALTER TABLE KS.days_g1 WITH default_time_to_live = 0",
            "vanish after 9 s",
        ),
        (
            "ALTER TABLE KS.users_g1 ADD more int",
            "ALTER TABLE KS.users_g1 DROP more",
            "has the columns",
        ),
    ] {
        keyspace.run(change).await;
        wrong(&store, words).await;
        assert!(matches!(migrate(&keyspace.config).await, Err(Error::Wrong(_))));
        keyspace.run(back).await;
    }
    wrong(&store, "a column was dropped").await;
    keyspace.remove().await;
}

#[tokio::test]
async fn a_store_without_tables_says_to_migrate() {
    let keyspace = Keyspace::without_tables().await;
    match Store::connect(keyspace.config.clone()).await {
        Err(Error::Wrong(text)) => assert!(text.contains("tidemark migrate"), "{text}"),
        other => panic!("{other:?}"),
    }
    for name in ["Tide", "t;drop", ""] {
        let config = Config {
            keyspace: name.into(),
            ..keyspace.config.clone()
        };
        assert!(matches!(migrate(&config).await, Err(Error::Wrong(_))), "{name}");
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_away_soon() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    for address in [silent, "127.0.0.1:1".to_owned()] {
        let config = Config {
            connect_timeout: Duration::from_secs(1),
            ..Config::new(vec![address], "t", 1, 64)
        };
        let began = Instant::now();
        let result = Store::connect(config).await;
        assert!(matches!(result, Err(Error::Away(_))), "{result:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn ten_thousand_rows_over_many_partitions_all_arrive() {
    let keyspace = Keyspace::new().await;
    let store = keyspace.store().await;
    let rows = (0..10_000_u32)
        .map(|count| crate::rows::user("t", &format!("u{}", count % 3_000), 20_000 + count / 3_000, 0, 5));
    store.upsert(rows.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(crate::rows::scan(&store, View::Users).await.len(), 10_000);
    assert_eq!(
        store
            .user_rows("t", "u7", Day(20_000), Day(20_003))
            .await
            .unwrap()
            .len(),
        4
    );
    keyspace.remove().await;
}
