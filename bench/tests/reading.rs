//! A plain reading of a generated file: a map of keys, no knowledge of how it was made.

use schemas::input::{Columns, KeyContext};
use schemas::{Day, Timestamp};
use std::collections::{BTreeMap, HashMap};

/// What a plain reader makes of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub counted: u64,
    pub duplicate: u64,
    pub key_conflict: u64,
    /// Rows refused, by field and code.
    pub refused: BTreeMap<(&'static str, &'static str), u64>,
    pub days: BTreeMap<(Day, String), (u64, i64)>,
    pub users: BTreeMap<(String, String, Day), (u64, i64)>,
    pub pages: u64,
}

/// 2025-11-30.
const NOW: Timestamp = Timestamp(1_764_460_800_000_000);

/// Reads a file as the door of Tidemark reads it, and counts by its first lines of each key.
pub fn read(csv: &[u8]) -> Read {
    let text = std::str::from_utf8(csv).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let columns = Columns::parse(header.split(',').map(str::as_bytes)).unwrap();
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut read = Read::default();
    for line in lines {
        let mut no_key = || -> String { panic!("every row has a key") };
        let mut context = KeyContext {
            tenant: "default",
            accepted_at: NOW,
            batch_key: None,
            single: false,
            row: 1,
            fresh_key: &mut no_key,
            upload_id: None,
        };
        let raw = columns.raw(line.split(',').map(str::as_bytes)).unwrap();
        let event = match raw.into_event(&mut context) {
            Ok(event) => event,
            Err(invalid) => {
                *read
                    .refused
                    .entry((invalid.field.name(), invalid.code))
                    .or_default() += 1;
                continue;
            }
        };
        read.pages += event.metadata.len() as u64;
        match seen.insert(event.idempotency_key.to_string(), line.to_owned()) {
            None => {}
            Some(first) if first == line => {
                read.duplicate += 1;
                continue;
            }
            Some(first) => {
                read.key_conflict += 1;
                seen.insert(event.idempotency_key.to_string(), first);
                continue;
            }
        }
        read.counted += 1;
        let (day, amount) = (
            event.occurred_at.quarter().day(),
            event.amount.unwrap().millionths(),
        );
        let in_day = read.days.entry((day, event.event_type.to_string())).or_default();
        *in_day = (in_day.0 + 1, in_day.1 + amount);
        let key = (event.user_id.to_string(), event.event_type.to_string(), day);
        let of_user = read.users.entry(key).or_default();
        *of_user = (of_user.0 + 1, of_user.1 + amount);
    }
    read
}
