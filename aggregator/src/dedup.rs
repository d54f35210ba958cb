//! The dedup index: every key that was ever counted, exactly. An open-addressing set in memory of 24 bytes a key; beyond
//! its budget all of it moves to the local folder as one sorted run behind a filter, and memory starts empty.
//!
//! The filter only saves a look; it never decides. Nothing is ever forgotten.

use crate::spill::{Space, Spill, SpillError};
use hashbrown::HashTable;
use schemas::commit::Fresh;
use schemas::key::Fingerprint;

/// Bytes that one key takes in the set: 24 and a control byte at a load of at most 7/8.
const BYTES_A_KEY: usize = 29;
/// Capacity below which memory is not worth budgeting.
const LEAST_KEYS: usize = 1024;

/// Every key that was ever counted in one source partition.
#[derive(Debug)]
pub struct Dedup {
    memory: HashTable<Packed>,
    most_in_memory: usize,
    spill: Spill,
    space: Option<Space>,
    runs: Vec<Filter>,
    spilled: u64,
    /// Entries in memory or on disk that stand before an older one of the same key.
    replaced: u64,
}

/// An entry as three words: the fingerprint's low and high half, and content, quarter-hour and flag.
#[derive(Clone, Copy, Debug)]
struct Packed([u64; 3]);

impl Packed {
    fn new(fresh: Fresh) -> Self {
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(fresh.to_bytes().chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(bytes);
            *word = u64::from_le_bytes(eight);
        }
        Self(words)
    }

