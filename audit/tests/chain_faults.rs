//! Worlds whose chain concludes something else than the log, with rows that follow the chain as they should.

use crate::given::{counted, event, every_outcome, key_in, world};
use crate::rig::{Given, Said, make};
use schemas::{Event, Partition, Reason};

const WHOLE: [(u64, u64); 2] = [(0, 15), (0, 5)];

fn differences(given: &Given) -> Vec<String> {
    make(given, &WHOLE.map(|batch| vec![batch])).differences()
}

fn says(differences: &[String], words: &str) {
    assert!(
        differences.iter().any(|difference| difference.contains(words)),
        "{words}: {differences:#?}"
    );
}

#[test]
fn an_offset_counted_twice_on_the_chain_is_found() {
    let made = make(&every_outcome(), &[vec![(0, 5), (5, 15)], vec![(0, 3), (2, 5)]]);
    let differences = made.differences();
    says(&differences, "begins at 2 where 3 comes next");
    says(&differences, "record 1/2: must be nothing more");
    says(&differences, "row of users (\"default\", \"u1\"");
    says(&differences, "progress of days for partition 1: has a ledger");
}

#[test]
fn offsets_left_out_of_the_chain_are_found() {
    let made = make(&every_outcome(), &[vec![(0, 5), (5, 15)], vec![(0, 2), (3, 5)]]);
    let differences = made.differences();
    says(&differences, "begins at 3 where 2 comes next");
    says(
        &differences,
        "record 1/2: must be counted; the chain says nothing",
    );
}

#[test]
fn a_duplicate_that_was_counted_is_found() {
    let mut given = every_outcome();
    given[0][1].1 = given[0][0].1.clone();
    let differences = differences(&given);
    says(
        &differences,
        "record 0/1: must be duplicate; the chain says counted",
    );
    says(&differences, "row of days");
    says(&differences, "must say 1 events of 12.50, says 2 events of 25.00");
}

#[test]
fn an_event_that_was_not_counted_is_found() {
    let mut given = every_outcome();
    given[0][0].1 = Said::Refused(Reason::Invalid, "default", "u1");
    let differences = differences(&given);
    says(
        &differences,
        "record 0/0: must be counted; the chain says dead-lettered (invalid)",
    );
    says(&differences, "must not be there");
    says(&differences, "is missing");
}

#[test]
fn an_event_counted_as_something_else_is_found() {
    for (other, word) in [
        (
            event(&key_in(1, 0), "u2", "click", 0),
            "with another user, content hash",
        ),
        (
            event(&key_in(1, 0), "u1", "view", 0),
            "with another event type, content hash",
        ),
        (
            event(&key_in(1, 0), "u1", "click", 1),
            "with another quarter-hour, content hash",
        ),
        (
            Event {
                amount: None,
                ..event(&key_in(1, 0), "u1", "click", 0)
            },
            "with another amount, content hash",
        ),
        (event(&key_in(1, 1), "u1", "click", 0), "with another fingerprint"),
    ] {
        let mut given = every_outcome();
        given[1][0].1 = counted(other);
        says(&differences(&given), word);
    }
}

#[test]
fn a_record_sent_to_the_wrong_partition_or_refused_for_another_reason_is_found() {
    let mut given = every_outcome();
    given[0][12].1 = Said::Rerouted(Partition(0));
    given[0][6].1 = Said::Refused(Reason::Invalid, "", "");
    given[0][2].1 = Said::Refused(Reason::KeyConflict, "default", "u2");
    let differences = differences(&given);
    says(
        &differences,
        "record 0/12: must be rerouted to 1; the chain says rerouted to 0",
    );
    says(
        &differences,
        "record 0/6: must be dead-lettered (undecodable); the chain says dead-lettered (invalid)",
    );
    says(&differences, "record 0/2: must be dead-lettered (key_conflict)");
    says(&differences, "with another user");
}

#[test]
fn an_unknown_schema_is_believed_only_of_a_schema_of_another() {
    let mut given = every_outcome();
    given[0][0].1 = Said::Refused(Reason::UnknownSchema, "", "");
    says(
        &differences(&given),
        "record 0/0: must be counted; the chain says dead-lettered (unknown_schema)",
    );
}

#[test]
fn a_copy_that_never_came_is_found() {
    let mut given = every_outcome();
    given[1].remove(2);
    let made = make(&given, &[vec![(0, 15)], vec![(0, 4)]]);
    assert_eq!(
        made.differences(),
        [
            "record 0/12: calls for a record in 1, which the chain says is written and is not there, or holds something else"
                .to_owned()
        ]
    );
}

#[test]
fn a_copy_that_holds_something_else_is_found() {
    let mut given = every_outcome();
    let (copy, said) = &mut given[1][2];
    let Said::Counted(event) = said else {
        panic!("the copy is counted");
    };
    event.amount = schemas::Amount::from_millionths(99_000_000);
    let value = crate::given::avro(event, 2).value;
    copy.value = value;
    // The chain and the rows follow from the copy as it is.
    let made = make(&given, &[vec![(0, 15)], vec![(0, 5)]]);
    let differences = made.differences();
    assert_eq!(
        differences,
        ["record 0/12: calls for a record in 1, which the chain says is written and is not there, or holds something else".to_owned()]
    );
}

#[test]
fn a_commit_record_beyond_the_end_of_the_log_is_found() {
    let mut made = world();
    made.log.0[1].truncate(4);
    let differences = made.differences();
    says(&differences, "concludes up to 5, and the log ends at 4");
    says(&differences, "record 1/4: must be nothing more");
}
