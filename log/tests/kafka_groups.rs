//! Lanes that share the partitions of `events`, and what they read.

use crate::kafka_foreign::Foreign;
use crate::kafka_support::*;
use log::kafka::{KafkaLane, Settings};
use log::{Lane, LaneEvent, LogError};
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn other(settings: &Settings) -> Settings {
    Settings {
        transactional_id: format!("{}-2", settings.transactional_id),
        ..settings.clone()
    }
}

/// Reads from the beginning of each owned partition until as many records came; none twice, none out of order.
fn read(lane: &mut KafkaLane, owned: &[Partition], count: usize) -> BTreeMap<Partition, Vec<u64>> {
    for partition in owned {
        lane.seek(*partition, Offset(0)).unwrap();
    }
    let mut seen: BTreeMap<Partition, Vec<u64>> = BTreeMap::new();
    until("records", || {
        if let LaneEvent::Records(batch) = lane.poll(Duration::from_millis(100)).unwrap() {
            assert!(!batch.is_empty());
            let offsets = seen.entry(batch.partition).or_default();
            offsets.extend(batch.iter().map(|record| record.offset.0));
            assert!(offsets.is_sorted_by(|a, b| a < b), "in order, none twice");
        }
        (seen.values().map(Vec::len).sum::<usize>() >= count).then_some(())
    });
    seen
}

#[test]
fn two_lanes_split_the_partitions_and_the_last_one_gets_all_with_their_records() {
    let settings = with_topics("split", 4);
    let foreign = Foreign::plain(&settings);
    for partition in 0..4 {
        foreign.send(&settings.events, partition, &["v"; 500]);
    }
    let mut first = KafkaLane::open(&settings).unwrap();
    let mut owned = joined(&mut first, 4);
    let mut second = KafkaLane::open(&other(&settings)).unwrap();
    let mut owned_too = Vec::new();
    until("an even split", || {
        follow(&mut first, &mut owned);
        follow(&mut second, &mut owned_too);
        (owned.len() == 2 && owned_too.len() == 2).then_some(())
    });
    assert_eq!(read(&mut second, &owned_too, 1_000).len(), 2);
    let began = Instant::now();
    Box::new(second).close();
    println!("leaving took {:?}", began.elapsed());
    until("all partitions", || {
        follow(&mut first, &mut owned);
        (owned.len() == 4).then_some(())
    });
    println!("all partitions after {:?}", began.elapsed());
    let seen = read(&mut first, &owned, 2_000);
    assert!(
        seen.len() == 4 && seen.values().all(|offsets| offsets.len() == 500),
        "each record once"
    );
}

#[test]
fn a_revoked_partition_is_nobody_elses_until_it_is_released() {
    let settings = with_topics("revoked", 2);
    let foreign = Foreign::plain(&settings);
    for partition in 0..2 {
        foreign.send(&settings.events, partition, &["v"; 50]);
    }
    let mut first = KafkaLane::open(&settings).unwrap();
    let owned = joined(&mut first, 2);
    read(&mut first, &owned, 100);
    let mut second = KafkaLane::open(&other(&settings)).unwrap();
    let mut owned_too = Vec::new();
    let revoked = until("a revocation", || {
        follow(&mut second, &mut owned_too);
        match first.poll(Duration::from_millis(50)).unwrap() {
            LaneEvent::Revoked(partitions) => Some(partitions),
            event => {
                assert!(matches!(event, LaneEvent::Idle), "{event:?}");
                None
            }
        }
    });
    foreign.send(&settings.events, revoked[0].0 as i32, &["late"]);
    for _ in 0..15 {
        follow(&mut second, &mut owned_too);
        let event = first.poll(Duration::from_millis(50)).unwrap();
        assert!(
            matches!(event, LaneEvent::Idle),
            "nothing more of a revoked partition: {event:?}"
        );
    }
    assert!(owned_too.is_empty(), "not yet");
    // What was in hand is still this lane's to commit.
    first
        .commit(&transaction(revoked[0].0, 50, &[b"in hand"]))
        .unwrap();
    first.release(&revoked).unwrap();
    until("the partition", || {
        follow(&mut first, &mut Vec::new());
        follow(&mut second, &mut owned_too);
        (owned_too == revoked).then_some(())
    });
    first
        .commit(&transaction(revoked[0].0, 51, &[b"too late"]))
        .unwrap_err();
    second.commit(&transaction(revoked[0].0, 51, &[b"mine"])).unwrap();
}

#[test]
fn a_lane_that_ends_in_the_middle_of_a_revocation_does_not_hang() {
    let settings = with_topics("half-revoked", 2);
    let mut first = KafkaLane::open(&settings).unwrap();
    joined(&mut first, 2);
    let mut second = KafkaLane::open(&other(&settings)).unwrap();
    let mut owned = Vec::new();
    until("a revocation", || {
        follow(&mut second, &mut owned);
        matches!(
            first.poll(Duration::from_millis(50)).unwrap(),
            LaneEvent::Revoked(_)
        )
        .then_some(())
    });
    let began = Instant::now();
    drop(first);
    println!("ending took {:?}", began.elapsed());
    until("both partitions", || {
        follow(&mut second, &mut owned);
        (owned.len() == 2).then_some(())
    });
}

