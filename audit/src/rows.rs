//! The rows that one source partition must have in the views, with the version that each must have.
//!
//! Users' rows are not kept as rows, since there are as many as users and days: one entry of 32 bytes for each counted
//! event, put in order when they are compared.

use crate::names::Names;
use crate::tries::Tried;
use crate::uploads::Uploads;
use rustc_hash::FxHashMap;
use schemas::commit::Link;
use schemas::time::QUARTERS_A_DAY;
use schemas::{Day, Event, Offset, Quarter, Reason};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The rows of one source partition.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// `to` of each commit record on the chain, and where that one lies.
    versions: Vec<(Offset, Link)>,
    items: Vec<Item>,
    sorted: bool,
    /// By number of the type and day.
    pub(crate) days: FxHashMap<(u32, Day), DayRow>,
    /// By offset.
    pub(crate) letters: BTreeMap<Offset, Letter>,
    /// By the offset of the redriven copy.
    pub(crate) tries: BTreeMap<Offset, Tried>,
    pub(crate) uploads: Uploads,
    /// First and last day with a counted event.
    pub(crate) span: Option<(Day, Day)>,
}

/// Marks the quarter-hour of an item that takes an event back: quarter-hours have 23 bits.
const REVERSED: u32 = 1 << 31;

/// One event that was counted, or taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) user: u32,
    pub(crate) event_type: u32,
    /// With [`REVERSED`].
    quarter: u32,
    /// Index into the versions.
    pub(crate) record: u32,
    /// Where it lies.
    pub(crate) offset: Offset,
    /// Its amount in millionths, 0 without one.
    pub(crate) amount: i64,
}

/// Count and sum of one quarter-hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) sum: i128,
}

impl Tally {
    pub(crate) fn add(&mut self, count: u64, sum: i128) {
        self.count = self.count.saturating_add(count);
        self.sum = self.sum.saturating_add(sum);
    }

    /// Adds an event, or takes one back.
    pub(crate) fn add_event(&mut self, reversed: bool, amount: i64) {
        match reversed {
            false => self.add(1, i128::from(amount)),
            true => {
                self.count = self.count.saturating_sub(1);
                self.sum = self.sum.saturating_sub(i128::from(amount));
            }
        }
    }

    /// Whether nothing is left of it: then no cell is there.
    pub(crate) fn is_nothing(&self) -> bool {
        self.count == 0 && self.sum == 0
    }
}

/// A row of the view of days.
#[derive(Debug, Default)]
pub(crate) struct DayRow {
    pub(crate) version: Offset,
    /// By quarter-hour of the day.
    pub(crate) cells: BTreeMap<u8, Tally>,
}

/// A row of the view of dead letters.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) version: Offset,
    pub(crate) accepted_ms: i64,
    pub(crate) tenant: Box<str>,
    pub(crate) user: Box<str>,
    pub(crate) reason: Reason,
    /// The upload that it came in, and its row there.
    pub(crate) upload: Option<(Uuid, u64)>,
    /// What the chain says for people; `None` where it says nothing of this record.
    pub(crate) detail: Option<Box<str>>,
}

impl Item {
    pub(crate) fn day(self) -> Day {
        Day(self.quarter() / QUARTERS_A_DAY)
    }

    fn quarter(self) -> u32 {
        self.quarter & !REVERSED
    }

    /// Whether it takes an event back.
    pub(crate) fn is_reversed(self) -> bool {
        self.quarter & REVERSED != 0
    }

    pub(crate) fn of_day(self) -> u8 {
        // Below 96 by the remainder.
        (self.quarter() % QUARTERS_A_DAY) as u8
    }
}

impl Rows {
    /// What comes next was concluded by the commit record that ends at `to` and lies where `link` says.
    pub(crate) fn begin(&mut self, to: Offset, link: Link) {
        self.versions.push((to, link));
    }

    /// The version of what the record at hand changes.
    pub(crate) fn present(&self) -> Offset {
        self.versions.last().copied().unwrap_or_default().0
    }

    /// Adds an event that was counted in a quarter-hour, or takes it back from there.
    pub(crate) fn count(
        &mut self,
        (event, offset): (&Event<'_>, Offset),
        (quarter, reversed): (Quarter, bool),
        event_type: u32,
        users: &mut Names,
    ) {
        let (day, amount) = (
            quarter.day(),
            event.amount.map_or(0, |amount| amount.millionths()),
        );
        self.span = Some(match self.span {
            Some((first, last)) => (first.min(day), last.max(day)),
            None => (day, day),
        });
        let version = self.present();
        let row = self.days.entry((event_type, day)).or_default();
        row.version = version;
        let cell = row.cells.entry(quarter.of_day()).or_default();
        cell.add_event(reversed, amount);
        if cell.is_nothing() {
            row.cells.remove(&quarter.of_day());
        }
        self.sorted = false;
        self.items.push(Item {
            user: users.number(&event.tenant, &event.user_id),
            event_type,
            quarter: quarter.0 | if reversed { REVERSED } else { 0 },
            // Each has a record of the changelog; four billion of them do not fit any disk.
            record: u32::try_from(self.versions.len().saturating_sub(1)).unwrap_or(u32::MAX),
            offset,
            amount,
        });
    }

    /// Adds a dead letter; its version is that of the commit record at hand.
    pub(crate) fn refuse(&mut self, offset: Offset, mut letter: Letter) {
        letter.version = self.present();
        self.letters.insert(offset, letter);
    }

    /// Puts users' items in order; what follows needs it.
    pub(crate) fn sort(&mut self) {
        if !self.sorted {
            // Stable, since what was sorted before is one run of it.
            self.items
                .sort_by_key(|item| (item.user, item.quarter(), item.event_type));
            self.sorted = true;
        }
    }

    /// The items of a user's day, and where they begin.
    pub(crate) fn of_user(&self, user: u32, day: Day) -> (usize, &[Item]) {
        let place = |item: &Item| (item.user, item.day());
        let start = self.items.partition_point(|item| place(item) < (user, day));
        let rest = self.items.get(start..).unwrap_or_default();
        let length = rest.partition_point(|item| place(item) == (user, day));
        (start, rest.get(..length).unwrap_or_default())
    }

    /// All users' days: where each begins, and its items.
    pub(crate) fn users(&self) -> impl Iterator<Item = (usize, &[Item])> {
        let mut start = 0;
        self.items
            .chunk_by(|a, b| (a.user, a.day()) == (b.user, b.day()))
            .map(move |items| {
                let at = start;
                start += items.len();
                (at, items)
            })
    }

    /// Counted events.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The version of a row of these items: `to` of the last commit record that changed it.
    pub(crate) fn version(&self, items: &[Item]) -> Offset {
        self.last(items).0
    }

    /// Where the last commit record lies that changed a row of these items.
    pub(crate) fn link(&self, items: &[Item]) -> Link {
        self.last(items).1
    }

    /// `to` of a commit record, by its index.
    pub(crate) fn ends_at(&self, record: u32) -> Offset {
        self.versions
            .get(record as usize)
            .map_or(Offset(0), |version| version.0)
    }

    fn last(&self, items: &[Item]) -> (Offset, Link) {
        let last = items.iter().map(|item| item.record).max().unwrap_or(0);
        self.versions.get(last as usize).copied().unwrap_or_default()
    }
}
