//! What became of records whose places are known, told from the chains. The store is the embedded one; the changelog is in memory.

use crate::fixture::{EVENTS_ID, Fixture};
use log::{ChainEvent, ChainReader, LogError, Place};
use query_api::{Became, Known, Metrics, Outcomes, ProgressWatch, TooMany};
use schemas::commit::{Counted, Entries, Exception, Fate, Fresh, Head, Refusal, cut_at};
use schemas::key::{ContentHash, Fingerprint};
use schemas::receipt::Receipt;
use schemas::row::{Progress, View};
use schemas::{Ledger, Offset, Outcome, Partition, Quarter, Reason};
use service::metrics::Registry;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

const P: Partition = Partition(1);

/// The changelog of one partition; a slot without bytes is a gap.
#[derive(Default)]
struct Changelog {
    slots: Mutex<Vec<Option<Vec<u8>>>>,
    more: Condvar,
    opened: AtomicUsize,
    breaks: AtomicUsize,
}

impl Changelog {
    fn extend(&self, parts: impl IntoIterator<Item = Option<Vec<u8>>>) {
        self.slots.lock().unwrap().extend(parts);
        self.more.notify_all();
    }

    fn end(&self) -> Offset {
        Offset(self.slots.lock().unwrap().len() as u64)
    }
}

struct Reader(Arc<Changelog>, usize);

impl ChainReader for Reader {
    fn assign(&mut self, places: &[Place]) -> Result<(), LogError> {
        self.1 = places.first().map_or(usize::MAX, |place| place.next.0 as usize);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Vec<ChainEvent>, LogError> {
        if self.0.breaks.load(Ordering::SeqCst) > 0 {
            self.0.breaks.fetch_sub(1, Ordering::SeqCst);
            return Err(LogError::Fatal("broken".to_owned()));
        }
        let slots = self.0.slots.lock().unwrap();
        let slots = self
            .0
            .more
            .wait_timeout_while(slots, timeout, |slots| slots.len() <= self.1);
        let (slots, _) = slots.unwrap();
        let from = self.1;
        let new = slots.iter().enumerate().skip(from);
        let mut events: Vec<ChainEvent> = new
            .filter_map(|(offset, bytes)| {
                Some(ChainEvent::Part {
                    partition: P,
                    offset: Offset(offset as u64),
                    bytes: bytes.clone()?,
                })
            })
            .collect();
        if slots.len() > from {
            self.1 = slots.len();
            let next = Offset(slots.len() as u64);
            events.push(ChainEvent::Reached(Place { partition: P, next }));
        }
        Ok(events)
    }

    fn mark(&mut self, _: Partition) -> Result<Offset, LogError> {
        Ok(self.0.end())
    }
}

/// What became of the next offset.
#[derive(Clone, Copy)]
enum Is {
    Counted,
    Reversed,
    Duplicate,
    Conflict,
    /// A marker lies there.
    Hole,
}

/// One who commits, and what he takes for the end of the chain.
#[derive(Clone, Default)]
struct Owner {
    last: Uuid,
    next: u64,
    ledger: Ledger,
}

impl Owner {
    /// The parts of a commit record about the next offsets.
    fn commit(&mut self, offsets: &[Is], chunk_bytes: usize) -> Vec<Option<Vec<u8>>> {
        let from = self.next;
        let mut entries = Entries::default();
        let type_index = entries.add_type("default", "click");
        for is in offsets {
            let offset = Offset(self.next);
            self.next += 1;
            let outcome = match is {
                Is::Hole => continue,
                Is::Counted => Outcome::Counted,
                Is::Reversed => Outcome::Reversed,
                Is::Duplicate => Outcome::Duplicate,
                Is::Conflict => Outcome::DeadLettered(Reason::KeyConflict),
            };
            self.ledger.records += 1;
            self.ledger.add_outcome(outcome);
            let fate = match is {
                Is::Duplicate => Fate::Duplicate,
                Is::Conflict => Fate::DeadLettered(Refusal {
                    reason: Reason::KeyConflict,
                    accepted_ms: 7,
                    tenant: "default",
                    user: "u",
                    detail: "other content",
                    row: None,
                }),
                _ => {
                    let fresh = Fresh {
                        fingerprint: Fingerprint(u128::from(offset.0)),
                        content: ContentHash::from_low_bits(0),
                        quarter: Quarter(9),
                        reversed: outcome == Outcome::Reversed,
                    };
                    entries.add_counted(&Counted {
                        offset,
                        fresh,
                        type_index,
                        user: "u",
                        amount: None,
                        source: None,
                    });
                    continue;
                }
            };
            let source = None;
            entries.add_exception(&Exception { offset, fate, source });
        }
        let head = Head {
            generation: 1,
            fold_version: 1,
            partition: P,
            from: Offset(from),
            to: Offset(self.next),
            leader_epoch: -1,
            lane: "lane".to_owned(),
            max_append_ms: 0,
            rerouted_through: Offset(0),
            released_through: Offset(0),
            ledger: self.ledger,
        };
        let id = Uuid::new_v4();
        let parts = cut_at(id, self.last, &entries.encode(&head), chunk_bytes);
        self.last = id;
        parts.into_iter().map(Some).collect()
    }

