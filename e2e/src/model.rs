//! What must be counted, and whether it was. The sums are made here from the events alone, with none of the program's arithmetic, so
//! that a fault of the program cannot hide in what is expected of it.

use crate::client;
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// For one query.
const QUERY_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at the ledger.
const LOOK: Duration = Duration::from_millis(100);
/// Users that are asked for at most, each in a request of its own; the audit compares the rows of all.
const USERS_ASKED: usize = 200;
/// Differences that are listed; more say nothing more.
const DIFFERENCES: usize = 20;

/// Count, and sum in millionths.
pub type Total = (u64, i128);

/// Totals by day and type, and by user and type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Day as in 2025-11-04, and type.
    pub days: BTreeMap<(String, String), Total>,
    /// User and type.
    pub users: BTreeMap<(String, String), Total>,
}

/// The ledger in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Records that clients sent.
    pub accepted: u64,
    /// Counted once.
    pub counted: u64,
    /// Sent again.
    pub duplicate: u64,
    /// Refused for good.
    pub dead_lettered: u64,
    /// Copied to the partition that they belong to.
    pub rerouted: u64,
    /// Those copies; more than `rerouted` where a new owner repeated some.
    pub copies: u64,
    /// Not concluded yet.
    pub in_flight: u64,
    /// Whether all of it adds up in each partition.
    pub balanced: bool,
    /// Dead letters by reason.
    pub reasons: BTreeMap<String, u64>,
}

impl Counts {
    /// Adds one event of `millionths`.
    pub fn add(&mut self, user: &str, day: &str, event_type: &str, millionths: i128) {
        self.add_day(day, event_type, (1, millionths));
        self.add_user(user, event_type, (1, millionths));
    }

    /// Adds to a day.
    pub fn add_day(&mut self, day: &str, event_type: &str, total: Total) {
        add(
            self.days
                .entry((day.to_owned(), event_type.to_owned()))
                .or_default(),
            total,
        );
    }

    /// Adds to a user.
    pub fn add_user(&mut self, user: &str, event_type: &str, total: Total) {
        add(
            self.users
                .entry((user.to_owned(), event_type.to_owned()))
                .or_default(),
            total,
        );
    }

    /// Adds what another has.
    pub fn merge(&mut self, other: Self) {
        for ((day, event_type), total) in other.days {
            self.add_day(&day, &event_type, total);
        }
        for ((user, event_type), total) in other.users {
            self.add_user(&user, &event_type, total);
        }
    }

    /// All events.
    pub fn count(&self) -> u64 {
        self.days.values().map(|total| total.0).sum()
    }

    /// The users that are asked for: all, or as many evenly drawn from them.
    fn asked(&self) -> BTreeSet<&String> {
        let users: BTreeSet<&String> = self.users.keys().map(|(user, _)| user).collect();
        let step = users.len().div_ceil(USERS_ASKED).max(1);
        users.into_iter().step_by(step).collect()
    }

    /// Asks the program for all days and for the users whom `asked` names.
    ///
    /// # Errors
    /// If a query is not answered.
    pub fn ask(&self, server: SocketAddr) -> anyhow::Result<Self> {
        let mut found = Self::default();
        // The range may span 3,700 days by default; these are all that tests use.
        let answer = client::get_json(server, "/v1/days?from=2025-01-01&to=2026-01-01", QUERY_PATIENCE)?;
        for line in list(&answer, "days")? {
            found.add_day(text(line, "day")?, text(line, "event_type")?, total(line)?);
        }
        for user in self.asked() {
            let answer = client::get_json(server, &format!("/v1/users/{user}"), QUERY_PATIENCE)?;
            for line in list(&answer, "by_type")? {
                found.add_user(user, text(line, "event_type")?, total(line)?);
            }
        }
        Ok(found)
    }

    /// Asks, and compares.
    ///
    /// # Errors
    /// If a query is not answered, or anything is not what it must be: the first differences.
    pub fn confirm(&self, server: SocketAddr) -> anyhow::Result<()> {
        let found = self.ask(server)?;
        let asked = self.asked();
        let mut users = self.users.clone();
        users.retain(|(user, _), _| asked.contains(user));
        let mut differences = differences("day", &self.days, &found.days);
        differences.extend(self::differences("user", &users, &found.users));
        let (expected, counted) = (self.count(), found.count());
        ensure!(
            differences.is_empty(),
            "{} totals differ; expected {expected} events, counted {counted}\n{}",
            differences.len(),
            differences
                .into_iter()
                .take(DIFFERENCES)
                .collect::<Vec<_>>()
                .join("\n")
        );
        Ok(())
    }
}

