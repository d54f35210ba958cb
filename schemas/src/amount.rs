//! Money and other measures as exact decimals: `decimal(18,6)`, kept as millionths. Never rounded: an input with
//! more digits than fit is an error.

use std::fmt;
use std::str::FromStr;

/// Largest magnitude in millionths: 18 digits.
const LIMIT: i64 = 999_999_999_999_999_999;
const SCALE_DIGITS: usize = 6;
const WHOLE_DIGITS: usize = 12;
const SCALE: i128 = 1_000_000;

/// An exact amount in millionths, at most 18 decimal digits in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i64);

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a decimal number.
    #[error("not a decimal number such as 12.50")]
    NotANumber,
    /// More than 6 digits behind the point.
    #[error("more than 6 digits behind the point")]
    TooFine,
    /// More than 12 digits before the point.
    #[error("more than 12 digits before the point")]
    TooLarge,
}

impl Amount {
    /// The amount of a count of millionths; `None` beyond 18 digits.
    pub fn from_millionths(millionths: i64) -> Option<Self> {
        (-LIMIT..=LIMIT).contains(&millionths).then_some(Self(millionths))
    }

    /// This amount in millionths.
    pub fn millionths(self) -> i64 {
        self.0
    }

    /// The same amount with the other sign.
    pub fn negated(self) -> Self {
        Self(-self.0)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Reads `12`, `-0.5`, `+1.250000`, `.5`, and exponents as JSON numbers may carry them (`1e3`, `25E-1`).
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (negative, digits) = match text.as_bytes() {
            [b'-', ..] => (true, text.get(1..).unwrap_or_default()),
            [b'+', ..] => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (
                mantissa,
                exponent.parse::<i32>().map_err(|_| AmountError::NotANumber)?,
            ),
            None => (digits, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(AmountError::NotANumber);
        }
        // Zeros at the end say nothing, and however many there are, the value fits.
        let fraction = fraction.trim_end_matches('0');
        if exponent == 0 && whole.len() <= WHOLE_DIGITS && fraction.len() <= SCALE_DIGITS {
            let value = plain(whole, fraction).ok_or(AmountError::NotANumber)?;
            return Ok(Self(if negative { -value } else { value }));
        }
        let mut value: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return Err(AmountError::NotANumber);
            }
            value = value * 10 + i128::from(byte - b'0');
            if value > i128::from(LIMIT) * SCALE * SCALE {
                let many = if fraction.len() > SCALE_DIGITS {
                    AmountError::TooFine
                } else {
                    AmountError::TooLarge
                };
                return Err(many);
            }
        }
        let behind = i64::try_from(fraction.len())
            .unwrap_or(i64::MAX)
            .saturating_sub(i64::from(exponent));
        let value = scaled(value, SCALE_DIGITS as i64 - behind)?;
        let value = if negative { -value } else { value };
        i64::try_from(value)
            .ok()
            .and_then(Self::from_millionths)
            .ok_or(AmountError::TooLarge)
    }
}

/// The millionths of at most 12 digits before the point and at most 6 behind it; `None` where one is no digit.
/// What nearly every amount is, so it does with 64 bits.
fn plain(whole: &str, fraction: &str) -> Option<i64> {
    let mut value = 0_i64;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    for _ in fraction.len()..SCALE_DIGITS {
        value *= 10;
    }
    Some(value)
}

/// `value` times ten to the `power`, exactly or not at all.
fn scaled(mut value: i128, power: i64) -> Result<i128, AmountError> {
    if value == 0 {
        return Ok(0);
    }
    for _ in 0..power.max(0) {
        value = value
            .checked_mul(10)
            .filter(|v| *v <= i128::from(LIMIT))
            .ok_or(AmountError::TooLarge)?;
    }
    for _ in 0..power.min(0).unsigned_abs() {
        if value % 10 != 0 {
            return Err(AmountError::TooFine);
        }
        value /= 10;
    }
    Ok(value)
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sum(i128::from(self.0)).fmt(f)
    }
}

/// A sum of amounts in millionths. It cannot overflow: 2^64 largest amounts fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sum(pub i128);

impl fmt::Display for Sum {
    /// `0`, `98.00`, `-0.125`: a whole number without a point where it is zero, else two digits at least.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let magnitude = self.0.unsigned_abs();
        let scale = SCALE.unsigned_abs();
        let fraction = format!("{:06}", magnitude % scale);
        let trimmed = fraction.trim_end_matches('0');
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{trimmed:0<2}", magnitude / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_exact_and_refuses_the_rest() {
        for (text, millionths) in [
            ("12", 12_000_000),
            ("-0.5", -500_000),
            (".5", 500_000),
            ("5.", 5_000_000),
            ("1e3", 1_000_000_000),
            ("25E-1", 2_500_000),
            ("0e400", 0),
            ("1.2500000000", 1_250_000),
            ("1.0000000000000000000000000000000000000000000000", 1_000_000),
            ("999999999999.999999", LIMIT),
        ] {
            assert_eq!(
                text.parse::<Amount>().map(Amount::millionths),
                Ok(millionths),
                "{text}"
            );
        }
        for (text, error) in [
            ("", AmountError::NotANumber),
            (".", AmountError::NotANumber),
            ("1,5", AmountError::NotANumber),
            ("NaN", AmountError::NotANumber),
            ("0.0000001", AmountError::TooFine),
            (
                "0.1234567890123456789012345678901234567890123",
                AmountError::TooFine,
            ),
            (
                "12345678901234567890123456789012345678901234",
                AmountError::TooLarge,
            ),
            ("1.2.3", AmountError::NotANumber),
            ("1e", AmountError::NotANumber),
            ("1e-2147483648", AmountError::TooFine),
            ("1000000000000", AmountError::TooLarge),
            ("1e2147483647", AmountError::TooLarge),
        ] {
            assert_eq!(text.parse::<Amount>(), Err(error), "{text}");
        }
    }

    #[test]
    fn sums_print_as_money() {
        for (millionths, text) in [
            (0, "0"),
            (98_000_000, "98.00"),
            (-125_000, "-0.125"),
            (1_000_001, "1.000001"),
        ] {
            assert_eq!(Sum(millionths).to_string(), text);
        }
    }
}
