//! The projection of one source partition: its chain as far as it was read, and its rows.

use super::Ended;
use super::flush::Written;
use super::standing::{Standing, Standings};
use crate::chain::{Chain, Step};
use crate::rows::Rows;
use crate::spill::Spill;
use schemas::commit::{BatchId, Link};
use schemas::row::{Progress, View};
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One partition's projection. It begins at the start of the chain, so that its rows are whole.
#[derive(Debug)]
pub(super) struct Projection {
    partition: Partition,
    pub(super) chain: Chain,
    pub(super) rows: Rows,
    /// What each view's table is known to hold.
    pub(super) standings: Standings,
    /// What tables say that they hold and the chain has not said yet.
    claims: Vec<Claim>,
    /// What each view reflected when this began: rows that changed before are there already.
    reflected: BTreeMap<View, Offset>,
    /// Next offsets on `events` and on the changelog of the progress that was written last.
    pub(super) written: Option<(Offset, Offset)>,
    /// The end of the changelog when this began.
    pub(super) mark: Option<Offset>,
    /// Interruptions of the store before this began.
    pub(super) interruptions: u64,
}

/// What a table is said to hold: all of the chain up to a commit record.
#[derive(Debug)]
struct Claim {
    view: View,
    next: Offset,
    chain: BatchId,
}

impl Projection {
    pub(super) fn new(
        partition: Partition,
        generation: u32,
        standings: Standings,
        interruptions: u64,
        memory_bytes: usize,
        spill: Spill,
    ) -> Self {
        let reflected = standings.iter().map(|(view, standing)| (*view, standing.next));
        let claims = standings.iter().map(|(view, standing)| Claim {
            view: *view,
            next: standing.next,
            chain: standing.chain,
        });
        Self {
            partition,
            chain: Chain::new(partition, generation),
            rows: Rows::new(partition, memory_bytes, spill),
            claims: claims.filter(|claim| claim.next > Offset(0)).collect(),
            reflected: reflected.collect(),
            standings,
            written: None,
            mark: None,
            interruptions,
        }
    }

    /// Takes in the next committed record of the changelog.
    pub(super) fn offer(&mut self, offset: Offset, bytes: &[u8]) -> Result<(), Ended> {
        if let Step::Applied(id, record) = self.chain.offer(offset, bytes)? {
            self.compare(id)?;
            let link = Link {
                changelog: offset,
                id,
            };
            self.rows.apply(&record, link, &self.reflected)?;
        }
        Ok(())
    }

    /// Holds what tables claim against the record that came onto the chain. A store of another log, or of a later state of this one, must never
    /// be believed: rows that it seems to hold already would not be written.
    fn compare(&mut self, id: BatchId) -> Result<(), Ended> {
        let next = self.chain.next;
        let is_other = |claim: &&Claim| match claim.chain == id {
            true => claim.next != next,
            false => claim.next < next,
        };
        if let Some(claim) = self.claims.iter().find(is_other) {
            return Err(self.other_log(claim));
        }
        self.claims.retain(|claim| claim.chain != id);
        Ok(())
    }

    /// The chain that was there at the beginning must have said all that the tables claim.
    pub(super) fn check_claims(&self) -> Result<(), Ended> {
        match self.claims.first() {
            Some(claim) if self.mark.is_some() && !self.is_catching_up() => Err(self.other_log(claim)),
            _ => Ok(()),
        }
    }

    fn other_log(&self, claim: &Claim) -> Ended {
        let (partition, view) = (self.partition, claim.view.name());
        Ended::Stopped(format!(
            "the table of {view} says that it holds `events` {partition} up to {}, by the commit record {}, which is not on the chain: it was filled from \
             another log, or from a later state of this one. Bring that log back, or empty the store (truncate its tables, or move the folder of the \
             embedded views away) and it is filled from this one",
            claim.next, claim.chain
        ))
    }

    /// Takes in that a flush was written. One that was begun for an earlier life of a table says nothing of the present one.
    pub(super) fn flushed(&mut self, written: &Written) {
        let same = |(view, standing): (&View, &Standing)| {
            written
                .standings
                .get(view)
                .is_some_and(|other| other.life == standing.life)
        };
        if self.standings.iter().all(same) {
            self.written = Some((written.next, written.changelog));
            for standing in self.standings.values_mut() {
                standing.raise(written.next, written.changelog);
            }
        }
    }

    /// Records on the chain, as far as it was read, that not every view reflects.
    pub(super) fn behind(&self) -> u64 {
        let reflected = self.standings.values().map(|standing| standing.next.0).min();
        self.chain.next.0.saturating_sub(reflected.unwrap_or(0))
    }

    /// Whether what was there at the beginning was not read yet.
    pub(super) fn is_catching_up(&self) -> bool {
        self.mark.is_some_and(|mark| self.chain.changelog < mark)
    }

    /// Whether the store's progress says all that was read.
    pub(super) fn is_written(&self) -> bool {
        match self.written {
            Some((next, _)) => next == self.chain.next && self.rows.dirty() == 0,
            None => false,
        }
    }

    /// Whether the store's progress says also what changed no row and no next offset, such as that copies were written.
    pub(super) fn is_finished(&self) -> bool {
        self.is_written()
            && self
                .written
                .is_some_and(|(_, changelog)| changelog == self.chain.resume())
    }

    /// How far the rows are; each view's life is the writer's to fill in.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            next: self.chain.next,
            changelog: self.chain.resume(),
            chain: self.chain.last,
            max_append_ms: self.chain.max_append_ms,
            birth: Uuid::nil(),
            days: self.rows.span,
            ledger: self.chain.ledger,
        }
    }
}
