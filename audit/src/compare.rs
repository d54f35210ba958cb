//! Every row of every view beside the row that must be. The store gives its rows in any order; each is looked up among those
//! that must be, and what was not looked up is missing.

use crate::fold::Shared;
use crate::look::{CouldNotLook, Step};
use crate::partition::Source;
use crate::positions;
use crate::report::{Difference, Differences, RowFault, events};
use crate::rows::{Item, Tally};
use crate::sketches::{self, Sketch, Sketches};
use crate::uploads::Id;
use futures::StreamExt;
use rustc_hash::FxHashSet;
use schemas::distinct::Distinct;
use schemas::partial::{Cells, DayPartial, UserPartial};
use schemas::row::{DeadLetter, Row, RowKey, View, decode_upload_ledger, encode_upload_ledger};
use schemas::time::QUARTERS_A_DAY;
use schemas::{Day, Offset, Partition, Timestamp, upload};
use std::collections::BTreeMap;
use tokio::runtime::Handle;
use views::{Stamped, Store};

/// Rows between two words on how far the comparison is.
const TELL_ROWS: u64 = 100_000;

/// Compares all rows of all views; gives the number of rows by view.
pub(crate) fn compare(
    sources: &mut [Source],
    shared: &Shared<'_>,
    views: &Store,
    runtime: &Handle,
    differences: &mut Differences,
    tell: &mut dyn FnMut(Step),
) -> Result<BTreeMap<View, u64>, CouldNotLook> {
    for source in &mut *sources {
        source.fold.rows.sort();
    }
    let bits = |source: &Source| vec![0; source.fold.rows.len().div_ceil(64)];
    let mut check = Check {
        users: sources.iter().map(bits).collect(),
        shared,
        days: FxHashSet::default(),
        letters: FxHashSet::default(),
        tries: FxHashSet::default(),
        uploads: FxHashSet::default(),
        sketches: sources
            .iter()
            .map(|source| sketches::of(&source.fold.rows, &shared.users))
            .collect(),
        sketched: FxHashSet::default(),
        differences,
        sources,
    };
    let mut counts = BTreeMap::new();
    for view in View::ALL.into_iter().filter(|view| *view != View::Progress) {
        let rows = runtime.block_on(scan(views, view, &mut check, tell))?;
        counts.insert(view, rows);
    }
    check.missing();
    Ok(counts)
}

async fn scan(
    views: &Store,
    view: View,
    check: &mut Check<'_, '_>,
    tell: &mut dyn FnMut(Step),
) -> Result<u64, CouldNotLook> {
    let mut count = 0;
    let mut rows = views.scan(view);
    while let Some(stamped) = rows.next().await {
        check.row(&stamped?);
        count += 1;
        if count % TELL_ROWS == 0 {
            tell(Step::Comparing { view, rows: count });
        }
    }
    Ok(count)
}

/// The rows that must be, and which of them were seen.
struct Check<'c, 'w> {
    sources: &'c [Source],
    shared: &'c Shared<'w>,
    /// A bit for each item of users' rows, that of a row's first item.
    users: Vec<Vec<u64>>,
    days: FxHashSet<(Partition, u32, Day)>,
    letters: FxHashSet<(Partition, Offset)>,
    tries: FxHashSet<(Partition, Offset)>,
    /// Ledgers, and facts by their offset.
    uploads: FxHashSet<(Partition, Id, Option<Offset>)>,
    /// By partition.
    sketches: Vec<Sketches>,
    sketched: FxHashSet<(Partition, u32, Day)>,
    differences: &'c mut Differences,
}

/// What a row must be.
struct Expected {
    version: Offset,
    value: Option<RowFault>,
}

impl Check<'_, '_> {
    fn row(&mut self, stamped: &Stamped) {
        let row = &stamped.row;
        let expected = match &row.key {
            RowKey::Day {
                tenant,
                day,
                event_type,
            } => self.day(row, tenant, *day, event_type),
            RowKey::Distinct {
                tenant,
                day,
                event_type,
            } => self.sketch(row, tenant, *day, event_type),
            RowKey::User { tenant, user, day } => self.user(row, tenant, user, *day),
            RowKey::DeadLetter {
                tenant,
                day,
                accepted_ms,
                offset,
            } => self.letter(row, tenant, *day, *accepted_ms, *offset),
            RowKey::Redrive { copy, .. } => self.tried(row, *copy),
            RowKey::Upload {
                tenant,
                day,
                upload,
                fact,
            } => self.upload(row, &(tenant.clone(), *upload), *day, *fact),
        };
        let Some(Expected { version, value }) = expected else {
            return self.fault(row, RowFault::Surplus);
        };
        if let Some(fault) = value {
            self.fault(row, fault);
        }
        if row.version != version {
            self.fault(
                row,
                RowFault::Version {
                    expected: version,
                    found: row.version,
                },
            );
        }
        if u64::try_from(stamped.stamp).ok() != Some(row.version.0) {
            self.fault(
                row,
                RowFault::Stamp {
                    version: row.version,
                    stamp: stamped.stamp,
                },
            );
        }
    }

