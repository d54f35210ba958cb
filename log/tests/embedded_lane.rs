//! Lanes and the chain.

use crate::embedded_fixture::{append, chunk, open, small};
use futures::executor::block_on;
use log::embedded::{EmbeddedLog, Settings};
use log::{
    ChainEvent, ChainReader, DeadLetterCopy, Lane, LaneEvent, PartCommit, Place, RecordBatch, Transaction,
};
use schemas::{Offset, Partition};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn four(folder: &std::path::Path) -> Arc<EmbeddedLog> {
    open(&Settings {
        partitions: 4,
        ..Settings::new(folder)
    })
}

fn assigned(lane: &mut dyn Lane) -> Vec<Partition> {
    match lane.poll(LONG).unwrap() {
        LaneEvent::Assigned(partitions) => partitions,
        other => panic!("{other:?}"),
    }
}

fn records(lane: &mut dyn Lane) -> RecordBatch {
    match lane.poll(LONG).unwrap() {
        LaneEvent::Records(batch) => batch,
        other => panic!("{other:?}"),
    }
}

fn part_commit(partition: u32, parts: &[&str]) -> PartCommit {
    let parts = parts.iter().map(|part| part.as_bytes().to_vec()).collect();
    PartCommit {
        partition: Partition(partition),
        next: Offset(0),
        parts,
    }
}

