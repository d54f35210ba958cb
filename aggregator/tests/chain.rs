//! Any cut of the log into batches, any interleaving of owners, any torn, lost or late transaction: the same rows.

use crate::sim::{Draw, Expected, Owner, PARTITION, Way, draw, expected, records, rules, spill};
use aggregator::chain::{Chain, Step};
use proptest::prelude::*;
use schemas::commit::{BatchId, CommitRecord, Source};
use schemas::row::Progress;
use schemas::{Offset, Outcome};

/// What happens next in the simulation.
#[derive(Clone, Debug)]
pub enum Act {
    Fold {
        owner: usize,
        count: usize,
    },
    Send {
        owner: usize,
        fate: Sent,
    },
    Read {
        owner: usize,
        count: usize,
    },
    Crash {
        owner: usize,
    },
    /// A transaction that was held back shows up now.
    Late,
}

/// What becomes of a transaction, whatever its owner is told.
#[derive(Clone, Copy, Debug)]
pub enum Sent {
    Committed,
    Lost,
    Aborted,
    /// Only these parts hold: the others fell to a delayed abort.
    Torn(u8),
    Held,
}

pub fn act() -> impl Strategy<Value = Act> {
    let fate = prop_oneof![
        5 => Just(Sent::Committed),
        1 => Just(Sent::Lost),
        1 => Just(Sent::Aborted),
        1 => any::<u8>().prop_map(Sent::Torn),
        1 => Just(Sent::Held),
    ];
    let owner = 0..3_usize;
    prop_oneof![
        4 => (owner.clone(), 1..20_usize).prop_map(|(owner, count)| Act::Fold { owner, count }),
        4 => (owner.clone(), fate).prop_map(|(owner, fate)| Act::Send { owner, fate }),
        4 => (owner.clone(), 1..10_usize).prop_map(|(owner, count)| Act::Read { owner, count }),
        1 => owner.prop_map(|owner| Act::Crash { owner }),
        1 => Just(Act::Late),
    ]
}

/// Cuts a record into several parts, as a large one is, so that it can be torn.
fn split(parts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let Some(whole) = parts.first() else {
        return Vec::new();
    };
    let part = schemas::commit::Part::decode(whole).unwrap();
    schemas::commit::cut_at(part.id, part.prev, part.chunk, 48)
}

fn run(draws: &[Draw], acts: &[Act]) -> (Expected, usize) {
    let (changelog, lost) = changelog(draws, acts);
    (conclusions(&changelog), lost)
}

/// What the changelog holds in the end, with its gaps, and how often an owner dropped its state.
pub fn changelog(draws: &[Draw], acts: &[Act]) -> (Vec<Option<Vec<u8>>>, usize) {
    let spill = spill();
    let rules = rules();
    let log = records(draws);
    let mut owners: Vec<Owner> = (0..3).map(|_| Owner::new(&rules, &spill)).collect();
    let mut changelog: Vec<Option<Vec<u8>>> = Vec::new();
    let mut held: Vec<Vec<Vec<u8>>> = Vec::new();
    for act in acts {
        match act {
            Act::Fold { owner, count } => owners[*owner].fold(&log, *count),
            Act::Read { owner, count } => owners[*owner].read(&changelog, *count),
            Act::Crash { owner } => owners[*owner].restart(),
            Act::Late => changelog.extend(held.pop().unwrap_or_default().into_iter().map(Some)),
            Act::Send { owner, fate } => {
                let parts = split(owners[*owner].close());
                match fate {
                    Sent::Lost => {}
                    Sent::Held => held.push(parts),
                    Sent::Committed => changelog.extend(parts.into_iter().map(Some)),
                    Sent::Aborted => changelog.extend(parts.into_iter().map(|_| None)),
                    Sent::Torn(holds) => changelog.extend(
                        parts
                            .into_iter()
                            .enumerate()
                            .map(|(index, part)| (holds >> (index % 8) & 1 == 1).then_some(part)),
                    ),
                }
            }
        }
    }
    finish(&mut owners[0], &log, &mut changelog);
    let lost = owners.iter().map(|owner| owner.lost).sum();
    (changelog, lost)
}

