//! Reads an instant from text: RFC 3339, the same without a zone (then UTC), a plain date (then its midnight UTC), or
//! seconds, milliseconds or microseconds since 1970, told apart by their number of digits.
//!
//! By hand, since every row of every file passes here. Nothing is rounded: a seventh digit behind the second's point
//! must be a zero. Dates that do not exist are refused, and so is a leap second, for which UTC microseconds have no place.

use crate::{Field, Invalid, Timestamp};

const SECOND: i64 = 1_000_000;
const FORMS: &str =
    "must be RFC 3339 such as 2024-01-15T10:00:00Z, or seconds, milliseconds or microseconds since 1970";
const NO_SUCH_DATE: &str = "is a date that does not exist";
const NO_SUCH_TIME: &str = "is a time of day that does not exist";
const LEAP: &str = "is a leap second, which is not supported: send second 59";
const TOO_FINE: &str = "has more than 6 digits behind the second's point";

/// Reads an instant; the years it may lie in are [`crate::Event::check`]'s to say.
///
/// Epoch forms: up to 11 digits are seconds (with a fraction, if any), 12 to 14 milliseconds, 15 to 17 microseconds.
/// Error: `not_a_time`.
pub fn parse_timestamp(text: &str) -> Result<Timestamp, Invalid> {
    let micros = match text.as_bytes() {
        [_, _, _, _, b'-', ..] => civil(text.as_bytes()),
        bytes => epoch(bytes),
    };
    micros
        .map(Timestamp)
        .map_err(|message| Invalid::new(Field::Timestamp, "not_a_time", message))
}

/// `YYYY-MM-DD`, then perhaps T or a space and `HH:MM:SS`, a fraction, and a zone.
fn civil(bytes: &[u8]) -> Result<i64, &'static str> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = bytes else {
        return Err(FORMS);
    };
    let year = pair(*y1, *y2)? * 100 + pair(*y3, *y4)?;
    let (month, day) = (pair(*m1, *m2)?, pair(*d1, *d2)?);
    if day == 0 || day > days_of_month(year, month) {
        return Err(NO_SUCH_DATE);
    }
    let midnight = days_since_1970(year, month, day) * 86_400;
    let (seconds, rest) = match rest {
        [] => return Ok(midnight * SECOND),
        [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] => {
            (of_day(pair(*h1, *h2)?, pair(*m1, *m2)?, pair(*s1, *s2)?)?, rest)
        }
        _ => return Err(FORMS),
    };
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let offset = match rest {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let offset = of_day(pair(*h1, *h2)?, pair(*m1, *m2)?, 0)?;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return Err(FORMS),
    };
    Ok((midnight + seconds - offset) * SECOND + fraction)
}

fn epoch(bytes: &[u8]) -> Result<i64, &'static str> {
    let (sign, bytes) = match bytes {
        [b'-', rest @ ..] => (-1, rest),
        _ => (1, bytes),
    };
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = bytes.split_at(digits);
    // With a zero in front the number of digits would say nothing.
    if matches!(whole, [b'0', _, ..]) {
        return Err(FORMS);
    }
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'))
    };
    let unit = match digits {
        1..=11 => SECOND,
        12..=14 => 1000,
        15..=17 => 1,
        _ => return Err(FORMS),
    };
    let behind = match rest {
        [] => 0,
        [b'.', rest @ ..] if unit == SECOND => match fraction(rest)? {
            (micros, []) => micros,
            _ => return Err(FORMS),
        },
        _ => return Err(FORMS),
    };
    // At most 10^17 by the number of digits.
    Ok(sign * (number(whole) * unit + behind))
}

/// The microseconds of the digits behind a point, and what follows them.
fn fraction(bytes: &[u8]) -> Result<(i64, &[u8]), &'static str> {
    let mut micros = 0;
    let mut unit = SECOND / 10;
    let mut digits = 0;
    for byte in bytes.iter().take_while(|byte| byte.is_ascii_digit()) {
        if unit == 0 && *byte != b'0' {
            return Err(TOO_FINE);
        }
        micros += i64::from(byte - b'0') * unit;
        unit /= 10;
        digits += 1;
    }
    match bytes.split_at_checked(digits) {
        Some(([_, ..], rest)) => Ok((micros, rest)),
        _ => Err(FORMS),
    }
}

