//! The limits of an event and of what is made of it. A limit is part of the contract: a larger one is a
//! compatible change, a smaller one is not.

/// Largest idempotency key, in bytes.
pub const KEY_BYTES: usize = 256;
/// Largest user id, in bytes.
pub const USER_BYTES: usize = 256;
/// Largest event type, in bytes.
pub const TYPE_BYTES: usize = 128;
/// Largest tenant, in bytes.
pub const TENANT_BYTES: usize = 128;
/// Most metadata entries of one event.
pub const METADATA_ENTRIES: usize = 64;
/// Most bytes of metadata, keys and values together.
pub const METADATA_BYTES: usize = 16 * 1024;
/// Largest encoded event, in bytes. The topic takes [`RECORD_BYTES`], so that what is too large can be dead-lettered.
pub const EVENT_BYTES: usize = 64 * 1024;
/// Largest fact of an upload, in bytes: room for the places of 10,000 partitions.
pub const FACT_BYTES: usize = 512 * 1024;
/// Largest record that the topic `events` takes, in bytes.
pub const RECORD_BYTES: usize = 1024 * 1024;
/// Largest record of the topic `dead-letters`: an event record and its context.
pub const DEAD_LETTER_BYTES: usize = RECORD_BYTES + 64 * 1024;
/// Largest part of a commit record, in bytes: below the broker's default of 1 MiB with room for headers.
pub const COMMIT_PART_BYTES: usize = 900 * 1024;
/// Largest detail text of an exception, in bytes.
pub const DETAIL_BYTES: usize = 200;
/// How far ahead of its acceptance an event may lie, in microseconds: 24 hours.
pub const FUTURE_MICROS: i64 = 24 * 3600 * 1_000_000;
/// First year an event may lie in.
pub const FIRST_YEAR: i32 = 1970;
/// Last year an event may lie in.
pub const LAST_YEAR: i32 = 2200;
/// Most event types of one tenant in one source partition.
pub const TYPES: usize = 1000;
