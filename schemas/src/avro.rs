//! The event as Avro in the Confluent wire format: magic 0, schema id (u32, big-endian), body.
//!
//! The codec of our own schema is written by hand, since every event passes it twice: it borrows from the bytes,
//! allocates nothing but the list of metadata, and never trusts a length. Records of other writers' schemas go through
//! [`Foreign`]. Neither checks an event's limits: that is [`Event::check`].

use crate::limits;
use crate::wire::{self, Malformed, Reader};
use crate::{Amount, Event, Timestamp};
use std::borrow::Cow;
use uuid::Uuid;

mod schema;
mod foreign;

pub use foreign::Foreign;

/// Our schema of the subject `events-value`. Compatibility is FULL_TRANSITIVE: a field may only come or go with a default.
pub const SCHEMA: &str = include_str!("avro/event.avsc");

/// Bytes of magic and schema id before the body.
const FRAME_BYTES: usize = 5;
/// Most metadata entries that are read: one more than allowed, so that [`Event::check`] can name the fault.
pub(crate) const ENTRIES_READ: usize = limits::METADATA_ENTRIES + 1;
/// Most bytes of an encoded event that keeps its limits: texts with lengths of 2 or 3 bytes, 3 numbers, UUID, marks.
const LARGEST: usize = FRAME_BYTES
    + (limits::TENANT_BYTES + limits::KEY_BYTES + limits::USER_BYTES + limits::TYPE_BYTES + 4 * 2)
    + (limits::METADATA_BYTES + limits::METADATA_ENTRIES * 2 * 3)
    + 96;
const _: () = assert!(
    LARGEST <= limits::EVENT_BYTES,
    "Event::check alone must keep an encoded event within EVENT_BYTES"
);

/// Name and value of one entry of metadata.
pub(crate) type Entry<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Bytes that are not an event in Avro.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event in Avro: {why}")]
pub struct Undecodable {
    /// What could not be read.
    pub why: &'static str,
}

impl Undecodable {
    pub(crate) fn new(why: &'static str) -> Self {
        Self { why }
    }
}

impl From<Malformed> for Undecodable {
    fn from(malformed: Malformed) -> Self {
        Self { why: malformed.what }
    }
}

/// BLAKE3 digest of [`SCHEMA`] in hex, as the generation record holds it.
pub fn digest() -> String {
    blake3::hash(SCHEMA.as_bytes()).to_hex().to_string()
}

/// Appends an event, framed, in our own schema. Its metadata should be sorted; nothing is checked here.
pub fn encode(event: &Event<'_>, schema_id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
    put_text(out, &event.tenant);
    put_text(out, &event.idempotency_key);
    put_text(out, &event.user_id);
    put_text(out, &event.event_type);
    wire::put_i64(out, event.occurred_at.0);
    out.push(u8::from(event.occurred_at_assigned));
    put_amount(out, event.amount);
    match event.upload_id {
        None => out.push(0),
        Some(id) => {
            wire::put_i64(out, 1);
            put_text(out, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        }
    }
    match event.row {
        None => out.push(0),
        Some(row) => {
            wire::put_i64(out, 1);
            wire::put_i64(out, row);
        }
    }
    if !event.metadata.is_empty() {
        wire::put_i64(out, event.metadata.len() as i64);
        for (name, value) in &event.metadata {
            put_text(out, name);
            put_text(out, value);
        }
    }
    out.push(0);
    out.push(u8::from(event.reverse));
}

/// Avro's text: its length as a zigzag varint, then its bytes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    wire::put_i64(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

/// The shortest two's complement, as Java's `BigInteger.toByteArray` gives it.
fn put_amount(out: &mut Vec<u8>, amount: Option<Amount>) {
    let Some(amount) = amount else {
        return out.push(0);
    };
    let value = amount.millionths();
    let bytes = value.to_be_bytes();
    // Sign bits but one are of no use.
    let spare = (if value < 0 {
        value.leading_ones()
    } else {
        value.leading_zeros()
    } - 1)
        / 8;
    let shortest = bytes.get(spare as usize..).unwrap_or(&bytes);
    wire::put_i64(out, 1);
    wire::put_i64(out, shortest.len() as i64);
    out.extend_from_slice(shortest);
}

/// The schema id and the body of a record in the Confluent wire format; `None` where it is something else.
pub fn frame(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let ([magic, id @ ..], body) = bytes.split_first_chunk::<FRAME_BYTES>()?;
    (*magic == 0).then_some((u32::from_be_bytes(*id), body))
}

/// Reads a body written in our own schema. Fails on anything left over; metadata comes out sorted.
pub fn decode(body: &[u8]) -> Result<Event<'_>, Undecodable> {
    let mut reader = Reader::new(body, "the bytes do not fit the schema");
    let reader = &mut reader;
    let event = Event {
        tenant: text(reader)?.into(),
        idempotency_key: text(reader)?.into(),
        user_id: text(reader)?.into(),
        event_type: text(reader)?.into(),
        occurred_at: Timestamp(reader.i64()?),
        occurred_at_assigned: boolean(reader)?,
        amount: optional(reader, |reader| decimal(bytes(reader)?, 6))?,
        upload_id: optional(reader, |reader| uuid(text(reader)?))?,
        row: optional(reader, |reader| Ok(reader.i64()?))?,
        metadata: metadata(reader)?,
        reverse: boolean(reader)?,
    };
    reader.clone().finish()?;
    Ok(event)
}

