//! What a key has used: its rate, its quota of the day, when it was used last, and whether it still holds.
//!
//! All of it is of this process and in memory: of two processes each grants the whole rate and the whole quota, and a restart begins the
//! day anew. It is a guard against a client that has gone wild, and no accounting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Seconds of a UTC day.
pub(super) const DAY_S: u64 = 86_400;
const MICROS: u64 = 1_000_000;

/// The use of one key, over all reloads of the file.
#[derive(Debug, Default)]
pub(super) struct Usage {
    bucket: Mutex<Bucket>,
    day: Mutex<Day>,
    /// Seconds since 1970; 0 is never.
    last_used_s: AtomicU64,
    /// Ends what goes on for longer than a request.
    revoked: CancellationToken,
}

/// A bucket that holds the requests of one second, in microseconds of waiting.
#[derive(Debug, Default)]
struct Bucket {
    /// When it is full again, in microseconds.
    full_at: u64,
}

#[derive(Debug, Default)]
struct Day {
    number: u64,
    events: u64,
}

impl Usage {
    /// Takes a request at a moment, in microseconds since any beginning.
    ///
    /// Errors: the whole seconds, at least one, after which there is room again.
    pub(super) fn take_request(&self, rate: u32, now_us: u64) -> Result<(), u32> {
        let cost = (MICROS / u64::from(rate.max(1))).max(1);
        let mut bucket = lock(&self.bucket);
        let full_at = bucket.full_at.max(now_us) + cost;
        // One second's worth may come at once.
        let burst = MICROS.max(cost);
        if full_at > now_us + burst {
            let wait_us = full_at - now_us - burst;
            return Err(u32::try_from(wait_us.div_ceil(MICROS)).unwrap_or(u32::MAX).max(1));
        }
        bucket.full_at = full_at;
        Ok(())
    }

    /// Counts events that were accepted.
    pub(super) fn spend(&self, events: u64, now_s: u64) {
        let mut day = self.day(now_s);
        day.events = day.events.saturating_add(events);
    }

    /// Events that were accepted on the UTC day of `now_s`.
    pub(super) fn spent(&self, now_s: u64) -> u64 {
        self.day(now_s).events
    }

    pub(super) fn used(&self, now_s: u64) {
        self.last_used_s.fetch_max(now_s, Ordering::Relaxed);
    }

    pub(super) fn last_used_s(&self) -> u64 {
        self.last_used_s.load(Ordering::Relaxed)
    }

    pub(super) fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }

    fn day(&self, now_s: u64) -> MutexGuard<'_, Day> {
        let mut day = lock(&self.day);
        let number = now_s / DAY_S;
        // A clock that is set back must not give a day twice.
        if number > day.number {
            *day = Day { number, events: 0 };
        }
        day
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A moment in seconds since 1970 as RFC 3339, in UTC.
#[must_use]
pub fn rfc3339(seconds: u64) -> String {
    let (days, of_day) = (seconds / DAY_S, seconds % DAY_S);
    // Days since 0000-03-01, in eras of 400 years: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_one_second_through_at_once_and_then_what_flows() {
        let usage = Usage::default();
        let start = 1_000 * MICROS;
        for _ in 0..10 {
            usage.take_request(10, start).unwrap();
        }
        assert_eq!(usage.take_request(10, start), Err(1));
        // A request that was refused costs nothing.
        assert_eq!(usage.take_request(10, start + 99_999), Err(1));
        usage.take_request(10, start + 100_000).unwrap();
        assert_eq!(usage.take_request(10, start + 100_000), Err(1));
        let long_after = start + 60 * MICROS;
        let through = (0..100)
            .filter(|_| usage.take_request(10, long_after).is_ok())
            .count();
        assert_eq!(through, 10);
    }

    #[test]
    fn a_rate_of_one_lets_one_through_each_second() {
        let usage = Usage::default();
        usage.take_request(1, 5 * MICROS).unwrap();
        assert_eq!(usage.take_request(1, 5 * MICROS + 1), Err(1));
        usage.take_request(1, 6 * MICROS).unwrap();
    }

    #[test]
    fn a_quota_is_of_a_utc_day_and_a_clock_set_back_gives_it_once() {
        let usage = Usage::default();
        usage.spend(5, 10 * DAY_S - 1);
        assert_eq!(usage.spent(10 * DAY_S - 1), 5);
        assert_eq!(usage.spent(10 * DAY_S), 0);
        usage.spend(3, 10 * DAY_S);
        usage.spend(3, 10 * DAY_S - 1);
        assert_eq!(usage.spent(10 * DAY_S), 6);
    }

    #[test]
    fn a_moment_is_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_305_601, "2026-11-22T00:00:01Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
