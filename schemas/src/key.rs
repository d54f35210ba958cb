//! What a key decides: the partition of its events, and the fingerprint under which they are remembered.
//!
//! Fingerprint and content hash are keyed with the generation's secret, so that nobody who chooses keys can make
//! two of them meet. SipHash-2-4 is made for that and fast on short input.

use crate::{Event, Offset, Partition};
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher24x128};
use std::hash::Hasher;

/// The secret of a generation: 32 random bytes, made by `migrate`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The keyed 128-bit hash of (tenant, idempotency key).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u128);

/// The keyed 40-bit hash of an event's content: tells a duplicate from a key conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(u64);

impl ContentHash {
    const MASK: u64 = (1 << 40) - 1;

    /// The content hash held in the low 40 bits.
    pub fn from_low_bits(bits: u64) -> Self {
        Self(bits & Self::MASK)
    }

    /// The hash, below 2^40.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// Hashes under one generation's secret.
#[derive(Clone, Debug)]
pub struct Hashing {
    fingerprint: SipHasher24x128,
    content: SipHasher24,
}

impl Hashing {
    /// The hashing of a secret: its first half keys fingerprints, its second half content hashes.
    pub fn new(secret: &Secret) -> Self {
        let half = |bytes: &[u8]| {
            let mut key = [0; 16];
            key.copy_from_slice(bytes);
            key
        };
        let (first, second) = secret.0.split_at(16);
        Self {
            fingerprint: SipHasher24x128::new_with_key(&half(first)),
            content: SipHasher24::new_with_key(&half(second)),
        }
    }

    /// The fingerprint of a key within its tenant.
    pub fn fingerprint(&self, tenant: &str, key: &str) -> Fingerprint {
        let mut hasher = self.fingerprint;
        hasher.write(&(tenant.len() as u64).to_le_bytes());
        hasher.write(tenant.as_bytes());
        hasher.write(key.as_bytes());
        Fingerprint(hasher.finish128().as_u128())
    }

    /// The fingerprint of the copy of a held record: no key of a tenant has it, whose length is never this.
    pub fn copy(&self, partition: Partition, original: Offset) -> Fingerprint {
        let mut hasher = self.fingerprint;
        hasher.write(&u64::MAX.to_le_bytes());
        hasher.write(&partition.0.to_le_bytes());
        hasher.write(&original.0.to_le_bytes());
        Fingerprint(hasher.finish128().as_u128())
    }

    /// The fingerprint of a dead letter that had its effect through a redriven copy: no key of a tenant has it, and no held record's copy.
    pub fn redriven(&self, partition: Partition, letter: Offset) -> Fingerprint {
        let mut hasher = self.fingerprint;
        hasher.write(&(u64::MAX - 1).to_le_bytes());
        hasher.write(&partition.0.to_le_bytes());
        hasher.write(&letter.0.to_le_bytes());
        Fingerprint(hasher.finish128().as_u128())
    }

    /// The content hash: tenant, user, type, time unless assigned, amount, metadata.
    pub fn content(&self, event: &Event<'_>) -> ContentHash {
        let mut hasher = self.content;
        content_parts(event, |bytes| hasher.write(bytes));
        ContentHash::from_low_bits(hasher.finish())
    }
}

/// Feeds an event's content, unambiguously, to `write`.
fn content_parts(event: &Event<'_>, mut write: impl FnMut(&[u8])) {
    for text in [&event.tenant, &event.user_id, &event.event_type] {
        write(&(text.len() as u32).to_le_bytes());
        write(text.as_bytes());
    }
    let time = if event.occurred_at_assigned {
        i64::MIN
    } else {
        event.occurred_at.0
    };
    // i64::MIN millionths is beyond 18 digits, so it can stand for "no amount".
    let amount = event.amount.map_or(i64::MIN, crate::Amount::millionths);
    let mut numbers = [0; 16];
    let (first, second) = numbers.split_at_mut(8);
    first.copy_from_slice(&time.to_le_bytes());
    second.copy_from_slice(&amount.to_le_bytes());
    write(&numbers);
    for (name, value) in &event.metadata {
        for text in [name, value] {
            write(&(text.len() as u32).to_le_bytes());
            write(text.as_bytes());
        }
    }
}

/// Keeps the hashes of contents apart from all other uses of BLAKE3.
const CONTENT_KEY: &[u8; 32] = b"tidemark 2026 content key v1\0\0\0\0";
/// Keeps the hashes of batch rows apart from all other uses of BLAKE3.
const BATCH_KEY: &[u8; 32] = b"tidemark 2026 batch row key v1\0\0";
/// Keeps the hashes of CloudEvents apart from all other uses of BLAKE3.
const CLOUD_EVENT_KEY: &[u8; 32] = b"tidemark 2026 cloud event key v1";
/// Keeps the hashes of mended dead letters apart from all other uses of BLAKE3.
const REDRIVE_KEY: &[u8; 32] = b"tidemark 2026 redrive key v1\0\0\0\0";
/// Numbers that are tried for a mended letter's key: that none of them fits has a chance of e^-64.
const REDRIVE_TRIES: u32 = 64;

/// The key of an event that came with a time and without a key: 32 hex digits of BLAKE3 over its content, so that
/// sending the same file twice is harmless.
pub fn content_key(event: &Event<'_>) -> String {
    // One piece of bytes hashed at once costs a third of a hasher that is fed piece by piece.
    let mut content = Vec::with_capacity(256);
    content_parts(event, |bytes| content.extend_from_slice(bytes));
    hex_128(&blake3::keyed_hash(CONTENT_KEY, &content))
}

/// The key of row `row` (from 1) of a batch that came with an `Idempotency-Key` header.
pub fn batch_key(header: &str, row: u64) -> String {
    let mut content = Vec::with_capacity(8 + header.len());
    content.extend_from_slice(&row.to_le_bytes());
    content.extend_from_slice(header.as_bytes());
    hex_128(&blake3::keyed_hash(BATCH_KEY, &content))
}

/// The key of a CloudEvent: 32 hex digits of BLAKE3 over the length of its source (8 bytes, little-endian), its source and its id, so that
/// no two of these pairs read alike, and any length of them fits.
pub fn cloud_event_key(source: &str, id: &str) -> String {
    let mut content = Vec::with_capacity(8 + source.len() + id.len());
    content.extend_from_slice(&(source.len() as u64).to_le_bytes());
    content.extend_from_slice(source.as_bytes());
    content.extend_from_slice(id.as_bytes());
    hex_128(&blake3::keyed_hash(CLOUD_EVENT_KEY, &content))
}

/// The key of a mended dead letter: 32 hex digits of BLAKE3 over its place (partition in 4 bytes, offset in 8, little-endian) and the
/// first number (4 bytes) that brings the key to the letter's own partition, where a copy that was not mended lies too: so one lane
/// sees all tries of one letter.
pub fn redrive_key((partition, offset): (Partition, Offset), partitions: u32) -> String {
    let of_number = |number: u32| {
        let mut content = Vec::with_capacity(16);
        content.extend_from_slice(&partition.0.to_le_bytes());
        content.extend_from_slice(&offset.0.to_le_bytes());
        content.extend_from_slice(&number.to_le_bytes());
        hex_128(&blake3::keyed_hash(REDRIVE_KEY, &content))
    };
    let numbers = 0..partitions.max(1).saturating_mul(REDRIVE_TRIES);
    let mut keys = numbers.map(of_number);
    let belongs = |key: &String| self::partition(key.as_bytes(), partitions) == partition;
    keys.find(belongs).unwrap_or_else(|| of_number(0))
}

/// The first 128 bits of a hash as 32 hex digits.
fn hex_128(hash: &blake3::Hash) -> String {
    let mut hex = String::with_capacity(32);
    for byte in hash.as_bytes().iter().take(16) {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from(if digit < 10 {
                b'0' + digit
            } else {
                b'a' - 10 + digit
            }));
        }
    }
    hex
}

