//! What only the embedded store can show: restarts, a damaged journal, and a model that it must equal.

use crate::rows::{day, living, scan, user};
use proptest::prelude::*;
use schemas::row::{Row, RowKey, View};
use schemas::{Day, Offset, Partition};
use std::collections::BTreeMap;
use std::path::Path;
use views::{Error, Store};

async fn open(folder: &Path) -> Store {
    Store::open(&folder.join("views"), 1).await.unwrap()
}

/// The state of a folder whose process was killed: what the operating system was given.
fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder, copy.path());
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        if from.is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_folder(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_and_repeats_do_not_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .upsert(
            (0..3_000)
                .map(|u| user("t", &format!("u{u}"), 9, 0, 10 + u))
                .collect::<Vec<_>>(),
        )
        .await
        .unwrap();
    let reached = living(&store, View::Progress, 0, 5, 5).await;
    store
        .write_progress(View::Progress, Partition(0), &reached)
        .await
        .unwrap();
    store.upsert(vec![user("t", "u7", 9, 0, 4_000)]).await.unwrap();
    let copy = killed(folder.path());
    let again = open(copy.path()).await;
    assert_eq!(
        again.progress(View::Progress).await.unwrap()[&Partition(0)],
        reached
    );
    again
        .upsert(
            (0..3_000)
                .map(|u| user("t", &format!("u{u}"), 9, 0, 6))
                .collect::<Vec<_>>(),
        )
        .await
        .unwrap();
    let found = scan(&again, View::Users).await;
    assert_eq!(found, scan(&store, View::Users).await);
    assert_eq!(found.len(), 3_000);
    assert_eq!(
        again.user_rows("t", "u7", Day(9), Day(9)).await.unwrap()[0].version,
        Offset(4_000)
    );
}

#[tokio::test]
async fn a_damaged_journal_is_set_aside_and_the_views_begin_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .upsert(
            (0..500)
                .map(|u| user("t", &format!("u{u}"), 9, 0, 10))
                .collect::<Vec<_>>(),
        )
        .await
        .unwrap();
    let copy = killed(folder.path());
    let journal = copy.path().join("views/0.jnl");
    let mut bytes = std::fs::read(&journal).unwrap();
    let place = bytes.windows(8).position(|window| window == b"value 10").unwrap();
    bytes[place] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let again = open(copy.path()).await;
    assert!(scan(&again, View::Users).await.is_empty());
    assert!(copy.path().join("views.damaged").is_dir());
    again.upsert(vec![day("t", 5, "x", 0, 1)]).await.unwrap();
    again.probe().await.unwrap();
}

#[tokio::test]
async fn a_folder_belongs_to_one_process_and_a_generation_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.upsert(vec![day("t", 5, "x", 0, 1)]).await.unwrap();
    match Store::open(&folder.path().join("views"), 1).await {
        Err(Error::Wrong(text)) => assert!(text.contains("another process has it"), "{text}"),
        other => panic!("{other:?}"),
    }
    drop(store);
    let next = Store::open(&folder.path().join("views"), 2).await.unwrap();
    assert!(next.day_rows("t", Day(5)).await.unwrap().is_empty());
    drop(next);
    assert_eq!(
        open(folder.path())
            .await
            .day_rows("t", Day(5))
            .await
            .unwrap()
            .len(),
        1
    );
}

/// One step of a projector, sane or not.
#[derive(Clone, Debug)]
enum Step {
    Upsert(Vec<(u8, u32, u64)>),
    Progress(u32, u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (0_u8..12, 0_u32..2, 1_u64..60);
    let step = prop_oneof![
        5 => proptest::collection::vec(row, 1..12).prop_map(Step::Upsert),
        2 => (0_u32..2, 0_u64..60).prop_map(|(partition, next)| Step::Progress(partition, next)),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_store_equals_a_map_that_keeps_the_highest_version(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Some(open(folder.path()).await);
            let mut model: BTreeMap<(RowKey, Partition), Row> = BTreeMap::new();
            let mut positions: BTreeMap<Partition, u64> = BTreeMap::new();
            for step in steps {
                let held = store.as_ref().unwrap();
                match step {
                    Step::Upsert(rows) => {
                        let rows: Vec<Row> = rows.into_iter()
                            .map(|(key, p, version)| user("t", &format!("u{}", key / 3), u32::from(key % 3), p, version))
                            .collect();
                        for row in &rows {
                            let kept = model.entry((row.key.clone(), row.partition)).or_insert_with(|| row.clone());
                            if row.version > kept.version {
                                *kept = row.clone();
                            }
                        }
                        held.upsert(rows).await.unwrap();
                    }
                    Step::Progress(partition, next) => {
                        let position = positions.entry(Partition(partition)).or_default();
                        *position = next.max(*position);
                        let row = living(held, View::Progress, partition, next, next).await;
                        held.write_progress(View::Progress, Partition(partition), &row).await.unwrap();
                    }
                    Step::Restart => {
                        drop(store.take());
                        store = Some(open(folder.path()).await);
                    }
                }
            }
            let held = store.as_ref().unwrap();
            let found: Vec<Row> = scan(held, View::Users).await.into_iter().map(|found| found.row).collect();
            assert_eq!(found, model.into_values().collect::<Vec<_>>());
            let found = held.progress(View::Progress).await.unwrap();
            assert_eq!(found.into_iter().map(|(p, row)| (p, row.next.0)).collect::<BTreeMap<_, _>>(), positions);
        });
    }
}