/// One owner begins again and brings the rest to its end.
fn finish(owner: &mut Owner, log: &log::RecordBatch, changelog: &mut Vec<Option<Vec<u8>>>) {
    owner.restart();
    owner.read(changelog, usize::MAX);
    owner.fold(log, usize::MAX);
    changelog.extend(owner.close().into_iter().map(Some));
    owner.read(changelog, usize::MAX);
    assert_eq!(owner.source.in_flight(), 0, "the last batch is read back");
}

/// What the chain says, read by somebody who has nothing to do with the owners.
fn conclusions(changelog: &[Option<Vec<u8>>]) -> Expected {
    let mut chain = Chain::new(PARTITION, 1);
    let mut concluded = Expected::default();
    for (offset, bytes) in changelog.iter().enumerate() {
        let Some(bytes) = bytes else { continue };
        let Step::Applied(_, record) = chain.offer(Offset(offset as u64), bytes).unwrap() else {
            continue;
        };
        for counted in record.counted() {
            let (_, event_type) = &record.types[counted.type_index as usize];
            let key = (
                counted.user.to_owned(),
                event_type.clone(),
                counted.fresh.quarter.0,
            );
            let amount = counted.amount.map_or(0, |amount| i128::from(amount.millionths()));
            concluded.change(key, counted.fresh.reversed, amount);
            let outcome = match counted.fresh.reversed {
                true => Outcome::Reversed,
                false => Outcome::Counted,
            };
            add_upload(&mut concluded, &record, counted.source, outcome);
        }
        for (redriven, outcome, _) in record.tries() {
            let letter = (redriven.partition, redriven.offset);
            let tried = (letter, redriven.redrive.edited, outcome);
            concluded.tries.insert(redriven.copy.0, tried);
        }
        for exception in record.exceptions() {
            let is_letter = matches!(exception.fate.outcome(), Outcome::DeadLettered(_));
            let is_try = concluded.tries.contains_key(&exception.offset.0);
            concluded.letters += u64::from(is_letter && !is_try);
            add_upload(
                &mut concluded,
                &record,
                exception.source,
                exception.fate.outcome(),
            );
        }
    }
    concluded.ledger = chain.ledger;
    concluded
}

