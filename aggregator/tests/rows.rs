//! Rows follow from the chain alone: from any start, with any budget, the same values.

use crate::sim::{Owner, PARTITION, draw, expected, records, rules, spill};
use aggregator::chain::{Chain, Step};
use aggregator::rows::Rows;
use aggregator::spill::Spill;
use proptest::prelude::*;
use schemas::commit::{Counted, Entries, Fresh, Head, Link, cut};
use schemas::distinct::Distinct;
use schemas::generation::FOLD_VERSION;
use schemas::key::{ContentHash, Fingerprint};
use schemas::partial::{DayPartial, UserPartial};
use schemas::positions::{Position, REMEMBERED};
use schemas::redrive::Try;
use schemas::row::{Row, RowKey, View, decode_upload_ledger};
use schemas::{Day, Ledger, Offset, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Applies a changelog; `flushes` says after which records the dirty rows are taken, as a store would get them.
fn project(
    changelog: &[Vec<u8>],
    budget: usize,
    reflected: Offset,
    flushes: &[bool],
    spill: &Spill,
) -> BTreeMap<RowKey, Row> {
    let mut chain = Chain::new(PARTITION, 1);
    let mut rows = Rows::new(PARTITION, budget, spill.clone());
    let projected = View::ALL.map(|view| (view, reflected)).into_iter().collect();
    let mut store = BTreeMap::new();
    for (offset, bytes) in changelog.iter().enumerate() {
        if let Step::Applied(id, record) = chain.offer(Offset(offset as u64), bytes).unwrap() {
            let changelog = Offset(offset as u64);
            rows.apply(&record, Link { changelog, id }, &projected).unwrap();
        }
        if flushes.get(offset).copied().unwrap_or(false) {
            store.extend(
                rows.take_dirty()
                    .unwrap()
                    .into_iter()
                    .map(|row| (row.key.clone(), row)),
            );
        }
    }
    store.extend(
        rows.take_dirty()
            .unwrap()
            .into_iter()
            .map(|row| (row.key.clone(), row)),
    );
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn rows_are_the_same_however_often_they_are_flushed_or_spilled_and_wherever_a_projector_begins(
        draws in proptest::collection::vec(draw(), 1..150),
        cuts in proptest::collection::vec(1..30_usize, 1..20),
        flushes in proptest::collection::vec(any::<bool>(), 0..40),
        start in 0..40_usize,
    ) {
        let spill = spill();
        let mut owner = Owner::new(&rules(), &spill);
        let log = records(&draws);
        let mut changelog = Vec::new();
        let mut ends = vec![Offset(0)];
        for cut in cuts.iter().chain([&usize::MAX]) {
            owner.fold(&log, *cut);
            changelog.extend(owner.close());
            ends.push(owner.source.next());
        }
        let whole = project(&changelog, usize::MAX, Offset(0), &[], &spill);
        for memory in [1, 2_000, usize::MAX] {
            let flushed = project(&changelog, memory, Offset(0), &flushes, &spill);
            prop_assert_eq!(&whole, &flushed);
        }

        // A store that reflects the first records already needs only the rows that changed since.
        let begun = start.min(changelog.len());
        let mut resumed = project(&changelog[..begun], 1, Offset(0), &flushes, &spill);
        resumed.extend(project(&changelog, 1, ends[begun], &[], &spill));
        prop_assert_eq!(&whole, &resumed);
        check(&whole, &expected(&draws));
        check_users(&whole, &changelog);
    }

    #[test]
    fn sketches_and_positions_are_those_of_the_chain_whatever_was_spilled_and_however_it_was_cut(
        events in proptest::collection::vec((0..700_u32, 0..2_u32, any::<bool>()), 1..1_500),
        cuts in proptest::collection::vec(1..600_usize, 1..12),
        flushes in proptest::collection::vec(any::<bool>(), 0..12),
    ) {
        let spill = spill();
        let changelog = commits(&events, &cuts);
        let whole = project(&changelog, usize::MAX, Offset(0), &[], &spill);
        prop_assert_eq!(&whole, &project(&changelog, 1, Offset(0), &flushes, &spill));
        check_users(&whole, &changelog);
        // Cut in another way, the sketches are the same; when they last changed is not.
        let another = project(&commits(&events, &[77]), 1, Offset(0), &[], &spill);
        for (key, row) in whole.iter().filter(|(key, _)| key.view() == View::Distinct) {
            prop_assert_eq!(&row.value, &another[key].value);
        }
    }
}

/// Commit records of events of (user, type, whether it is another day), so many in each; every 50th takes an event back.
fn commits(events: &[(u32, u32, bool)], cuts: &[usize]) -> Vec<Vec<u8>> {
    let (mut changelog, mut last, mut ledger) = (Vec::new(), Uuid::nil(), Ledger::default());
    let (mut next, mut cuts) = (0, cuts.iter().cycle());
    while next < events.len() {
        let to = events.len().min(next + cuts.next().unwrap());
        let mut entries = Entries::default();
        for (offset, (user, kind, is_later)) in events.iter().enumerate().take(to).skip(next) {
            let reversed = offset % 50 == 49;
            let fresh = Fresh {
                fingerprint: Fingerprint(offset as u128),
                content: ContentHash::from_low_bits(offset as u64),
                quarter: Day(20_000 + u32::from(*is_later)).quarter(5),
                reversed,
            };
            let type_index = entries.add_type("t", &format!("type {kind}"));
            entries.add_counted(&Counted {
                offset: Offset(offset as u64),
                fresh,
                type_index,
                user: &format!("u{}", user * user / 700),
                amount: None,
                source: None,
            });
            ledger.records += 1;
            ledger.add_outcome(match reversed {
                true => Outcome::Reversed,
                false => Outcome::Counted,
            });
        }
        let head = Head {
            generation: 1,
            fold_version: FOLD_VERSION,
            partition: PARTITION,
            from: Offset(next as u64),
            to: Offset(to as u64),
            leader_epoch: 0,
            lane: "test".to_owned(),
            max_append_ms: 1,
            rerouted_through: Offset(to as u64),
            released_through: Offset(0),
            ledger,
        };
        let id = Uuid::from_u128(to as u128);
        changelog.extend(cut(id, last, &entries.encode(&head)));
        (last, next) = (id, to);
    }
    changelog
}

/// Sketches and positions must be those of a plain reading of the chain.
fn check_users(rows: &BTreeMap<RowKey, Row>, changelog: &[Vec<u8>]) {
    let mut chain = Chain::new(PARTITION, 1);
    let mut users: BTreeMap<(String, Day), (Offset, BTreeSet<String>)> = BTreeMap::new();
    let mut positions: BTreeMap<(String, Day), (Link, Vec<Position>)> = BTreeMap::new();
    for (offset, bytes) in changelog.iter().enumerate() {
        let changelog = Offset(offset as u64);
        let Step::Applied(id, record) = chain.offer(changelog, bytes).unwrap() else {
            continue;
        };
        for counted in record.counted() {
            let (day, reverse) = (counted.fresh.quarter.day(), counted.fresh.reversed);
            let row = positions.entry((counted.user.to_owned(), day)).or_default();
            row.0 = Link { changelog, id };
            row.1.push(Position {
                offset: counted.offset,
                reverse,
            });
            let kind = record.types[counted.type_index as usize].1.clone();
            if !reverse {
                let row = users.entry((kind, day)).or_default();
                if row.1.insert(counted.user.to_owned()) {
                    row.0 = record.head.to;
                }
            }
        }
    }
    let mut seen = (0, 0);
    for (key, row) in rows {
        match key {
            RowKey::Distinct { day, event_type, .. } => {
                let (version, names) = &users[&(event_type.clone(), *day)];
                let mut sketch = Distinct::default();
                names.iter().for_each(|name| sketch.add(name));
                assert_eq!(row.value, sketch.encode(), "{event_type}: {} users", names.len());
                // A user that is new to a set may be none to a sketch.
                assert!(row.version <= *version);
                assert!(row.version == *version || names.len() > 384, "{event_type}");
                seen.0 += 1;
            }
            RowKey::User { user, day, .. } => {
                let (link, all) = &positions[&(user.clone(), *day)];
                let partial = UserPartial::decode(&row.value).unwrap();
                let newest: Vec<Position> = all.iter().rev().take(REMEMBERED).copied().collect();
                assert_eq!(partial.positions().iter().collect::<Vec<_>>(), newest, "{user}");
                let older = all.len() - newest.len();
                assert_eq!(partial.positions().older(), older as u64, "{user}");
                assert_eq!(partial.positions().last(), (older > 0).then_some(*link), "{user}");
                seen.1 += 1;
            }
            _ => {}
        }
    }
    assert_eq!(seen, (users.len(), positions.len()));
}

/// The rows must say what the plain reading says.
fn check(rows: &BTreeMap<RowKey, Row>, expected: &crate::sim::Expected) {
    let mut days = BTreeMap::new();
    let mut users = BTreeMap::new();
    let mut letters = 0;
    let mut tries = BTreeMap::new();
    let mut uploads = BTreeMap::new();
    for (key, row) in rows {
        match key {
            RowKey::Day { day, event_type, .. } => {
                for cell in DayPartial::decode(&row.value).unwrap().cells() {
                    days.insert(
                        (event_type.clone(), day.quarter(cell.of_day).0),
                        (cell.count, cell.sum.0),
                    );
                }
            }
            RowKey::User { user, day, .. } => {
                for (event_type, cells) in UserPartial::decode(&row.value).unwrap().types() {
                    for cell in cells.cells() {
                        let key = (user.clone(), event_type.clone(), day.quarter(cell.of_day).0);
                        users.insert(key, (cell.count, cell.sum.0));
                    }
                }
            }
            RowKey::DeadLetter { .. } => letters += 1,
            // What they must be is `check_users`' to say.
            RowKey::Distinct { .. } => {}
            RowKey::Redrive {
                letter, offset, copy, ..
            } => {
                let row = Try::decode(&row.value).unwrap();
                tries.insert(copy.0, ((*letter, *offset), row.edited, row.outcome));
            }
            RowKey::Upload { upload, .. } => {
                uploads.insert(*upload, decode_upload_ledger(&row.value).unwrap());
            }
        }
    }
    assert_eq!(uploads, expected.uploads);
    assert_eq!(users, expected.cells);
    let mut by_day: BTreeMap<(String, u32), (u64, i128)> = BTreeMap::new();
    for ((_, event_type, quarter), (count, sum)) in &expected.cells {
        let cell = by_day.entry((event_type.clone(), *quarter)).or_default();
        cell.0 += count;
        cell.1 += sum;
    }
    by_day.retain(|_, cell| *cell != (0, 0));
    assert_eq!(days, by_day);
    assert_eq!((letters, tries), (expected.letters, expected.tries.clone()));
}
