//! The bytes of the embedded store's keys and values.
//!
//! A key is a tag, then the view's primary key: texts end with 00 00 and a 00 inside is 00 FF, numbers are big-endian. So
//! byte order is the order of the same rows in CQL, and a partition is a prefix. A value is the version in 8 bytes, then the
//! blob. Fixed for ever within a layout: [`LAYOUT`] names it.

use crate::Error;
use schemas::row::{LetterPlace, Row, RowKey, View};
use schemas::{Day, Offset, Partition};
use uuid::Uuid;

/// The layout that this release reads and writes.
pub(super) const LAYOUT: u8 = 1;
/// Bytes of the version before a value's blob.
const VERSION_BYTES: usize = 8;

/// Stands for the offset of a fact where a row is an upload's ledger.
const LEDGER: i64 = -1;
/// Stands for the partition and the offset of a redriven copy where a row is the dead letter itself.
const LETTER: i64 = -1;

const META: u8 = 0;
const PROGRESS: u8 = 4;

/// The tag of a view's rows.
fn tag(view: View) -> u8 {
    match view {
        View::Days => 1,
        View::Users => 2,
        View::DeadLetters => 3,
        View::Uploads => 5,
        View::Distinct => 6,
        View::Progress => PROGRESS,
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    if text.as_bytes().contains(&0) {
        for byte in text.bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(0xff);
            }
        }
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&[0, 0]);
}

/// Milliseconds so that byte order is the order of signed numbers.
fn put_signed(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&(number ^ i64::MIN).to_be_bytes());
}

/// Appends the key of a row.
pub(super) fn put_row(out: &mut Vec<u8>, row: &Row) {
    match &row.key {
        RowKey::Day {
            tenant,
            day,
            event_type,
        } => {
            put_day(out, tenant, *day);
            put_text(out, event_type);
            out.extend_from_slice(&row.partition.0.to_be_bytes());
        }
        RowKey::Distinct {
            tenant,
            day,
            event_type,
        } => {
            put_distinct(out, tenant, *day);
            put_text(out, event_type);
            out.extend_from_slice(&row.partition.0.to_be_bytes());
        }
        RowKey::User { tenant, user, day } => {
            put_user(out, tenant, user, *day);
            out.extend_from_slice(&row.partition.0.to_be_bytes());
        }
        RowKey::DeadLetter { tenant, day, .. } | RowKey::Redrive { tenant, day, .. } => {
            put_dead_letters(out, tenant, *day);
            if let Some(place) = LetterPlace::of(row) {
                put_letter_place(out, place);
            }
        }
        RowKey::Upload {
            tenant,
            day,
            upload,
            fact,
        } => {
            put_upload(out, tenant, *day, *upload);
            out.extend_from_slice(&row.partition.0.to_be_bytes());
            // As CQL's -1 for a ledger: before all facts.
            put_signed(out, fact.map_or(LEDGER, |offset| offset.0 as i64));
        }
    }
}

/// Appends the prefix of a tenant's day.
pub(super) fn put_day(out: &mut Vec<u8>, tenant: &str, day: Day) {
    out.push(tag(View::Days));
    put_text(out, tenant);
    out.extend_from_slice(&day.0.to_be_bytes());
}

/// Appends the prefix of a tenant's distinct users of a day.
pub(super) fn put_distinct(out: &mut Vec<u8>, tenant: &str, day: Day) {
    out.push(tag(View::Distinct));
    put_text(out, tenant);
    out.extend_from_slice(&day.0.to_be_bytes());
}

/// Appends the prefix of a tenant's users.
pub(super) fn put_users(out: &mut Vec<u8>, tenant: &str) {
    out.push(tag(View::Users));
    put_text(out, tenant);
}

/// Appends the prefix of a user's day.
pub(super) fn put_user(out: &mut Vec<u8>, tenant: &str, user: &str, day: Day) {
    put_users(out, tenant);
    put_text(out, user);
    out.extend_from_slice(&day.0.to_be_bytes());
}

/// Appends the prefix of a tenant's dead letters of a day.
pub(super) fn put_dead_letters(out: &mut Vec<u8>, tenant: &str, day: Day) {
    out.push(tag(View::DeadLetters));
    put_text(out, tenant);
    out.extend_from_slice(&day.0.to_be_bytes());
}

/// Appends the prefix of an upload.
pub(super) fn put_upload(out: &mut Vec<u8>, tenant: &str, day: Day, upload: Uuid) {
    out.push(tag(View::Uploads));
    put_text(out, tenant);
    out.extend_from_slice(&day.0.to_be_bytes());
    out.extend_from_slice(upload.as_bytes());
}

/// Appends a row's place behind [`put_dead_letters`]. As CQL's -1 for the letter itself: before all tries to redrive it.
pub(super) fn put_letter_place(out: &mut Vec<u8>, place: LetterPlace) {
    put_signed(out, place.accepted_ms);
    out.extend_from_slice(&place.partition.0.to_be_bytes());
    out.extend_from_slice(&place.offset.0.to_be_bytes());
    let (partition, offset) = place.copy.map_or((LETTER, LETTER), |(partition, offset)| {
        // Beyond what CQL can hold is behind all that is there.
        let offset = i64::try_from(offset.0).unwrap_or(i64::MAX);
        (i64::from(partition.0), offset)
    });
    put_signed(out, partition);
    put_signed(out, offset);
}

/// The prefix of all rows of a view.
pub(super) fn rows(view: View) -> Vec<u8> {
    vec![tag(view)]
}

/// The prefix of a view's progress rows.
pub(super) fn progress_rows(view: View) -> Vec<u8> {
    vec![PROGRESS, tag(view)]
}

