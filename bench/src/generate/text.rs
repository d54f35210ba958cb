//! The bytes of a row, by hand: a file of a billion rows passes here.

use super::row::{Content, Fault};
use super::settings::Settings;
use schemas::{Day, limits};

/// Writes rows as CSV.
#[derive(Debug)]
pub(super) struct Text {
    types: Vec<String>,
    /// `2025-11-04T` for each day.
    days: Vec<String>,
    pages: bool,
}

impl Text {
    pub(super) fn new(settings: &Settings) -> Self {
        let day = |number: u32| format!("{}T", Day(settings.first_day.0 + number));
        Self {
            types: settings
                .types
                .iter()
                .map(|event_type| event_type.name.clone())
                .collect(),
            days: (0..settings.days()).map(day).collect(),
            pages: settings.pages,
        }
    }

    pub(super) fn put_header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"userId,eventType,timestamp,amount,idempotencyKey");
        out.extend_from_slice(if self.pages { b",page\n" } else { b"\n" });
    }

    pub(super) fn put_row(&self, out: &mut Vec<u8>, content: &Content, fault: Option<Fault>) {
        if fault != Some(Fault::MissingUser) {
            out.extend_from_slice(b"user-");
            put_number(out, u64::from(content.user));
        }
        out.push(b',');
        if fault == Some(Fault::LongType) {
            out.resize(out.len() + limits::TYPE_BYTES + 1, b'x');
        } else if let Some(name) = self.types.get(usize::from(content.event_type)) {
            out.extend_from_slice(name.as_bytes());
        }
        out.push(b',');
        match fault {
            Some(Fault::BadTimestamp) => out.extend_from_slice(b"yesterday"),
            Some(Fault::FarTimestamp) if content.ms.is_multiple_of(2) => {
                out.extend_from_slice(b"1900-01-01T00:00:00Z")
            }
            Some(Fault::FarTimestamp) => out.extend_from_slice(b"2199-12-31T00:00:00Z"),
            _ => self.put_time(out, content),
        }
        out.push(b',');
        if content.cents < 0 {
            out.push(b'-');
        }
        let cents = content.cents.unsigned_abs();
        put_number(out, cents / 100);
        out.push(b'.');
        put_digits(out, cents % 100, 2);
        if fault == Some(Fault::FineAmount) {
            out.extend_from_slice(b"00001");
        }
        out.push(b',');
        put_uuid(out, content.key);
        if self.pages {
            out.push(b',');
            if content.page > 0 {
                out.extend_from_slice(b"/page/");
                put_number(out, u64::from(content.page));
            }
        }
        out.push(b'\n');
    }

    fn put_time(&self, out: &mut Vec<u8>, content: &Content) {
        if let Some(day) = self.days.get(usize::from(content.day)) {
            out.extend_from_slice(day.as_bytes());
        }
        let ms = u64::from(content.ms);
        put_digits(out, ms / 3_600_000, 2);
        out.push(b':');
        put_digits(out, ms / 60_000 % 60, 2);
        out.push(b':');
        put_digits(out, ms / 1000 % 60, 2);
        out.push(b'.');
        put_digits(out, ms % 1000, 3);
        out.push(b'Z');
    }
}

fn digit(value: u64) -> u8 {
    // Below 10 by the remainder.
    b'0' + (value % 10) as u8
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    put_digits(
        out,
        number,
        number.checked_ilog10().map_or(1, |digits| digits + 1),
    );
}

/// The last `digits` digits of a number.
fn put_digits(out: &mut Vec<u8>, number: u64, digits: u32) {
    let mut unit = 10_u64.pow(digits - 1);
    while unit > 0 {
        out.push(digit(number / unit));
        unit /= 10;
    }
}

/// A UUID, version 4.
fn put_uuid(out: &mut Vec<u8>, bits: [u64; 2]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let [high, low] = bits;
    let high = high & !0xf000 | 0x4000;
    let low = low & !(3 << 62) | 2 << 62;
    for (half, value) in [high, low].into_iter().enumerate() {
        for (place, byte) in value.to_be_bytes().into_iter().enumerate() {
            if matches!((half, place), (0, 4 | 6) | (1, 0 | 2)) {
                out.push(b'-');
            }
            let hex = |four: u8| HEX.get(usize::from(four & 15)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[hex(byte >> 4), hex(byte)]);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_as_it_should() {
        let settings = Settings {
            pages: true,
            ..Settings::default()
        };
        let content = Content {
            user: 105,
            event_type: 3,
            day: 31,
            ms: 45_296_007,
            cents: -1205,
            key: [0x0123_4567_89ab_cdef, 0xffff_ffff_0000_0001],
            page: 7,
        };
        let mut out = vec![];
        Text::new(&settings).put_row(&mut out, &content, None);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "user-105,refund,2025-11-04T12:34:56.007Z,-12.05,01234567-89ab-4def-bfff-ffff00000001,/page/7\n"
        );
    }
}
