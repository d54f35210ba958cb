//! Chance, the same on every machine and in every release: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), begun anew for
//! each row, and Walker's alias table for the users.

/// The increment of SplitMix64: odd, 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Draw {
    /// The stream of one row; `purpose` keeps streams of one row apart.
    pub(super) fn new(seed: u64, purpose: u64, row: u64) -> Self {
        let start = mix(seed.wrapping_add(purpose.wrapping_mul(STEP)));
        Self(mix(start ^ row.wrapping_mul(STEP)))
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number from 0 up to and without `end`; 0 where `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // The upper half of a product of two numbers of 64 bits fits 64 bits.
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number from 0 up to and without 1.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True every other time.
    pub(super) fn coin(&mut self) -> bool {
        self.bits() >> 63 == 1
    }
}

/// Draws a number from 0 by Zipf's law with one look, however many there are (Vose, IEEE TSE 1991).
#[derive(Debug)]
pub(super) struct Zipf {
    /// The share of 2^32 of a place that is its own, and whose the rest is.
    places: Vec<(u32, u32)>,
}

impl Zipf {
    /// The law for `count` numbers.
    pub(super) fn new(count: u32, exponent: f64) -> Self {
        let weights: Vec<f64> = (1..=count).map(|rank| f64::from(rank).powf(-exponent)).collect();
        let mean = weights.iter().sum::<f64>() / f64::from(count.max(1));
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut places: Vec<(u32, u32)> = (0..count).map(|place| (u32::MAX, place)).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|place| shares.get(*place as usize).is_some_and(|share| *share < 1.0));
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            let share = shares.get(poor as usize).copied().unwrap_or(1.0);
            if let Some(place) = places.get_mut(poor as usize) {
                *place = ((share * f64::from(u32::MAX)) as u32, rich);
            }
            if let Some(left) = shares.get_mut(rich as usize) {
                *left -= 1.0 - share;
                if *left < 1.0 {
                    small.push(rich)
                } else {
                    large.push(rich)
                }
            }
        }
        Self { places }
    }

    /// A number from 0 up to and without the count; 0 is the most frequent.
    pub(super) fn draw(&self, draw: &mut Draw) -> u32 {
        let place = draw.below(self.places.len() as u64);
        let rest = (draw.bits() >> 32) as u32;
        match self.places.get(place as usize) {
            Some((own, _)) if rest <= *own => place as u32,
            Some((_, other)) => *other,
            None => 0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_are_drawn_as_often_as_zipfs_law_says() {
        let zipf = Zipf::new(1000, 1.1);
        let total: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-1.1)).sum();
        let mut counts = vec![0_u32; 1000];
        let mut draw = Draw::new(7, 0, 0);
        for _ in 0..200_000 {
            counts[zipf.draw(&mut draw) as usize] += 1;
        }
        for rank in [1, 2, 10, 100] {
            let expected = 200_000.0 * f64::from(rank).powf(-1.1) / total;
            let found = f64::from(counts[rank as usize - 1]);
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt(),
                "{rank}: {found} of {expected}"
            );
        }
    }
}
