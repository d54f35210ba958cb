//! What the Kafka scenarios share: topics of their own, lanes, chain readers, and waiting for a condition with a deadline.

use log::kafka::{Admin, KafkaChainReader, KafkaLane, Plan, Settings};
use log::{ChainEvent, ChainReader, Lane, LaneEvent, PartCommit, Place, Transaction};
use schemas::{Offset, Partition};
use std::time::{Duration, Instant};

/// Longest wait of any condition; what is waited for takes milliseconds to a few seconds.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Settings with topics, group and ids of their own.
pub fn settings(scenario: &str) -> Settings {
    let brokers = std::env::var("TIDEMARK_TEST_KAFKA").expect(
        "TIDEMARK_TEST_KAFKA is not set: run `bash deploy/engines/engines up` and eval `engines env`",
    );
    let own = format!("{scenario}-{}", uuid::Uuid::new_v4().simple());
    let mut settings = Settings::new(brokers, 1);
    settings.group = format!("g-{own}");
    settings.events = format!("events-{own}");
    settings.changelog = format!("changelog-{own}");
    settings.dead_letters = format!("dead-letters-{own}");
    settings.generations = format!("generations-{own}");
    settings.transactional_id = format!("lane-{own}");
    settings.session_timeout_ms = 6_000;
    settings.transaction_timeout_ms = 5_000;
    settings
}

/// The same with all topics made.
pub fn with_topics(scenario: &str, partitions: u32) -> Settings {
    let settings = settings(scenario);
    let admin = Admin::new(&settings).unwrap();
    admin.create(&Plan::all(&settings, partitions), None).unwrap();
    settings
}

/// Waits until `done` gives something.
pub fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
    }
}

/// Polls a lane until it owns as many partitions.
pub fn joined(lane: &mut KafkaLane, count: usize) -> Vec<Partition> {
    let mut owned = Vec::new();
    until("partitions of a lane", || {
        follow(lane, &mut owned);
        (owned.len() == count).then(|| owned.clone())
    })
}

/// Polls once and keeps `owned` as it is; releases at once.
pub fn follow(lane: &mut KafkaLane, owned: &mut Vec<Partition>) {
    match lane.poll(Duration::from_millis(50)).unwrap() {
        LaneEvent::Assigned(more) => owned.extend(more),
        LaneEvent::Revoked(less) => {
            owned.retain(|partition| !less.contains(partition));
            lane.release(&less).unwrap();
        }
        LaneEvent::Lost(less) => owned.retain(|partition| !less.contains(partition)),
        LaneEvent::Records(_) | LaneEvent::Idle => {}
    }
}

pub fn transaction(partition: u32, next: u64, parts: &[&[u8]]) -> Transaction {
    let parts = parts.iter().map(|part| part.to_vec()).collect();
    let commits = vec![PartCommit {
        partition: Partition(partition),
        next: Offset(next),
        parts,
    }];
    Transaction {
        commits,
        dead_letters: Vec::new(),
    }
}

/// Reads a partition of the changelog from its beginning until `mark`: the parts, and what was reached.
pub fn chain(settings: &Settings, partition: u32) -> (Vec<(Offset, Vec<u8>)>, Offset) {
    let mut reader = KafkaChainReader::new(settings).unwrap();
    let partition = Partition(partition);
    reader
        .assign(&[Place {
            partition,
            next: Offset(0),
        }])
        .unwrap();
    let mark = reader.mark(partition).unwrap();
    read_partition_to(&mut reader, partition, mark)
}

/// Reads partition 0 until `mark` is reached.
pub fn read_to(reader: &mut KafkaChainReader, mark: Offset) -> (Vec<(Offset, Vec<u8>)>, Offset) {
    read_partition_to(reader, Partition(0), mark)
}

fn read_partition_to(
    reader: &mut KafkaChainReader,
    wanted: Partition,
    mark: Offset,
) -> (Vec<(Offset, Vec<u8>)>, Offset) {
    let mut parts = Vec::new();
    let mut reached = Offset(0);
    until("the mark", || {
        for event in reader.poll(Duration::from_millis(100)).unwrap() {
            match event {
                ChainEvent::Part {
                    partition,
                    offset,
                    bytes,
                } if partition == wanted => parts.push((offset, bytes)),
                ChainEvent::Reached(place) if place.partition == wanted => {
                    assert!(place.next >= reached, "never backwards");
                    reached = place.next;
                }
                ChainEvent::Part { .. } | ChainEvent::Reached(_) => {}
            }
        }
        (reached >= mark).then_some(())
    });
    (parts, reached)
}

/// Bytes that no compression makes smaller.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}
