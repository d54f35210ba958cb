//! What the query string says. A parameter that nobody knows, or one that is given twice and may stand once, is an error: a
//! misspelt filter must never be ignored in silence.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use chrono::NaiveDate;
use service::http::Problem;
use std::time::Duration;

/// The query string as axum hands it over.
pub(crate) type RawQuery = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The parameters of a request, all of them known.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Takes the parameters; `known` are those that this endpoint has.
    ///
    /// Errors: 400 `unknown_parameter`, which names them.
    pub(crate) fn of(query: RawQuery, known: &[&'static str]) -> Result<Self, Problem> {
        let Query(pairs) = query?;
        let mut unknown: Vec<&str> = pairs
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !known.contains(name))
            .collect();
        if unknown.is_empty() {
            return Ok(Self(pairs));
        }
        unknown.sort_unstable();
        unknown.dedup();
        let known = match known {
            [] => "there are none here".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        Err(
            Problem::bad_request("unknown_parameter", "A parameter is unknown")
                .detail(format!("unknown: {}; {known}", unknown.join(", ")))
                .with("parameters", unknown),
        )
    }

    /// A parameter that may stand once.
    pub(crate) fn one(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(invalid(name, "may stand once")),
        }
    }

    /// A parameter that may stand any number of times.
    pub(crate) fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// How much a page may hold: `limit`, from 1 to `most`.
    pub(crate) fn limit(&self, most: usize) -> Result<Option<usize>, Problem> {
        let Some(text) = self.one("limit")? else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        let wrong = || invalid("limit", &format!("must be a number from 1 to {most}")).with("limit", most);
        number.map(Some).ok_or_else(wrong)
    }

    /// Refuses what only pages have, where the whole answer is asked for.
    pub(crate) fn no_pages(&self) -> Result<(), Problem> {
        for name in ["limit", "cursor"] {
            if self.one(name)?.is_some() {
                return Err(invalid(
                    name,
                    "is for pages of JSON; this form has the whole answer",
                ));
            }
        }
        Ok(())
    }

    /// A calendar date.
    pub(crate) fn date(&self, name: &'static str) -> Result<Option<NaiveDate>, Problem> {
        let value = self.one(name)?;
        value
            .map(|text| date(text).ok_or_else(|| invalid(name, "must be a date such as 2025-11-04")))
            .transpose()
    }

    /// A duration: `1500` and `1500ms` are milliseconds, `5s` seconds.
    pub(crate) fn duration(&self, name: &'static str) -> Result<Option<Duration>, Problem> {
        let value = self.one(name)?;
        let words = "must be a time such as 1500 (milliseconds) or 5s";
        value
            .map(|text| duration(text).ok_or_else(|| invalid(name, words)))
            .transpose()
    }
}

/// 400 `parameter_invalid`: what is wrong with one parameter, of the query string or the path.
pub(crate) fn invalid(name: &'static str, words: &str) -> Problem {
    Problem::bad_request("parameter_invalid", "A parameter is not valid")
        .detail(format!("{name} {words}"))
        .with("parameter", name)
}

/// A date as ISO 8601 has it, and only so.
pub(crate) fn date(text: &str) -> Option<NaiveDate> {
    let is_plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    is_plain
        .then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())
        .flatten()
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit_ms) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => match text.strip_suffix('s') {
            Some(digits) => (digits, 1000),
            None => (text, 1),
        },
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_has_three_forms() {
        for (text, ms) in [("1500", 1500), ("20ms", 20), ("5s", 5000), ("0", 0)] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "ms",
            "-1",
            "+1",
            "1.5s",
            "5m",
            "99999999999999999999",
            "18446744073709551615s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_has_one_form() {
        assert_eq!(date("2024-02-29"), NaiveDate::from_ymd_opt(2024, 2, 29));
        for text in [
            "2023-02-29",
            "2024-2-9",
            "20240229",
            "2024-02-29T00",
            "",
            "+024-02-29",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