    fn to_bytes(self) -> [u8; Fresh::BYTES] {
        let mut bytes = [0; Fresh::BYTES];
        for (eight, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            eight.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn fingerprint(self) -> Fingerprint {
        Fingerprint(u128::from(self.0[0]) | u128::from(self.0[1]) << 64)
    }

    fn hash(self) -> u64 {
        self.0[0]
    }
}

impl Dedup {
    /// An empty index that keeps at most `memory_bytes` in memory.
    pub fn new(memory_bytes: usize, spill: Spill) -> Self {
        Self {
            memory: HashTable::new(),
            most_in_memory: (memory_bytes / BYTES_A_KEY).max(LEAST_KEYS),
            spill,
            space: None,
            runs: Vec::new(),
            spilled: 0,
            replaced: 0,
        }
    }

    /// What is remembered of a key.
    pub fn get(&self, fingerprint: Fingerprint) -> Result<Option<Fresh>, SpillError> {
        let hash = fingerprint.0 as u64;
        if let Some(packed) = self
            .memory
            .find(hash, |packed| packed.fingerprint() == fingerprint)
        {
            return Ok(Some(Fresh::from_bytes(&packed.to_bytes())));
        }
        match &self.space {
            Some(space) if self.runs.iter().any(|run| run.may_hold(fingerprint)) => {
                let Some(value) = space.get(&fingerprint.0.to_le_bytes())? else {
                    return Ok(None);
                };
                let mut bytes = [0; Fresh::BYTES];
                let (first, second) = bytes.split_at_mut(16);
                first.copy_from_slice(&fingerprint.0.to_le_bytes());
                if value.len() != second.len() {
                    return Err(SpillError::from(fjall::Error::Poisoned));
                }
                second.copy_from_slice(&value);
                Ok(Some(Fresh::from_bytes(&bytes)))
            }
            _ => Ok(None),
        }
    }

    /// Remembers a key that is not remembered yet.
    pub fn insert(&mut self, fresh: Fresh) -> Result<(), SpillError> {
        let full = self.memory.len() == self.memory.capacity();
        if full && self.memory.len() >= LEAST_KEYS && self.memory.len() * 2 > self.most_in_memory {
            self.move_out()?;
        }
        let packed = Packed::new(fresh);
        self.memory
            .insert_unique(packed.hash(), packed, |packed| packed.hash());
        Ok(())
    }

    /// Remembers something else of a key that is remembered.
    pub fn replace(&mut self, fresh: Fresh) -> Result<(), SpillError> {
        let packed = Packed::new(fresh);
        let same = |known: &Packed| known.fingerprint() == fresh.fingerprint;
        if let Some(known) = self.memory.find_mut(packed.hash(), same) {
            *known = packed;
            return Ok(());
        }
        // What is in memory stands before what is on disk, and goes on top of it when it moves there.
        self.replaced += 1;
        self.insert(fresh)
    }

    /// Keys remembered.
    pub fn len(&self) -> u64 {
        (self.spilled + self.memory.len() as u64).saturating_sub(self.replaced)
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory in use: the set and the filters.
    pub fn memory_bytes(&self) -> usize {
        self.memory.allocation_size() + self.runs.iter().map(|run| run.blocks.len() * 64).sum::<usize>()
    }

    /// Keys that moved to the local folder.
    pub fn spilled(&self) -> u64 {
        self.spilled
    }

    fn move_out(&mut self) -> Result<(), SpillError> {
        let mut entries: Vec<[u8; Fresh::BYTES]> =
            self.memory.iter().map(|packed| packed.to_bytes()).collect();
        entries.sort_unstable();
        let mut filter = Filter::new(entries.len());
        for packed in &self.memory {
            filter.add(packed.fingerprint());
        }
        let space = match self.space.take() {
            Some(space) => space,
            None => self.spill.space()?,
        };
        space.ingest(entries.iter().map(|entry| entry.split_at(16)))?;
        self.space = Some(space);
        self.spilled += entries.len() as u64;
        self.runs.push(filter);
        self.memory.clear();
        Ok(())
    }
}

/// A Bloom filter in blocks of one cache line: about 10 bits and one miss of the cache a look.
#[derive(Debug)]
struct Filter {
    blocks: Vec<[u64; 8]>,
}

const BITS_A_KEY: usize = 10;
const BITS_A_BLOCK: usize = 512;
const PROBES: u32 = 6;

impl Filter {
    fn new(keys: usize) -> Self {
        Self {
            blocks: vec![[0; 8]; (keys * BITS_A_KEY).div_ceil(BITS_A_BLOCK).max(1)],
        }
    }

    fn add(&mut self, fingerprint: Fingerprint) {
        let index = self.block(fingerprint);
        if let Some(block) = self.blocks.get_mut(index) {
            for (word, bit) in probes(fingerprint) {
                if let Some(word) = block.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    fn may_hold(&self, fingerprint: Fingerprint) -> bool {
        self.blocks.get(self.block(fingerprint)).is_none_or(|block| {
            probes(fingerprint).all(|(word, bit)| block.get(word).is_none_or(|word| word & bit != 0))
        })
    }

    fn block(&self, fingerprint: Fingerprint) -> usize {
        // The high half, scaled to the number of blocks, so that the low half is free for the set.
        (((fingerprint.0 >> 64) * self.blocks.len() as u128) >> 64) as usize
    }
}

/// Word and bit of each probe in a block: nine bits of the fingerprint's low half each.
fn probes(fingerprint: Fingerprint) -> impl Iterator<Item = (usize, u64)> {
    let bits = fingerprint.0 as u64;
    (0..PROBES).map(move |probe| {
        let nine = bits >> (probe * 9) & 511;
        ((nine >> 6) as usize, 1 << (nine & 63))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use schemas::Quarter;
    use schemas::key::ContentHash;

    fn fresh(number: u128) -> Fresh {
        // Any bijection that spreads the bits, as the keyed hash does.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ number << 77;
        Fresh {
            fingerprint: Fingerprint(spread),
            content: ContentHash::from_low_bits(number as u64),
            quarter: Quarter(number as u32 & 0xffff),
            reversed: false,
        }
    }

    #[test]
    fn a_folder_in_use_is_refused_and_not_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::open(&folder.path().join("spill")).unwrap();
        let mut dedup = Dedup::new(0, spill);
        for number in 0..5_000 {
            dedup.insert(fresh(number)).unwrap();
        }
        assert!(Spill::open(&folder.path().join("spill")).is_err());
        assert_eq!(dedup.get(fresh(0).fingerprint).unwrap(), Some(fresh(0)));
        drop(dedup);
        assert!(Spill::open(&folder.path().join("spill")).is_ok());
    }

    #[test]
    fn what_moved_out_of_memory_is_remembered_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut dedup = Dedup::new(64 * 1024, Spill::open(&folder.path().join("spill")).unwrap());
        for number in 0..50_000 {
            assert_eq!(dedup.get(fresh(number).fingerprint).unwrap(), None);
            dedup.insert(fresh(number)).unwrap();
        }
        assert!(dedup.spilled() > 40_000, "{} keys moved out", dedup.spilled());
        assert_eq!(dedup.len(), 50_000);
        for number in 0..50_000 {
            assert_eq!(dedup.get(fresh(number).fingerprint).unwrap(), Some(fresh(number)));
        }
        for number in 50_000..60_000 {
            assert_eq!(dedup.get(fresh(number).fingerprint).unwrap(), None);
        }
        let reversed = |number| Fresh {
            reversed: true,
            ..fresh(number)
        };
        for number in (0..50_000).step_by(3) {
            dedup.replace(reversed(number)).unwrap();
        }
        assert_eq!(dedup.len(), 50_000);
        for number in 0..50_000 {
            let expected = if number % 3 == 0 {
                reversed(number)
            } else {
                fresh(number)
            };
            assert_eq!(
                dedup.get(expected.fingerprint).unwrap(),
                Some(expected),
                "{number}"
            );
        }
    }
}
