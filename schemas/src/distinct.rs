//! Distinct users: a sketch of one type's users on one UTC day, and the union of many. HyperLogLog with 4,096 registers, of
//! Apache's crate `datasketches`: what is estimated is off by 1.6 % (one standard deviation), and almost exact up to 384 users.
//!
//! One set of users has one text of bytes, in whatever order and in however many pieces it was added, and whether it was
//! written and read in between. The crate's own bytes are not like that: they hold coupons in the order of a hash table,
//! and registers beside a sum that depends on the order of what was added. So coupons are sorted here, and that sum is left
//! out; the estimate is then made of the registers alone, as it is for every union.
//!
//! Layout, version 1: `1 | sketch`, the sketch as all libraries of datasketches.apache.org read it (HLL_6, lg_k 12; the hash
//! is of the user id's bytes, with their default seed). A sketch cannot forget: a user whose event was taken back stays.

use crate::wire::{Malformed, Reader};
use datasketches::common::NumStdDev;
use datasketches::hash::value::raw_bytes;
use datasketches::hll::{HllSketch, HllType, HllUnion};

const VERSION: u8 = 1;
/// Binary logarithm of the number of registers: 3 KiB where all are in use.
const LG_K: u8 = 12;
/// Why a sketch and a union can be made.
const LG_K_FITS: &str = "12 lies between 4 and 21";
/// How far an estimate is off, in percent: one standard deviation of a union of this many registers.
pub const ERROR_PERCENT: f64 = 1.6;

/// Bytes before the coupons of a list and of a set; the flags, the mode, and the sum that is left out.
const LIST_HEAD: usize = 8;
const SET_HEAD: usize = 12;
const FLAGS: usize = 5;
const MODE: usize = 7;
const SUM: std::ops::Range<usize> = 8..16;
/// The flag of a sketch without that sum.
const WITHOUT_SUM: u8 = 16;

/// The users of one type on one UTC day.
#[derive(Clone, Debug, PartialEq)]
pub struct Distinct(HllSketch);

/// The users of many sketches together.
#[derive(Clone, Debug)]
pub struct Union(HllUnion);

/// How many users there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The estimate.
    pub users: u64,
    /// With 95 %, at least so many.
    pub low: u64,
    /// With 95 %, at most so many.
    pub high: u64,
}

impl Default for Distinct {
    fn default() -> Self {
        Self(HllSketch::new(LG_K, HllType::Hll6).expect(LG_K_FITS))
    }
}

impl Distinct {
    /// Adds a user; one that was added before changes nothing.
    pub fn add(&mut self, user: &str) {
        self.0.update(raw_bytes::from_str(user));
    }

    /// The bytes of a row.
    pub fn encode(&self) -> Vec<u8> {
        let mut sketch = self.0.serialize();
        canonical(&mut sketch);
        sketch.insert(0, VERSION);
        sketch
    }

    /// Reads the bytes of a row.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "sketch of users");
        if reader.byte()? != VERSION {
            return Err(reader.malformed());
        }
        let malformed = reader.malformed();
        let sketch = reader.take(reader.remaining())?;
        let read = HllSketch::deserialize(sketch).map_err(|_| malformed.clone())?;
        let is_ours = read.lg_config_k() == LG_K && read.target_type() == HllType::Hll6;
        // The crate reads over what stands behind a sketch.
        match is_ours && read.serialize().len() == sketch.len() {
            true => Ok(Self(read)),
            false => Err(malformed),
        }
    }
}

impl Default for Union {
    fn default() -> Self {
        Self(HllUnion::new(LG_K).expect(LG_K_FITS))
    }
}

impl Union {
    /// Adds the users of a sketch.
    pub fn add(&mut self, sketch: &Distinct) {
        self.0.update(&sketch.0);
    }

    /// Adds the users of another union.
    pub fn merge(&mut self, other: &Self) {
        self.0.update(&other.0.to_sketch(HllType::Hll8));
    }

    /// How many users there are in all.
    pub fn estimate(&self) -> Estimate {
        let union = Distinct(self.0.to_sketch(HllType::Hll6));
        // Small sketches that outgrow their coupons in a union leave it the sum that depends on their order.
        let Distinct(union) = Distinct::decode(&union.encode()).unwrap_or(union);
        // The true number is whole, so the bounds may be drawn in to whole numbers.
        let low = union.lower_bound(NumStdDev::Two).ceil() as u64;
        let high = (union.upper_bound(NumStdDev::Two).floor() as u64).max(low);
        Estimate {
            users: (union.estimate().round() as u64).clamp(low, high),
            low,
            high,
        }
    }
}

