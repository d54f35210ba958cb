//! Whether a comparison sees what is wrong.

use bench::generate::{DayCount, Expectation, UserCount, compare, sample, write};
use schemas::Day;

fn counted(expectation: &Expectation) -> (Vec<DayCount>, Vec<UserCount>) {
    let days = expectation.days().map(|(day, kind, tally)| DayCount {
        day,
        event_type: kind.to_owned(),
        count: tally.count,
        sum: tally.sum.into(),
    });
    let users = expectation.users().map(|(user, kind, day, tally)| UserCount {
        user,
        event_type: kind.to_owned(),
        day,
        count: tally.count,
        sum: tally.sum.into(),
    });
    (days.collect(), users.collect())
}

#[test]
fn what_was_counted_rightly_has_no_difference_even_in_parts() {
    let expectation = write(&sample(), &mut std::io::sink()).unwrap();
    let (mut days, users) = counted(&expectation);
    let whole = days[0].clone();
    days[0].count -= 1;
    days[0].sum -= 5;
    days.push(DayCount {
        count: 1,
        sum: 5,
        ..whole
    });
    assert_eq!(compare(&expectation, days, users), []);
}

#[test]
fn each_wrong_missing_or_surplus_row_is_a_difference() {
    let expectation = write(&sample(), &mut std::io::sink()).unwrap();
    let (days, users) = counted(&expectation);
    let differences = |days: Vec<DayCount>, users: Vec<UserCount>| compare(&expectation, days, users).len();
    let mut wrong = (days.clone(), users.clone());
    wrong.0[3].count += 1;
    wrong.1[5].sum -= 1;
    assert_eq!(differences(wrong.0, wrong.1), 2);
    assert_eq!(differences(days[1..].to_vec(), users[1..].to_vec()), 2);
    let mut surplus = (days.clone(), users.clone());
    surplus.0.push(DayCount {
        day: Day(1),
        ..days[0].clone()
    });
    surplus.1.push(UserCount {
        user: "user-01".into(),
        ..users[0].clone()
    });
    surplus.1.push(UserCount {
        event_type: "bow".into(),
        ..users[0].clone()
    });
    assert_eq!(differences(surplus.0, surplus.1), 3);
}
