//! An EndTxn of protocol 1 that arrives inside a later transaction of the same producer.
//!
//! In each case: a transaction commits "before"; the next one writes "early" to partition 0; there the EndTxn
//! arrives, and its markers are waited for; the client then does one more thing, or none, and ends its
//! transaction; at last it tries another transaction with "next". What the client saw and what a reader sees
//! afterwards is compared with what was measured once, so each line below is a fact about this broker and
//! this client.

use e2e::proxy::{EndTxn, Producer};
use rdkafka::error::RDKafkaErrorCode::{self, InvalidTransactionalState, OutOfOrderSequenceNumber};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::rig::{DEADLINE, End, Rig, Writer};

/// What EndTxn says, the forged one and the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Abort,
    Commit,
}

/// What the client does between the forged EndTxn and its own.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    /// Writes "late" to partition 0, which it knows to be in its transaction.
    SamePartition,
    /// Writes "late" to partition 1, which it first adds to its transaction.
    NewPartition,
    /// Sends next offset 10 for partition 0.
    Offsets,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
struct Tear {
    /// The result of what `Then` did.
    then: Result<(), RDKafkaErrorCode>,
    /// The result of the client's own commit or abort.
    ended: End,
    /// What a read_committed reader sees, but for "before" and "next".
    visible: Vec<String>,
    /// The group's committed offset.
    offset: Option<i64>,
    /// The result of a further transaction (after an abort, where `ended` asks for it).
    next: End,
}

fn tear(late: Verdict, then: Then, own: Verdict) -> Tear {
    tear_with(1, late, then, own)
}

fn tear_with(version: i16, late: Verdict, then: Then, own: Verdict) -> Tear {
    let (rig, writer, producer) = torn(version, late);
    let then = act(&rig, &writer, then);
    let ended = if own == Verdict::Commit {
        writer.commit()
    } else {
        writer.abort()
    };
    if let End::Abort(_) = ended {
        writer.abort();
    }
    let next = writer.transact("next");
    let mut visible = rig.committed();
    visible.retain(|value| value != "before" && value != "next");
    assert_eq!(
        rig.proxy.producer(&rig.id),
        Some(producer),
        "nothing raised the epoch"
    );
    Tear {
        then,
        ended,
        visible,
        offset: rig.committed_offset(),
        next,
    }
}

/// A producer in whose open transaction, behind "early", an EndTxn arrived.
fn torn(version: i16, late: Verdict) -> (Rig, Writer, Producer) {
    let rig = Rig::new("tear", 2);
    let writer = rig.producer();
    assert_eq!(writer.transact("before"), End::Done);
    rig.wait_for_end(2); // "before" and its marker.
    writer.begin();
    writer.write(0, "early").unwrap();
    let producer = rig.proxy.producer(&rig.id).unwrap();
    assert_eq!(forge(&rig, version, producer, late), 0, "the broker accepts it");
    rig.wait_for_end(4); // "early" and the forged marker.
    (rig, writer, producer)
}

fn forge(rig: &Rig, version: i16, producer: Producer, verdict: Verdict) -> i16 {
    let committed = verdict == Verdict::Commit;
    let end = EndTxn {
        transactional_id: rig.id.clone(),
        producer,
        committed,
    };
    rig.proxy.forge_end_txn(&end, version).unwrap()
}

fn act(rig: &Rig, writer: &Writer, then: Then) -> Result<(), RDKafkaErrorCode> {
    match then {
        Then::Nothing => Ok(()),
        Then::SamePartition => writer.write(0, "late"),
        Then::NewPartition => writer.write(1, "late"),
        Then::Offsets => {
            let (_consumer, group) = rig.group();
            let mut offsets = TopicPartitionList::new();
            offsets
                .add_partition_offset(&rig.topic, 0, Offset::Offset(10))
                .unwrap();
            let sent = writer
                .producer
                .send_offsets_to_transaction(&offsets, &group, DEADLINE);
            sent.map_err(|error| error.rdkafka_error_code().unwrap())
        }
    }
}

/// No error anywhere, and these records and this offset.
fn unnoticed(visible: &[&str], offset: Option<i64>) -> Tear {
    let visible = visible.iter().map(|value| (*value).to_owned()).collect();
    Tear {
        then: Ok(()),
        ended: End::Done,
        visible,
        offset,
        next: End::Done,
    }
}

const NOT_IN_TRANSACTION: Result<(), RDKafkaErrorCode> = Err(InvalidTransactionalState);
const DEAD: End = End::Fatal(InvalidTransactionalState);

#[test]
fn a_late_abort_takes_early_records_out_of_a_commit_that_succeeds() {
    assert_eq!(
        tear(Verdict::Abort, Then::NewPartition, Verdict::Commit),
        unnoticed(&["late"], None)
    );
}

#[test]
fn a_late_abort_leaves_committed_offsets_without_their_records() {
    assert_eq!(
        tear(Verdict::Abort, Then::Offsets, Verdict::Commit),
        unnoticed(&[], Some(10))
    );
}

#[test]
fn every_version_of_protocol_1_tears_alike() {
    for version in [0, 2, 3, 4] {
        let tear = tear_with(version, Verdict::Abort, Then::Offsets, Verdict::Commit);
        assert_eq!(tear, unnoticed(&[], Some(10)), "version {version}");
    }
}

#[test]
fn a_late_abort_just_before_the_commit_kills_the_producer() {
    let expected = Tear {
        ended: DEAD,
        next: DEAD,
        ..unnoticed(&[], None)
    };
    assert_eq!(tear(Verdict::Abort, Then::Nothing, Verdict::Commit), expected);
}