/// Makes the crate's bytes those of the set alone.
fn canonical(sketch: &mut [u8]) {
    match sketch.get(MODE).map(|mode| mode & 3) {
        Some(0) => sort(sketch.get_mut(LIST_HEAD..)),
        Some(1) => sort(sketch.get_mut(SET_HEAD..)),
        _ => {
            if let Some(flags) = sketch.get_mut(FLAGS) {
                *flags |= WITHOUT_SUM;
            }
            if let Some(sum) = sketch.get_mut(SUM) {
                sum.fill(0);
            }
        }
    }
}

/// Puts coupons of 4 bytes in the order of their bytes.
fn sort(coupons: Option<&mut [u8]>) {
    if let Some(coupons) = coupons {
        coupons.as_chunks_mut::<4>().0.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(users: impl Iterator<Item = u64>) -> Distinct {
        let mut sketch = Distinct::default();
        users.for_each(|user| sketch.add(&format!("user-{user}")));
        sketch
    }

    fn estimate(sketches: &[Distinct]) -> Estimate {
        let mut union = Union::default();
        sketches.iter().for_each(|sketch| union.add(sketch));
        union.estimate()
    }

    #[test]
    fn the_true_number_of_users_lies_within_the_bounds() {
        for count in [0, 1, 10, 384, 385, 1_000, 100_000] {
            let found = estimate(&[of(0..count)]);
            assert!(
                found.low <= count && count <= found.high,
                "{count} users are estimated as {found:?}"
            );
            let width = (found.high - found.low) as f64;
            // Two standard deviations to either side, and some more where registers are few.
            assert!(width <= count as f64 * 0.08, "{count}: {found:?}");
        }
        let one = Estimate {
            users: 1,
            low: 1,
            high: 1,
        };
        assert_eq!(estimate(&[of(0..1)]), one);
        assert_eq!(estimate(&[]).users, 0);
    }

    #[test]
    fn users_of_several_partitions_are_merged_as_if_they_had_come_to_one() {
        for count in [1, 10, 600, 1_000, 100_000] {
            // Partitions overlap by half: a user's keys are in any of them.
            let parts: Vec<Distinct> = (0..4)
                .map(|part| of((0..count).filter(|user| user % 4 == part || user % 8 < 4)))
                .collect();
            assert_eq!(estimate(&parts), estimate(&[of(0..count)]), "{count}");
            let reversed: Vec<Distinct> = parts.iter().rev().cloned().collect();
            assert_eq!(estimate(&reversed), estimate(&parts), "{count}");
            let (mut whole, mut half) = (Union::default(), Union::default());
            parts.iter().take(2).for_each(|sketch| whole.add(sketch));
            parts.iter().skip(2).for_each(|sketch| half.add(sketch));
            whole.merge(&half);
            assert_eq!(whole.estimate(), estimate(&parts), "{count}");
        }
    }

    #[test]
    fn one_set_of_users_has_one_text_of_bytes() {
        for count in [0, 1, 7, 8, 9, 24, 25, 100, 384, 385, 386, 2_000, 20_000] {
            let straight = of(0..count).encode();
            let backwards = of((0..count).rev().chain(0..count)).encode();
            assert!(straight == backwards, "{count}: the order shows");
            // Written and read again behind every 37 users, as a row that is spilled.
            let mut spilled = Distinct::default();
            for user in (0..count).map(|user| user * 7919 % count.max(1)).chain(0..count) {
                spilled.add(&format!("user-{user}"));
                if user % 37 == 0 {
                    spilled = Distinct::decode(&spilled.encode()).unwrap();
                }
            }
            assert!(spilled.encode() == straight, "{count}: spilling shows");
            assert!(straight.len() <= 3_200, "{} bytes", straight.len());
        }
    }

    #[test]
    fn what_is_no_sketch_of_ours_is_malformed() {
        let bytes = of(0..2_000).encode();
        assert!(Distinct::decode(&bytes).is_ok());
        for end in [0, 1, 5, 8, 40, bytes.len() - 1] {
            assert!(
                Distinct::decode(bytes.get(..end).unwrap()).is_err(),
                "cut at {end}"
            );
        }
        let other = HllSketch::new(10, HllType::Hll6).unwrap().serialize();
        assert!(Distinct::decode(&[vec![VERSION], other].concat()).is_err());
        let mut later = bytes;
        if let Some(version) = later.first_mut() {
            *version = 2;
        }
        assert!(Distinct::decode(&later).is_err());
    }
}
