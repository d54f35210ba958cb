//! The views' own word on how far they are, beside the chain and the fold.

use crate::partition::Source;
use crate::report::{Difference, Differences};
use schemas::row::{Progress, View};
use schemas::{Day, Ledger, Offset, Partition, Reason};
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
    for source in sources {
        if let Some(what) = other_ledger(&source.chain.ledger, &source.fold.ledger) {
            let changelog = Offset(source.chain.applied.0.saturating_sub(1));
            differences.push(|| Difference::Chain {
                partition: source.fold.partition,
                changelog,
                what,
            });
        }
    }
}

fn faults(progress: &Progress, source: &Source) -> Vec<String> {
    let (chain, fold) = (&source.chain, &source.fold);
    if progress.next != chain.next {
        // Nothing else of it can be right.
        return vec![format!(
            "is at {}, the chain ends at {}",
            progress.next, chain.next
        )];
    }
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
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
        format!(
            "spans days {}, the log {}",
            span(progress.days),
            span(fold.rows.span)
        ),
    );
    faults.extend(other_ledger(&progress.ledger, &fold.ledger));
    faults
}

fn span(days: Option<(Day, Day)>) -> String {
    days.map_or_else(|| "none".to_owned(), |(first, last)| format!("{first} to {last}"))
}

/// The counts in which a ledger is not the log's, in words; `None` where it is.
fn other_ledger(found: &Ledger, log: &Ledger) -> Option<String> {
    let counts = |ledger: &Ledger| {
        let mut counts = vec![
            ("records", ledger.records),
            ("copies", ledger.copies),
            ("counted", ledger.counted),
            ("duplicate", ledger.duplicate),
            ("rerouted", ledger.rerouted),
            ("reversed", ledger.reversed),
            ("held", ledger.held),
            ("repeated", ledger.repeated),
            ("noted", ledger.noted),
        ];
        counts.extend(
            Reason::ALL
                .iter()
                .map(|reason| reason.word())
                .zip(ledger.dead_lettered),
        );
        counts
    };
    let other: Vec<String> = counts(found)
        .into_iter()
        .zip(counts(log))
        .filter(|(found, log)| found != log)
        .map(|((name, found), (_, log))| format!("{found} {name}, the log {log}"))
        .collect();
    (!other.is_empty()).then(|| format!("has a ledger of {}", other.join("; ")))
}