/// A union of null and something else, in this order.
fn optional<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Undecodable>,
) -> Result<Option<T>, Undecodable> {
    match reader.i64()? {
        0 => Ok(None),
        1 => read(reader).map(Some),
        _ => Err(reader.malformed().into()),
    }
}

fn metadata<'a>(reader: &mut Reader<'a>) -> Result<Vec<Entry<'a>>, Undecodable> {
    let mut entries = Vec::new();
    loop {
        let count = block(reader)?;
        if count == 0 {
            sort_entries(&mut entries);
            return Ok(entries);
        }
        if count > (ENTRIES_READ - entries.len()) as u64 {
            return Err(Undecodable::new("too many metadata entries"));
        }
        entries.reserve(count as usize);
        for _ in 0..count {
            entries.push((text(reader)?.into(), text(reader)?.into()));
        }
    }
}

/// Sorts metadata by name, if it is not; events of one writer mostly are.
pub(crate) fn sort_entries(entries: &mut [Entry<'_>]) {
    if !entries.is_sorted_by(|a, b| a.0 <= b.0) {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
    }
}

/// The count of the next block of a map or an array. A negative count is followed by the block's bytes, of no use here.
pub(crate) fn block(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let count = reader.i64()?;
    if count < 0 {
        reader.i64()?;
    }
    Ok(count.unsigned_abs())
}

pub(crate) fn bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(reader.i64()?).map_err(|_| reader.malformed())?;
    reader.take(length)
}

pub(crate) fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    std::str::from_utf8(bytes(reader)?).map_err(|_| reader.malformed())
}

pub(crate) fn boolean(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed()),
    }
}

pub(crate) fn uuid(text: &str) -> Result<Uuid, Undecodable> {
    Uuid::try_parse(text).map_err(|_| Undecodable::new("upload_id is not a UUID"))
}

