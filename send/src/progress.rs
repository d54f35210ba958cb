//! What a person sees while rows are sent: a bar where there is a terminal, else a line now and then, on standard error.
//! It says what the server has acknowledged, never what is only under way.

use crate::slice::Place;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR: &str = "{prefix} [{bar:24}] {percent:>3} %  {msg}";
const SPINNER: &str = "{prefix} {spinner} {msg}";

/// The progress of one file.
pub(crate) struct Progress {
    name: String,
    /// Bytes in all, where that is known.
    total: Option<u64>,
    /// Bytes that were sent in former runs.
    begun_at: u64,
    begun: Instant,
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    /// With the time of the last line.
    Lines(Mutex<Instant>),
}

/// What is acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Rows of this run.
    pub(crate) rows: u64,
    /// Rows refused, in all runs.
    pub(crate) refused: u64,
}

impl Progress {
    pub(crate) fn new(name: &str, total: Option<u64>, begun_at: Place, quiet: bool) -> Self {
        let shown = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bar(bar(name, total, begun_at.bytes)),
            (false, false) => Shown::Lines(Mutex::new(Instant::now())),
        };
        Self {
            name: name.to_owned(),
            total,
            begun_at: begun_at.bytes,
            begun: Instant::now(),
            shown,
        }
    }

    /// All up to `place` is acknowledged.
    pub(crate) fn acknowledged(&self, place: Place, sent: Sent) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(place.bytes);
                bar.set_message(self.words(place, sent));
            }
            Shown::Lines(last) => {
                if is_time(last) {
                    let percent = self
                        .total
                        .map(|total| place.bytes.saturating_mul(100) / total.max(1));
                    let percent = percent
                        .map(|percent| format!("{percent} %, "))
                        .unwrap_or_default();
                    crate::warn(&format!("{}: {percent}{}", self.name, self.words(place, sent)));
                }
            }
        }
    }

    /// The next try comes after `pause`.
    pub(crate) fn waits(&self, why: &str, pause: Duration) {
        let text = || format!("{why}; next try in {:.1} s", pause.as_secs_f64());
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_message(text()),
            Shown::Lines(last) => {
                if is_time(last) {
                    crate::warn(&format!("{}: {}", self.name, text()));
                }
            }
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    /// Rows a second in this run.
    pub(crate) fn rows_per_second(&self, rows: u64) -> f64 {
        rows as f64 / self.begun.elapsed().as_secs_f64().max(0.001)
    }

    fn words(&self, place: Place, sent: Sent) -> String {
        let mut words = format!(
            "{} rows, {} rows/s, {} refused",
            thousands(place.row),
            thousands(self.rows_per_second(sent.rows) as u64),
            thousands(sent.refused)
        );
        if let Some(left) = self.time_left(place) {
            // Writing to a string does not fail.
            let _ = write!(words, ", {} left", span(left));
        }
        words
    }

    fn time_left(&self, place: Place) -> Option<Duration> {
        let left = self.total?.checked_sub(place.bytes)?;
        let done = place.bytes.checked_sub(self.begun_at).filter(|done| *done > 0)?;
        let seconds = self.begun.elapsed().as_secs_f64() * left as f64 / done as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

fn bar(name: &str, total: Option<u64>, position: u64) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), BAR),
        None => (ProgressBar::new_spinner(), SPINNER),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(name.to_owned());
    bar.set_position(position);
    bar
}

fn is_time(last: &Mutex<Instant>) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let is_time = last.elapsed() >= LINE_EVERY;
    if is_time {
        *last = Instant::now();
    }
    is_time
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_said_as_people_read_them() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        for (seconds, text) in [(5, "5 s"), (150, "2 min"), (7_260, "2 h 1 min")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