    /// Progress that says as much, of a changelog read up to here.
    fn progress(&self, changelog: Offset) -> Progress {
        Progress {
            next: Offset(self.next),
            changelog,
            chain: self.last,
            ledger: self.ledger,
            ..Progress::default()
        }
    }
}

struct World {
    fixture: Fixture,
    changelog: Arc<Changelog>,
    outcomes: Outcomes,
}

impl World {
    async fn new() -> Self {
        Self::with(None).await
    }

    /// With progress that is there before anybody looks.
    async fn with(progress: Option<Progress>) -> Self {
        let fixture = Fixture::new().await;
        let changelog = Arc::new(Changelog::default());
        let read = Arc::clone(&changelog);
        let open = move || -> Result<Box<dyn ChainReader>, LogError> {
            read.opened.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Reader(Arc::clone(&read), 0)))
        };
        if let Some(progress) = progress {
            project(&fixture, &progress).await;
        }
        let metrics = Metrics::new(&Registry::new().unwrap()).unwrap();
        let watch = ProgressWatch::start(fixture.store.clone(), metrics, fixture.shutdown.clone());
        let outcomes = Outcomes::new(fixture.store.clone(), 1, Box::new(open), watch);
        Self {
            fixture,
            changelog,
            outcomes,
        }
    }

    /// What is known of these offsets when the chain is `chain` and all of it is projected.
    async fn known(&self, wanted: &[u64], chain: Vec<Option<Vec<u8>>>, owner: &Owner) -> Known {
        let begun = self.outcomes.begin().await.unwrap();
        self.changelog.extend(chain);
        project(&self.fixture, &owner.progress(self.changelog.end())).await;
        let known = begun
            .outcomes(places(wanted), &receipt(wanted), soon(10_000))
            .await;
        assert!(known.reflected);
        known
    }
}

/// Every view says so.
async fn project(fixture: &Fixture, progress: &Progress) {
    for view in View::ALL {
        let birth = fixture.store.begin(view, P, uuid::Uuid::nil()).await.unwrap();
        let progress = Progress {
            birth,
            ..progress.clone()
        };
        fixture.store.write_progress(view, P, &progress).await.unwrap();
    }
}

fn places(wanted: &[u64]) -> BTreeMap<Partition, Vec<Offset>> {
    BTreeMap::from([(P, wanted.iter().copied().map(Offset).collect())])
}

fn receipt(wanted: &[u64]) -> Receipt {
    let mut receipt = Receipt::new(EVENTS_ID);
    for offset in wanted {
        receipt.extend(P, Offset(offset + 1));
    }
    receipt
}

