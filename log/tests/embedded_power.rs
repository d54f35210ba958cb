//! Power losses at any byte and at any fsync: what was acknowledged, and what a reader saw, is there afterwards; nothing
//! is invented; what was appended together is there together.

use crate::embedded_fixture::{chunk, open, small, values};
use futures::executor::block_on;
use log::embedded::{EmbeddedLog, Faults, Settings, Survivor};
use log::{ChainEvent, PartCommit, Place, Transaction};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// One life of the process, up to the power loss.
#[derive(Clone, Debug)]
struct Life {
    /// Sizes of the values of each append.
    appends: Vec<Vec<usize>>,
    /// How many appends are under way together.
    together: usize,
    power: Power,
    /// What becomes of bytes that were not synced.
    luck: u64,
}

#[derive(Clone, Copy, Debug)]
enum Power {
    AfterBytes(u64),
    AfterSyncs(u64),
    AtEnd,
    /// Not at all: the log is closed.
    Never,
}

fn life() -> impl Strategy<Value = Life> {
    let power = prop_oneof![
        (0..6_000_u64).prop_map(Power::AfterBytes),
        (0..40_u64).prop_map(Power::AfterSyncs),
        Just(Power::AtEnd),
        Just(Power::Never),
    ];
    let appends = prop::collection::vec(prop::collection::vec(0..120_usize, 1..5), 0..25);
    (appends, 1..6_usize, power, any::<u64>()).prop_map(|(appends, together, power, luck)| Life {
        appends,
        together,
        power,
        luck,
    })
}

/// What the outside knows.
#[derive(Default)]
struct Outside {
    count: usize,
    /// Every append ever made.
    submitted: Vec<Vec<Vec<u8>>>,
    /// Next offset and number, in `submitted`, of what was acknowledged.
    acknowledged: Vec<(Offset, usize)>,
    /// What a reader saw last.
    seen: Vec<Vec<u8>>,
    commits: usize,
    committed: Vec<usize>,
}

impl Outside {
    /// Appends and commits until the power goes.
    fn live(&mut self, log: &Arc<EmbeddedLog>, life: &Life) {
        let mut lane = log.lane(0, 1);
        for group in life.appends.chunks(life.together) {
            let mut waiting = Vec::new();
            for sizes in group {
                let value = |size: &usize| {
                    self.count += 1;
                    format!("{}:{}", self.count, "x".repeat(*size)).into_bytes()
                };
                let values: Vec<Vec<u8>> = sizes.iter().map(value).collect();
                waiting.push((log.appender().append(chunk(0, &values)), self.submitted.len()));
                self.submitted.push(values);
            }
            for (answer, number) in waiting {
                if let Ok(appended) = block_on(answer) {
                    self.acknowledged.push((appended.next, number));
                }
            }
            if lane.commit(&commit(self.commits)).is_ok() {
                self.committed.push(self.commits);
            }
            self.commits += 1;
        }
        self.seen = values(log, 0);
    }

    /// Checks what is there after a power loss.
    fn check(&mut self, log: &EmbeddedLog) {
        let found = values(log, 0);
        assert!(found.starts_with(&self.seen), "a reader saw what is gone");
        for (next, number) in &self.acknowledged {
            let values = &self.submitted[*number];
            let end = next.0 as usize;
            assert!(
                end <= found.len(),
                "acknowledged up to {end}, found {}",
                found.len()
            );
            assert_eq!(&found[end - values.len()..end], values);
        }
        let mut rest = &found[..];
        let mut times = BTreeMap::new();
        while !rest.is_empty() {
            let whole = self.submitted.iter().position(|values| rest.starts_with(values));
            let number = whole.expect("invented, or not whole");
            assert_eq!(times.insert(number, ()), None, "twice");
            rest = &rest[self.submitted[number].len()..];
        }
        self.check_commits(log);
        self.seen = found;
    }

    fn check_commits(&self, log: &EmbeddedLog) {
        let mut chain = log.chain_reader();
        chain
            .assign(&[Place {
                partition: Partition(0),
                next: Offset(0),
            }])
            .unwrap();
        let end = chain.mark(Partition(0)).unwrap();
        let mut parts = Vec::new();
        let mut reached = Offset(0);
        while reached < end {
            for event in chain.poll(Duration::from_secs(60)).unwrap() {
                match event {
                    ChainEvent::Part { bytes, .. } => parts.push(bytes),
                    ChainEvent::Reached(place) => reached = place.next,
                }
            }
        }
        let found: Vec<usize> = parts
            .chunks(2)
            .map(|parts| {
                let number = String::from_utf8(parts[0].clone()).unwrap().parse().unwrap();
                assert_eq!(parts, commit(number).commits[0].parts, "a commit record is whole");
                number
            })
            .collect();
        assert!(found.is_sorted());
        assert!(
            self.committed.iter().all(|number| found.contains(number)),
            "{:?} of {found:?}",
            self.committed
        );
        assert!(found.iter().all(|number| *number < self.commits));
    }
}

fn commit(number: usize) -> Transaction {
    let parts = vec![number.to_string().into_bytes(), vec![b'c'; number * 7 % 90]];
    Transaction {
        commits: vec![PartCommit {
            partition: Partition(0),
            next: Offset(0),
            parts,
        }],
        ..Transaction::default()
    }
}

/// Leaves on the disk what a power loss may leave of it.
fn lose_power(survivors: &BTreeMap<PathBuf, Survivor>, luck: u64) {
    let mut luck = StdRng::seed_from_u64(luck);
    for (path, survivor) in survivors {
        if !survivor.named && luck.random_bool(0.5) {
            let _ = fs::remove_file(path);
            continue;
        }
        let Ok(mut file) = fs::read(path) else { continue };
        let durable = survivor.durable as usize;
        file.truncate(luck.random_range(durable..=file.len().max(durable)));
        let lost = file.len() - durable;
        if lost > 0 && luck.random_bool(0.5) {
            // Blocks reach the disk in any order.
            let from = durable + luck.random_range(0..lost);
            let to = luck.random_range(from..file.len());
            file[from..=to].fill(luck.random_range(0..2));
        }
        let later = survivors
            .range::<Path, _>((Bound::Excluded(path.as_path()), Bound::Unbounded))
            .next();
        let written_to = later.is_none_or(|(later, _)| later.parent() != path.parent());
        if written_to && luck.random_bool(0.2) {
            file.extend(std::iter::repeat_n(
                luck.random::<u8>(),
                luck.random_range(1..200),
            ));
        }
        fs::write(path, file).unwrap();
    }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        segment_bytes: 900,
        ..small(folder)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_power_loss_takes_nothing_that_was_acknowledged_or_seen(lives in prop::collection::vec(life(), 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        drop(open(&settings));
        let mut outside = Outside::default();
        for life in lives {
            let faults = Arc::new(Faults::default());
            match life.power {
                Power::AfterBytes(bytes) => faults.cut_power_after_bytes(bytes),
                Power::AfterSyncs(syncs) => faults.cut_power_after_syncs(syncs),
                Power::AtEnd | Power::Never => {}
            }
            // The power may go while the log is opened, too.
            if let Ok(log) = EmbeddedLog::open_with_faults(&settings, faults.clone()) {
                outside.live(&log, &life);
                if !matches!(life.power, Power::Never) {
                    faults.cut_power();
                }
            }
            lose_power(&faults.survivors(), life.luck);
            outside.check(&open(&settings));
        }
    }
}
