//! Which open transactions hang, by looks at where the first one of each partition begins. Pure.

use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::fmt;

/// A topic that lanes write in transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Written {
    /// Commit records.
    Changelog,
    /// Copies of dead letters.
    DeadLetters,
}

/// A partition of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) topic: Written,
    pub(super) partition: Partition,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = match self.topic {
            Written::Changelog => "changelog",
            Written::DeadLetters => "dead letters",
        };
        write!(f, "{topic} {}", self.partition)
    }
}

/// What is known of open transactions.
#[derive(Debug, Default)]
pub(super) struct Hanging {
    open: BTreeMap<Place, Open>,
}

/// The first open transaction of a partition.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Where it begins.
    stable: Offset,
    looks: u32,
    /// Whether it was tried to end it.
    tried: bool,
}

impl Hanging {
    /// Takes in what one look saw open; whether that is anything.
    pub(super) fn saw(&mut self, open: BTreeMap<Place, Offset>) -> bool {
        let before = std::mem::take(&mut self.open);
        for (place, stable) in open {
            let same = before.get(&place).filter(|open| open.stable == stable);
            let new = Open {
                stable,
                looks: 0,
                tried: false,
            };
            let seen = same.copied().unwrap_or(new);
            let looks = seen.looks + 1;
            if seen.tried && looks.is_power_of_two() {
                tracing::warn!(%place, %stable, "an open transaction that is not this lane's holds up readers for long. If the lane that left it is gone, start it again \
                    under its instance id, or end it by kafka-transactions.sh find-hanging and abort");
            }
            self.open.insert(place, Open { looks, ..seen });
        }
        !self.open.is_empty()
    }

    /// Those that two looks saw and that were not tried to end.
    pub(super) fn untried(&self) -> Vec<Place> {
        let untried = self.open.iter().filter(|(_, open)| open.looks > 1 && !open.tried);
        untried.map(|(place, _)| *place).collect()
    }

    /// Takes in that these were tried to end. Those that are still there are another's.
    pub(super) fn tried(&mut self, places: &[Place]) {
        for place in places {
            if let Some(open) = self.open.get_mut(place) {
                open.tried = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_looks_see_open_at_one_place_hangs_and_is_tried_once() {
        let place = |partition| Place {
            topic: Written::Changelog,
            partition: Partition(partition),
        };
        let open = |stables: &[(u32, u64)]| {
            let open = stables.iter();
            open.map(|(partition, stable)| (place(*partition), Offset(*stable)))
                .collect()
        };
        let mut hanging = Hanging::default();
        assert!(!hanging.saw(BTreeMap::new()));
        assert!(hanging.saw(open(&[(0, 5), (1, 7)])));
        assert!(hanging.untried().is_empty(), "they may be ending");
        hanging.saw(open(&[(0, 9), (1, 7)]));
        assert_eq!(hanging.untried(), [place(1)], "0 goes on");
        hanging.tried(&[place(1)]);
        hanging.saw(open(&[(0, 9), (1, 7)]));
        assert_eq!(hanging.untried(), [place(0)], "1 was tried");
        hanging.saw(open(&[(1, 8)]));
        hanging.saw(open(&[(1, 8)]));
        assert_eq!(hanging.untried(), [place(1)], "another one");
    }
}
