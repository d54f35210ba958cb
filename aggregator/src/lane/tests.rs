//! What a lane lets go, and that it looks for transactions that hang.
#![allow(clippy::panic)]

use super::*;
use crate::spill::Spill;
use log::batch::Kind;
use log::{AppendError, Appended, ChainEvent, Chunk, CommitError, Place, Record, Transaction};
use schemas::Offset;
use schemas::key::{Hashing, Secret};
use service::readiness::Readiness;
use service::shutdown::Shutdown;
use std::pin::Pin;

/// A log on which nothing happens. Its lane cannot end what hangs at its first look, and is fenced at the second.
struct Still {
    looks: u32,
    polls: u32,
    stop: CancellationToken,
    /// Partitions of each transaction.
    sent: Sent,
}

type Sent = Arc<Mutex<Vec<Vec<Partition>>>>;

impl Still {
    fn new(stop: &CancellationToken) -> Box<Self> {
        Box::new(Self {
            looks: 0,
            polls: 0,
            stop: stop.clone(),
            sent: Sent::default(),
        })
    }
}

impl Member for Still {
    fn poll(&mut self, _: Duration) -> Result<LaneEvent, LogError> {
        std::thread::park_timeout(Duration::from_millis(1));
        self.polls += 1;
        if self.polls > 5_000 {
            self.stop.cancel();
        }
        Ok(LaneEvent::Idle)
    }

    fn seek(&mut self, _: Partition, _: Offset) -> Result<(), LogError> {
        Ok(())
    }

    fn pause(&mut self, _: Partition) -> Result<(), LogError> {
        Ok(())
    }

    fn release(&mut self, _: &[Partition]) -> Result<(), LogError> {
        Ok(())
    }

    fn end(&mut self, _: Partition) -> Result<Offset, LogError> {
        Ok(Offset(0))
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        let partitions = transaction.commits.iter().map(|commit| commit.partition);
        self.sent.lock().unwrap().push(partitions.collect());
        Ok(())
    }

    fn end_hanging(&mut self) -> Result<(), CommitError> {
        self.looks += 1;
        match self.looks {
            1 => Err(CommitError::Aborted("a silent broker".into())),
            _ => Err(CommitError::Fatal("fenced".into())),
        }
    }

    fn close(self: Box<Self>) {}
}

impl ChainReader for Still {
    fn assign(&mut self, _: &[Place]) -> Result<(), LogError> {
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Result<Vec<ChainEvent>, LogError> {
        Ok(Vec::new())
    }

    fn mark(&mut self, _: Partition) -> Result<Offset, LogError> {
        Ok(Offset(0))
    }
}

impl LogReader for Still {
    fn range(&mut self, _: Partition) -> Result<(Offset, Offset), LogError> {
        Ok((Offset(0), Offset(0)))
    }

    fn read(
        &mut self,
        partition: Partition,
        _: Offset,
        _: Offset,
        _: usize,
    ) -> Result<RecordBatch, LogError> {
        Ok(RecordBatch::new(partition))
    }
}

impl Appender for Still {
    fn append(&self, _: Chunk) -> Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send>> {
        Box::pin(async { Err(AppendError::Unavailable("nothing happens here".into())) })
    }
}

/// A lane on such a log, and what goes with it.
struct Rig {
    lane: Lane,
    answer: SyncSender<(u32, Answer)>,
    asked: Receiver<u32>,
    readiness: Readiness,
    sent: Sent,
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let rules = Arc::new(Rules {
        generation: 1,
        partitions: 2,
        hashing: Hashing::new(&Secret([3; 32])),
    });
    let metrics = Metrics::new(&service::metrics::Registry::new().unwrap(), 2).unwrap();
    let readiness = Readiness::new(&Shutdown::new());
    let tools = Tools {
        spill: Spill::open(folder.path()).unwrap(),
        waits: Waits::new(
            metrics.waiting.clone(),
            Some(readiness.condition("registry").of_each()),
        ),
        metrics,
        runtime: runtime.handle().clone(),
        stop: stop.clone(),
    };
    let (questions, asked) = std::sync::mpsc::sync_channel(1);
    let (answer, answers) = std::sync::mpsc::sync_channel(1);
    let member = Still::new(&stop);
    let sent = member.sent.clone();
    let parts = Parts {
        member,
        chain: Still::new(&stop),
        reader: Still::new(&stop),
        appender: Arc::from(Still::new(&stop) as Box<dyn Appender>),
        questions,
        answers,
        owned: Owned::default(),
    };
    let settings = Settings {
        name: "still".to_owned(),
        commit_interval: Duration::from_millis(100),
        bulk_commit_interval: Duration::from_millis(100),
        bulk_lag_records: 1,
        batch_records: 1,
        pipeline: 1,
        hanging_after: Duration::from_millis(5),
        dedup_memory_bytes: 1 << 20,
        dedup_max_keys: u64::MAX,
        drain_deadline: Duration::ZERO,
    };
    Rig {
        lane: Lane::new(settings, rules, Some(1), tools, parts),
        answer,
        asked,
        readiness,
        sent,
        _runtime: runtime,
        _folder: folder,
    }
}

#[test]
fn a_lane_looks_for_what_hangs_whatever_it_holds_and_begins_again_only_where_it_must() {
    match rig().lane.run() {
        Err(Ended::Again(reason)) => assert_eq!(reason, "fenced"),
        other => panic!("it never looked, or took a silent broker for its end: {other:?}"),
    }
}

#[test]
fn a_lane_that_waits_for_the_registry_says_so_for_records_and_for_held_ones_that_were_released() {
    let mut rig = rig();
    let waits = |rig: &Rig| (rig.lane.tools.metrics.waiting.get(), rig.readiness.report().ready);
    rig.lane.hold(Partition(0));
    let held = rig.lane.held.get_mut(&Partition(0)).unwrap();
    held.phase = Phase::NeedsSchema { id: 9, asked: None };
    rig.lane.learn_schemas().unwrap();
    assert_eq!(rig.asked.try_recv(), Ok(9));
    assert_eq!(
        waits(&rig),
        (1, true),
        "it has not answered yet, which is no fault"
    );
    rig.answer.send((9, Answer::Away("no answer".into()))).unwrap();
    rig.lane.learn_schemas().unwrap();
    assert_eq!(waits(&rig), (1, false));
    let held = rig.lane.held.get_mut(&Partition(0)).unwrap();
    (held.phase, held.outbox_schema) = (Phase::Running, Some(9));
    rig.lane.learn_schemas().unwrap();
    assert_eq!(waits(&rig), (1, false));
    rig.answer.send((9, Answer::Unknown)).unwrap();
    rig.lane.learn_schemas().unwrap();
    assert_eq!(waits(&rig), (0, true));
}

/// A record that is a dead letter, whatever it holds.
fn record(offset: u64) -> Record<'static> {
    Record {
        offset: Offset(offset),
        append_ms: 1,
        key: None,
        value: Some(b"{}"),
        origin: None,
        kind: Kind::Event,
        redrive: None,
        trace: None,
    }
}

