//! No faster than asked: `--rate`.

use crate::slices::SLICE_ROWS;
use std::time::Duration;
use tokio::time::Instant;

/// Slices a second where there is a rate, so that rows come evenly.
const SLICES_PER_SECOND: u64 = 4;

/// When the next rows may go.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<u64>,
    next: Instant,
}

impl Pace {
    /// At most `rate` rows a second.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self {
            rate,
            next: Instant::now(),
        }
    }

    /// Most rows of a slice.
    pub(crate) fn slice_rows(rate: Option<u64>) -> usize {
        let rows = rate.map_or(SLICE_ROWS as u64, |rate| rate.div_ceil(SLICES_PER_SECOND));
        usize::try_from(rows).unwrap_or(SLICE_ROWS).clamp(1, SLICE_ROWS)
    }

    /// Waits until `rows` more may go.
    pub(crate) async fn wait(&mut self, rows: usize) {
        let Some(rate) = self.rate else {
            return;
        };
        tokio::time::sleep_until(self.next).await;
        // Time that was not used is not made up for: that would be faster than asked.
        self.next = self.next.max(Instant::now()) + Duration::from_secs_f64(rows as f64 / rate as f64);
    }
}
