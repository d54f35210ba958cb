//! What both stores must do. Each function is one scenario on an empty store.

use crate::rows::{day, dead_letter, distinct, living, progress, redrive, scan, user};
use futures::TryStreamExt;
use schemas::row::{LetterPlace, Progress, Row, RowKey, View};
use schemas::{Day, Offset, Partition};
use std::collections::BTreeMap;
use uuid::Uuid;
use views::{Error, STAMP_LIMIT, Store};

pub async fn an_older_version_never_replaces_a_newer_one(store: &Store) {
    let at = |version| day("t", 5, "click", 0, version);
    for (write, holds) in [
        (vec![5], 5),
        (vec![3], 5),
        (vec![9, 7], 9),
        (vec![8, 10], 10),
        (vec![10], 10),
        (vec![1], 10),
    ] {
        store
            .upsert(write.into_iter().map(at).collect::<Vec<_>>())
            .await
            .unwrap();
        assert_eq!(store.day_rows("t", Day(5)).await.unwrap(), [at(holds)]);
    }
    // A step back behind written progress, as a projector makes that catches up.
    store
        .write_progress(View::Progress, Partition(0), &progress(10, 3))
        .await
        .unwrap();
    for (write, holds) in [(9, 10), (11, 11), (10, 11)] {
        store.upsert(vec![at(write)]).await.unwrap();
        assert_eq!(store.day_rows("t", Day(5)).await.unwrap(), [at(holds)]);
    }
}

pub async fn progress_is_kept_per_view_and_partition(store: &Store) {
    let mut expected = BTreeMap::new();
    for (count, view) in (1..).zip(View::ALL) {
        assert!(store.progress(view).await.unwrap().is_empty());
        let mut rows = BTreeMap::new();
        for partition in 0..3_u32 {
            let row = living(
                store,
                view,
                partition,
                count * 100,
                count * 10 + u64::from(partition),
            )
            .await;
            assert!(
                !store
                    .progress(view)
                    .await
                    .unwrap()
                    .contains_key(&Partition(partition))
            );
            store
                .write_progress(view, Partition(partition), &row)
                .await
                .unwrap();
            rows.insert(Partition(partition), row);
        }
        let older = living(store, view, 1, 1, 2).await;
        store.write_progress(view, Partition(1), &older).await.unwrap();
        expected.insert(view, rows);
    }
    for (view, rows) in expected {
        assert_eq!(store.progress(view).await.unwrap(), rows, "{view:?}");
    }
}

pub async fn progress_of_another_life_is_not_believed(store: &Store) {
    let row = living(store, View::Days, 0, 5, 6).await;
    assert_eq!(
        store.begin(View::Days, Partition(0), Uuid::nil()).await.unwrap(),
        row.birth
    );
    store
        .write_progress(View::Days, Partition(0), &progress(5, 6))
        .await
        .unwrap();
    assert!(store.progress(View::Days).await.unwrap().is_empty());
    let later = Progress {
        changelog: Offset(7),
        ..row
    };
    store
        .write_progress(View::Days, Partition(0), &later)
        .await
        .unwrap();
    assert_eq!(store.progress(View::Days).await.unwrap()[&Partition(0)], later);
}

pub async fn of_two_lives_the_later_ones_progress_holds_whichever_comes_last(store: &Store) {
    for partition in (0..8).map(Partition) {
        // A life of another table stands in for that of this table before it was emptied.
        let former = store.begin(View::Users, partition, Uuid::nil()).await.unwrap();
        let present = store.begin(View::Days, partition, Uuid::nil()).await.unwrap();
        let of = |birth| Progress {
            birth,
            ..progress(5, 6)
        };
        for birth in [former, present, former] {
            store
                .write_progress(View::Days, partition, &of(birth))
                .await
                .unwrap();
        }
        let stored = store.stored(View::Days).await.unwrap();
        assert_eq!(stored[&partition].life, Some(present));
        assert_eq!(stored[&partition].believed(), Some(&of(present)));
    }
}

