//! Worlds with one fault in what the store holds.

use crate::given::world;
use crate::rig::Made;
use schemas::commit::Link;
use schemas::distinct::Distinct;
use schemas::partial::{Cell, DayPartial, UserPartial};
use schemas::row::{DeadLetter, RowKey, View};
use schemas::{Day, Offset, Partition, Reason};

fn day(key: &RowKey) -> bool {
    matches!(key, RowKey::Day { .. })
}

fn user(key: &RowKey) -> bool {
    matches!(key, RowKey::User { .. })
}

fn sketch(key: &RowKey) -> bool {
    matches!(key, RowKey::Distinct { .. })
}

fn letter(key: &RowKey) -> bool {
    matches!(key, RowKey::DeadLetter { .. })
}

/// Spoils a right world and expects exactly one difference that says each of these words.
fn found(spoil: impl FnOnce(&mut Made), words: &[&str]) {
    let mut made = world();
    spoil(&mut made);
    let differences = made.differences();
    assert_eq!(differences.len(), 1, "{differences:?}");
    for word in words {
        assert!(differences[0].contains(word), "{word} is not in {differences:?}");
    }
}

#[test]
fn a_wrong_count_of_a_day_is_found() {
    let spoil = |made: &mut Made| {
        let row = made.row(day);
        let mut partial = DayPartial::decode(&row.value).unwrap();
        partial.add(3, None);
        row.value = partial.encode();
    };
    found(
        spoil,
        &[
            "row of days",
            "must say 1 events of 12.50, says 2 events of 12.50",
        ],
    );
}

#[test]
fn a_wrong_sum_of_a_user_is_found() {
    let spoil = |made: &mut Made| {
        let row = made.row(user);
        let partial = UserPartial::decode(&row.value).unwrap();
        let mut spoilt = UserPartial::default();
        for (kind, cells) in partial.types() {
            for Cell { of_day, .. } in cells.cells() {
                spoilt.add(kind, *of_day, None);
            }
        }
        row.value = spoilt.encode();
    };
    found(spoil, &["row of users", "must say", "says"]);
}

#[test]
fn a_user_too_many_in_a_sketch_is_found() {
    let spoil = |made: &mut Made| {
        let row = made.row(sketch);
        let mut sketch = Distinct::decode(&row.value).unwrap();
        sketch.add("somebody else");
        row.value = sketch.encode();
    };
    found(
        spoil,
        &[
            "row of distinct_users",
            "must say about 1 users",
            "says about 2 users",
        ],
    );
}

#[test]
fn a_position_that_is_wrong_or_missing_is_found() {
    for spoilt in [&[][..], &[(9, false)], &[(0, true)]] {
        let spoil = |made: &mut Made| {
            let row = made.row(user);
            let mut partial = UserPartial::default();
            partial.merge(&UserPartial::decode(&row.value).unwrap());
            for (offset, reverse) in spoilt {
                partial.remember(Offset(*offset), *reverse, Link::default());
            }
            row.value = partial.encode();
        };
        found(
            spoil,
            &[
                "row of users",
                "must say positions [14, 0] and 0 older ones, says positions",
            ],
        );
    }
}

#[test]
fn an_event_in_the_wrong_quarter_hour_is_found() {
    let spoil = |made: &mut Made| {
        let row = made.row(day);
        let partial = DayPartial::decode(&row.value).unwrap();
        let mut spoilt = DayPartial::default();
        for cell in partial.cells() {
            spoilt.add_cell(Cell {
                of_day: cell.of_day + 1,
                ..*cell
            });
        }
        row.value = spoilt.encode();
    };
    found(spoil, &["in other quarter-hours or types"]);
}

#[test]
fn a_missing_row_is_found_in_each_view() {
    for (view, name) in [
        (day as fn(&RowKey) -> bool, "days"),
        (user, "users"),
        (sketch, "distinct_users"),
        (letter, "dead_letters"),
    ] {
        let spoil = |made: &mut Made| {
            let at = made.rows.iter().position(|row| view(&row.key)).unwrap();
            made.rows.remove(at);
        };
        found(spoil, &[&format!("row of {name}"), "is missing"]);
    }
}

#[test]
fn a_surplus_row_is_found_in_each_view() {
    for view in [day as fn(&RowKey) -> bool, user, sketch, letter] {
        let spoil = |made: &mut Made| {
            let mut row = made.row(view).clone();
            match &mut row.key {
                RowKey::Day { event_type, .. } | RowKey::Distinct { event_type, .. } => event_type.push('x'),
                RowKey::User { day, .. } => *day = Day(7),
                RowKey::DeadLetter { offset, .. } => *offset = Offset(14),
                RowKey::Redrive { .. } | RowKey::Upload { .. } => unreachable!(),
            }
            made.rows.push(row);
        };
        found(spoil, &["must not be there"]);
    }
    let elsewhere = |made: &mut Made| {
        let row = made.row(day).clone();
        made.rows.push(schemas::row::Row {
            partition: Partition(5),
            ..row
        });
    };
    found(elsewhere, &["of partition 5: must not be there"]);
}

#[test]
fn a_wrong_stamp_is_found_in_each_view() {
    for view in [day as fn(&RowKey) -> bool, user, sketch, letter] {
        found(
            |made| made.row(view).version.0 += 1,
            &["must have version", "has"],
        );
    }
}

#[test]
fn a_wrong_reason_and_unreadable_bytes_are_found() {
    let reason = |made: &mut Made| {
        let row = made.row(letter);
        let right = DeadLetter::decode(&row.value).unwrap();
        row.value = DeadLetter {
            reason: Reason::Oversized,
            ..right
        }
        .encode();
    };
    found(reason, &["row of dead_letters", "must say", "oversized"]);
    for view in [day as fn(&RowKey) -> bool, user, sketch, letter] {
        found(|made| made.row(view).value.push(0), &["cannot be read"]);
    }
}

#[test]
fn each_word_of_a_progress_row_is_held_against_the_log() {
    let key = (View::Users, Partition(1));
    let counts: [fn(&mut schemas::Ledger) -> &mut u64; 9] = [
        |ledger| &mut ledger.records,
        |ledger| &mut ledger.copies,
        |ledger| &mut ledger.counted,
        |ledger| &mut ledger.duplicate,
        |ledger| &mut ledger.rerouted,
        |ledger| &mut ledger.reversed,
        |ledger| &mut ledger.held,
        |ledger| &mut ledger.repeated,
        |ledger| &mut ledger.noted,
    ];
    for count in counts {
        found(
            |made| *count(&mut made.progress.get_mut(&key).unwrap().ledger) += 1,
            &["progress of users", "ledger"],
        );
    }
    found(
        |made| made.progress.get_mut(&key).unwrap().max_append_ms += 1,
        &["newest append time"],
    );
    found(
        |made| made.progress.get_mut(&key).unwrap().days = None,
        &["spans days"],
    );
    found(
        |made| made.progress.get_mut(&key).unwrap().chain = uuid::Uuid::nil(),
        &["the chain's last is"],
    );
    found(
        |made| made.progress.get_mut(&key).unwrap().changelog.0 += 1,
        &["of the changelog"],
    );
    found(
        |made| made.progress.get_mut(&key).unwrap().next.0 += 1,
        &["is at 6, the chain ends at 5"],
    );
}