#[test]
fn a_partition_whose_chain_is_held_back_holds_up_no_other_and_takes_no_more_than_a_batch() {
    let mut rig = rig();
    let (slow, quick) = (Partition(0), Partition(1));
    for partition in [slow, quick] {
        rig.lane.hold(partition);
        rig.lane.held.get_mut(&partition).unwrap().phase = Phase::Running;
    }
    let fold = |rig: &mut Rig, partition, offset| {
        let mut batch = RecordBatch::new(partition);
        batch.push(record(offset));
        rig.lane.fold(&batch).unwrap();
    };
    fold(&mut rig, slow, 0);
    assert!(rig.lane.is_due());
    rig.lane.commit(What::Due).unwrap();
    // As many as may be on their way, and none is read back.
    fold(&mut rig, slow, 1);
    assert!(!rig.lane.is_due());
    assert!(rig.lane.is_full(), "for a moment all wait for it");
    let held = rig.lane.held.get_mut(&slow).unwrap();
    held.waiting = Some(held::Waiting {
        id: held.source.oldest_in_flight().unwrap(),
        since: Instant::now().checked_sub(Duration::from_secs(2)).unwrap(),
        mark: None,
    });
    rig.lane.wait_for_held_back().unwrap();
    assert!(!rig.lane.is_full());
    fold(&mut rig, quick, 0);
    assert!(rig.lane.is_due());
    rig.lane.commit(What::Due).unwrap();
    fold(&mut rig, slow, 2);
    assert_eq!(rig.lane.held[&slow].source.open().0, 1, "it takes no more");
    assert_eq!(*rig.sent.lock().unwrap(), [[slow], [quick]]);
    // Whoever goes sends all of it.
    rig.lane.commit(What::All).unwrap();
    assert_eq!(rig.sent.lock().unwrap().last().unwrap(), &[slow]);
    // It was read back, or believed.
    rig.lane.held.values_mut().for_each(|held| held.source.believe());
    rig.lane.wait_for_held_back().unwrap();
    assert!(rig.lane.held[&slow].is_running());
}

#[test]
fn a_lane_that_lost_a_partition_and_begins_again_takes_it_from_nobody() {
    let mut rig = rig();
    let (partition, owned) = (Partition(0), rig.lane.parts.owned.clone());
    rig.lane.handle(LaneEvent::Assigned(vec![partition])).unwrap();
    owned.take(partition, "another");
    rig.lane.begin_again(&[partition]).unwrap();
    rig.lane.handle(LaneEvent::Lost(vec![partition])).unwrap();
    assert_eq!(owned.get(), BTreeSet::from([partition]));
}

#[test]
fn a_lane_that_lets_go_late_takes_nothing_from_the_one_that_has_it_now() {
    let owned = Owned::default();
    owned.take(Partition(1), "a-0");
    owned.take(Partition(2), "a-0");
    owned.take(Partition(1), "a-1");
    owned.let_go(Partition(1), "a-0");
    owned.let_go(Partition(2), "a-0");
    assert_eq!(owned.get(), BTreeSet::from([Partition(1)]));
}
