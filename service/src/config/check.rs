//! The limits of values: each check names its key, its limit and where the offending value came from.
//!
//! Types keep out what is not a number; this keeps out the numbers that would start a service that cannot work.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::error::Fault;
use super::redact;

/// Gathers faults; the sections of the configuration add theirs.
pub(super) struct Checks<'a> {
    origins: &'a BTreeMap<String, String>,
    faults: Vec<Fault>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(origins: &'a BTreeMap<String, String>) -> Self {
        Self {
            origins,
            faults: Vec::new(),
        }
    }

    /// The number must lie in `min..=max`.
    pub(super) fn range(&mut self, key: &str, value: impl TryInto<i128>, min: i128, max: i128) {
        // Every numeric setting is at most 64 bits wide, so the conversion holds; a failure reads as out of range.
        let value = value.try_into().unwrap_or(i128::MAX);
        if !(min..=max).contains(&value) {
            let reason = match value < min {
                true => format!("must be at least {min}"),
                false => format!("must be at most {max}"),
            };
            self.that(false, key, value, &reason);
        }
    }

    /// The text must be of 1 to `max` bytes without control characters.
    pub(super) fn text(&mut self, key: &str, value: &str, max: usize) {
        let fits = (1..=max).contains(&value.len()) && !value.chars().any(char::is_control);
        self.that(
            fits,
            key,
            value,
            &format!("must be 1 to {max} bytes without control characters"),
        );
    }

    /// `holds` must be true; `reason` says what would be right.
    pub(super) fn that(&mut self, holds: bool, key: &str, value: impl Display, reason: &str) {
        if !holds {
            self.faults.push(Fault {
                key: key.to_owned(),
                value: Some(redact::value(key, &value.to_string())),
                source: self.origins.get(key).map_or("default", String::as_str).to_owned(),
                reason: reason.to_owned(),
            });
        }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}
