//! Rows follow from the chain alone: from any start, with any budget, the same values.

use crate::sim::{Owner, PARTITION, draw, expected, records, rules, spill};
use aggregator::chain::{Chain, Step};
use aggregator::rows::Rows;
use aggregator::spill::Spill;
use proptest::prelude::*;
use schemas::Offset;
use schemas::partial::{DayPartial, UserPartial};
use schemas::row::{Row, RowKey, View, decode_upload_ledger};
use std::collections::BTreeMap;

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
        if let Step::Applied(_, record) = chain.offer(Offset(offset as u64), bytes).unwrap() {
            rows.apply(&record, &projected).unwrap();
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
        let flushed = project(&changelog, 1, Offset(0), &flushes, &spill);
        prop_assert_eq!(&whole, &flushed);

        // A store that reflects the first records already needs only the rows that changed since.
        let begun = start.min(changelog.len());
        let mut resumed = project(&changelog[..begun], 1, Offset(0), &flushes, &spill);
        resumed.extend(project(&changelog, 1, ends[begun], &[], &spill));
        prop_assert_eq!(&whole, &resumed);
        check(&whole, &expected(&draws));
    }
}

/// The rows must say what the plain reading says.
fn check(rows: &BTreeMap<RowKey, Row>, expected: &crate::sim::Expected) {
    let mut days = BTreeMap::new();
    let mut users = BTreeMap::new();
    let mut letters = 0;
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
    assert_eq!(letters, expected.ledger.dead_lettered_total());
}