/// The seconds of a time of day.
fn of_day(hour: i64, minute: i64, second: i64) -> Result<i64, &'static str> {
    match (hour, minute, second) {
        (0..24, 0..60, 0..60) => Ok(hour * 3600 + minute * 60 + second),
        (0..24, 0..60, 60) => Err(LEAP),
        _ => Err(NO_SUCH_TIME),
    }
}

/// A number of two digits.
fn pair(tens: u8, ones: u8) -> Result<i64, &'static str> {
    match (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0')) {
        (tens @ 0..10, ones @ 0..10) => Ok(i64::from(tens * 10 + ones)),
        _ => Err(FORMS),
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, its years from 0. Years are taken to begin in March, so that
/// the leap day is their last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // The months from March on have 153 days in every five; 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Result<i64, String> {
        parse_timestamp(text)
            .map(|time| time.0)
            .map_err(|invalid| invalid.message)
    }

    #[test]
    fn every_form_of_an_instant_is_read() {
        const TEN: i64 = 1_705_312_800_000_000;
        for (text, expected) in [
            ("2024-01-15T10:00:00Z", TEN),
            ("2024-01-15t10:00:00z", TEN),
            ("2024-01-15 10:00:00", TEN),
            ("2024-01-15T10:00:00", TEN),
            ("2024-01-15T12:30:00+02:30", TEN),
            ("2024-01-14T23:00:00-11:00", TEN),
            ("2024-01-15T10:00:00-00:00", TEN),
            ("2024-01-15T10:00:00.5Z", TEN + 500_000),
            ("2024-01-15 10:00:00.000001+00:00", TEN + 1),
            ("2024-01-15T10:00:00.123456000", TEN + 123_456),
            ("2024-01-15", TEN - 36_000 * SECOND),
            ("1705312800", TEN),
            ("1705312800.25", TEN + 250_000),
            ("1705312800000", TEN),
            ("1705312800000001", TEN + 1),
            ("99999999999", 99_999_999_999 * SECOND),
            ("100000000000", 100_000_000_000_000),
            ("99999999999999", 99_999_999_999_999_000),
            ("100000000000000", 100_000_000_000_000),
            ("99999999999999999", 99_999_999_999_999_999),
            ("0", 0),
            ("0.000001", 1),
            ("-1", -SECOND),
            ("2000-02-29", 951_782_400 * SECOND),
            ("1970-01-01T00:00:00Z", 0),
            ("0000-01-01", -62_167_219_200 * SECOND),
        ] {
            assert_eq!(micros(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused_in_words() {
        for (text, message) in [
            ("2023-02-29", NO_SUCH_DATE),
            ("1900-02-29", NO_SUCH_DATE),
            ("2024-13-01", NO_SUCH_DATE),
            ("2024-00-10", NO_SUCH_DATE),
            ("2024-01-00", NO_SUCH_DATE),
            ("2016-12-31T23:59:60Z", LEAP),
            ("2024-01-15T24:00:00Z", NO_SUCH_TIME),
            ("2024-01-15T10:60:00Z", NO_SUCH_TIME),
            ("2024-01-15T10:00:00+24:00", NO_SUCH_TIME),
            ("2024-01-15T10:00:00.1234567Z", TOO_FINE),
            ("1705312800.1234567", TOO_FINE),
            ("2024-01-15T10:00:00.Z", FORMS),
            ("2024-01-15T10:00:00Zx", FORMS),
            ("2024-01-15T", FORMS),
            ("2024-1-15", FORMS),
            ("1705312800000.5", FORMS),
            ("1.7e9", FORMS),
            ("01705312800", FORMS),
            ("123456789012345678", FORMS),
            ("-", FORMS),
            ("", FORMS),
            (".5", FORMS),
            ("yesterday", FORMS),
            ("２024-01-15", FORMS),
        ] {
            assert_eq!(micros(text), Err(message.to_owned()), "{text}");
        }
    }
}
