//! Rows to write, and what was read of them.

use futures::TryStreamExt;
use schemas::row::{Progress, Row, RowKey, View};
use schemas::{Day, Offset, Partition};
use uuid::Uuid;
use views::{Stamped, Store};

pub fn day(tenant: &str, day: u32, event_type: &str, partition: u32, version: u64) -> Row {
    let key = RowKey::Day {
        tenant: tenant.into(),
        day: Day(day),
        event_type: event_type.into(),
    };
    row(key, partition, version)
}

pub fn distinct(tenant: &str, day: u32, event_type: &str, partition: u32, version: u64) -> Row {
    let key = RowKey::Distinct {
        tenant: tenant.into(),
        day: Day(day),
        event_type: event_type.into(),
    };
    row(key, partition, version)
}

pub fn user(tenant: &str, user: &str, day: u32, partition: u32, version: u64) -> Row {
    let key = RowKey::User {
        tenant: tenant.into(),
        user: user.into(),
        day: Day(day),
    };
    row(key, partition, version)
}

pub fn dead_letter(tenant: &str, day: u32, accepted_ms: i64, partition: u32, offset: u64) -> Row {
    let key = RowKey::DeadLetter {
        tenant: tenant.into(),
        day: Day(day),
        accepted_ms,
        offset: Offset(offset),
    };
    row(key, partition, offset + 1)
}

/// A redriven copy at `copy` (partition and offset) of the dead letter at `letter`.
pub fn redrive(tenant: &str, day: u32, accepted_ms: i64, letter: (u32, u64), copy: (u32, u64)) -> Row {
    let key = RowKey::Redrive {
        tenant: tenant.into(),
        day: Day(day),
        accepted_ms,
        letter: Partition(letter.0),
        offset: Offset(letter.1),
        copy: Offset(copy.1),
    };
    row(key, copy.0, copy.1 + 1)
}

/// One (row, version) has one value, as in the real thing.
fn row(key: RowKey, partition: u32, version: u64) -> Row {
    let value = format!("value {version}").into_bytes();
    Row {
        key,
        partition: Partition(partition),
        version: Offset(version),
        value,
    }
}

pub fn progress(next: u64, changelog: u64) -> Progress {
    Progress {
        next: Offset(next),
        changelog: Offset(changelog),
        ..Progress::default()
    }
}

/// Progress in the present life of the view's table, which it begins if need be.
pub async fn living(store: &Store, view: View, partition: u32, next: u64, changelog: u64) -> Progress {
    let birth = store
        .begin(view, Partition(partition), Uuid::nil())
        .await
        .unwrap();
    Progress {
        birth,
        ..progress(next, changelog)
    }
}

pub async fn scan(store: &Store, view: View) -> Vec<Stamped> {
    let mut rows: Vec<Stamped> = store.scan(view).try_collect().await.unwrap();
    rows.sort_by(|a, b| (&a.row.key, a.row.partition).cmp(&(&b.row.key, b.row.partition)));
    rows
}
