//! What an audit found.

use schemas::amount::Sum;
use schemas::row::{RowKey, View};
use schemas::{Ledger, Offset, Partition, Timestamp};
use std::collections::BTreeMap;
use std::fmt;

/// Differences that are kept; beyond them only their number grows.
const KEPT: usize = 1000;

/// Something that is not as it must be, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The chain says something else of a record than the fold of the log.
    Outcome {
        /// Partition of `events`.
        partition: Partition,
        /// Where the record lies.
        offset: Offset,
        /// What must become of it.
        expected: String,
        /// What the chain says.
        found: String,
    },
    /// A commit record on the chain is not what must come next.
    Chain {
        /// Partition of the changelog.
        partition: Partition,
        /// Offset of its last part.
        changelog: Offset,
        /// What is wrong with it.
        what: String,
    },
    /// A row of a view.
    Row {
        /// Which row.
        key: RowKey,
        /// The source partition whose partial it is.
        partition: Partition,
        /// What is wrong with it.
        fault: RowFault,
    },
    /// A view's own word on how far it is, or its ledger.
    Progress {
        /// The view.
        view: View,
        /// The source partition.
        partition: Partition,
        /// What is wrong with it.
        what: String,
    },
    /// A copy, or a word that calls for copies, that no release called for.
    Uncalled {
        /// The partition.
        partition: Partition,
        /// The held record that was copied, or the word.
        offset: Offset,
    },
    /// The chain says that a record was copied, or its word passed on, and nothing is there.
    Copy {
        /// Partition of the record.
        partition: Partition,
        /// Where it lies.
        offset: Offset,
        /// Where its copy must be.
        to: Partition,
    },
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowFault {
    /// It must be there and is not.
    Missing,
    /// It is there and must not be, or is there twice.
    Surplus,
    /// Its bytes cannot be read.
    Unreadable,
    /// It says something else.
    Value {
        /// What it must say.
        expected: String,
        /// What it says.
        found: String,
    },
    /// It is not of the commit record that last changed it.
    Version {
        /// `to` of that commit record.
        expected: Offset,
        /// The version that it has.
        found: Offset,
    },
    /// The store's own stamp is not its version.
    Stamp {
        /// The version that was written into it.
        version: Offset,
        /// The store's stamp.
        stamp: i64,
    },
}

/// Differences: the first 1,000 of them, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    kept: Vec<Difference>,
    total: u64,
}

impl Differences {
    pub(crate) fn push(&mut self, make: impl FnOnce() -> Difference) {
        self.total += 1;
        if self.kept.len() < KEPT {
            self.kept.push(make());
        }
    }

    /// These, and others behind them.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.total += others.total;
        self.kept.extend(others.kept);
        self.kept.truncate(KEPT);
        self
    }

    /// The first 1,000.
    pub fn first(&self) -> &[Difference] {
        &self.kept
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// What was found of one source partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReport {
    /// The partition.
    pub partition: Partition,
    /// Next offset on `events`: the place at which everything was compared.
    pub next: Offset,
    /// Records behind it, which nothing was said of; an upper bound.
    pub in_flight: u64,
    /// Commit records that are not on the chain.
    pub superseded: u64,
    /// Outcomes by the audit's own fold.
    pub ledger: Ledger,
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Report {
    /// By partition.
    pub partitions: Vec<PartitionReport>,
    /// Rows compared, by view.
    pub rows: BTreeMap<View, u64>,
    /// Records whose outcome `unknown_schema` is the chain's word alone.
    pub rulings: u64,
    /// What is not as it must be.
    pub differences: Differences,
}

impl Report {
    /// Whether everything is as it must be, up to the places compared at.
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }

    /// Outcomes of all partitions.
    pub fn ledger(&self) -> Ledger {
        let mut sum = Ledger::default();
        for partition in &self.partitions {
            sum.merge(&partition.ledger);
        }
        sum
    }

    /// Records that nothing was said of, in all partitions.
    pub fn in_flight(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.in_flight).sum()
    }
}