/// The amount of a big-endian two's complement of 1 to 16 bytes, `scale` digits of it behind the point. Exact, or an error.
pub(crate) fn decimal(bytes: &[u8], scale: u32) -> Result<Amount, Undecodable> {
    let wrong = || Undecodable::new("amount is beyond 18 digits, 6 of them behind the point");
    let sign = match bytes.first() {
        Some(0x80..) => 0xff,
        Some(_) => 0,
        None => return Err(wrong()),
    };
    let mut extended = [sign; 16];
    let place = extended.len().checked_sub(bytes.len()).ok_or_else(wrong)?;
    let (_, low) = extended.split_at_mut(place);
    low.copy_from_slice(bytes);
    let value = i128::from_be_bytes(extended);
    let millionths = if scale <= 6 {
        value.checked_mul(10_i128.pow(6 - scale))
    } else {
        let divisor = 10_i128.checked_pow(scale - 6);
        divisor
            .filter(|divisor| value % divisor == 0)
            .map(|divisor| value / divisor)
    };
    let millionths = millionths.and_then(|value| i64::try_from(value).ok());
    millionths.and_then(Amount::from_millionths).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::event::tests::sample;

    fn body_with_metadata(blocks: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        encode(
            &Event {
                metadata: vec![],
                ..sample()
            },
            7,
            &mut out,
        );
        out.truncate(out.len() - 2);
        out.extend_from_slice(blocks);
        out.push(0);
        out.split_off(FRAME_BYTES)
    }

    #[test]
    fn what_was_written_is_read_and_nothing_shorter_or_longer() {
        let event = Event {
            upload_id: Some(Uuid::from_u128(9)),
            row: Some(-3),
            ..sample()
        };
        let mut out = vec![];
        encode(&event, 0xdead_beef, &mut out);
        let (id, body) = frame(&out).unwrap();
        assert_eq!(id, 0xdead_beef);
        assert_eq!(decode(body), Ok(event));
        for end in 0..body.len() {
            assert!(decode(&body[..end]).is_err(), "cut at {end}");
        }
        out.push(0);
        assert!(decode(&out[FRAME_BYTES..]).is_err());
        assert_eq!(frame(b"{\"userId\":1}"), None);
        assert_eq!(frame(&[0, 0, 0, 0]), None);
    }

    #[test]
    fn map_blocks_come_in_every_form_and_are_bounded() {
        // Two blocks, the second with its size in bytes; names fall, so they are sorted.
        let body = body_with_metadata(&[2, 2, b'b', 2, b'1', 1, 8, 2, b'a', 2, b'2', 0]);
        let event = decode(&body).unwrap();
        assert_eq!(
            event.metadata,
            vec![("a".into(), "2".into()), ("b".into(), "1".into())]
        );
        let entries = |count: usize| {
            let mut blocks = vec![];
            wire::put_i64(&mut blocks, count as i64);
            blocks.extend([0, 0].repeat(count));
            blocks.push(0);
            decode(&body_with_metadata(&blocks)).map(|event| event.metadata.len())
        };
        assert_eq!(entries(ENTRIES_READ), Ok(65));
        assert!(entries(ENTRIES_READ + 1).is_err());
        let mut endless = vec![];
        wire::put_i64(&mut endless, i64::MIN);
        wire::put_i64(&mut endless, i64::MAX);
        assert!(decode(&body_with_metadata(&endless)).is_err());
    }

    #[test]
    fn decimals_are_exact_whatever_their_length_or_scale() {
        for value in [
            0,
            1,
            -1,
            127,
            128,
            -128,
            -129,
            999_999_999_999_999_999,
            -999_999_999_999_999_999,
        ] {
            let amount = Amount::from_millionths(value).unwrap();
            let mut out = vec![];
            put_amount(&mut out, Some(amount));
            assert_eq!(decimal(&out[2..], 6), Ok(amount), "{value}");
            assert_eq!(
                decimal(&i128::from(value).to_be_bytes(), 6),
                Ok(amount),
                "{value}"
            );
        }
        assert_eq!(
            decimal(&[0x04, 0xe2], 2),
            Ok(Amount::from_millionths(12_500_000).unwrap())
        );
        assert_eq!(decimal(&[100], 8), Ok(Amount::from_millionths(1).unwrap()));
        assert!(decimal(&[101], 8).is_err());
        assert_eq!(decimal(&[0], 2_000_000_000).map(Amount::millionths).ok(), None);
        assert!(decimal(&[], 6).is_err());
        assert!(decimal(&[0; 17], 6).is_err());
        assert!(decimal(&1_000_000_000_000_000_000_i64.to_be_bytes(), 6).is_err());
    }
}
