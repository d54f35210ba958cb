//! What a view's table is known to hold of a source partition, and when that is known to be lost. Pure.
//!
//! A table may be emptied, and a whole store may be put back to an earlier state. Progress is written last, so whoever lost a
//! row lost the progress behind it as well: as long as the table has the life and at least the progress that it is known to have,
//! nothing before that is missing.

use schemas::Offset;
use schemas::commit::BatchId;
use schemas::row::View;
use std::collections::BTreeMap;
use uuid::Uuid;
use views::Stored;

/// One table's standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The life of the table.
    pub(super) life: Uuid,
    /// Next offset on `events` up to which its rows are there.
    pub(super) next: Offset,
    /// Next offset on the changelog of the progress that says so.
    pub(super) changelog: Offset,
    /// The last commit record that its rows were said to hold when the projection began.
    pub(super) chain: BatchId,
}

/// The standing of every view's table.
pub(super) type Standings = BTreeMap<View, Standing>;

impl Standing {
    /// What a table holds at the beginning of a projection.
    pub(super) fn of(life: Uuid, stored: Option<&Stored>) -> Self {
        let progress = stored.and_then(|stored| stored.progress.as_ref());
        let believed = progress.filter(|progress| progress.birth == life);
        Self {
            life,
            next: believed.map_or(Offset(0), |progress| progress.next),
            changelog: believed.map_or(Offset(0), |progress| progress.changelog),
            chain: believed.map_or(BatchId::nil(), |progress| progress.chain),
        }
    }

    /// Takes in that progress was written, after all its rows.
    pub(super) fn raise(&mut self, next: Offset, changelog: Offset) {
        self.next = self.next.max(next);
        self.changelog = self.changelog.max(changelog);
    }

    /// Whether a table that says this has lost something of it. `interrupted`: the store was away since the projection began.
    pub(super) fn is_lost(&self, stored: Option<&Stored>, interrupted: bool) -> bool {
        let Some(stored) = stored.filter(|stored| stored.life == Some(self.life)) else {
            return true;
        };
        match &stored.progress {
            Some(progress) if progress.birth == self.life => progress.next < self.next,
            // A late write for a life that is over hides our own progress until ours has the higher stamp. Nobody believes it
            // meanwhile, but whether the store was set back cannot be seen.
            Some(late) if late.changelog >= self.changelog => interrupted,
            _ => self.next > Offset(0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use schemas::row::Progress;

    fn stored(life: u128, progress: Option<(u128, u64, u64)>) -> Stored {
        let progress = progress.map(|(birth, next, changelog)| Progress {
            birth: Uuid::from_u128(birth),
            next: Offset(next),
            changelog: Offset(changelog),
            ..Progress::default()
        });
        Stored {
            life: Some(Uuid::from_u128(life)),
            progress,
        }
    }

    fn standing(next: u64, changelog: u64) -> Standing {
        Standing {
            life: Uuid::from_u128(2),
            next: Offset(next),
            changelog: Offset(changelog),
            chain: BatchId::nil(),
        }
    }

    #[test]
    fn a_table_with_its_life_and_its_progress_has_lost_nothing() {
        for interrupted in [false, true] {
            assert!(!standing(10, 7).is_lost(Some(&stored(2, Some((2, 10, 7)))), interrupted));
            assert!(!standing(10, 7).is_lost(Some(&stored(2, Some((2, 12, 9)))), interrupted));
            assert!(!standing(0, 0).is_lost(Some(&stored(2, None)), interrupted));
        }
    }

    #[test]
    fn another_life_no_life_less_progress_and_none_are_losses() {
        assert!(standing(10, 7).is_lost(None, false));
        assert!(standing(0, 0).is_lost(Some(&Stored::default()), false));
        assert!(standing(10, 7).is_lost(Some(&stored(3, Some((2, 10, 7)))), false));
        assert!(standing(10, 7).is_lost(Some(&stored(2, Some((2, 9, 6)))), false));
        assert!(standing(10, 7).is_lost(Some(&stored(2, None)), false));
    }

    #[test]
    fn late_progress_of_a_former_life_is_no_loss_unless_it_could_hide_one() {
        let late = stored(2, Some((1, 50, 40)));
        assert!(!standing(10, 7).is_lost(Some(&late), false));
        assert!(standing(10, 7).is_lost(Some(&late), true));
        // Ours would have won over one of a lower stamp: it was there and is gone.
        assert!(standing(60, 47).is_lost(Some(&late), false));
        assert_eq!(Standing::of(Uuid::from_u128(2), Some(&late)), standing(0, 0));
    }
}