    fn fault(&mut self, row: &Row, fault: RowFault) {
        self.differences.push(|| Difference::Row {
            key: row.key.clone(),
            partition: row.partition,
            fault,
        });
    }

    fn source(&self, partition: Partition) -> Option<&Source> {
        self.sources.get(partition.0 as usize)
    }

    fn day(&mut self, row: &Row, tenant: &str, day: Day, event_type: &str) -> Option<Expected> {
        let number = self.shared.types.find(tenant, event_type)?;
        let expected = self.source(row.partition)?.fold.rows.days.get(&(number, day))?;
        let value = match DayPartial::decode(&row.value) {
            Ok(partial) => value_of(
                expected
                    .cells
                    .iter()
                    .map(|(of_day, tally)| (("", *of_day), *tally))
                    .collect(),
                flat("", &partial).collect(),
            ),
            Err(_) => Some(RowFault::Unreadable),
        };
        let version = expected.version;
        self.days
            .insert((row.partition, number, day))
            .then_some(Expected { version, value })
    }

    fn sketch(&mut self, row: &Row, tenant: &str, day: Day, event_type: &str) -> Option<Expected> {
        let number = self.shared.types.find(tenant, event_type)?;
        let sketches = self.sketches.get(row.partition.0 as usize)?;
        let Sketch { version, value } = sketches.get(&(number, day))?;
        let fault = (*value != row.value).then(|| match Distinct::decode(&row.value) {
            Ok(_) => RowFault::Value {
                expected: sketches::text(value),
                found: sketches::text(&row.value),
            },
            Err(_) => RowFault::Unreadable,
        });
        let version = *version;
        self.sketched
            .insert((row.partition, number, day))
            .then_some(Expected {
                version,
                value: fault,
            })
    }

