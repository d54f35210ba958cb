//! What to make: how many rows, of whom, when, and how much of it is wrong.

use anyhow::ensure;
use schemas::Day;

/// What a generated file is like. The same settings give the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Decides every row.
    pub seed: u64,
    /// Rows behind the header.
    pub rows: u64,
    /// Users `user-1` to `user-<users>`; the first is the busiest.
    pub users: u32,
    /// Exponent of Zipf's law: user n has a share in proportion to 1 / n^zipf.
    pub zipf: f64,
    /// Types and their shares; at most 256, in all 100 percent.
    pub types: Vec<EventType>,
    /// UTC day of the earliest events.
    pub first_day: Day,
    /// Days from the first on that share what the busy days leave.
    pub quiet_days: u16,
    /// Days behind the quiet ones that share most events.
    pub busy_days: u16,
    /// Share of the events on busy days, 0 to 1.
    pub busy_share: f64,
    /// Share of rows that repeat the key of an earlier row, 0 to 1: half of them of a row close before, half of any row before;
    /// half of them with the same content (duplicates), half with another amount (key conflicts).
    pub repeats: f64,
    /// How many rows back a close repeat reaches.
    pub near_rows: u64,
    /// Share of rows that the HTTP door refuses, 0 to 1, of all faults alike.
    pub invalid: f64,
    /// Whether there is a column `page`, empty in half of the rows.
    pub pages: bool,
}

/// A type of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Its name.
    pub name: String,
    /// Its share in percent.
    pub percent: u8,
    /// Whether its amounts are below zero.
    pub negative: bool,
}

/// 2025-10-04, so that the two busy days of the defaults are 3 and 4 November 2025.
const FIRST_DAY: Day = Day(20_365);

impl Default for Settings {
    fn default() -> Self {
        let event_type = |name: &str, percent, negative| EventType {
            name: name.to_owned(),
            percent,
            negative,
        };
        Self {
            seed: 1,
            rows: 1_000_000,
            users: 1_000_000,
            zipf: 1.1,
            types: vec![
                event_type("click", 60, false),
                event_type("view", 25, false),
                event_type("purchase", 10, false),
                event_type("refund", 5, true),
            ],
            first_day: FIRST_DAY,
            quiet_days: 30,
            busy_days: 2,
            busy_share: 0.9,
            repeats: 0.05,
            near_rows: 1000,
            invalid: 0.001,
            pages: false,
        }
    }
}

impl Settings {
    /// Refuses what no file can be made of.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let percent: u32 = self.types.iter().map(|kind| u32::from(kind.percent)).sum();
        ensure!(
            percent == 100,
            "the shares of types add up to {percent} %, not to 100 %"
        );
        ensure!(self.types.len() <= 256, "at most 256 types");
        ensure!(self.users > 0, "at least one user");
        ensure!(
            self.quiet_days > 0 && self.busy_days > 0,
            "at least one quiet and one busy day"
        );
        ensure!(self.days() <= 4096, "at most 4,096 days");
        for share in [
            self.busy_share,
            self.repeats,
            self.invalid,
            self.repeats + self.invalid,
        ] {
            ensure!(
                (0.0..=1.0).contains(&share),
                "a share of {share} is not between 0 and 1"
            );
        }
        Ok(())
    }

    /// How many days there are.
    pub(super) fn days(&self) -> u32 {
        u32::from(self.quiet_days) + u32::from(self.busy_days)
    }
}