#[test]
fn a_restarted_static_lane_has_its_partitions_back_at_once() {
    let mut settings = with_topics("static", 2);
    settings.instance_id = Some(format!("slot-{}", settings.group));
    settings.session_timeout_ms = 30_000;
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 2);
    lane.commit(&transaction(0, 5, &[b"before"])).unwrap();
    Box::new(lane).close();
    let began = Instant::now();
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 2);
    println!("a static lane is back after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "not a session later");
    lane.commit(&transaction(0, 6, &[b"after"])).unwrap();
}

/// A static member that comes back gets its place in the group's generation as it was. If it died between the two steps of a
/// rebalance, that generation gives what it was giving up to nobody.
#[test]
fn what_a_static_lane_was_giving_up_when_it_died_finds_an_owner() {
    let mut settings = with_topics("given-up", 4);
    settings.instance_id = Some(format!("one-{}", settings.group));
    let mut second = other(&settings);
    second.instance_id = Some(format!("two-{}", settings.group));
    let mut first = KafkaLane::open(&settings).unwrap();
    joined(&mut first, 4);
    let mut second = KafkaLane::open(&second).unwrap();
    let mut owned_too = Vec::new();
    until("a revocation", || {
        follow(&mut second, &mut owned_too);
        let event = first.poll(Duration::from_millis(50)).unwrap();
        matches!(event, LaneEvent::Revoked(_)).then_some(())
    });
    // As if killed: it neither answers nor leaves.
    std::mem::forget(first);
    let mut again = KafkaLane::open(&settings).unwrap();
    let mut owned = Vec::new();
    let began = Instant::now();
    until("an owner of each partition", || {
        follow(&mut again, &mut owned);
        follow(&mut second, &mut owned_too);
        (owned.len() + owned_too.len() == 4).then_some(())
    });
    println!("all have an owner after {:?}", began.elapsed());
}

#[test]
fn a_static_lane_whose_instance_id_was_taken_over_ends() {
    let mut settings = with_topics("twins", 1);
    settings.instance_id = Some(format!("slot-{}", settings.group));
    let mut first = KafkaLane::open(&settings).unwrap();
    joined(&mut first, 1);
    // Its own transactional id: so it is the group that fences, not the producer.
    let mut second = KafkaLane::open(&other(&settings)).unwrap();
    joined(&mut second, 1);
    first.commit(&transaction(0, 1, &[b"zombie"])).unwrap_err();
    until("the first lane's end", || {
        match first.poll(Duration::from_millis(50)) {
            Err(LogError::Fatal(why)) => {
                println!("{why}");
                Some(())
            }
            Err(error) => panic!("{error}"),
            Ok(_) => None,
        }
    });
    second.commit(&transaction(0, 1, &[b"mine"])).unwrap();
    assert_eq!(chain(&settings, 0).0.last().unwrap().1, b"mine");
}

#[test]
fn nothing_is_read_before_a_seek_and_nothing_stale_after_one() {
    let settings = with_topics("seeks", 1);
    let foreign = Foreign::plain(&settings);
    // Large enough that a batch ends in the middle of what was taken from the queue.
    let value = "v".repeat(2_000);
    for _ in 0..10 {
        foreign.send(&settings.events, 0, &[value.as_str(); 500]);
    }
    let partition = Partition(0);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 1);
    let event = lane.poll(Duration::from_millis(500)).unwrap();
    assert!(matches!(event, LaneEvent::Idle), "{event:?}");
    for (round, place) in (0..60).map(|round| (round, (round * 1_979) % 4_900)) {
        lane.seek(partition, Offset(place)).unwrap();
        // Sometimes at once, while the fetch for the former place is still under way; sometimes after a while.
        std::thread::sleep(Duration::from_millis((round % 4) * 40));
        let mut expected = place;
        for _ in 0..(round % 3) + 1 {
            match lane.poll(Duration::from_millis(300)).unwrap() {
                LaneEvent::Records(batch) => {
                    for record in batch.iter() {
                        assert_eq!(record.offset, Offset(expected), "round {round}");
                        expected += 1;
                    }
                }
                event => assert!(matches!(event, LaneEvent::Idle), "{event:?}"),
            }
        }
    }
    lane.pause(partition).unwrap();
    let event = lane.poll(Duration::from_millis(300)).unwrap();
    assert!(matches!(event, LaneEvent::Idle), "{event:?}");
}

#[test]
fn an_offset_that_the_log_no_longer_has_is_wrong_and_never_skipped() {
    let settings = with_topics("beyond", 1);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 1);
    lane.seek(Partition(0), Offset(1_000)).unwrap();
    until("an error", || match lane.poll(Duration::from_millis(100)) {
        Err(LogError::Wrong(why)) => {
            println!("{why}");
            Some(())
        }
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    });
}

#[test]
fn without_its_topic_a_lane_says_so() {
    let settings = settings("no-topic");
    let mut lane = KafkaLane::open(&settings).unwrap();
    until("an error", || match lane.poll(Duration::from_millis(100)) {
        Err(LogError::Wrong(why)) => {
            assert!(why.contains("migrate"), "{why}");
            Some(())
        }
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    });
}
