//! When the next flush begins: soon where there is little to write, and less often while the store is busy. Pure.

use super::Settings;
use std::time::{Duration, Instant};

/// The pace of one projector's flushes.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the last flush began.
    began: Instant,
    /// When the last one ended that wrote, and how long it took without its waits for the budget of rows.
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
        let is_over = now.duration_since(self.ended) >= self.rest(settings, dirty, is_catching_up);
        // Once nothing more comes there is nothing to be saved by waiting.
        let is_quiet = now.duration_since(self.news) >= settings.quiet;
        now.duration_since(self.began) >= settings.flush_interval && (is_over || is_quiet)
    }

    /// How long to read on behind a flush: as long as the store was busy with it, and longest while there is much. Rows that change
    /// often are then written less often the more the store has to do.
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
            quiet: ms(600),
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

    /// When, behind the beginning of a flush that kept the store busy for so long, the next one begins, all in milliseconds; `news` says
    /// when the chains say something.
    fn next(busy: u64, dirty: usize, is_catching_up: bool, news: impl Fn(u64) -> bool) -> u64 {
        let (start, settings) = (Instant::now(), settings());
        let mut pace = Pace::new(start);
        pace.begun(start);
        pace.ended(start + ms(busy), ms(busy));
        let due = |at: &u64| {
            let now = start + ms(*at);
            if news(*at) {
                pace.news(now);
            }
            *at >= busy && pace.is_due(now, &settings, dirty, is_catching_up)
        };
        (0..10_000).find(due).unwrap_or(u64::MAX)
    }

    /// Lanes that are far behind commit twice a second.
    fn always(at: u64) -> bool {
        at.is_multiple_of(500)
    }

    #[test]
    fn after_a_short_flush_the_next_begins_after_the_interval() {
        assert_eq!(next(10, 5, false, always), 100);
        assert_eq!(next(60, 5, false, always), 120);
    }

    #[test]
    fn the_longer_the_store_was_busy_the_longer_it_rests_up_to_the_interval_for_much() {
        assert_eq!(next(700, 5, false, always), 1_400);
        assert_eq!(next(3_000, 5, false, always), 5_000);
    }

    #[test]
    fn what_is_much_waits_for_more_until_it_is_too_much() {
        assert_eq!(next(10, 5, true, always), 2_010);
        assert_eq!(next(10, 249, false, always), 100);
        assert_eq!(next(10, 250, false, always), 2_010);
        assert_eq!(next(10, 999, true, always), 2_010);
        assert_eq!(next(10, 1_000, true, always), 10);
    }

    #[test]
    fn once_nothing_more_comes_nothing_is_waited_for() {
        assert_eq!(next(700, 5, false, |at| at < 300), 899);
        assert_eq!(next(10, 250, true, |at| at <= 300), 900);
    }

    #[test]
    fn tables_are_looked_at_where_there_is_nothing_to_write() {
        let (start, settings) = (Instant::now(), settings());
        let pace = Pace::new(start);
        assert!(!pace.must_look(start + ms(4_999), &settings));
        assert!(pace.must_look(start + ms(5_000), &settings));
    }
}
