//! The console in a real browser, against the program itself: each page shows what the API says, and each flow ends as the page says.
//!
//! One browser serves all tests; each test has a server and a window of its own. When a window closes it is checked that no request
//! left the server's origin, and that nothing was reported to the browser's console.

// Chromium, spoken to over a pipe.
mod browser;
// A window of it.
mod window;
// Days, users, dead letters and the ledger.
mod looking;
// Files that are sent.
mod sending;
// What changes while one looks: live totals, and a server that goes away.
mod changing;
// An API that answers what a test says.
mod stub;
// Keys that are made and revoked.
mod keys;
// Dead letters that are put back.
mod redriving;
// From a day to its users and their events.
mod drilling;
// A file of one's own, its chart, and a refused row that is mended.
mod mending;
// A server that asks for a key, the keyboard, and texts that want to be more than text.
mod careful;
// The page of the API's document.
mod documented;
// Every page in both widths and both themes.
mod shots;

use crate::rig::Rig;
use std::path::PathBuf;
use window::{View, Window};

/// Widths of a desk and of a phone, in CSS pixels.
const DESK_AND_PHONE: [u32; 2] = [1280, 390];

/// The sample file, by a path without `..`: the browser opens no other.
fn sample() -> PathBuf {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../sample/events.csv");
    std::fs::canonicalize(path).unwrap()
}

/// A server that has counted the sample, and a window on a page of it. None where there is no browser.
fn with_sample(hash: &str, view: View) -> Option<(Rig, Window)> {
    let (rig, window) = empty(hash, view)?;
    rig.post_events("text/csv", &std::fs::read(sample()).unwrap());
    window.go(hash);
    Some((rig, window))
}

/// A server that has counted nothing, and a window on a page of it.
fn empty(hash: &str, view: View) -> Option<(Rig, Window)> {
    let browser = browser::shared()?;
    let rig = Rig::new();
    let window = Window::open(browser, &rig, view);
    window.go(hash);
    Some((rig, window))
}

/// Digits in groups of three, as the page shows a count.
fn grouped(number: &str) -> String {
    let (sign, digits) = number
        .strip_prefix('-')
        .map_or(("", number), |digits| ("\u{2212}", digits));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{text}{point}{rest}")
}
