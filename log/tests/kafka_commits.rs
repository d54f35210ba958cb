//! Transactions of a lane, and what a chain reader sees of them.

use crate::kafka_foreign::Foreign;
use crate::kafka_support::*;
use log::kafka::{Admin, KafkaChainReader, KafkaLane, Plan, Rule};
use log::{ChainReader, CommitError, Lane, Place, Transaction};
use schemas::limits::COMMIT_PART_BYTES;
use schemas::{Offset, Partition};
use std::time::{Duration, Instant};

#[test]
fn committed_parts_come_back_in_order_and_reached_passes_the_markers() {
    let settings = with_topics("commits", 2);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 2);
    lane.commit(&transaction(0, 10, &[b"a1", b"a2"])).unwrap();
    lane.commit(&transaction(0, 20, &[b"b1"])).unwrap();
    let mut reader = KafkaChainReader::new(&settings).unwrap();
    assert_eq!(
        reader.mark(Partition(0)).unwrap(),
        Offset(5),
        "three parts and two markers"
    );
    let (parts, reached) = chain(&settings, 0);
    let parts: Vec<_> = parts
        .iter()
        .map(|(offset, bytes)| (offset.0, bytes.as_slice()))
        .collect();
    assert_eq!(parts, [(0, &b"a1"[..]), (1, b"a2"), (3, b"b1")]);
    assert_eq!(reached, Offset(5));
}

#[test]
fn a_reader_at_the_end_sees_what_is_committed_later_and_goes_on_where_it_was() {
    let settings = with_topics("live", 2);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 2);
    let mut reader = KafkaChainReader::new(&settings).unwrap();
    let place = |partition, next| Place {
        partition: Partition(partition),
        next: Offset(next),
    };
    reader.assign(&[place(0, 0)]).unwrap();
    read_to(&mut reader, Offset(0));
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        lane.commit(&transaction(0, round + 1, &[b"part"])).unwrap();
        let began = Instant::now();
        let (parts, _) = read_to(&mut reader, Offset(round * 2 + 1));
        slowest = slowest.max(began.elapsed());
        assert_eq!(parts.len(), 1);
    }
    println!("read back after commit: slowest of 20 {slowest:?}");
    // Another partition beside it: the first goes on and shows nothing twice.
    let mark = reader.mark(Partition(0)).unwrap();
    read_to(&mut reader, mark);
    reader.assign(&[place(0, mark.0), place(1, 0)]).unwrap();
    lane.commit(&transaction(0, 99, &[b"last"])).unwrap();
    let (parts, _) = read_to(&mut reader, Offset(mark.0 + 1));
    assert_eq!(parts, [(mark, b"last".to_vec())]);
    // And from the beginning again.
    reader.assign(&[place(0, 0)]).unwrap();
    assert_eq!(read_to(&mut reader, Offset(mark.0 + 1)).0.len(), 21);
}

#[test]
fn an_aborted_transaction_is_invisible_and_reached_passes_it() {
    let settings = with_topics("aborted", 1);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 1);
    lane.commit(&transaction(0, 1, &[b"kept"])).unwrap();
    let foreign = Foreign::transactional(&settings, &format!("{}-other", settings.transactional_id));
    foreign.begin();
    foreign.send(&settings.changelog, 0, &["never", "seen"]);
    foreign.abort();
    let (parts, reached) = chain(&settings, 0);
    assert_eq!(parts, [(Offset(0), b"kept".to_vec())]);
    assert_eq!(reached, Offset(5), "part, marker, two aborted, marker");
}

#[test]
fn an_open_transaction_holds_reached_back_until_it_ends() {
    let settings = with_topics("open", 1);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 1);
    lane.commit(&transaction(0, 1, &[b"kept"])).unwrap();
    let foreign = Foreign::transactional(&settings, &format!("{}-other", settings.transactional_id));
    foreign.begin();
    foreign.send(&settings.changelog, 0, &["open"]);
    lane.commit(&transaction(0, 2, &[b"behind"])).unwrap();
    let mut reader = KafkaChainReader::new(&settings).unwrap();
    let mark = reader.mark(Partition(0)).unwrap();
    assert_eq!(mark, Offset(5), "the mark is read uncommitted");
    reader
        .assign(&[Place {
            partition: Partition(0),
            next: Offset(0),
        }])
        .unwrap();
    let (parts, reached) = read_to(&mut reader, Offset(2));
    assert_eq!((parts.len(), reached), (1, Offset(2)), "only what is stable");
    let more = reader.poll(Duration::from_millis(700)).unwrap();
    assert!(more.is_empty(), "{more:?}");
    foreign.abort();
    let (parts, reached) = read_to(&mut reader, mark);
    assert_eq!(parts, [(Offset(3), b"behind".to_vec())]);
    assert!(reached >= mark);
}

