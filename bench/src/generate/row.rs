//! What each row is: a fresh event, a repeat of an earlier one, or a row that the door refuses.
//!
//! Each question about a row is answered from the seed and its number alone. Only a row that was *drawn* as fresh is ever
//! repeated, so a repeat never leads to another repeat, and the first row with a key is always the fresh one.

use super::draw::{Draw, Zipf};
use super::settings::Settings;

/// What is wrong with a row that the door refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// No user.
    MissingUser,
    /// A timestamp that is none.
    BadTimestamp,
    /// An amount with 7 digits behind the point.
    FineAmount,
    /// An event type of 129 bytes.
    LongType,
    /// A time in the year 1900 or 2199.
    FarTimestamp,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 5] = [
        Self::MissingUser,
        Self::BadTimestamp,
        Self::FineAmount,
        Self::LongType,
        Self::FarTimestamp,
    ];

    /// The word of this fault in an expectation file.
    pub fn word(self) -> &'static str {
        match self {
            Self::MissingUser => "missing_user",
            Self::BadTimestamp => "bad_timestamp",
            Self::FineAmount => "fine_amount",
            Self::LongType => "long_type",
            Self::FarTimestamp => "far_timestamp",
        }
    }
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first of its key.
    Fresh,
    /// Another of the key of the row `of`, in its amount `changed` or the same.
    Repeat { of: u64, changed: bool },
    /// Refused.
    Invalid(Fault),
}

/// What stands in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Number of the user, from 1.
    pub(super) user: u32,
    /// Index of the type.
    pub(super) event_type: u8,
    /// Day, from the first day on.
    pub(super) day: u16,
    /// Milliseconds of the day.
    pub(super) ms: u32,
    /// Amount in hundredths.
    pub(super) cents: i64,
    /// The key's 128 bits.
    pub(super) key: [u64; 2],
    /// Number of the page; 0 is none.
    pub(super) page: u8,
}

/// Says of each row what it is.
#[derive(Debug)]
pub(super) struct Rows<'s> {
    settings: &'s Settings,
    zipf: Zipf,
}

/// The draws of one row that are kept apart.
const KIND: u64 = 1;
const CONTENT: u64 = 2;
/// Tries for a row to repeat; most rows are fresh, so one in 10^9 finds none.
const TRIES: u32 = 8;
const DAY_MS: u64 = 86_400_000;
/// Amounts are below 1,000.
const CENTS: u64 = 100_000;
const PAGES: u64 = 20;

impl<'s> Rows<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Self {
            settings,
            zipf: Zipf::new(settings.users, settings.zipf),
        }
    }

    /// What row `row` (from 0) is.
    pub(super) fn kind(&self, row: u64) -> Kind {
        let settings = self.settings;
        let mut draw = Draw::new(settings.seed, KIND, row);
        let lot = draw.fraction();
        if lot < settings.invalid {
            let fault = Fault::ALL.get(draw.below(Fault::ALL.len() as u64) as usize);
            return Kind::Invalid(fault.copied().unwrap_or(Fault::MissingUser));
        }
        if lot >= settings.invalid + settings.repeats {
            return Kind::Fresh;
        }
        let reach = if draw.coin() {
            row.min(settings.near_rows)
        } else {
            row
        };
        let changed = draw.coin();
        (0..TRIES)
            .filter(|_| reach > 0)
            .map(|_| row - 1 - draw.below(reach))
            .find(|of| self.drawn_fresh(*of))
            .map_or(Kind::Fresh, |of| Kind::Repeat { of, changed })
    }

    fn drawn_fresh(&self, row: u64) -> bool {
        let lot = Draw::new(self.settings.seed, KIND, row).fraction();
        lot >= self.settings.invalid + self.settings.repeats
    }

    /// What stands in a row that repeats no other.
    pub(super) fn content(&self, row: u64) -> Content {
        let settings = self.settings;
        let mut draw = Draw::new(settings.seed, CONTENT, row);
        let user = self.zipf.draw(&mut draw) + 1;
        let event_type = self.event_type(&mut draw);
        // Numbers of days are below 4,096 by the settings' check.
        let day = if draw.fraction() < settings.busy_share {
            settings.quiet_days + draw.below(u64::from(settings.busy_days)) as u16
        } else {
            draw.below(u64::from(settings.quiet_days)) as u16
        };
        let cents = draw.below(CENTS) as i64 + 1;
        let negative = settings
            .types
            .get(usize::from(event_type))
            .is_some_and(|kind| kind.negative);
        Content {
            user,
            event_type,
            day,
            ms: draw.below(DAY_MS) as u32,
            cents: if negative { -cents } else { cents },
            key: [draw.bits(), draw.bits()],
            page: if draw.coin() {
                draw.below(PAGES) as u8 + 1
            } else {
                0
            },
        }
    }

    fn event_type(&self, draw: &mut Draw) -> u8 {
        let mut lot = draw.below(100);
        for (index, event_type) in self.settings.types.iter().enumerate() {
            match lot.checked_sub(u64::from(event_type.percent)) {
                Some(rest) => lot = rest,
                None => return index as u8,
            }
        }
        0
    }

    /// What stands in a repeat of the row `of`, made at row `row`: in its amount another one where `changed`.
    pub(super) fn repeated(&self, of: u64, changed: bool, row: u64) -> Content {
        let mut content = self.content(of);
        if changed {
            content.cents += 1 + (row % 100) as i64;
        }
        content
    }
}