/// The partition of a key: murmur2 modulo the number of partitions, as Java's default partitioner has it.
pub fn partition(key: &[u8], partitions: u32) -> Partition {
    Partition((murmur2(key) & 0x7fff_ffff) % partitions.max(1))
}

/// murmur2 with Kafka's seed (`org.apache.kafka.common.utils.Utils#murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = [0; 4];
        word.copy_from_slice(chunk);
        let mut k = u32::from_le_bytes(word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::sample;

    #[test]
    fn murmur2_is_javas() {
        // The vectors of Kafka's own UtilsTest#testMurmur2.
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn the_content_is_all_but_the_key_and_where_it_came_from() {
        let hashing = Hashing::new(&Secret([7; 32]));
        let same = Event {
            idempotency_key: "other".into(),
            row: Some(9),
            ..sample()
        };
        assert_eq!(hashing.content(&sample()), hashing.content(&same));
        let assigned = |micros| Event {
            occurred_at: crate::Timestamp(micros),
            occurred_at_assigned: true,
            ..sample()
        };
        assert_eq!(hashing.content(&assigned(1)), hashing.content(&assigned(2)));
        for other in [
            Event {
                amount: None,
                ..sample()
            },
            Event {
                user_id: "u".into(),
                event_type: "1click".into(),
                ..sample()
            },
            Event {
                metadata: vec![],
                ..sample()
            },
        ] {
            assert_ne!(hashing.content(&sample()), hashing.content(&other));
            assert_ne!(content_key(&sample()), content_key(&other));
        }
    }

    #[test]
    fn a_cloud_event_is_known_by_its_source_and_id_together() {
        let key = cloud_event_key("/shop", "1");
        assert_eq!(key.len(), 32);
        assert_eq!(key, cloud_event_key("/shop", "1"));
        for (source, id) in [("/shop1", ""), ("/sho", "p1"), ("1", "/shop"), ("/shop", "2")] {
            assert_ne!(key, cloud_event_key(source, id), "{source} {id}");
        }
    }

    #[test]
    fn a_mended_letters_key_is_its_own_and_lies_in_its_partition() {
        let mut keys = std::collections::BTreeSet::new();
        for partitions in [1, 3, 64] {
            for number in 0..partitions {
                let key = redrive_key((Partition(number), Offset(u64::from(number) * 7)), partitions);
                assert_eq!(
                    (key.len(), partition(key.as_bytes(), partitions)),
                    (32, Partition(number))
                );
                keys.insert(key);
            }
        }
        // The first of one partition, of three and of 64 may be one and the same.
        assert!(keys.len() >= 66, "{}", keys.len());
        assert_ne!(
            redrive_key((Partition(0), Offset(1)), 4),
            redrive_key((Partition(0), Offset(2)), 4)
        );
        let hashing = Hashing::new(&Secret([7; 32]));
        assert_ne!(
            hashing.redriven(Partition(0), Offset(1)),
            hashing.copy(Partition(0), Offset(1))
        );
        assert_ne!(
            hashing.redriven(Partition(0), Offset(1)),
            hashing.redriven(Partition(0), Offset(2))
        );
    }

    #[test]
    fn tenants_do_not_share_keys() {
        let hashing = Hashing::new(&Secret([7; 32]));
        assert_ne!(hashing.fingerprint("a", "bc"), hashing.fingerprint("ab", "c"));
        let other = Hashing::new(&Secret([8; 32]));
        assert_ne!(hashing.fingerprint("a", "b"), other.fingerprint("a", "b"));
    }
}
