//! Redriven copies: right worlds, and each single fault.

use crate::given::{redriven, redriven_world};
use crate::rig::{Made, Said, make};
use schemas::redrive::Try;
use schemas::row::{DeadLetter, Row, RowKey};
use schemas::{Offset, Outcome, Partition, Reason};

fn is_try(key: &RowKey) -> bool {
    matches!(key, RowKey::Redrive { .. })
}

/// Spoils a right world and expects exactly one difference that says each of these words.
fn found(spoil: impl FnOnce(&mut Made), words: &[&str]) {
    let mut made = redriven_world();
    spoil(&mut made);
    let differences = made.differences();
    assert_eq!(differences.len(), 1, "{differences:?}");
    for word in words {
        assert!(differences[0].contains(word), "{word} is not in {differences:?}");
    }
}

#[test]
fn a_right_world_of_tries_of_every_end_passes() {
    let report = redriven_world().audit().unwrap();
    assert!(report.is_clean(), "{report}");
    let ledger = report.ledger();
    assert_eq!((ledger.records, ledger.copies, ledger.accepted()), (10, 7, 3));
    assert_eq!((ledger.counted, ledger.reversed, ledger.repeated), (3, 1, 1));
}

#[test]
fn a_missing_row_of_a_try_is_found() {
    let spoil = |made: &mut Made| {
        let at = made.rows.iter().position(|row| is_try(&row.key)).unwrap();
        made.rows.remove(at);
    };
    found(
        spoil,
        &["row of dead_letters", "redriven copy at 1", "is missing"],
    );
}

#[test]
fn a_made_up_row_of_a_try_is_found() {
    let other_copy = |made: &mut Made| {
        let mut row = made.row(is_try).clone();
        if let RowKey::Redrive { copy, .. } = &mut row.key {
            *copy = Offset(2);
        }
        made.rows.push(row);
    };
    found(other_copy, &["redriven copy at 2", "must not be there"]);
    let other_letter = |made: &mut Made| {
        let mut row = made.row(is_try).clone();
        if let RowKey::Redrive { offset, .. } = &mut row.key {
            *offset = Offset(2);
        }
        made.rows.push(row);
    };
    found(other_letter, &["0/2", "must not be there"]);
    let elsewhere = |made: &mut Made| {
        let row = made.row(is_try).clone();
        let partition = Partition(1);
        made.rows.push(Row { partition, ..row });
    };
    found(elsewhere, &["of partition 1: must not be there"]);
}

#[test]
fn a_letter_row_for_a_copy_that_was_refused_is_found() {
    let spoil = |made: &mut Made| {
        let mut row = made.row(|key| matches!(key, RowKey::DeadLetter { .. })).clone();
        if let RowKey::DeadLetter { offset, .. } = &mut row.key {
            *offset = Offset(1);
        }
        made.rows.push(row);
    };
    found(spoil, &["row of dead_letters", "offset 1", "must not be there"]);
}

#[test]
fn a_wrong_word_of_a_try_is_found() {
    fn change(made: &mut Made, change: impl FnOnce(&mut Try)) {
        let row = made.row(is_try);
        let mut right = Try::decode(&row.value).unwrap();
        change(&mut right);
        row.value = right.encode();
    }
    let words = ["redriven copy at 1", "must say"];
    found(|made| change(made, |row| row.outcome = Outcome::Counted), &words);
    found(|made| change(made, |row| row.detail.push('x')), &words);
    found(|made| change(made, |row| row.who.push('x')), &words);
    found(|made| change(made, |row| row.at_ms += 1), &words);
    found(|made| change(made, |row| row.edited = true), &words);
    found(|made| made.row(is_try).version.0 += 1, &["must have version"]);
    let letter = |made: &mut Made| {
        let row = made.row(is_try);
        row.value = DeadLetter {
            reason: Reason::Invalid,
            user: String::new(),
            detail: String::new(),
            upload: None,
        }
        .encode();
    };
    found(letter, &["redriven copy at 1"]);
}

#[test]
fn a_chain_that_says_another_word_of_a_redrive_is_found() {
    // The chain is made of headers that are not those of the log.
    let spoilt = |spoil: fn(&mut Option<Vec<u8>>)| {
        let mut given = redriven();
        spoil(&mut given[0][1].0.redrive);
        let batches = [vec![(0, 3), (3, 9)], vec![(0, 1)]];
        let mut made = make(&given, &batches);
        let right = make(&redriven(), &batches);
        (made.log, made.rows) = (right.log, right.rows);
        made.differences()
    };
    let words = "record 0/1: must be dead-lettered (reversal_unmatched); the chain says dead-lettered \
                 (reversal_unmatched), with another redrive";
    assert_eq!(spoilt(|header| *header = None), [words]);
    let edited = spoilt(|header| {
        if let Some(last) = header.as_mut().and_then(|bytes| bytes.last_mut()) {
            *last = 1;
        }
    });
    assert_eq!(edited, [words]);
}

#[test]
fn a_letter_that_had_its_effect_twice_is_found() {
    let mut given = redriven();
    given[0][5].1 = given[0][6].1.clone();
    given[0][6].1 = Said::Duplicate;
    let differences = make(&given, &[vec![(0, 3), (3, 9)], vec![(0, 1)]]).differences();
    let words = "record 0/5: must be repeated; the chain says counted";
    assert!(
        differences.iter().any(|found| found.contains(words)),
        "{differences:#?}"
    );
}
