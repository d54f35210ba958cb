//! Partials add up in any order, and their bytes are theirs alone.

use crate::given::any_amount;
use proptest::prelude::*;
use schemas::Amount;
use schemas::amount::Sum;
use schemas::partial::{Cell, DayPartial, UserPartial};

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
        let bytes = [vec![1], bytes].concat();
        if let Ok(mut partial) = DayPartial::decode(&bytes) {
            partial.merge(&partial.clone());
        }
        if let Ok(mut partial) = UserPartial::decode(&bytes) {
            partial.merge(&partial.clone());
        }
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