fn soon(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

fn plain(known: &Known) -> Vec<(u64, Outcome)> {
    let became = known.became.iter();
    became
        .map(|((_, offset), became)| (offset.0, became.outcome))
        .collect()
}

#[tokio::test]
async fn each_outcome_is_told_of_those_that_were_asked_for() {
    let world = World::new().await;
    let mut owner = Owner::default();
    let mut chain = owner.commit(&[Is::Counted, Is::Counted, Is::Duplicate], 10_000);
    chain.extend(owner.commit(&[Is::Reversed, Is::Conflict, Is::Counted], 10_000));
    let known = world.known(&[1, 2, 3, 4], chain, &owner).await;
    let conflict = Outcome::DeadLettered(Reason::KeyConflict);
    assert_eq!(
        plain(&known),
        [
            (1, Outcome::Counted),
            (2, Outcome::Duplicate),
            (3, Outcome::Reversed),
            (4, conflict)
        ]
    );
    let detail = "other content".to_owned();
    let became = Became {
        outcome: conflict,
        detail,
    };
    assert_eq!(known.became[&(P, Offset(4))], became);
}

#[tokio::test]
async fn a_record_off_the_chain_is_never_taken_for_an_outcome() {
    let world = World::new().await;
    let mut first = Owner::default();
    let start = first.commit(&[Is::Counted], 10_000);
    let mut second = first.clone();
    let mut chain = start;
    // Two owners of the same offsets: the first on the log wins, also of those whose record is there a second time or comes behind more.
    chain.extend(first.commit(&[Is::Counted, Is::Duplicate], 10_000));
    chain.extend(second.commit(&[Is::Conflict, Is::Counted], 10_000));
    chain.extend(second.commit(&[Is::Duplicate], 10_000));
    chain.extend(first.commit(&[Is::Counted], 10_000));
    let known = world.known(&[1, 2, 3], chain, &first).await;
    let expected = [
        (1, Outcome::Counted),
        (2, Outcome::Duplicate),
        (3, Outcome::Counted),
    ];
    assert_eq!(plain(&known), expected);
}

#[tokio::test]
async fn a_commit_record_in_parts_is_an_outcome_when_all_of_it_is_there() {
    let world = World::new().await;
    let mut first = Owner::default();
    let mut second = first.clone();
    let torn = first.commit(&[Is::Conflict, Is::Conflict], 16);
    assert!(torn.len() > 3);
    // One part of it never came.
    let torn = torn
        .into_iter()
        .enumerate()
        .map(|(index, part)| part.filter(|_| index != 2));
    let mut chain: Vec<_> = torn.collect();
    chain.extend(second.commit(&[Is::Counted, Is::Duplicate], 16));
    let known = world.known(&[0, 1], chain, &second).await;
    assert_eq!(plain(&known), [(0, Outcome::Counted), (1, Outcome::Duplicate)]);
}

#[tokio::test]
async fn who_begins_in_the_middle_of_the_chain_misses_nothing() {
    let mut owner = Owner::default();
    let start = owner.commit(&[Is::Counted; 3], 10_000);
    // Beside the chain, before and behind where the views are.
    let mut beside = Owner::default();
    let other = beside.commit(&[Is::Conflict; 3], 10_000);
    let at = owner.progress(Offset(2));
    let world = World::with(Some(at)).await;
    world.changelog.extend(start.into_iter().chain(other));
    let mut chain = beside.commit(&[Is::Conflict; 2], 16);
    chain.extend(owner.commit(&[Is::Duplicate, Is::Hole, Is::Counted], 16));
    let known = world.known(&[3, 4, 5], chain, &owner).await;
    // Nobody says anything of 4: that is not an outcome.
    assert_eq!(plain(&known), [(3, Outcome::Duplicate), (5, Outcome::Counted)]);
}

#[tokio::test]
async fn at_the_deadline_what_is_known_is_told_and_no_more() {
    let world = World::new().await;
    let mut owner = Owner::default();
    // The chain says what became of one of two; no view reflects either.
    let begun = world.outcomes.begin().await.unwrap();
    world.changelog.extend(owner.commit(&[Is::Duplicate], 10_000));
    let began = Instant::now();
    let known = begun
        .outcomes(places(&[0, 1]), &receipt(&[0, 1]), soon(300))
        .await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(!known.reflected);
    assert_eq!(plain(&known), [(0, Outcome::Duplicate)]);
    // All views but one reflect it.
    let begun = world.outcomes.begin().await.unwrap();
    let progress = owner.progress(world.changelog.end());
    for view in View::ALL.into_iter().filter(|view| *view != View::Users) {
        let birth = world
            .fixture
            .store
            .begin(view, P, uuid::Uuid::nil())
            .await
            .unwrap();
        let progress = Progress {
            birth,
            ..progress.clone()
        };
        world
            .fixture
            .store
            .write_progress(view, P, &progress)
            .await
            .unwrap();
    }
    let known = begun.outcomes(places(&[0]), &receipt(&[0]), soon(300)).await;
    assert!(!known.reflected, "what is asked next may not reflect it");
}

#[tokio::test]
async fn more_than_may_wait_are_refused_before_anything_and_those_who_go_make_room() {
    let world = World::new().await;
    let mut waiting = Vec::new();
    while let Ok(begun) = world.outcomes.begin().await {
        waiting.push(begun);
        assert!(waiting.len() < 1_000);
    }
    assert_eq!(world.outcomes.begin().await.err(), Some(TooMany));
    // One who is gone leaves the thread that looked for it.
    let begun = waiting.pop().unwrap();
    let wanted = receipt(&[5]);
    let gone = begun.outcomes(places(&[5]), &wanted, soon(60_000));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), gone)
            .await
            .is_err()
    );
    let began = Instant::now();
    while world.outcomes.begin().await.is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the place is not given back"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_reader_is_used_again_and_one_that_broke_is_replaced() {
    let world = World::new().await;
    let mut owner = Owner::default();
    for number in 0..3 {
        let chain = owner.commit(&[Is::Duplicate], 10_000);
        let known = world.known(&[number], chain, &owner).await;
        assert_eq!(plain(&known), [(number, Outcome::Duplicate)]);
    }
    assert_eq!(world.changelog.opened.load(Ordering::SeqCst), 1);
    world.changelog.breaks.store(1, Ordering::SeqCst);
    let chain = owner.commit(&[Is::Counted], 10_000);
    assert_eq!(
        plain(&world.known(&[3], chain, &owner).await),
        [(3, Outcome::Counted)]
    );
    assert_eq!(world.changelog.opened.load(Ordering::SeqCst), 2);
}
