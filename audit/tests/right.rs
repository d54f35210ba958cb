//! Worlds without a fault.

use crate::given::{avro, counted, event, every_outcome, key_in, world};
use crate::ports::Stored;
use crate::rig::{Said, make};
use log::batch::Origin;
use schemas::row::View;
use schemas::{Offset, Partition, Reason, limits};

#[test]
fn a_right_world_of_every_outcome_passes() {
    let report = world().audit().unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        (
            report.ledger().records,
            report.ledger().counted,
            report.ledger().copies
        ),
        (20, 7, 1)
    );
    assert_eq!(report.rulings, 1);
    assert_eq!(report.in_flight(), 0);
    assert_eq!(report.rows[&View::DeadLetters], 10);
    // A torn record and a late one for each commit record.
    assert_eq!(report.partitions[0].superseded, 4);
}

#[test]
fn records_that_nobody_concluded_yet_are_in_flight_and_no_fault() {
    let report = make(&every_outcome(), &[vec![(0, 5)], vec![(0, 5)]])
        .audit()
        .unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.in_flight(), report.partitions[0].next), (10, Offset(5)));
}

#[test]
fn a_log_without_records_passes() {
    let report = make(&vec![vec![], vec![]], &[vec![], vec![]]).audit().unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_type_too_many_is_refused_and_its_key_not_remembered() {
    let typed = |key: &str, number: usize| event(key, "u1", &format!("type-{number}"), 0);
    let mut records: Vec<_> = (0..limits::TYPES)
        .map(|n| typed(&key_in(0, n), n))
        .map(|event| (avro(&event, 0), counted(event)))
        .collect();
    let key = key_in(0, limits::TYPES);
    let (refused, taken) = (typed(&key, limits::TYPES), typed(&key, 5));
    records.push((
        avro(&refused, 1),
        Said::Refused(Reason::TooManyTypes, "default", "u1"),
    ));
    records.push((avro(&taken, 2), counted(taken)));
    let count = records.len() as u64;
    let report = make(&vec![records, vec![]], &[vec![(0, count)], vec![]])
        .audit()
        .unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_copy_is_judged_by_the_time_at_which_its_original_was_accepted() {
    // 26 hours ahead of the original, and less than 24 ahead of the copy.
    let ahead = event(&key_in(0, 0), "u1", "click", 26);
    let copy = avro(&ahead, 1);
    let origin = Some(Origin {
        partition: Partition(1),
        offset: Offset(0),
        append_ms: copy.append_ms - 7_200_001,
        held: false,
    });
    let records = vec![
        (
            Stored {
                origin,
                ..copy.clone()
            },
            Said::Refused(Reason::Invalid, "default", "u1"),
        ),
        (copy, counted(ahead)),
    ];
    let report = make(&vec![records, vec![]], &[vec![(0, 2)], vec![]])
        .audit()
        .unwrap();
    assert!(report.is_clean(), "{report}");
}
