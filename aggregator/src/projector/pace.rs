//! When the next flush begins: soon where there is little to write, and less often while the store is busy. Pure.

use super::Settings;
use std::time::{Duration, Instant};

/// The pace of one projector's flushes.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the last flush began.
    began: Instant,
    /// When the last one ended that wrote, and how long the store was busy with it.
    ended: Instant,
    busy: Duration,
    /// When the chains last said something.
    news: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            ended: now,
            busy: Duration::ZERO,
            news: now,
        }
    }

    pub(super) fn news(&mut self, now: Instant) {
        self.news = now;
    }

    pub(super) fn begun(&mut self, now: Instant) {
        self.began = now;
    }

    pub(super) fn ended(&mut self, now: Instant, busy: Duration) {
        (self.ended, self.busy) = (now, busy);
    }

    /// Whether the tables are to be looked at, where there is nothing to write.
    pub(super) fn must_look(&self, now: Instant, settings: &Settings) -> bool {
        now.duration_since(self.began) >= settings.check_interval
    }

    /// Whether so many dirty rows are to be written.
    pub(super) fn is_due(
        &self,
        now: Instant,
        settings: &Settings,
        dirty: usize,
        is_catching_up: bool,
    ) -> bool {
        if dirty >= settings.dirty_rows {
            return true;
        }
        let interval = settings.flush_interval;
        let is_over = now.duration_since(self.ended) >= self.rest(settings, dirty, is_catching_up);
        // Once nothing more comes there is nothing to be saved by waiting.
        let is_quiet = now.duration_since(self.news) >= interval;
        now.duration_since(self.began) >= interval && (is_over || is_quiet)
    }

    /// How long to read on behind a flush: as long as the store was busy with it. Rows that change often are then written less often
    /// the more the store has to do.
    fn rest(&self, settings: &Settings, dirty: usize, is_catching_up: bool) -> Duration {
        let longest = settings.bulk_flush_interval;
        match is_catching_up || dirty.saturating_mul(4) >= settings.dirty_rows {
            true => longest,
            false => self.busy.min(longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn settings() -> Settings {
        Settings {
            generation: 1,
            changelog_id: Uuid::nil(),
            flush_interval: ms(100),
            bulk_flush_interval: ms(2_000),
            dirty_rows: 1_000,
            chunk_rows: 1_000,
            rows_per_s: 0,
            bulk_rows_per_s: 0,
            rows_memory_bytes: 1 << 20,
            check_interval: ms(5_000),
            retry_wait: ms(1),
        }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A flush that began at `begin` and kept the store busy, all in milliseconds; news come all the time. When the next one begins.
    fn next(busy: u64, dirty: usize, is_catching_up: bool, news_until: u64) -> u64 {
        let (start, settings) = (Instant::now(), settings());
        let mut pace = Pace::new(start);
        pace.begun(start);
        pace.ended(start + ms(busy), ms(busy));
        let due = |at: &u64| {
            let now = start + ms(*at);
            pace.news(now.min(start + ms(news_until)));
            pace.is_due(now, &settings, dirty, is_catching_up)
        };
        (busy..10_000).find(due).unwrap_or(u64::MAX)
    }

    #[test]
    fn after_a_short_flush_the_next_begins_after_the_interval() {
        assert_eq!(next(10, 5, false, u64::MAX >> 32), 100);
        assert_eq!(next(60, 5, false, u64::MAX >> 32), 120);
    }

    #[test]
    fn the_longer_the_store_was_busy_the_longer_it_rests_up_to_the_interval_for_much() {
        assert_eq!(next(700, 5, false, u64::MAX >> 32), 1_400);
        assert_eq!(next(3_000, 5, false, u64::MAX >> 32), 5_000);
    }

    #[test]
    fn what_is_much_waits_for_more_until_it_is_too_much() {
        assert_eq!(next(10, 5, true, u64::MAX >> 32), 2_010);
        assert_eq!(next(10, 250, false, u64::MAX >> 32), 2_010);
        assert_eq!(next(10, 1_000, true, u64::MAX >> 32), 10);
    }

    #[test]
    fn once_nothing_more_comes_nothing_is_waited_for() {
        assert_eq!(next(700, 5, false, 900), 1_000);
        assert_eq!(next(10, 250, true, 300), 400);
    }

    #[test]
    fn tables_are_looked_at_where_there_is_nothing_to_write() {
        let (start, settings) = (Instant::now(), settings());
        let pace = Pace::new(start);
        assert!(!pace.must_look(start + ms(4_999), &settings));
        assert!(pace.must_look(start + ms(5_000), &settings));
    }
}