/// The key of a view's progress in a partition.
pub(super) fn progress(view: View, partition: Partition) -> Vec<u8> {
    let mut key = progress_rows(view);
    key.extend_from_slice(&partition.0.to_be_bytes());
    key
}

/// The partition of a progress key.
pub(super) fn read_progress(key: &[u8]) -> Result<Partition, Error> {
    let mut rest = key.get(2..).unwrap_or_default();
    let partition = Partition(u32::from_be_bytes(take(&mut rest)?));
    done(rest)?;
    Ok(partition)
}

/// The key of the layout's number.
pub(super) fn layout() -> Vec<u8> {
    vec![META, 0]
}

/// The prefix of the keys of [`high`].
pub(super) fn highs() -> Vec<u8> {
    vec![META, 1]
}

/// The key of the highest version that a partition's rows may have on disk.
pub(super) fn high(partition: Partition) -> Vec<u8> {
    let mut key = highs();
    key.extend_from_slice(&partition.0.to_be_bytes());
    key
}

/// The key that the start-up probe writes.
pub(super) fn probe() -> Vec<u8> {
    vec![META, 2]
}

/// Appends a value.
pub(super) fn put_value(out: &mut Vec<u8>, version: u64, blob: &[u8]) {
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(blob);
}

/// A value's version and blob.
pub(super) fn read_value(value: &[u8]) -> Result<(u64, &[u8]), Error> {
    let (version, blob) = value.split_first_chunk::<VERSION_BYTES>().ok_or_else(malformed)?;
    Ok((u64::from_be_bytes(*version), blob))
}

/// The row of a key and a value.
pub(super) fn read_row(key: &[u8], value: &[u8]) -> Result<Row, Error> {
    let (version, blob) = read_value(value)?;
    let mut rest = key;
    let [tag] = take(&mut rest)?;
    let (key, partition) = match tag {
        1 => {
            let (tenant, day) = (take_text(&mut rest)?, take_day(&mut rest)?);
            let event_type = take_text(&mut rest)?;
            (
                RowKey::Day {
                    tenant,
                    day,
                    event_type,
                },
                take_partition(&mut rest)?,
            )
        }
        2 => {
            let (tenant, user) = (take_text(&mut rest)?, take_text(&mut rest)?);
            let day = take_day(&mut rest)?;
            (RowKey::User { tenant, user, day }, take_partition(&mut rest)?)
        }
        3 => {
            let (tenant, day) = (take_text(&mut rest)?, take_day(&mut rest)?);
            let accepted_ms = i64::from_be_bytes(take(&mut rest)?) ^ i64::MIN;
            let partition = take_partition(&mut rest)?;
            let offset = Offset(u64::from_be_bytes(take(&mut rest)?));
            let q = i64::from_be_bytes(take(&mut rest)?) ^ i64::MIN;
            let copy = i64::from_be_bytes(take(&mut rest)?) ^ i64::MIN;
            if (q, copy) == (LETTER, LETTER) {
                let key = RowKey::DeadLetter {
                    tenant,
                    day,
                    accepted_ms,
                    offset,
                };
                (key, partition)
            } else {
                let key = RowKey::Redrive {
                    tenant,
                    day,
                    accepted_ms,
                    letter: partition,
                    offset,
                    copy: Offset(u64::try_from(copy).map_err(|_| malformed())?),
                };
                (key, Partition(u32::try_from(q).map_err(|_| malformed())?))
            }
        }
        5 => {
            let (tenant, day) = (take_text(&mut rest)?, take_day(&mut rest)?);
            let upload = Uuid::from_bytes(take(&mut rest)?);
            let partition = take_partition(&mut rest)?;
            let offset = i64::from_be_bytes(take(&mut rest)?) ^ i64::MIN;
            let key = RowKey::Upload {
                tenant,
                day,
                upload,
                fact: (offset != LEDGER).then_some(Offset(offset as u64)),
            };
            (key, partition)
        }
        6 => {
            let (tenant, day) = (take_text(&mut rest)?, take_day(&mut rest)?);
            let event_type = take_text(&mut rest)?;
            let key = RowKey::Distinct {
                tenant,
                day,
                event_type,
            };
            (key, take_partition(&mut rest)?)
        }
        _ => return Err(malformed()),
    };
    done(rest)?;
    Ok(Row {
        key,
        partition,
        version: Offset(version),
        value: blob.to_vec(),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (bytes, behind) = rest.split_first_chunk::<N>().ok_or_else(malformed)?;
    *rest = behind;
    Ok(*bytes)
}

fn take_day(rest: &mut &[u8]) -> Result<Day, Error> {
    take(rest).map(|bytes| Day(u32::from_be_bytes(bytes)))
}

fn take_partition(rest: &mut &[u8]) -> Result<Partition, Error> {
    take(rest).map(|bytes| Partition(u32::from_be_bytes(bytes)))
}

fn take_text(rest: &mut &[u8]) -> Result<String, Error> {
    let mut text = Vec::new();
    loop {
        let zero = rest.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
        let (plain, behind) = rest.split_at(zero);
        text.extend_from_slice(plain);
        *rest = behind;
        match take::<2>(rest)? {
            [0, 0] => return String::from_utf8(text).map_err(|_| malformed()),
            [0, 0xff] => text.push(0),
            _ => return Err(malformed()),
        }
    }
}

fn done(rest: &[u8]) -> Result<(), Error> {
    if rest.is_empty() { Ok(()) } else { Err(malformed()) }
}

fn malformed() -> Error {
    Error::Wrong("a row of the embedded view store is malformed: delete the folder, the views are made again from the log".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
