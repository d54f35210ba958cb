//! What must come of a generated file: how many rows of each outcome, and count and sum per day and type and per user, type
//! and day.
//!
//! As a file it is lines of fields between tabs, the first of which says what the line is:
//! ```text
//! tidemark-expectation  1
//! total   rows|accepted|counted|duplicate|key_conflict  number
//! invalid fault  number
//! day     day    type  count  sum in millionths
//! user    user   type  day    count  sum in millionths
//! end
//! ```
//! so that a file that was cut off is never taken for a small one.

use super::row::{Content, Fault};
use super::settings::Settings;
use anyhow::{Context, bail, ensure};
use rustc_hash::FxHashMap;
use schemas::Day;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};

const FIRST_LINE: &str = "tidemark-expectation\t1";
const LAST_LINE: &str = "end";

/// Count and sum of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Events counted.
    pub count: u64,
    /// Sum of their amounts, in millionths; 10^10 rows of generated amounts fit.
    pub sum: i64,
}

impl Tally {
    fn add(&mut self, sum: i64) {
        self.count += 1;
        self.sum += sum;
    }
}

/// How many rows have each outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows behind the header.
    pub rows: u64,
    /// Rows that the door takes: counted, duplicate or in conflict.
    pub accepted: u64,
    /// The first of their key.
    pub counted: u64,
    /// Later ones with the same content.
    pub duplicate: u64,
    /// Later ones with another amount: dead letters.
    pub key_conflict: u64,
    /// Refused at the door, in the order of [`Fault::ALL`].
    pub invalid: [u64; Fault::ALL.len()],
}

/// What must come of a file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Expectation {
    /// How many rows have each outcome.
    pub totals: Totals,
    pub(super) types: Vec<String>,
    days: BTreeMap<(Day, u8), Tally>,
    pub(super) users: FxHashMap<UserKey, Tally>,
    first_day: Day,
}

/// Number of the user, index of the type, day: 64 bits for each of many millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct UserKey(u64);

impl UserKey {
    /// `None` for a day that no expectation has: the first 2^24 days are enough for 45,000 years.
    pub(super) fn new(user: u32, event_type: u8, day: Day) -> Option<Self> {
        let day = (day.0 < 1 << 24).then_some(u64::from(day.0))?;
        Some(Self(u64::from(user) << 32 | u64::from(event_type) << 24 | day))
    }

    pub(super) fn user(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn event_type(self) -> u8 {
        (self.0 >> 24) as u8
    }

    pub(super) fn day(self) -> Day {
        Day(self.0 as u32 & 0xff_ffff)
    }
}

impl Expectation {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            types: settings
                .types
                .iter()
                .map(|event_type| event_type.name.clone())
                .collect(),
            first_day: settings.first_day,
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, content: &Content) {
        self.totals.rows += 1;
        self.totals.accepted += 1;
        self.totals.counted += 1;
        let day = Day(self.first_day.0 + u32::from(content.day));
        let millionths = content.cents * 10_000;
        self.days
            .entry((day, content.event_type))
            .or_default()
            .add(millionths);
        if let Some(key) = UserKey::new(content.user, content.event_type, day) {
            self.users.entry(key).or_default().add(millionths);
        }
    }

    pub(super) fn repeat(&mut self, changed: bool) {
        self.totals.rows += 1;
        self.totals.accepted += 1;
        if changed {
            self.totals.key_conflict += 1;
        } else {
            self.totals.duplicate += 1;
        }
    }

    pub(super) fn refuse(&mut self, fault: Fault) {
        self.totals.rows += 1;
        if let Some(count) = self.totals.invalid.get_mut(fault as usize) {
            *count += 1;
        }
    }

    /// Day, type, and what must be counted of it, by day.
    pub fn days(&self) -> impl Iterator<Item = (Day, &str, Tally)> {
        self.days
            .iter()
            .map(|((day, event_type), tally)| (*day, self.type_name(*event_type), *tally))
    }

    /// User, type, day, and what must be counted of it, in no order.
    pub fn users(&self) -> impl Iterator<Item = (String, &str, Day, Tally)> {
        self.users.iter().map(|(key, tally)| {
            (
                format!("user-{}", key.user()),
                self.type_name(key.event_type()),
                key.day(),
                *tally,
            )
        })
    }

    pub(super) fn type_name(&self, index: u8) -> &str {
        self.types.get(usize::from(index)).map_or("", String::as_str)
    }

