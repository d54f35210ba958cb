//! That keys have the order of CQL's primary key, and are read as they were written.

use super::*;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = RowKey> {
    let text = || "[\\PC\0a]{0,5}";
    prop_oneof![
        (text(), any::<u32>(), text()).prop_map(|(tenant, day, event_type)| RowKey::Day {
            tenant,
            day: Day(day),
            event_type
        }),
        (text(), any::<u32>(), text()).prop_map(|(tenant, day, event_type)| RowKey::Distinct {
            tenant,
            day: Day(day),
            event_type
        }),
        (text(), text(), any::<u32>()).prop_map(|(tenant, user, day)| RowKey::User {
            tenant,
            user,
            day: Day(day)
        }),
        (text(), any::<u32>(), any::<i64>(), any::<u64>()).prop_map(|(tenant, day, accepted_ms, offset)| {
            RowKey::DeadLetter {
                tenant,
                day: Day(day),
                accepted_ms,
                offset: Offset(offset),
            }
        }),
        (
            text(),
            any::<u32>(),
            any::<i64>(),
            any::<(u32, u64)>(),
            0..=i64::MAX as u64
        )
            .prop_map(
                |(tenant, day, accepted_ms, (letter, offset), copy)| RowKey::Redrive {
                    tenant,
                    day: Day(day),
                    accepted_ms,
                    letter: Partition(letter),
                    offset: Offset(offset),
                    copy: Offset(copy)
                }
            ),
        (
            text(),
            any::<u32>(),
            any::<u128>(),
            proptest::option::of(0..=i64::MAX as u64)
        )
            .prop_map(|(tenant, day, upload, fact)| RowKey::Upload {
                tenant,
                day: Day(day),
                upload: Uuid::from_u128(upload),
                fact: fact.map(Offset)
            }),
    ]
}

/// The primary key in CQL's order.
fn order(row: &Row) -> (First, i64, i64) {
    let behind = match row.key {
        RowKey::Redrive { copy, .. } => (i64::from(row.partition.0), copy.0 as i64),
        _ => (LETTER, LETTER),
    };
    (first(row), behind.0, behind.1)
}

/// The columns that all tables have, in one order.
type First = (String, String, u32, String, i64, u32, u64);

fn first(row: &Row) -> First {
    let p = row.partition.0;
    match row.key.clone() {
        RowKey::Day {
            tenant,
            day,
            event_type,
        }
        | RowKey::Distinct {
            tenant,
            day,
            event_type,
        } => (tenant, String::new(), day.0, event_type, 0, p, 0),
        RowKey::User { tenant, user, day } => (tenant, user, day.0, String::new(), 0, p, 0),
        RowKey::DeadLetter {
            tenant,
            day,
            accepted_ms,
            offset,
        } => (
            tenant,
            String::new(),
            day.0,
            String::new(),
            accepted_ms,
            p,
            offset.0,
        ),
        RowKey::Redrive {
            tenant,
            day,
            accepted_ms,
            letter,
            offset,
            ..
        } => (
            tenant,
            String::new(),
            day.0,
            String::new(),
            accepted_ms,
            letter.0,
            offset.0,
        ),
        RowKey::Upload {
            tenant,
            day,
            upload,
            fact,
        } => {
            let offset = fact.map_or(0, |offset| offset.0 + 1);
            (
                tenant,
                String::new(),
                day.0,
                upload.simple().to_string(),
                0,
                p,
                offset,
            )
        }
    }
}

proptest! {
    #[test]
    fn a_row_comes_back_and_keys_sort_as_in_cql(
        first in key(), second in key(), partitions in any::<[u32; 2]>(), version in any::<u64>(),
        blob in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let row = |key, p| Row { key, partition: Partition(p), version: Offset(version), value: blob.clone() };
        let rows = [row(first, partitions[0]), row(second, partitions[1])];
        let keys = rows.each_ref().map(|row| {
            let mut key = Vec::new();
            put_row(&mut key, row);
            key
        });
        for (key, row) in keys.iter().zip(&rows) {
            let mut value = Vec::new();
            put_value(&mut value, version, &blob);
            prop_assert_eq!(&read_row(key, &value).unwrap(), row);
            prop_assert!(read_row(&key[..key.len() - 1], &value).is_err());
        }
        if rows[0].key.view() == rows[1].key.view() {
            prop_assert_eq!(keys[0].cmp(&keys[1]), order(&rows[0]).cmp(&order(&rows[1])));
        }
    }
}
