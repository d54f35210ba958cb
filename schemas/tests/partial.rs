//! Partials add up in any order, and their bytes are theirs alone.

use crate::given::any_amount;
use proptest::prelude::*;
use schemas::amount::Sum;
use schemas::commit::Link;
use schemas::distinct::{Distinct, Union};
use schemas::partial::{Cell, DayPartial, UserPartial};
use schemas::positions::{Position, REMEMBERED};
use schemas::{Amount, Offset};
use uuid::Uuid;

type Counted = (u8, Option<Amount>, String);

fn any_counted() -> impl Strategy<Value = Vec<Counted>> {
    let one = (0_u8..96, proptest::option::of(any_amount()), "[a-c]{1,2}");
    proptest::collection::vec(one, 0..40)
}

fn day(counted: &[Counted]) -> DayPartial {
    let mut partial = DayPartial::default();
    for (of_day, amount, _) in counted {
        partial.add(*of_day, *amount);
    }
    partial
}

fn user(counted: &[Counted]) -> UserPartial {
    let mut partial = UserPartial::default();
    for (of_day, amount, event_type) in counted {
        partial.add(event_type, *of_day, *amount);
    }
    partial
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn they_add_up_in_any_order(counted in any_counted(), at in any::<prop::sample::Index>()) {
        let (first, second) = counted.split_at(at.index(counted.len() + 1));
        let (mut days, mut users) = (day(second), user(second));
        days.merge(&day(first));
        users.merge(&user(first));
        prop_assert_eq!(&days, &day(&counted));
        prop_assert_eq!(&users, &user(&counted));
        let count: u64 = days.cells().iter().map(|cell| cell.count).sum();
        let sum: i128 = days.cells().iter().map(|cell| cell.sum.0).sum();
        prop_assert_eq!(count, counted.len() as u64);
        prop_assert_eq!(sum, counted.iter().flat_map(|(_, amount, _)| *amount).map(|amount| i128::from(amount.millionths())).sum::<i128>());
        let by_type: u64 = users.types().iter().flat_map(|(_, cells)| cells.cells()).map(|cell| cell.count).sum();
        prop_assert_eq!(by_type, count);
    }

    #[test]
    fn they_are_read_as_written_and_nothing_shorter_or_longer(counted in any_counted()) {
        let (days, users) = (day(&counted), user(&counted));
        let (day_bytes, user_bytes) = (days.encode(), users.encode());
        prop_assert_eq!(DayPartial::decode(&day_bytes), Ok(days));
        prop_assert_eq!(UserPartial::decode(&user_bytes), Ok(users));
        for end in 0..day_bytes.len() {
            prop_assert!(DayPartial::decode(&day_bytes[..end]).is_err());
        }
        for end in 0..user_bytes.len() {
            prop_assert!(UserPartial::decode(&user_bytes[..end]).is_err());
        }
        prop_assert!(DayPartial::decode(&[day_bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn no_bytes_make_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(mut partial) = DayPartial::decode(&[vec![1], bytes.clone()].concat()) {
            partial.merge(&partial.clone());
        }
        if let Ok(mut partial) = UserPartial::decode(&[vec![2], bytes.clone()].concat()) {
            partial.merge(&partial.clone());
            partial.remember(Offset(u64::MAX >> 1), true, Link::default());
            prop_assert!(partial.positions().iter().count() <= REMEMBERED);
        }
        let sketches = [vec![1, 2, 1, 7, 12, 3, 8, 1, 4], vec![1, 3, 1, 7, 12, 5, 8, 0, 5], vec![1, 10, 1, 7, 12, 0, 16, 0, 6]];
        for head in sketches {
            if let Ok(mut sketch) = Distinct::decode(&[head, bytes.clone()].concat()) {
                sketch.add("u");
                let mut union = Union::default();
                union.add(&sketch);
                let _ = union.estimate();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_newest_positions_are_remembered_and_the_others_are_counted(
        steps in proptest::collection::vec((1_u64..1 << 30, any::<bool>()), 0..100),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(steps.len() + 1);
        let (mut partial, mut all, mut at) = (UserPartial::default(), Vec::new(), 0);
        for (n, (step, reverse)) in steps.iter().enumerate() {
            at += step;
            let link = Link { changelog: Offset(n as u64), id: Uuid::from_u128(n as u128) };
            partial.remember(Offset(at), *reverse, link);
            all.push((Position { offset: Offset(at), reverse: *reverse }, link));
            if n == cut {
                partial = UserPartial::decode(&partial.encode()).unwrap();
            }
        }
        prop_assert_eq!(UserPartial::decode(&partial.encode()), Ok(partial.clone()));
        let newest: Vec<Position> = all.iter().rev().map(|(position, _)| *position).take(REMEMBERED).collect();
        let positions = partial.positions();
        prop_assert_eq!(positions.iter().collect::<Vec<_>>(), newest);
        prop_assert_eq!(positions.older(), all.len().saturating_sub(REMEMBERED) as u64);
        let last = all.last().filter(|_| positions.older() > 0).map(|(_, link)| *link);
        prop_assert_eq!(positions.last(), last);
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    let most = Cell {
        of_day: 95,
        count: u64::MAX,
        sum: Sum(i128::from(u64::MAX) * 999_999_999_999_999_999),
    };
    let mut partial = DayPartial::default();
    partial.add_cell(most);
    assert_eq!(DayPartial::decode(&partial.encode()).unwrap().cells(), [most]);
    partial.add_cell(most);
    assert_eq!(partial.cells()[0].count, u64::MAX);
}