#[test]
fn a_late_abort_fails_the_next_write_to_the_same_partition_and_one_more_transaction() {
    // The refused batch left a hole in the sequence numbers, which the next transaction trips over.
    let next = End::Abort(OutOfOrderSequenceNumber);
    let ended = End::Abort(InvalidTransactionalState);
    let expected = Tear {
        then: NOT_IN_TRANSACTION,
        ended,
        next,
        ..unnoticed(&[], None)
    };
    assert_eq!(
        tear(Verdict::Abort, Then::SamePartition, Verdict::Commit),
        expected
    );
    let expected = Tear {
        ended: End::Done,
        ..expected
    };
    assert_eq!(
        tear(Verdict::Abort, Then::SamePartition, Verdict::Abort),
        expected
    );
}

#[test]
fn a_late_abort_does_no_harm_to_a_transaction_that_aborts() {
    for then in [Then::Nothing, Then::NewPartition, Then::Offsets] {
        assert_eq!(
            tear(Verdict::Abort, then, Verdict::Abort),
            unnoticed(&[], None),
            "{then:?}"
        );
    }
}

#[test]
fn a_late_commit_publishes_early_records_of_an_abort_that_succeeds() {
    for then in [Then::NewPartition, Then::Offsets] {
        assert_eq!(
            tear(Verdict::Commit, then, Verdict::Abort),
            unnoticed(&["early"], None),
            "{then:?}"
        );
    }
}

#[test]
fn a_late_commit_just_before_the_abort_publishes_and_kills_the_producer() {
    let expected = Tear {
        ended: DEAD,
        next: DEAD,
        ..unnoticed(&["early"], None)
    };
    assert_eq!(tear(Verdict::Commit, Then::Nothing, Verdict::Abort), expected);
}

#[test]
fn a_late_commit_publishes_and_the_next_write_to_the_same_partition_kills_the_producer() {
    let expected = Tear {
        then: NOT_IN_TRANSACTION,
        ended: DEAD,
        next: DEAD,
        ..unnoticed(&["early"], None)
    };
    assert_eq!(
        tear(Verdict::Commit, Then::SamePartition, Verdict::Abort),
        expected
    );
    // The commit fails and asks for an abort, which the broker refuses.
    let expected = Tear {
        ended: End::Abort(InvalidTransactionalState),
        ..expected
    };
    assert_eq!(
        tear(Verdict::Commit, Then::SamePartition, Verdict::Commit),
        expected
    );
}

#[test]
fn a_late_commit_does_no_lasting_harm_to_a_transaction_that_commits() {
    assert_eq!(
        tear(Verdict::Commit, Then::Nothing, Verdict::Commit),
        unnoticed(&["early"], None)
    );
    assert_eq!(
        tear(Verdict::Commit, Then::NewPartition, Verdict::Commit),
        unnoticed(&["early", "late"], None)
    );
    assert_eq!(
        tear(Verdict::Commit, Then::Offsets, Verdict::Commit),
        unnoticed(&["early"], Some(10))
    );
}

#[test]
fn a_producer_that_tripped_over_the_hole_goes_on_with_a_higher_epoch_after_its_abort() {
    let (rig, writer, producer) = torn(1, Verdict::Abort);
    assert_eq!(writer.write(0, "late"), NOT_IN_TRANSACTION);
    assert_eq!(writer.abort(), End::Done);
    assert_eq!(writer.transact("lost"), End::Abort(OutOfOrderSequenceNumber));
    assert_eq!(writer.abort(), End::Done);
    assert_eq!(writer.transact("next"), End::Done);
    assert_eq!(
        rig.proxy.producer(&rig.id),
        Some(Producer {
            epoch: producer.epoch + 1,
            ..producer
        })
    );
    assert_eq!(rig.committed(), ["before", "next"]);
}

/// INVALID_PRODUCER_EPOCH
const REFUSED_EPOCH: i16 = 47;
/// INVALID_TXN_STATE
const REFUSED_STATE: i16 = 48;

#[test]
fn an_end_txn_of_a_former_epoch_is_refused() {
    let rig = Rig::new("epoch", 1);
    drop(rig.producer());
    let former = rig.proxy.producer(&rig.id).unwrap();
    let writer = rig.producer();
    let producer = rig.proxy.producer(&rig.id).unwrap();
    assert_eq!(
        producer,
        Producer {
            epoch: former.epoch + 1,
            ..former
        }
    );
    writer.begin();
    writer.write(0, "early").unwrap();
    assert_eq!(forge(&rig, 1, former, Verdict::Commit), REFUSED_EPOCH);
    assert_eq!(forge(&rig, 1, former, Verdict::Abort), REFUSED_EPOCH);
    assert_eq!(writer.commit(), End::Done);
    assert_eq!(rig.committed(), ["early"]);
}

#[test]
fn an_end_txn_before_the_first_record_does_no_harm() {
    let rig = Rig::new("empty", 1);
    let writer = rig.producer();
    assert_eq!(writer.transact("before"), End::Done);
    rig.wait_for_end(2);
    writer.begin();
    let producer = rig.proxy.producer(&rig.id).unwrap();
    assert_eq!(
        forge(&rig, 1, producer, Verdict::Commit),
        0,
        "a repeat of the last commit"
    );
    assert_eq!(forge(&rig, 1, producer, Verdict::Abort), REFUSED_STATE);
    writer.write(0, "early").unwrap();
    assert_eq!(writer.commit(), End::Done);
    assert_eq!(rig.committed(), ["before", "early"]);
}