impl Ledger {
    /// Asks for it.
    ///
    /// # Errors
    /// If it is not answered within `patience`.
    pub fn ask(server: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        let answer = client::get_json(server, "/v1/ledger", patience)?;
        let reasons = answer.get("dead_letters_by_reason").and_then(Value::as_object);
        let reasons = reasons.context("no dead_letters_by_reason")?.iter();
        Ok(Self {
            accepted: number(&answer, "accepted")?,
            counted: number(&answer, "counted")?,
            duplicate: number(&answer, "duplicate")?,
            dead_lettered: number(&answer, "dead_lettered")?,
            rerouted: number(&answer, "rerouted")?,
            copies: number(&answer, "copies")?,
            in_flight: number(&answer, "in_flight")?,
            balanced: answer
                .get("balanced")
                .and_then(Value::as_bool)
                .context("no balanced")?,
            reasons: reasons
                .map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(u64::MAX)))
                .collect(),
        })
    }

    /// Waits until nothing is in flight.
    ///
    /// # Errors
    /// If something still is after `patience`.
    pub fn settled(server: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            let ledger = Self::ask(server, QUERY_PATIENCE);
            match ledger {
                Ok(ledger) if ledger.in_flight == 0 => return Ok(ledger),
                other if Instant::now() > deadline => bail!("not settled after {patience:?}: {other:?}"),
                _ => sleep(LOOK),
            }
        }
    }
}

fn add(sum: &mut Total, total: Total) {
    sum.0 += total.0;
    sum.1 += total.1;
}

fn differences(
    what: &str,
    expected: &BTreeMap<(String, String), Total>,
    found: &BTreeMap<(String, String), Total>,
) -> Vec<String> {
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differs = |key: &&(String, String)| expected.get(*key) != found.get(*key);
    let line = |key: &(String, String)| {
        format!(
            "{what} {} {}: expected {:?}, found {:?}",
            key.0,
            key.1,
            expected.get(key),
            found.get(key)
        )
    };
    keys.into_iter().filter(differs).map(line).collect()
}

fn list<'v>(value: &'v Value, name: &str) -> anyhow::Result<&'v Vec<Value>> {
    value
        .get(name)
        .and_then(Value::as_array)
        .with_context(|| format!("no list {name} in {value}"))
}

fn text<'v>(value: &'v Value, name: &str) -> anyhow::Result<&'v str> {
    value
        .get(name)
        .and_then(Value::as_str)
        .with_context(|| format!("no text {name} in {value}"))
}

fn number(value: &Value, name: &str) -> anyhow::Result<u64> {
    value
        .get(name)
        .and_then(Value::as_u64)
        .with_context(|| format!("no number {name} in {value}"))
}

fn total(line: &Value) -> anyhow::Result<Total> {
    Ok((number(line, "count")?, millionths(text(line, "sum")?)?))
}

/// A decimal number in millionths.
fn millionths(text: &str) -> anyhow::Result<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    ensure!(part.len() <= 6, "{text:?} is finer than millionths");
    let number: i128 = format!("{whole}{part:0<6}")
        .parse()
        .with_context(|| format!("{text:?} is no number"))?;
    Ok(sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_read_exactly() {
        for (text, expected) in [
            ("0", 0),
            ("1.25", 1_250_000),
            ("-12.5", -12_500_000),
            ("-0.000001", -1),
        ] {
            assert_eq!(millionths(text).unwrap(), expected);
        }
        assert!(millionths("1.0000001").is_err() && millionths("1e3").is_err());
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_are_differences() {
        let mut expected = Counts::default();
        expected.add("u", "2025-11-01", "click", 5);
        let mut found = expected.clone();
        assert!(differences("day", &expected.days, &found.days).is_empty());
        found.add("v", "2025-11-01", "click", 5);
        assert_eq!(differences("day", &expected.days, &found.days).len(), 1);
        assert_eq!(differences("user", &found.users, &expected.users).len(), 1);
    }
}