fn add_upload(concluded: &mut Expected, record: &CommitRecord, source: Option<Source>, outcome: Outcome) {
    let Some(source) = source else { return };
    let (_, upload) = record.uploads[source.upload_index as usize];
    concluded.upload(upload, outcome, source.copy_of.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_owners_do_and_transactions_suffer_the_chain_counts_each_event_once(
        draws in proptest::collection::vec(draw(), 1..120_usize),
        acts in proptest::collection::vec(act(), 0..80_usize),
    ) {
        let (concluded, _) = run(&draws, &acts);
        prop_assert_eq!(concluded, expected(&draws));
    }
}

/// What a chain applies of the changelog from `from` on.
fn applied(chain: &mut Chain, changelog: &[Option<Vec<u8>>], from: usize) -> Vec<BatchId> {
    let slots = changelog.iter().enumerate().skip(from);
    let steps = slots.filter_map(|(offset, bytes)| {
        let bytes = bytes.as_ref()?;
        match chain.offer(Offset(offset as u64), bytes).unwrap() {
            Step::Applied(id, _) => Some(id),
            _ => None,
        }
    });
    steps.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whoever_reads_on_from_where_another_was_finds_the_same_chain(
        draws in proptest::collection::vec(draw(), 1..120_usize),
        acts in proptest::collection::vec(act(), 0..80_usize),
    ) {
        let (changelog, _) = changelog(&draws, &acts);
        let mut whole = Chain::new(PARTITION, 1);
        let mut resumed = Offset(0);
        for place in 0..=changelog.len() {
            let progress = Progress {
                next: whole.next,
                changelog: whole.resume(),
                chain: whole.last,
                ledger: whole.ledger,
                ..Progress::default()
            };
            prop_assert!(progress.changelog >= resumed, "it never falls");
            resumed = progress.changelog;
            let mut other = Chain::after(PARTITION, 1, &progress);
            let found = applied(&mut other, &changelog, progress.changelog.0 as usize);
            let mut rest = whole.clone();
            let expected = applied(&mut rest, &changelog, place);
            prop_assert_eq!((other.last, other.next, found), (rest.last, rest.next, expected));
            if let Some(Some(bytes)) = changelog.get(place) {
                whole.offer(Offset(place as u64), bytes).unwrap();
            }
            whole.reached(Offset(place as u64 + 1));
        }
    }
}

fn some_draws(count: u8) -> Vec<Draw> {
    let draw = |key| Draw {
        key,
        user: key % 2,
        kind: 0,
        hour: key,
        amount: Some(1),
        invalid: false,
        reverse: false,
        assigned: false,
        upload: None,
        way: Way::Plain,
    };
    (0..count).map(draw).collect()
}

#[test]
fn of_two_owners_of_the_same_offsets_the_first_on_the_log_wins() {
    let draws = some_draws(40);
    let acts = [
        Act::Fold { owner: 0, count: 10 },
        Act::Fold { owner: 1, count: 20 },
        Act::Send {
            owner: 1,
            fate: Sent::Committed,
        },
        Act::Send {
            owner: 0,
            fate: Sent::Committed,
        },
        Act::Read { owner: 0, count: 99 },
    ];
    let (concluded, lost) = run(&draws, &acts);
    assert_eq!(concluded, expected(&draws));
    assert!(lost >= 2, "the second found out and began again");
}

#[test]
fn a_commit_that_was_torn_away_is_folded_again() {
    let draws = some_draws(40);
    let acts = [
        Act::Fold { owner: 0, count: 10 },
        Act::Send {
            owner: 0,
            fate: Sent::Aborted,
        },
        Act::Fold { owner: 0, count: 10 },
        Act::Send {
            owner: 0,
            fate: Sent::Committed,
        },
        Act::Read { owner: 0, count: 99 },
    ];
    let (concluded, lost) = run(&draws, &acts);
    assert_eq!(concluded, expected(&draws));
    assert!(lost >= 2);
}

#[test]
fn half_a_commit_record_counts_nothing() {
    let draws = some_draws(40);
    for holds in 0..=255 {
        let acts = [
            Act::Fold { owner: 0, count: 30 },
            Act::Send {
                owner: 0,
                fate: Sent::Torn(holds),
            },
            Act::Fold { owner: 0, count: 10 },
            Act::Send {
                owner: 0,
                fate: Sent::Committed,
            },
        ];
        assert_eq!(run(&draws, &acts).0, expected(&draws), "parts {holds:b}");
    }
}

#[test]
fn what_a_reader_gives_out_twice_is_taken_in_once() {
    let acts = [
        Act::Fold { owner: 0, count: 30 },
        Act::Send {
            owner: 0,
            fate: Sent::Committed,
        },
    ];
    let (changelog, _) = changelog(&some_draws(40), &acts);
    let mut chain = Chain::new(PARTITION, 1);
    let mut end = None;
    for _ in 0..2 {
        for (offset, bytes) in changelog.iter().enumerate() {
            let bytes = bytes.as_ref().unwrap();
            chain.offer(Offset(offset as u64), bytes).unwrap();
        }
        let now = (chain.next, chain.changelog, chain.last, chain.superseded);
        assert_eq!(*end.get_or_insert(now), now);
    }
    assert_eq!(chain.superseded, 0);
}