/// Reads until everything before the mark was seen.
fn read_to_mark(chain: &mut dyn ChainReader, partition: Partition) -> Vec<(Offset, String)> {
    let mark = chain.mark(partition).unwrap();
    let mut seen = Vec::new();
    loop {
        for event in chain.poll(LONG).unwrap() {
            match event {
                ChainEvent::Part {
                    partition: p,
                    offset,
                    bytes,
                } if p == partition => {
                    seen.push((offset, String::from_utf8(bytes).unwrap()));
                }
                ChainEvent::Reached(place) if place.partition == partition && place.next >= mark => {
                    return seen;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_partition_is_some_lanes_and_only_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let log = four(folder.path());
    let of_three: Vec<Vec<Partition>> = (0..3).map(|index| assigned(&mut *log.lane(index, 3))).collect();
    assert_eq!(
        of_three,
        [
            vec![Partition(0), Partition(3)],
            vec![Partition(1)],
            vec![Partition(2)]
        ]
    );
    let mut idle = log.lane(5, 6);
    assert_eq!(assigned(&mut *idle), []);
    assert!(matches!(
        idle.poll(Duration::from_millis(1)).unwrap(),
        LaneEvent::Idle
    ));
    assert!(idle.seek(Partition(0), Offset(0)).is_err(), "another lane's");
}

#[test]
fn a_lane_reads_only_where_it_was_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let log = four(folder.path());
    let mut lane = log.lane(0, 1);
    assigned(&mut *lane);
    append(&log, 2, &["a", "b", "c"]).unwrap();
    assert!(
        matches!(lane.poll(Duration::from_millis(20)).unwrap(), LaneEvent::Idle),
        "paused until the seek"
    );
    lane.seek(Partition(2), Offset(1)).unwrap();
    let offsets: Vec<Offset> = records(&mut *lane).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [Offset(1), Offset(2)]);
    assert_eq!(lane.end(Partition(2)).unwrap(), Offset(3));
    lane.pause(Partition(2)).unwrap();
    append(&log, 2, &["d"]).unwrap();
    assert!(matches!(
        lane.poll(Duration::from_millis(20)).unwrap(),
        LaneEvent::Idle
    ));
    lane.seek(Partition(2), Offset(0)).unwrap();
    assert_eq!(records(&mut *lane).len(), 4);
    assert!(
        lane.seek(Partition(2), Offset(5))
            .unwrap_err()
            .to_string()
            .contains("ends at offset 4")
    );
    lane.release(&[Partition(2)]).unwrap();
    lane.close();
}

#[test]
fn a_waiting_lane_wakes_for_new_records_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = four(folder.path());
    let mut lane = log.lane(1, 2);
    for partition in assigned(&mut *lane) {
        lane.seek(partition, Offset(0)).unwrap();
    }
    let waiting = std::thread::spawn(move || {
        let batch = records(&mut *lane);
        (batch.partition, Instant::now())
    });
    // Another lane's partition does not end the wait.
    append(&log, 0, &["not mine"]).unwrap();
    let appended = block_on(log.appender().append(chunk(3, &["mine"])));
    let told = Instant::now();
    assert_eq!(appended.unwrap().next, Offset(1));
    let (partition, woke) = waiting.join().unwrap();
    assert_eq!(partition, Partition(3));
    assert!(woke.saturating_duration_since(told) < Duration::from_secs(5));
}

#[test]
fn a_full_partition_does_not_starve_another() {
    let folder = tempfile::tempdir().unwrap();
    let log = four(folder.path());
    let mut lane = log.lane(0, 1);
    for partition in assigned(&mut *lane) {
        lane.seek(partition, Offset(0)).unwrap();
    }
    for _ in 0..5 {
        append(&log, 0, &vec![vec![1; 10_000]; 200]).unwrap();
    }
    append(&log, 3, &["small"]).unwrap();
    let order: Vec<u32> = (0..4).map(|_| records(&mut *lane).partition.0).collect();
    assert!(order[..2].contains(&3), "{order:?}");
    assert_eq!(order.iter().filter(|partition| **partition == 0).count(), 3);
}

#[test]
fn what_a_lane_commits_is_on_the_chain_when_commit_returns() {
    let folder = tempfile::tempdir().unwrap();
    let log = four(folder.path());
    let mut lane = log.lane(0, 1);
    let dead = DeadLetterCopy {
        key: "0/7".into(),
        value: None,
        headers: vec![("reason".into(), b"malformed".to_vec())],
    };
    let commits = vec![part_commit(0, &["a0", "a1"]), part_commit(3, &["b"])];
    lane.commit(&Transaction {
        commits,
        dead_letters: vec![dead],
    })
    .unwrap();
    lane.commit(&Transaction {
        commits: vec![part_commit(0, &["c"])],
        ..Transaction::default()
    })
    .unwrap();
    lane.commit(&Transaction::default()).unwrap();

    let mut chain = log.chain_reader();
    let place = |partition, next| Place {
        partition: Partition(partition),
        next: Offset(next),
    };
    chain.assign(&[place(0, 1), place(3, 0), place(1, 0)]).unwrap();
    let seen = read_to_mark(&mut *chain, Partition(0));
    assert_eq!(seen, [(Offset(1), "a1".into()), (Offset(2), "c".into())]);
    chain.assign(&[place(3, 0)]).unwrap();
    assert_eq!(read_to_mark(&mut *chain, Partition(3)), [(Offset(0), "b".into())]);
    assert!(chain.poll(Duration::from_millis(10)).unwrap().is_empty());
    assert!(chain.assign(&[place(3, 2)]).is_err());
}

#[test]
fn a_chain_reader_waits_for_the_next_commit() {
    let folder = tempfile::tempdir().unwrap();
    let log = four(folder.path());
    let mut chain = log.chain_reader();
    chain
        .assign(&[Place {
            partition: Partition(1),
            next: Offset(0),
        }])
        .unwrap();
    let first = chain.poll(LONG).unwrap();
    assert!(
        matches!(first[..], [ChainEvent::Reached(Place { next: Offset(0), .. })]),
        "{first:?}"
    );
    let reading = std::thread::spawn(move || chain.poll(LONG).unwrap());
    let commits = vec![part_commit(1, &["x", "y"])];
    log.lane(0, 1)
        .commit(&Transaction {
            commits,
            ..Transaction::default()
        })
        .unwrap();
    let events = reading.join().unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(matches!(
        events[2],
        ChainEvent::Reached(Place {
            partition: Partition(1),
            next: Offset(2)
        })
    ));
}

#[test]
fn commits_of_many_lanes_go_on_beside_appends() {
    let folder = tempfile::tempdir().unwrap();
    let log = four(folder.path());
    std::thread::scope(|scope| {
        for index in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                let mut lane = log.lane(index, 4);
                for round in 0..50 {
                    let dead = DeadLetterCopy {
                        key: format!("{index}/{round}"),
                        value: None,
                        headers: vec![],
                    };
                    let commits = vec![part_commit(index, &[&format!("{round}")])];
                    lane.commit(&Transaction {
                        commits,
                        dead_letters: vec![dead],
                    })
                    .unwrap();
                    append(&log, index, &["event"]).unwrap();
                }
            });
        }
    });
    drop(log);
    let log = four(folder.path());
    let mut chain = log.chain_reader();
    for partition in (0..4).map(Partition) {
        chain
            .assign(&[Place {
                partition,
                next: Offset(0),
            }])
            .unwrap();
        let seen: Vec<String> = read_to_mark(&mut *chain, partition)
            .into_iter()
            .map(|(_, part)| part)
            .collect();
        assert_eq!(seen, (0..50).map(|round| round.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_lane_of_one_partition_reads_what_a_restart_left() {
    let folder = tempfile::tempdir().unwrap();
    append(&open(&small(folder.path())), 0, &["one", "two"]).unwrap();
    let log = open(&small(folder.path()));
    let mut lane = log.lane(0, 1);
    assigned(&mut *lane);
    lane.seek(Partition(0), Offset(1)).unwrap();
    assert_eq!(
        records(&mut *lane).iter().next().unwrap().value,
        Some(&b"two"[..])
    );
}