#[test]
fn a_fenced_lane_learns_it_at_commit_and_nothing_of_it_is_seen() {
    let settings = with_topics("fenced", 1);
    let mut old = KafkaLane::open(&settings).unwrap();
    joined(&mut old, 1);
    old.commit(&transaction(0, 1, &[b"old"])).unwrap();
    let mut elsewhere = settings.clone();
    elsewhere.group = format!("{}-elsewhere", settings.group);
    let _new = KafkaLane::open(&elsewhere).unwrap();
    let error = old.commit(&transaction(0, 2, &[b"zombie"])).unwrap_err();
    assert!(matches!(error, CommitError::Fatal(_)), "{error}");
    assert_eq!(chain(&settings, 0).0, [(Offset(0), b"old".to_vec())]);
}

#[test]
fn a_transaction_that_a_dead_process_left_open_is_ended_by_the_next_lane() {
    let settings = with_topics("left-open", 1);
    let dead = Foreign::transactional(&settings, &settings.transactional_id);
    dead.begin();
    dead.send(&settings.changelog, 0, &["half"]);
    std::mem::forget(dead);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 1);
    lane.commit(&transaction(0, 1, &[b"whole"])).unwrap();
    let (parts, _) = chain(&settings, 0);
    assert_eq!(parts, [(Offset(2), b"whole".to_vec())]);
}

#[test]
fn without_a_generation_or_a_partition_of_its_own_a_lane_never_commits() {
    let settings = with_topics("outside", 1);
    let mut lane = KafkaLane::open(&settings).unwrap();
    // Not joined: its generation is -1, which the broker would accept.
    let error = lane.commit(&Transaction::default()).unwrap_err();
    assert!(
        matches!(&error, CommitError::Aborted(why) if why.contains("generation")),
        "{error}"
    );
    let error = lane.commit(&transaction(0, 1, &[b"early"])).unwrap_err();
    assert!(
        matches!(&error, CommitError::Aborted(why) if why.contains("not this lane's")),
        "{error}"
    );
    joined(&mut lane, 1);
    lane.commit(&transaction(0, 1, &[b"now"])).unwrap();
    assert_eq!(chain(&settings, 0).0, [(Offset(0), b"now".to_vec())]);
}

#[test]
fn a_part_that_is_too_large_is_refused_before_it_is_sent_and_the_lane_goes_on() {
    let settings = with_topics("too-large", 1);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 1);
    let error = lane
        .commit(&transaction(0, 1, &[b"first", &noise(1_100_000)]))
        .unwrap_err();
    assert!(matches!(error, CommitError::Aborted(_)), "{error}");
    lane.commit(&transaction(0, 1, &[b"small", &noise(COMMIT_PART_BYTES)]))
        .unwrap();
    assert_eq!(chain(&settings, 0).0.len(), 2);
}

#[test]
fn a_part_that_the_broker_refuses_aborts_and_the_lane_recovers() {
    let settings = settings("refused");
    let mut plans = Plan::all(&settings, 1);
    for plan in plans.iter_mut().filter(|plan| plan.name == settings.changelog) {
        plan.config.retain(|(name, _, _)| *name != "max.message.bytes");
        plan.config
            .push(("max.message.bytes", "5000".to_owned(), Rule::AtLeast));
    }
    Admin::new(&settings).unwrap().create(&plans, None).unwrap();
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 1);
    lane.commit(&transaction(0, 1, &[b"before"])).unwrap();
    let error = lane
        .commit(&transaction(0, 2, &[b"first", &noise(9_000)]))
        .unwrap_err();
    assert!(matches!(error, CommitError::Aborted(_)), "{error}");
    // The refusal left a gap in the producer's sequence; librdkafka may need one more abort to mend it.
    let mut tries = 0;
    until("a commit", || {
        tries += 1;
        match lane.commit(&transaction(0, 2, &[b"after"])) {
            Ok(()) => Some(()),
            Err(error) => {
                println!("try {tries}: {error}");
                assert!(matches!(error, CommitError::Aborted(_)), "{error}");
                None
            }
        }
    });
    let (parts, _) = chain(&settings, 0);
    assert_eq!(
        parts
            .iter()
            .map(|(_, bytes)| bytes.as_slice())
            .collect::<Vec<_>>(),
        [&b"before"[..], b"after"]
    );
}

#[test]
fn commit_takes_milliseconds_and_not_a_flat_hundred() {
    let settings = with_topics("latency", 4);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 4);
    let part = vec![7_u8; 2_000];
    for pause in [0, 100] {
        let mut took: Vec<_> = (1..40)
            .map(|next| {
                std::thread::sleep(Duration::from_millis(pause));
                let began = Instant::now();
                lane.commit(&transaction(0, next, &[&part])).unwrap();
                began.elapsed()
            })
            .collect();
        took.sort();
        println!(
            "commit, {pause} ms apart: p50 {:?}, p90 {:?}, max {:?}",
            took[19], took[35], took[38]
        );
        assert!(took[19] < Duration::from_millis(80), "{took:?}");
    }
    let mut reader = KafkaChainReader::new(&settings).unwrap();
    reader.mark(Partition(0)).unwrap();
    let began = Instant::now();
    for _ in 0..20 {
        reader.mark(Partition(0)).unwrap();
    }
    println!("mark: {:?}", began.elapsed() / 20);
}