    fn user(&mut self, row: &Row, tenant: &str, user: &str, day: Day) -> Option<Expected> {
        let number = self.shared.users.find(tenant, user)?;
        let rows = &self.source(row.partition)?.fold.rows;
        let (at, items) = rows.of_user(number, day);
        if items.is_empty() {
            return None;
        }
        let version = rows.version(items);
        let value = match UserPartial::decode(&row.value) {
            Ok(partial) => {
                let found = partial
                    .types()
                    .iter()
                    .flat_map(|(kind, cells)| flat(kind, cells))
                    .collect();
                value_of(self.cells(items), found)
                    .or_else(|| positions::differ(rows, items, partial.positions()))
            }
            Err(_) => Some(RowFault::Unreadable),
        };
        let word = self.users.get_mut(row.partition.0 as usize)?.get_mut(at / 64)?;
        let bit = 1 << (at % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first.then_some(Expected { version, value })
    }

    /// What a user's day must hold.
    fn cells(&self, items: &[Item]) -> BTreeMap<(&str, u8), Tally> {
        let mut cells: BTreeMap<(&str, u8), Tally> = BTreeMap::new();
        for item in items {
            let (_, event_type) = self.shared.types.get(item.event_type);
            let cell = cells.entry((event_type, item.of_day())).or_default();
            cell.add_event(item.is_reversed(), item.amount);
        }
        cells.retain(|_, cell| !cell.is_nothing());
        cells
    }

    fn letter(
        &mut self,
        row: &Row,
        tenant: &str,
        day: Day,
        accepted_ms: i64,
        offset: Offset,
    ) -> Option<Expected> {
        let letter = self.source(row.partition)?.fold.rows.letters.get(&offset)?;
        let key = (&*letter.tenant, day_of(letter.accepted_ms), letter.accepted_ms);
        if key != (tenant, day, accepted_ms) {
            return None;
        }
        let value = match DeadLetter::decode(&row.value) {
            Ok(found) => {
                let detail = letter.detail.as_deref();
                let same = (found.reason, &*found.user, found.upload)
                    == (letter.reason, &*letter.user, letter.upload)
                    && detail.is_none_or(|detail| detail == found.detail);
                (!same).then(|| RowFault::Value {
                    expected: format!(
                        "{} of user {:?}: {}",
                        letter.reason.word(),
                        letter.user,
                        detail.unwrap_or("")
                    ),
                    found: format!(
                        "{} of user {:?}: {}",
                        found.reason.word(),
                        found.user,
                        found.detail
                    ),
                })
            }
            Err(_) => Some(RowFault::Unreadable),
        };
        let version = letter.version;
        self.letters
            .insert((row.partition, offset))
            .then_some(Expected { version, value })
    }

    fn tried(&mut self, row: &Row, copy: Offset) -> Option<Expected> {
        let tried = self.source(row.partition)?.fold.rows.tries.get(&copy)?;
        (tried.key(copy) == row.key).then_some(())?;
        let (version, value) = (tried.version, tried.fault(&row.value));
        self.tries
            .insert((row.partition, copy))
            .then_some(Expected { version, value })
    }

    fn upload(&mut self, row: &Row, id: &Id, day: Day, fact: Option<Offset>) -> Option<Expected> {
        if day != upload::day(id.1) {
            return None;
        }
        let uploads = &self.source(row.partition)?.fold.rows.uploads;
        let (version, value) = match fact {
            None => {
                let (version, ledger) = uploads.ledgers.get(id)?;
                (*version, encode_upload_ledger(ledger))
            }
            Some(offset) => {
                let (of, version, value) = uploads.facts.get(&offset)?;
                (of == id).then_some((*version, value.clone()))?
            }
        };
        let text = |bytes: &[u8]| match fact {
            None => format!("{:?}", decode_upload_ledger(bytes)),
            Some(_) => String::from_utf8_lossy(bytes).into_owned(),
        };
        let fault = (value != row.value).then(|| RowFault::Value {
            expected: text(&value),
            found: text(&row.value),
        });
        self.uploads
            .insert((row.partition, id.clone(), fact))
            .then_some(Expected {
                version,
                value: fault,
            })
    }

    /// Rows that must be and were not seen.
    fn missing(self) {
        let Check {
            sources,
            shared,
            users,
            days,
            letters,
            tries,
            uploads,
            sketches,
            sketched,
            differences,
        } = self;
        for ((source, bits), sketches) in sources.iter().zip(&users).zip(&sketches) {
            let (partition, rows) = (source.fold.partition, &source.fold.rows);
            let mut miss = |key: RowKey| {
                differences.push(|| Difference::Row {
                    key,
                    partition,
                    fault: RowFault::Missing,
                });
            };
            for (number, day) in rows
                .days
                .keys()
                .filter(|(number, day)| !days.contains(&(partition, *number, *day)))
            {
                let (tenant, event_type) = shared.types.get(*number);
                miss(RowKey::Day {
                    tenant: tenant.to_owned(),
                    day: *day,
                    event_type: event_type.to_owned(),
                });
            }
            let unseen = sketches
                .keys()
                .filter(|(number, day)| !sketched.contains(&(partition, *number, *day)));
            for (number, day) in unseen {
                let (tenant, event_type) = shared.types.get(*number);
                miss(RowKey::Distinct {
                    tenant: tenant.to_owned(),
                    day: *day,
                    event_type: event_type.to_owned(),
                });
            }
            for (at, items) in rows.users() {
                let seen = bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
                if let Some(item) = items.first().filter(|_| !seen) {
                    let (tenant, user) = shared.users.get(item.user);
                    miss(RowKey::User {
                        tenant: tenant.to_owned(),
                        user: user.to_owned(),
                        day: item.day(),
                    });
                }
            }
            for (offset, letter) in rows
                .letters
                .iter()
                .filter(|(offset, _)| !letters.contains(&(partition, **offset)))
            {
                miss(RowKey::DeadLetter {
                    tenant: letter.tenant.to_string(),
                    day: day_of(letter.accepted_ms),
                    accepted_ms: letter.accepted_ms,
                    offset: *offset,
                });
            }
            for (copy, tried) in &rows.tries {
                if !tries.contains(&(partition, *copy)) {
                    miss(tried.key(*copy));
                }
            }
            let ledgers = rows.uploads.ledgers.keys().map(|id| (id, None));
            let facts = rows
                .uploads
                .facts
                .iter()
                .map(|(offset, (id, ..))| (id, Some(*offset)));
            for (id, fact) in ledgers.chain(facts) {
                if !uploads.contains(&(partition, id.clone(), fact)) {
                    miss(RowKey::Upload {
                        tenant: id.0.clone(),
                        day: upload::day(id.1),
                        upload: id.1,
                        fact,
                    });
                }
            }
        }
    }
}

/// The UTC day of an instant; what lies before 1970 falls into its first.
fn day_of(accepted_ms: i64) -> Day {
    Day(Timestamp::from_millis(accepted_ms).quarter().0 / QUARTERS_A_DAY)
}

fn flat<'a>(event_type: &'a str, cells: &'a Cells) -> impl Iterator<Item = ((&'a str, u8), Tally)> {
    cells.cells().iter().map(move |cell| {
        (
            (event_type, cell.of_day),
            Tally {
                count: cell.count,
                sum: cell.sum.0,
            },
        )
    })
}

/// What is wrong with a value of cells by type and quarter-hour.
fn value_of(expected: BTreeMap<(&str, u8), Tally>, found: BTreeMap<(&str, u8), Tally>) -> Option<RowFault> {
    if expected == found {
        return None;
    }
    let total = |cells: &BTreeMap<(&str, u8), Tally>| {
        let mut total = Tally::default();
        for tally in cells.values() {
            total.add(tally.count, tally.sum);
        }
        events(total.count, total.sum)
    };
    let (expected, mut said) = (total(&expected), total(&found));
    if expected == said {
        said.push_str(" in other quarter-hours or types");
    }
    Some(RowFault::Value {
        expected,
        found: said,
    })
}
