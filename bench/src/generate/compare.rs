//! Whether what was counted is what must come of a file.

use super::expectation::{Expectation, UserKey, user_number};
use rustc_hash::FxHashMap;
use schemas::Day;
use schemas::amount::Sum;
use std::collections::BTreeMap;
use std::fmt;

/// Differences that are kept; more say nothing more.
const DIFFERENCES: usize = 1000;

/// What was counted of a day and type, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayCount {
    /// UTC day.
    pub day: Day,
    /// Event type.
    pub event_type: String,
    /// Events.
    pub count: u64,
    /// Sum of their amounts, in millionths.
    pub sum: i128,
}

/// What was counted of a user, type and day, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCount {
    /// The user.
    pub user: String,
    /// Event type.
    pub event_type: String,
    /// UTC day.
    pub day: Day,
    /// Events.
    pub count: u64,
    /// Sum of their amounts, in millionths.
    pub sum: i128,
}

/// Something that was not counted as it must be: count and sum in millionths. What is missing was found with zeros, what
/// is there beyond the expectation was expected with zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// UTC day.
    pub day: Day,
    /// The user; `None` for a day's total.
    pub user: Option<String>,
    /// Event type.
    pub event_type: String,
    /// What must be.
    pub expected: (u64, i128),
    /// What is.
    pub found: (u64, i128),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            day,
            event_type,
            expected,
            found,
            ..
        } = self;
        let user = self.user.as_deref().unwrap_or("all users");
        let (sum, found_sum) = (Sum(expected.1), Sum(found.1));
        write!(
            f,
            "{day} {user} {event_type}: expected {} of {sum}, found {} of {found_sum}",
            expected.0, found.0
        )
    }
}

/// Compares what was counted with what must come of a file. Parts of one row may come apart, as a view's partials do; they
/// are added up. Gives the first 1,000 differences; none is what must be.
pub fn compare(
    expectation: &Expectation,
    days: impl IntoIterator<Item = DayCount>,
    users: impl IntoIterator<Item = UserCount>,
) -> Vec<Difference> {
    let mut differences = Differences(Vec::new());
    compare_days(expectation, days, &mut differences);
    compare_users(expectation, users, &mut differences);
    differences.0.sort();
    differences.0
}

struct Differences(Vec<Difference>);

impl Differences {
    fn push(&mut self, make: impl FnOnce() -> Difference) {
        if self.0.len() < DIFFERENCES {
            self.0.push(make());
        }
    }
}

fn add(sum: &mut (u64, i128), count: u64, amount: i128) {
    sum.0 = sum.0.saturating_add(count);
    sum.1 = sum.1.saturating_add(amount);
}

fn compare_days(
    expectation: &Expectation,
    days: impl IntoIterator<Item = DayCount>,
    differences: &mut Differences,
) {
    let mut found: BTreeMap<(Day, String), (u64, i128)> = BTreeMap::new();
    for day in days {
        add(
            found.entry((day.day, day.event_type)).or_default(),
            day.count,
            day.sum,
        );
    }
    for (day, event_type, tally) in expectation.days() {
        let expected = (tally.count, i128::from(tally.sum));
        let found = found.remove(&(day, event_type.to_owned())).unwrap_or_default();
        if expected != found {
            let event_type = event_type.to_owned();
            differences.push(|| Difference {
                day,
                user: None,
                event_type,
                expected,
                found,
            });
        }
    }
    for ((day, event_type), found) in found {
        differences.push(|| Difference {
            day,
            user: None,
            event_type,
            expected: (0, 0),
            found,
        });
    }
}

fn compare_users(
    expectation: &Expectation,
    users: impl IntoIterator<Item = UserCount>,
    differences: &mut Differences,
) {
    let indexes: FxHashMap<&str, u8> = (0_u8..=u8::MAX)
        .zip(&expectation.types)
        .map(|(index, name)| (name.as_str(), index))
        .collect();
    let mut found: FxHashMap<UserKey, (u64, i128)> = FxHashMap::default();
    for user in users {
        let number = user_number(&user.user);
        let index = indexes.get(user.event_type.as_str()).copied();
        let key = number
            .zip(index)
            .and_then(|(number, index)| UserKey::new(number, index, user.day));
        match key.filter(|key| expectation.users.contains_key(key)) {
            Some(key) => add(found.entry(key).or_default(), user.count, user.sum),
            None => differences.push(|| Difference {
                day: user.day,
                user: Some(user.user),
                event_type: user.event_type,
                expected: (0, 0),
                found: (user.count, user.sum),
            }),
        }
    }
    for (key, tally) in &expectation.users {
        let expected = (tally.count, i128::from(tally.sum));
        let found = found.get(key).copied().unwrap_or_default();
        if expected != found {
            differences.push(|| Difference {
                day: key.day(),
                user: Some(format!("user-{}", key.user())),
                event_type: expectation.type_name(key.event_type()).to_owned(),
                expected,
                found,
            });
        }
    }
}