    /// Writes this as a file; the same expectation gives the same bytes. Fails where `out` does.
    pub fn write(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut out = std::io::BufWriter::with_capacity(256 * 1024, out);
        writeln!(out, "{FIRST_LINE}")?;
        let totals = &self.totals;
        for (word, count) in [
            ("rows", totals.rows),
            ("accepted", totals.accepted),
            ("counted", totals.counted),
            ("duplicate", totals.duplicate),
            ("key_conflict", totals.key_conflict),
        ] {
            writeln!(out, "total\t{word}\t{count}")?;
        }
        for (fault, count) in Fault::ALL.iter().zip(totals.invalid) {
            writeln!(out, "invalid\t{}\t{count}", fault.word())?;
        }
        for (day, event_type, tally) in self.days() {
            writeln!(out, "day\t{day}\t{event_type}\t{}\t{}", tally.count, tally.sum)?;
        }
        let mut keys: Vec<UserKey> = self.users.keys().copied().collect();
        keys.sort_unstable();
        let dates: BTreeMap<Day, String> = self.days.keys().map(|(day, _)| (*day, day.to_string())).collect();
        for key in keys {
            let tally = self.users.get(&key).copied().unwrap_or_default();
            let (event_type, day) = (self.type_name(key.event_type()), dates.get(&key.day()));
            let day = day.map_or("", String::as_str);
            writeln!(
                out,
                "user\tuser-{}\t{event_type}\t{day}\t{}\t{}",
                key.user(),
                tally.count,
                tally.sum
            )?;
        }
        writeln!(out, "{LAST_LINE}")?;
        out.flush()?;
        Ok(())
    }

    /// Reads a file that [`Self::write`] made. Fails with the number of the first line that is none of its, and
    /// where its end is missing.
    pub fn read(from: impl BufRead) -> anyhow::Result<Self> {
        let mut expectation = Self::default();
        let mut ended = false;
        for (number, line) in from.lines().enumerate() {
            let line = line?;
            if number == 0 {
                if line != FIRST_LINE {
                    bail!("not an expectation of this release: it begins with {line:?}");
                }
                continue;
            }
            if line == LAST_LINE {
                ended = true;
                break;
            }
            expectation
                .take_line(&line)
                .with_context(|| format!("line {} of the expectation", number + 1))?;
        }
        ensure!(ended, "the expectation was cut off: its last line is missing");
        let first = expectation.days.keys().next().map(|(day, _)| *day);
        expectation.first_day = first.unwrap_or_default();
        Ok(expectation)
    }

    fn take_line(&mut self, line: &str) -> anyhow::Result<()> {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["total", word, count] => *self.total(word)? = count.parse()?,
            ["invalid", word, count] => {
                let index = Fault::ALL.iter().position(|fault| fault.word() == *word);
                let place = index.and_then(|index| self.totals.invalid.get_mut(index));
                *place.context("no such fault")? = count.parse()?;
            }
            ["day", day, event_type, count, sum] => {
                let key = (read_day(day)?, self.index_of(event_type)?);
                self.days.insert(
                    key,
                    Tally {
                        count: count.parse()?,
                        sum: sum.parse()?,
                    },
                );
            }
            ["user", user, event_type, day, count, sum] => {
                let number = user_number(user).context("not a generated user")?;
                let key = UserKey::new(number, self.index_of(event_type)?, read_day(day)?);
                let tally = Tally {
                    count: count.parse()?,
                    sum: sum.parse()?,
                };
                self.users.insert(key.context("a day too late")?, tally);
            }
            _ => bail!("no line of an expectation"),
        }
        Ok(())
    }

    fn total(&mut self, word: &str) -> anyhow::Result<&mut u64> {
        let totals = &mut self.totals;
        Ok(match word {
            "rows" => &mut totals.rows,
            "accepted" => &mut totals.accepted,
            "counted" => &mut totals.counted,
            "duplicate" => &mut totals.duplicate,
            "key_conflict" => &mut totals.key_conflict,
            _ => bail!("no such total"),
        })
    }

    fn index_of(&mut self, event_type: &str) -> anyhow::Result<u8> {
        let index = self
            .types
            .iter()
            .position(|known| known == event_type)
            .unwrap_or_else(|| {
                self.types.push(event_type.to_owned());
                self.types.len() - 1
            });
        u8::try_from(index).context("more than 256 types")
    }
}

fn read_day(text: &str) -> anyhow::Result<Day> {
    Day::from_date(text.parse()?).context("a day before 1970")
}

/// The number of a generated user; `None` for any other name.
pub(super) fn user_number(user: &str) -> Option<u32> {
    let digits = user.strip_prefix("user-")?;
    let number: u32 = digits.parse().ok()?;
    // Only the name as it was generated is that user.
    (number.to_string() == digits).then_some(number)
}
