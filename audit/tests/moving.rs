//! Worlds that do not rest, and worlds that cannot be looked at.

use crate::given::{every_outcome, world};
use crate::ports::{CANARY, Stored};
use crate::rig::make;
use audit::{CouldNotLook, Settings};
use schemas::Partition;
use schemas::row::View;
use std::time::Duration;

#[test]
fn views_that_never_reach_the_chain_are_no_difference_but_no_answer() {
    let mut made = world();
    made.progress.get_mut(&(View::Days, Partition(1))).unwrap().next.0 -= 1;
    let error = made.audit().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no quiet moment to compare at: days reflects partition 1 up to 4 of 5; stop what sends, or wait longer"
    );
}

#[test]
fn a_chain_that_went_on_meanwhile_is_looked_at_again() {
    // Views of the whole chain beside a chain of which the rest is seen late: no difference may come of that.
    let mut made = world();
    made.chain.hidden = Some((4, 4));
    let report = made
        .audit_with(&Settings {
            patience: Duration::from_secs(20),
            wait: None,
        })
        .unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.ledger().records, 20);
}

#[test]
fn waiting_for_the_end_gives_up_while_records_are_in_flight() {
    let settings = Settings {
        patience: Duration::ZERO,
        wait: Some(Duration::ZERO),
    };
    let made = make(&every_outcome(), &[vec![(0, 5)], vec![(0, 5)]]);
    let error = made.audit_with(&settings).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("reflects partition 0 up to 5, records end at 15"),
        "{error}"
    );
    assert!(world().audit_with(&settings).unwrap().is_clean());
}

#[test]
fn canaries_that_nobody_counts_any_more_are_not_waited_for() {
    let settings = Settings {
        patience: Duration::ZERO,
        wait: Some(Duration::ZERO),
    };
    let (mut made, mut other) = (world(), world());
    let event = made.log.0[0][0].clone();
    let canary = Stored {
        key: Some(CANARY.to_vec()),
        ..event.clone()
    };
    made.log.0[0].extend(vec![canary.clone(); 4]);
    assert!(made.audit_with(&settings).unwrap().is_clean());
    other.log.0[0].extend([canary.clone(), event, canary]);
    let error = other.audit_with(&settings).unwrap_err();
    assert!(error.to_string().contains("records end at"), "{error}");
}

#[test]
fn what_a_later_release_wrote_or_another_fold_needs_is_not_judged() {
    let mut made = world();
    made.chain.records[0][1][0] = 2;
    assert!(matches!(made.audit(), Err(CouldNotLook::LaterRelease { .. })));
    let mut made = world();
    made.generation.fold_version += 1;
    assert!(matches!(made.audit(), Err(CouldNotLook::Generation(_))));
}
