//! The making of a commit record: entries become bytes while the fold goes along, so that a batch holds no tree.

use super::{
    Counted, Exception, Fate, Head, Source, TAG_DEAD_LETTERED, TAG_DUPLICATE, TAG_HELD, TAG_NOTED,
    TAG_REPEATED, TAG_REROUTED,
};
use crate::redrive::Redriven;
use crate::{limits, wire};
use uuid::Uuid;

/// Collects a batch's conclusions as bytes while the fold goes along, in the order of offsets.
#[derive(Debug, Default)]
pub struct Entries {
    types: Vec<u8>,
    type_count: u32,
    uploads: Vec<u8>,
    upload_count: u32,
    counted: Vec<u8>,
    counted_count: u64,
    counted_last: u64,
    exceptions: Vec<u8>,
    exception_count: u64,
    exception_last: u64,
    redrives: Vec<u8>,
    redrive_count: u64,
    redrive_last: u64,
}

impl Entries {
    /// Adds an event type to the record's table and says its index.
    pub fn add_type(&mut self, tenant: &str, event_type: &str) -> u32 {
        wire::put_bytes(&mut self.types, tenant.as_bytes());
        wire::put_bytes(&mut self.types, event_type.as_bytes());
        self.type_count += 1;
        self.type_count - 1
    }

    /// Adds an upload to the record's table and says its index.
    pub fn add_upload(&mut self, tenant: &str, upload: Uuid) -> u32 {
        wire::put_bytes(&mut self.uploads, tenant.as_bytes());
        self.uploads.extend_from_slice(upload.as_bytes());
        self.upload_count += 1;
        self.upload_count - 1
    }

    /// Adds an event that changed the counts. Offsets must rise: what does not is refused when the record is read.
    pub fn add_counted(&mut self, counted: &Counted<'_>) {
        let out = &mut self.counted;
        wire::put_u64(out, counted.offset.0.saturating_sub(self.counted_last));
        out.extend_from_slice(&counted.fresh.to_bytes());
        wire::put_u64(out, u64::from(counted.type_index));
        wire::put_bytes(out, counted.user.as_bytes());
        let amount = counted.amount.map_or(0, |amount| {
            let value = amount.millionths();
            (((value << 1) ^ (value >> 63)) as u64) + 1
        });
        wire::put_u64(out, amount);
        put_source(out, counted.source);
        self.counted_last = counted.offset.0;
        self.counted_count += 1;
    }

    /// Adds a record that was not counted. Offsets must rise. A long detail is cut.
    pub fn add_exception(&mut self, exception: &Exception<'_>) {
        let out = &mut self.exceptions;
        wire::put_u64(out, exception.offset.0.saturating_sub(self.exception_last));
        match exception.fate {
            Fate::Duplicate => out.push(TAG_DUPLICATE),
            Fate::Rerouted(to) => {
                out.push(TAG_REROUTED);
                wire::put_u64(out, u64::from(to.0));
            }
            Fate::Repeated => out.push(TAG_REPEATED),
            Fate::Held => out.push(TAG_HELD),
            Fate::Noted(bytes) => {
                out.push(TAG_NOTED);
                wire::put_bytes(out, bytes);
            }
            Fate::DeadLettered(refusal) => {
                out.push(TAG_DEAD_LETTERED + refusal.reason as u8);
                wire::put_i64(out, refusal.accepted_ms);
                wire::put_bytes(out, prefix(refusal.tenant, limits::TENANT_BYTES).as_bytes());
                wire::put_bytes(out, prefix(refusal.user, limits::USER_BYTES).as_bytes());
                wire::put_bytes(out, prefix(refusal.detail, limits::DETAIL_BYTES).as_bytes());
                wire::put_u64(out, refusal.row.map_or(0, |row| row.saturating_add(1)));
            }
        }
        put_source(out, exception.source);
        self.exception_last = exception.offset.0;
        self.exception_count += 1;
    }

    /// Says that the record whose outcome was added last is a redriven copy. Offsets must rise.
    pub fn add_redriven(&mut self, redriven: &Redriven<'_>) {
        redriven.put(self.redrive_last, &mut self.redrives);
        self.redrive_last = redriven.copy.0;
        self.redrive_count += 1;
    }

    /// Bytes held so far.
    pub fn bytes(&self) -> usize {
        let tables = self.types.len() + self.uploads.len();
        tables + self.counted.len() + self.exceptions.len() + self.redrives.len()
    }

    /// The record's body.
    pub fn encode(&self, head: &Head) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + 256);
        head.encode(&mut out);
        wire::put_u64(&mut out, u64::from(self.type_count));
        out.extend_from_slice(&self.types);
        wire::put_u64(&mut out, u64::from(self.upload_count));
        out.extend_from_slice(&self.uploads);
        wire::put_u64(&mut out, self.counted_count);
        wire::put_bytes(&mut out, &self.counted);
        wire::put_u64(&mut out, self.exception_count);
        wire::put_bytes(&mut out, &self.exceptions);
        wire::put_u64(&mut out, self.redrive_count);
        out.extend_from_slice(&self.redrives);
        out
    }
}

fn put_source(out: &mut Vec<u8>, source: Option<Source>) {
    let Some(source) = source else {
        return out.push(0);
    };
    let is_copy = u64::from(source.copy_of.is_some());
    wire::put_u64(out, 1 + 2 * u64::from(source.upload_index) + is_copy);
    if let Some(original) = source.copy_of {
        wire::put_u64(out, original.0);
    }
}

/// The longest prefix of `text` that ends between characters and has at most `limit` bytes.
#[must_use]
pub fn prefix(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}