impl fmt::Display for Report {
    /// A short table, then what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, next: &str, ledger: &Ledger, rest: [u64; 2]| {
            let dead_lettered: u64 = ledger.dead_lettered.iter().sum();
            let others = ledger.reversed + ledger.held + ledger.repeated + ledger.noted;
            writeln!(
                f,
                "{name:>9} {next:>12} {:>12} {:>12} {:>12} {dead_lettered:>13} {:>10} {others:>10} {:>10} {:>10}",
                ledger.records, ledger.counted, ledger.duplicate, ledger.rerouted, rest[0], rest[1]
            )
        };
        writeln!(
            f,
            "partition  next offset      records      counted   duplicates  dead-lettered   rerouted     others superseded  in flight"
        )?;
        for part in &self.partitions {
            let rest = [part.superseded, part.in_flight];
            line(
                f,
                &part.partition.to_string(),
                &part.next.to_string(),
                &part.ledger,
                rest,
            )?;
        }
        let superseded = self.partitions.iter().map(|part| part.superseded).sum();
        line(f, "all", "", &self.ledger(), [superseded, self.in_flight()])?;
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|(view, rows)| format!("{rows} of {}", view.name()))
            .collect();
        writeln!(f, "rows compared: {}", rows.join(", "))?;
        if self.rulings > 0 {
            writeln!(
                f,
                "{} records have an unknown schema by the chain's word alone",
                self.rulings
            )?;
        }
        if self.in_flight() > 0 {
            writeln!(
                f,
                "{} records were still in flight and are not part of this",
                self.in_flight()
            )?;
        }
        let total = self.differences.total();
        if total == 0 {
            return writeln!(f, "no difference");
        }
        writeln!(f, "{total} differences:")?;
        for difference in self.differences.first() {
            writeln!(f, "  {difference}")?;
        }
        match total - self.differences.first().len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcome {
                partition,
                offset,
                expected,
                found,
            } => {
                write!(
                    f,
                    "record {partition}/{offset}: must be {expected}; the chain says {found}"
                )
            }
            Self::Chain {
                partition,
                changelog,
                what,
            } => {
                write!(f, "commit record at changelog {partition}/{changelog}: {what}")
            }
            Self::Row {
                key,
                partition,
                fault,
            } => {
                write_key(f, key)?;
                write!(f, " of partition {partition}: {fault}")
            }
            Self::Progress {
                view,
                partition,
                what,
            } => {
                write!(f, "progress of {} for partition {partition}: {what}", view.name())
            }
            Self::Uncalled { partition, offset } => {
                write!(
                    f,
                    "record {partition}/{offset}: was copied or tells of copies, and no release called for it"
                )
            }
            Self::Copy {
                partition,
                offset,
                to,
            } => {
                write!(
                    f,
                    "record {partition}/{offset}: calls for a record in {to}, which the chain says is written and is not there, or holds something else"
                )
            }
        }
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &RowKey) -> fmt::Result {
    match key {
        RowKey::Day {
            tenant,
            day,
            event_type,
        } => write!(f, "row of days ({tenant:?}, {day}, {event_type:?})"),
        RowKey::Distinct {
            tenant,
            day,
            event_type,
        } => write!(f, "row of distinct_users ({tenant:?}, {day}, {event_type:?})"),
        RowKey::User { tenant, user, day } => write!(f, "row of users ({tenant:?}, {user:?}, {day})"),
        RowKey::DeadLetter {
            tenant,
            day,
            accepted_ms,
            offset,
        } => {
            let time = Timestamp::from_millis(*accepted_ms).rfc3339();
            write!(
                f,
                "row of dead_letters ({tenant:?}, {day}, {time}, offset {offset})"
            )
        }
        RowKey::Redrive {
            tenant,
            letter,
            offset,
            copy,
            ..
        } => write!(
            f,
            "row of dead_letters ({tenant:?}, {letter}/{offset}) on its redriven copy at {copy}"
        ),
        RowKey::Upload {
            tenant, upload, fact, ..
        } => match fact {
            None => write!(f, "ledger of the upload ({tenant:?}, {upload})"),
            Some(offset) => write!(f, "fact of the upload ({tenant:?}, {upload}, offset {offset})"),
        },
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Surplus => f.write_str("must not be there, or not twice"),
            Self::Unreadable => f.write_str("cannot be read"),
            Self::Value { expected, found } => write!(f, "must say {expected}, says {found}"),
            Self::Version { expected, found } => write!(f, "must have version {expected}, has {found}"),
            Self::Stamp { version, stamp } => {
                write!(f, "has version {version} under the store's stamp {stamp}")
            }
        }
    }
}

/// A count and a sum of millionths in words.
pub(crate) fn events(count: u64, sum: i128) -> String {
    format!("{count} events of {}", Sum(sum))
}
