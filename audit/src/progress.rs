//! The views' own word on how far they are, beside the chain and the fold.

use crate::partition::Source;
use crate::report::{Difference, Differences};
use schemas::row::{Progress, View};
use schemas::{Offset, Partition};
use std::collections::BTreeMap;

/// The progress rows of all views.
pub(crate) type Rows = BTreeMap<View, BTreeMap<Partition, Progress>>;

/// A view that does not reflect all of the chain yet, in words; `None` where all do.
pub(crate) fn behind(rows: &Rows, sources: &[Source]) -> Option<String> {
    for (view, rows) in rows {
        for source in sources {
            let next = rows
                .get(&source.fold.partition)
                .map_or(Offset(0), |progress| progress.next);
            if next < source.chain.next {
                let (partition, chain) = (source.fold.partition, source.chain.next);
                return Some(format!(
                    "{} reflects partition {partition} up to {next} of {chain}",
                    view.name()
                ));
            }
        }
    }
    None
}

/// Compares all progress rows. They must have been read before the chain was.
pub(crate) fn check(rows: &Rows, sources: &[Source], differences: &mut Differences) {
    for (view, rows) in rows {
        for (partition, progress) in rows {
            let faults = match sources.get(partition.0 as usize) {
                Some(source) => faults(progress, source),
                None => vec!["there is no such partition".to_owned()],
            };
            for what in faults {
                differences.push(|| Difference::Progress {
                    view: *view,
                    partition: *partition,
                    what,
                });
            }
        }
    }
    for source in sources
        .iter()
        .filter(|source| source.fold.ledger != source.chain.ledger)
    {
        let what = format!(
            "its ledger says {:?}, the log says {:?}",
            source.chain.ledger, source.fold.ledger
        );
        let changelog = Offset(source.chain.applied.0.saturating_sub(1));
        differences.push(|| Difference::Chain {
            partition: source.fold.partition,
            changelog,
            what,
        });
    }
}

fn faults(progress: &Progress, source: &Source) -> Vec<String> {
    let (chain, fold) = (&source.chain, &source.fold);
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    must(
        progress.next == chain.next,
        format!("is at {}, the chain ends at {}", progress.next, chain.next),
    );
    must(
        progress.chain == chain.last,
        format!("names {}, the chain's last is {}", progress.chain, chain.last),
    );
    must(
        (chain.applied..=chain.changelog).contains(&progress.changelog),
        format!(
            "is at {} of the changelog, not between {} and {}",
            progress.changelog, chain.applied, chain.changelog
        ),
    );
    must(
        progress.max_append_ms == fold.max_append_ms,
        format!(
            "has newest append time {} ms, the log {} ms",
            progress.max_append_ms, fold.max_append_ms
        ),
    );
    must(
        progress.days == fold.rows.span,
        format!("spans days {:?}, the log {:?}", progress.days, fold.rows.span),
    );
    must(
        progress.ledger == fold.ledger,
        format!(
            "has a ledger of {:?}, the log says {:?}",
            progress.ledger, fold.ledger
        ),
    );
    faults
}
