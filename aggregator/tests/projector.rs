//! Whatever the owners of a partition did to its chain, and whatever becomes of the projector's writes: the views end in the plain sum over
//! the chain, and progress is at no moment ahead of the rows it stands for.

use crate::chain::{Act, Sent, act, changelog};
use crate::rig::{Each, Way, run, run_over};
use crate::sim::{Draw, draw};
use crate::store::{Call, Fault, World};
use aggregator::projector::Ended;
use proptest::prelude::*;
use schemas::row::View;
use std::time::Duration;

fn fault() -> impl Strategy<Value = Fault> {
    let view = proptest::sample::select(View::ALL.to_vec());
    prop_oneof![
        8 => Just(Fault::Fine),
        1 => Just(Fault::Repeated),
        1 => Just(Fault::Away),
        1 => Just(Fault::Unanswered),
        1 => any::<u64>().prop_map(Fault::Partly),
        2 => any::<u64>().prop_map(Fault::Late),
        1 => any::<u64>().prop_map(Fault::Land),
        1 => prop_oneof![1..6_usize, 1..80_usize].prop_map(Fault::SetBack),
        1 => view.prop_map(Fault::Empty),
        1 => Just(Fault::LetGo),
        1 => any::<u64>().prop_map(Fault::Die),
        1 => prop_oneof![Just(u64::MAX), any::<u64>()].prop_map(Fault::Stop),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    let memory = prop_oneof![Just(1), Just(1 << 20)];
    let intervals = prop_oneof![Just([0; 3]), proptest::array::uniform3(0..4_u64)];
    (
        1..=2_usize,
        prop_oneof![(1..6_usize).prop_map(Each::Slots), Just(Each::Record)],
        0..3_u64,
        (1..40_usize, 1..12_usize),
        memory,
        intervals,
    )
        .prop_map(
            |(processes, each, check_ms, (dirty_rows, chunk_rows), rows_memory_bytes, intervals)| Way {
                processes,
                each,
                check_interval: Duration::from_millis(check_ms),
                intervals: intervals.map(Duration::from_millis),
                dirty_rows,
                chunk_rows,
                rows_memory_bytes,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_becomes_of_writes_the_views_end_in_the_sum_and_progress_is_never_ahead_of_rows(
        draws in proptest::collection::vec(draw(), 1..80_usize),
        acts in proptest::collection::vec(act(), 0..60_usize),
        plan in proptest::collection::vec(fault(), 0..80_usize),
        way in way(),
    ) {
        // Many users, so that a row that is lost is not soon written again.
        let draws: Vec<Draw> = draws
            .into_iter()
            .map(|draw| Draw { user: if draw.user == 2 { 2 } else { draw.key }, ..draw })
            .collect();
        let (slots, _) = changelog(&draws, &acts);
        let mut plan = plan.into_iter();
        prop_assert_eq!(run(slots, Box::new(move |_, _| plan.next()), &way), Ok(()));
    }
}

/// A chain of 12 commit records, each of which changes one row of days, and has users of its own.
fn long_chain() -> Vec<Option<Vec<u8>>> {
    let draw = |number: u8| Draw {
        key: number,
        user: number / 10,
        kind: 0,
        hour: 0,
        amount: Some(1),
        invalid: false,
        reverse: false,
        assigned: false,
        upload: None,
        way: crate::sim::Way::Plain,
    };
    let draws: Vec<Draw> = (0..120).map(draw).collect();
    let fold = Act::Fold { owner: 0, count: 10 };
    let send = Act::Send {
        owner: 0,
        fate: Sent::Committed,
    };
    let read = Act::Read { owner: 0, count: 99 };
    let acts: Vec<Act> = (0..12)
        .flat_map(|_| [fold.clone(), send.clone(), read.clone()])
        .collect();
    changelog(&draws, &acts).0
}

/// One process that flushes each commit record by itself and, while there is nothing to write, looks at the tables after this many milliseconds.
fn one(check_ms: u64) -> Way {
    Way {
        processes: 1,
        each: Each::Record,
        check_interval: Duration::from_millis(check_ms),
        intervals: [Duration::ZERO; 3],
        dirty_rows: 1_000,
        chunk_rows: 1_000,
        rows_memory_bytes: 1 << 20,
    }
}

#[test]
fn a_drain_whose_store_is_away_for_a_moment_writes_no_progress_without_its_rows() {
    let mut stopped = false;
    let script = move |_: &World, call| match call {
        Call::Rows if !stopped => {
            stopped = true;
            Some(Fault::Stop(0))
        }
        _ => (!stopped).then_some(Fault::Fine),
    };
    assert_eq!(run(long_chain(), Box::new(script), &one(1)), Ok(()));
}

#[test]
fn a_store_that_is_set_back_between_two_flushes_is_projected_again() {
    let mut rows = 0;
    let script = move |_: &World, call| {
        rows += usize::from(call == Call::Rows);
        match rows {
            5 => {
                rows += 1;
                Some(Fault::SetBack(20))
            }
            _ => (rows < 5).then_some(Fault::Fine),
        }
    };
    // Longer than the test's patience: no look but the one that every flush needs.
    assert_eq!(run(long_chain(), Box::new(script), &one(60_000)), Ok(()));
}

#[test]
fn a_store_that_is_set_back_within_a_flush_gets_all_its_rows_again() {
    let (mut flushes, mut rows) = (0, 0);
    let script = move |_: &World, call| {
        flushes += usize::from(call == Call::Progress(View::Progress));
        rows += usize::from(call == Call::Rows && flushes > 4);
        // One row at a time: the second of a flush meets a store that has forgotten the first.
        match rows {
            2 => {
                rows += 1;
                Some(Fault::SetBack(1))
            }
            _ => (rows < 2).then_some(Fault::Fine),
        }
    };
    let way = Way {
        chunk_rows: 1,
        ..one(60_000)
    };
    assert_eq!(run(long_chain(), Box::new(script), &way), Ok(()));
}

#[test]
fn a_store_that_is_set_back_while_a_new_owner_catches_up_is_projected_again() {
    let (mut restarted, mut writes, mut over) = (false, 0, false);
    let script = move |world: &World, call| {
        if over {
            return None;
        }
        if !restarted && world.is_complete() {
            restarted = true;
            return Some(Fault::Die(0));
        }
        if restarted && matches!(call, Call::Progress(_)) {
            writes += 1;
        }
        // The new owner has written something, but is not where the former one was.
        over = writes == 2;
        Some(if over { Fault::SetBack(60) } else { Fault::Fine })
    };
    assert_eq!(run(long_chain(), Box::new(script), &one(0)), Ok(()));
}

#[test]
fn progress_of_a_former_life_that_comes_late_does_not_hold_up_the_new_one() {
    for view in View::ALL {
        let mut over = false;
        let script = move |world: &World, call| {
            if over {
                return None;
            }
            over = world.has_all_rows() && call == Call::Progress(view);
            Some(if over { Fault::Empty(view) } else { Fault::Fine })
        };
        assert_eq!(run(long_chain(), Box::new(script), &one(0)), Ok(()), "{view:?}");
    }
}

#[test]
fn a_store_that_is_set_back_while_late_progress_hides_ours_is_projected_again() {
    let (mut emptied, mut rows, mut over) = (false, 0, false);
    let script = move |world: &World, call| {
        if over {
            return None;
        }
        if !emptied && world.has_all_rows() && call == Call::Progress(View::Users) {
            emptied = true;
            return Some(Fault::Empty(View::Users));
        }
        rows += usize::from(emptied && call == Call::Rows);
        // The rows of the new life's first flush stay, those of the next three are forgotten.
        over = rows == 5;
        Some(if over { Fault::SetBack(27) } else { Fault::Fine })
    };
    assert_eq!(run(long_chain(), Box::new(script), &one(0)), Ok(()));
}

#[test]
fn a_store_that_is_not_what_it_should_be_stops_the_projector_whatever_was_asked() {
    for asked in [
        Call::Begin,
        Call::Look(View::Days),
        Call::Rows,
        Call::Progress(View::Users),
    ] {
        let script = move |_: &World, call| Some(if call == asked { Fault::Wrong } else { Fault::Fine });
        let ended = run(long_chain(), Box::new(script), &one(0));
        assert_eq!(ended, Err("as planned".into()), "{asked:?}");
    }
}

/// A store of another log, or of a later state of this one, would seem to hold rows that it does not.
#[test]
fn views_that_were_filled_from_another_chain_or_a_longer_one_are_not_believed() {
    let slots = long_chain();
    let none = Vec::new();
    // The same events, in commit records of their own.
    for other in [long_chain(), slots[..slots.len() / 2].to_vec(), none] {
        let ended = run_over(slots.clone(), other, &one(1));
        assert!(
            matches!(&ended, Err(Ended::Stopped(what)) if what.contains("not on the chain")),
            "{ended:?}"
        );
    }
    // One that only grew is gone on with.
    let ended = run_over(slots[..slots.len() / 2].to_vec(), slots, &one(1));
    assert!(!matches!(ended, Err(Ended::Stopped(_))), "{ended:?}");
}