pub async fn a_day_is_read_whole_over_all_pages(store: &Store) {
    let mut rows: Vec<Row> = (0..1_500)
        .flat_map(|count| (0..3).map(move |p| day("t", 5, &format!("type {count:04}"), p, count + 1)))
        .collect();
    let others = [
        day("t", 6, "x", 0, 1),
        day("t2", 5, "x", 0, 1),
        day("", 5, "x", 0, 1),
    ];
    store
        .upsert(rows.iter().rev().cloned().chain(others).collect::<Vec<_>>())
        .await
        .unwrap();
    rows.sort_by(|a, b| (&a.key, a.partition).cmp(&(&b.key, b.partition)));
    assert_eq!(store.day_rows("t", Day(5)).await.unwrap(), rows);
    assert!(store.day_rows("t", Day(7)).await.unwrap().is_empty());
}

pub async fn sketches_of_a_day_lie_apart_from_its_counts(store: &Store) {
    let sketches: Vec<Row> = (0..300)
        .flat_map(|count| (0..3).map(move |p| distinct("t", 5, &format!("type {count:04}"), p, count + 2)))
        .collect();
    // The counts of the same day and types, in the same write.
    let counts: Vec<Row> = (0..300)
        .map(|count| day("t", 5, &format!("type {count:04}"), 0, count + 1))
        .collect();
    let others = [
        distinct("t", 6, "x", 0, 1),
        distinct("t2", 5, "x", 0, 1),
        distinct("", 5, "x", 0, 1),
    ];
    let all = sketches.iter().rev().chain(&counts).chain(&others).cloned();
    store.upsert(all.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(store.distinct_rows("t", Day(5)).await.unwrap(), sketches);
    assert_eq!(store.day_rows("t", Day(5)).await.unwrap(), counts);
    assert!(store.distinct_rows("t", Day(7)).await.unwrap().is_empty());
    let late = distinct("t", 6, "x", 0, 9);
    store
        .upsert(vec![late.clone(), distinct("t", 6, "x", 0, 8)])
        .await
        .unwrap();
    assert_eq!(store.distinct_rows("t", Day(6)).await.unwrap(), [late]);
}

pub async fn a_user_is_read_over_years_whatever_its_name(store: &Store) {
    // 20453 is 2025-12-31.
    let days = [20_000, 20_453, 20_454, 21_000];
    let names = [
        "u",
        "u ",
        "U",
        "ü💧",
        "a/b?c='\";--",
        "u\0",
        "u\0\u{1}",
        "%00",
        "",
        &"x".repeat(256),
    ];
    let all = |name: &str| -> Vec<Row> {
        days.iter()
            .flat_map(|on| (0..2).map(move |p| (*on, p)))
            .map(|(on, p)| user("t", name, on, p, 7))
            .collect()
    };
    store
        .upsert(names.iter().flat_map(|name| all(name)).collect::<Vec<_>>())
        .await
        .unwrap();
    for name in names {
        assert_eq!(
            store.user_rows("t", name, Day(0), Day(80_000)).await.unwrap(),
            all(name),
            "{name:?}"
        );
        let two = store
            .user_rows("t", name, Day(20_453), Day(20_454))
            .await
            .unwrap();
        assert_eq!(two, all(name)[2..6], "{name:?}");
    }
    for (tenant, name, first, last) in [
        ("t", "v", 0, 80_000),
        ("t2", "u", 0, 80_000),
        ("t", "u", 20_455, 20_999),
        ("t", "u", 9, 8),
    ] {
        assert!(
            store
                .user_rows(tenant, name, Day(first), Day(last))
                .await
                .unwrap()
                .is_empty()
        );
    }
}

pub async fn all_users_of_some_days_are_found_in_their_parts(store: &Store) {
    // 20453 is 2025-12-31; more users than one page has.
    let days = [20_000, 20_453, 20_454, 21_000];
    let names: Vec<String> = (0..1_200).map(|n| format!("user {n}")).collect();
    let odd = ["", "u\0", "u\0\u{1}", "ü💧", "%00"].map(str::to_owned);
    let mut rows = Vec::new();
    for (n, name) in names.iter().chain(&odd).enumerate() {
        let of_user = days.iter().take(1 + n % 4);
        rows.extend(of_user.flat_map(|day| (0..2).map(move |p| user("t", name, *day, p, 7))));
    }
    let others = ["s", "t\0", "t2", "tu"].map(|tenant| user(tenant, "user 1", 20_453, 0, 7));
    store
        .upsert(rows.iter().chain(&others).cloned().collect::<Vec<_>>())
        .await
        .unwrap();
    for (first, last) in [
        (20_453, 20_454),
        (20_453, 20_453),
        (0, 80_000),
        (20_455, 20_999),
        (9, 8),
    ] {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        for part in 0..store.user_parts() {
            let mut pages = store.user_part("t", part, Day(first), Day(last));
            while let Some(page) = pages.try_next().await.unwrap() {
                assert!(page.rows.len() <= page.looked_at);
                looked_at += page.looked_at;
                found.extend(page.rows);
            }
        }
        let of_days = |row: &&Row| match &row.key {
            RowKey::User { day, .. } => (first..=last).contains(&day.0),
            _ => false,
        };
        let mut expected: Vec<Row> = rows.iter().filter(of_days).cloned().collect();
        let place = |row: &Row| (row.key.clone(), row.partition);
        found.sort_by_key(place);
        expected.sort_by_key(place);
        assert_eq!(found, expected, "{first} to {last}");
        assert!(
            looked_at >= found.len() && looked_at <= 2 * rows.len(),
            "{looked_at}"
        );
    }
    let none: Vec<_> = store
        .user_part("nobody", 0, Day(0), Day(80_000))
        .try_collect()
        .await
        .unwrap();
    assert!(
        none.iter()
            .all(|page| page.rows.is_empty() && page.looked_at == 0)
    );
}

pub async fn dead_letters_are_paged_oldest_first_also_without_a_tenant(store: &Store) {
    for tenant in ["", "t"] {
        let mut rows: Vec<Row> = (0..1_000_u32)
            .map(|count| dead_letter(tenant, 9, i64::from(count / 7), count % 3, u64::from(count)))
            .collect();
        rows.push(dead_letter(tenant, 9, -5, 0, 2_000));
        store.upsert(rows.clone()).await.unwrap();
        store
            .upsert(vec![dead_letter(tenant, 10, 0, 0, 1)])
            .await
            .unwrap();
        // Tries, of letters that are there, of one at the last place, and of none.
        rows.extend((0..400_u32).map(|count| {
            let letter = u64::from(count / 2 * 3);
            let moment = letter as i64 / 7;
            redrive(
                tenant,
                9,
                moment,
                ((letter % 3) as u32, letter),
                (count % 2, 5_000),
            )
        }));
        rows.push(redrive(tenant, 9, 4, (1, 7_777), (2, 99_999_999)));
        store.upsert(rows[1_001..].to_vec()).await.unwrap();
        let place = |row: &Row| LetterPlace::of(row).unwrap();
        rows.sort_by_key(place);
        let (mut read, mut after) = (Vec::new(), None);
        loop {
            let page = store.dead_letter_rows(tenant, Day(9), after, 300).await.unwrap();
            assert!(page.len() <= 300);
            let Some(last) = page.last() else { break };
            after = Some(place(last));
            read.extend(page);
        }
        assert_eq!(read, rows);
        assert!(
            store
                .dead_letter_rows(tenant, Day(9), None, 0)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            store
                .dead_letter_rows(tenant, Day(9), None, usize::MAX)
                .await
                .unwrap(),
            rows
        );
        for at in [0, 1, 500, rows.len() - 1] {
            let behind = place(&rows[at]).behind_all();
            let expected: Vec<&Row> = rows.iter().filter(|row| place(row) > behind).take(3).collect();
            let read = store
                .dead_letter_rows(tenant, Day(9), Some(behind), 3)
                .await
                .unwrap();
            assert_eq!(read.iter().collect::<Vec<_>>(), expected, "{at}");
        }
        let behind = LetterPlace {
            accepted_ms: i64::MAX,
            partition: Partition(u32::MAX),
            offset: Offset(u64::MAX),
            copy: None,
        };
        let behind = Some(behind);
        assert!(
            store
                .dead_letter_rows(tenant, Day(9), behind, 9)
                .await
                .unwrap()
                .is_empty()
        );
    }
}

pub async fn a_scan_yields_every_row_with_its_stamp_and_nothing_reserved(store: &Store) {
    let rows: Vec<Row> = (0..2_500_u32)
        .flat_map(|count| {
            let version = u64::from(count) + 1;
            [
                day("t", count % 40, &format!("e{count:04}"), 1, version),
                user("t", &format!("u{:04}", count / 2), 20_000 + count % 2, 2, version),
                distinct("t", count % 40, &format!("e{count:04}"), 1, version),
                dead_letter(
                    if count % 2 == 0 { "" } else { "t" },
                    count % 9,
                    1,
                    3,
                    u64::from(count),
                ),
                redrive(
                    "t",
                    count % 9,
                    1,
                    (3, u64::from(count)),
                    (count % 3, u64::from(count) + 9),
                ),
            ]
        })
        .collect();
    store.upsert(rows.clone()).await.unwrap();
    for view in View::ALL {
        store
            .write_progress(view, Partition(1), &progress(9, 9))
            .await
            .unwrap();
    }
    store.probe().await.unwrap();
    store.probe().await.unwrap();
    for view in [View::Days, View::Users, View::DeadLetters, View::Distinct] {
        let mut expected: Vec<Row> = rows
            .iter()
            .filter(|row| row.key.view() == view)
            .cloned()
            .collect();
        expected.sort_by(|a, b| (&a.key, a.partition).cmp(&(&b.key, b.partition)));
        let found = scan(store, view).await;
        assert!(
            found
                .iter()
                .all(|found| u64::try_from(found.stamp) == Ok(found.row.version.0))
        );
        assert_eq!(
            found.into_iter().map(|found| found.row).collect::<Vec<_>>(),
            expected,
            "{view:?}"
        );
    }
    assert!(scan(store, View::Progress).await.is_empty());
}

pub async fn a_large_value_stands_beside_small_ones(store: &Store) {
    let sized = |count: u64, bytes: usize| Row {
        value: (0..bytes).map(|byte| (byte as u64 * 31 + count) as u8).collect(),
        ..day("t", 5, &format!("type {count:03}"), 0, count + 1)
    };
    let mut rows: Vec<Row> = (0..120).map(|count| sized(count, 3_000)).collect();
    rows.extend([sized(500, 1 << 20), sized(501, 70_000), sized(502, 0)]);
    store.upsert(rows.clone()).await.unwrap();
    assert_eq!(store.day_rows("t", Day(5)).await.unwrap(), rows);
    store.upsert(Vec::new()).await.unwrap();
}

pub async fn a_version_that_is_no_offset_is_refused(store: &Store) {
    let refused = store.upsert(vec![day("t", 5, "x", 0, STAMP_LIMIT + 1)]).await;
    assert!(matches!(refused, Err(Error::Wrong(_))), "{refused:?}");
    let refused = store
        .write_progress(View::Days, Partition(0), &progress(1, u64::MAX))
        .await;
    assert!(matches!(refused, Err(Error::Wrong(_))), "{refused:?}");
    assert!(store.day_rows("t", Day(5)).await.unwrap().is_empty());
}

pub async fn uploads_are_read_by_day_and_by_id_with_the_ledger_before_the_facts(store: &Store) {
    let row = |id: u128, partition, fact: Option<u64>, version| Row {
        key: RowKey::Upload {
            tenant: "t".into(),
            day: Day(5),
            upload: Uuid::from_u128(id),
            fact: fact.map(Offset),
        },
        partition: Partition(partition),
        version: Offset(version),
        value: vec![version as u8],
    };
    // Ids in the order of their bytes, whatever their version.
    let (low, high) = (7, u128::MAX - 1);
    let rows = [
        row(low, 0, None, 3),
        row(low, 0, Some(0), 1),
        row(low, 0, Some(2), 3),
        row(low, 1, None, 9),
        row(high, 1, Some(8), 9),
    ];
    store
        .upsert(rows.iter().rev().cloned().collect::<Vec<_>>())
        .await
        .unwrap();
    let read = async |first: u128, last: u128| {
        let bounds = (Uuid::from_u128(first), Uuid::from_u128(last));
        store.upload_rows("t", Day(5), bounds.0, bounds.1).await.unwrap()
    };
    assert_eq!(read(0, u128::MAX).await, rows);
    assert_eq!(read(low, low).await, rows[..4]);
    assert_eq!(read(low + 1, u128::MAX).await, rows[4..]);
    assert_eq!(read(high, low).await, []);
    for (tenant, day) in [("t", Day(6)), ("u", Day(5))] {
        let other = store.upload_rows(tenant, day, Uuid::nil(), Uuid::max()).await;
        assert_eq!(other.unwrap(), []);
    }
}
