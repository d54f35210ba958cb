//! What became of every record.

use crate::fixture::{Fixture, receipt};
use schemas::row::View;
use schemas::{Ledger, Outcome, Reason};
use serde_json::json;

fn ledger(records: u64, copies: u64, outcomes: &[(u64, Outcome)]) -> Ledger {
    let mut ledger = Ledger {
        records,
        copies,
        ..Ledger::default()
    };
    for (count, outcome) in outcomes {
        (0..*count).for_each(|_| ledger.add_outcome(*outcome));
    }
    ledger
}

#[tokio::test]
async fn the_ledger_adds_up_per_partition_and_in_all() {
    let fixture = Fixture::new().await;
    let first = [
        (90, Outcome::Counted),
        (4, Outcome::Duplicate),
        (1, Outcome::DeadLettered(Reason::KeyConflict)),
        (1, Outcome::Rerouted),
    ];
    let second = [(4, Outcome::Counted), (1, Outcome::DeadLettered(Reason::NullKey))];
    fixture
        .reflect_ledger(View::Progress, 0, 96, None, ledger(96, 0, &first))
        .await;
    fixture
        .reflect_ledger(View::Progress, 1, 5, None, ledger(5, 1, &second))
        .await;
    fixture.log.set_end(0, 99);
    fixture.log.set_end(1, 5);
    let body = fixture.ok("/v1/ledger").await;
    let expected = json!({
        "accepted": 100, "records": 101, "copies": 1, "counted": 94, "duplicate": 4, "dead_lettered": 2, "rerouted": 1,
        "reversed": 0, "held": 0, "repeated": 0, "noted": 0,
        "in_flight": 3, "balanced": true,
        "dead_letters_by_reason": {"key_conflict": 1, "null_key": 1},
        "partitions": [
            {"partition": 0, "records": 96, "copies": 0, "counted": 90, "duplicate": 4, "dead_lettered": 1, "rerouted": 1,
             "reversed": 0, "held": 0, "repeated": 0, "noted": 0, "next_offset": 96, "end_offset": 99, "in_flight": 3, "balanced": true},
            {"partition": 1, "records": 5, "copies": 1, "counted": 4, "duplicate": 0, "dead_lettered": 1, "rerouted": 0,
             "reversed": 0, "held": 0, "repeated": 0, "noted": 0, "next_offset": 5, "end_offset": 5, "in_flight": 0, "balanced": true},
        ],
        "as_of": {"offsets": {"0": 96, "1": 5}, "newest_accepted_at": "2025-11-05T11:59:59Z", "lag_records": 3},
    });
    assert_eq!(body, expected);
    // The log's end is looked at now: what was just accepted is in flight.
    fixture.log.set_end(1, 6);
    assert_eq!(fixture.ok("/v1/ledger").await["in_flight"], 4);
    let answer = fixture
        .get(&format!("/v1/ledger?after={}", receipt(&[(1, 6)])))
        .await;
    assert_eq!(answer.problem(), (503, "not_yet"));
}

#[tokio::test]
async fn a_ledger_that_does_not_add_up_in_one_partition_is_not_balanced_by_another() {
    let fixture = Fixture::new().await;
    let counted = [(5, Outcome::Counted)];
    fixture
        .reflect_ledger(View::Progress, 0, 4, None, ledger(4, 0, &counted))
        .await;
    fixture
        .reflect_ledger(View::Progress, 1, 6, None, ledger(6, 0, &counted))
        .await;
    let body = fixture.ok("/v1/ledger").await;
    assert_eq!(body["balanced"], false);
    assert_eq!((&body["accepted"], &body["counted"]), (&json!(10), &json!(10)));
}

#[tokio::test]
async fn a_ledger_without_progress_is_not_ready_and_never_zero() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.ok("/v1/ledger").await["accepted"], 0);
    fixture.log.set_end(1, 1);
    assert_eq!(fixture.get("/v1/ledger").await.problem(), (503, "view_not_ready"));
}
