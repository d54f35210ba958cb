//! A world as a right product makes it of records whose outcomes are given: chain, rows and progress, each of which a scenario
//! may spoil before it is audited.

use crate::ports::{Changelog, Log, STRIDE, Stored};
use audit::{CouldNotLook, Report, Settings, World, audit};
use log::batch::Origin;
use schemas::commit::{Counted, Entries, Exception, Fate, Fresh, Head, Link, Refusal, cut_at};
use schemas::distinct::Distinct;
use schemas::generation::{FOLD_VERSION, Generation, PARTITIONER};
use schemas::key::{Hashing, Secret};
use schemas::partial::{DayPartial, UserPartial};
use schemas::redrive::{Redrive, Redriven, Try};
use schemas::row::{DeadLetter, Progress, Row, RowKey, View};
use schemas::{Event, Ledger, Offset, Outcome, Partition, Reason, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;
use views::Store;

pub const PARTITIONS: u32 = 2;
pub const OWN_SCHEMA: u32 = 7;

/// What the product says of a record.
#[derive(Clone, Debug)]
pub enum Said {
    Counted(Box<Event<'static>>),
    /// It takes back this event.
    Reversed(Box<Event<'static>>),
    Duplicate,
    Repeated,
    Rerouted(Partition),
    /// Why, tenant, user.
    Refused(Reason, &'static str, &'static str),
}

/// Records with their outcomes, by partition.
pub type Given = Vec<Vec<(Stored, Said)>>;

/// A world before it is audited.
pub struct Made {
    pub generation: Generation,
    pub log: Log,
    pub chain: Changelog,
    pub rows: Vec<Row>,
    pub progress: BTreeMap<(View, Partition), Progress>,
}

pub fn generation() -> Generation {
    Generation {
        layout: 1,
        number: 1,
        partitions: PARTITIONS,
        events_id: Uuid::from_u128(1),
        changelog_id: Uuid::from_u128(2),
        partitioner: PARTITIONER.to_owned(),
        secret: Secret([3; 32]),
        user_buckets: 8,
        fold_version: FOLD_VERSION,
        schema_id: Some(OWN_SCHEMA),
        schema_digest: String::new(),
    }
}

/// The world of these records, concluded in batches [from, to) of offsets by partition.
pub fn make(given: &Given, batches: &[Vec<(u64, u64)>]) -> Made {
    let mut made = Made {
        generation: generation(),
        log: Log(given
            .iter()
            .map(|records| records.iter().map(|(stored, _)| stored.clone()).collect())
            .collect()),
        chain: Changelog::default(),
        rows: Vec::new(),
        progress: BTreeMap::new(),
    };
    let mut changelog = Vec::new();
    for ((partition, records), batches) in (0..).map(Partition).zip(given).zip(batches) {
        let mut product = Product::new(partition);
        for (from, to) in batches {
            product.conclude(records, *from, *to);
        }
        let progress = product.progress();
        for view in View::ALL {
            made.progress.insert((view, partition), progress.clone());
        }
        changelog.push(product.chain);
        made.rows.extend(product.letters);
        made.rows
            .extend(product.days.into_iter().map(|(key, (version, partial))| Row {
                key,
                partition,
                version,
                value: partial.encode(),
            }));
        made.rows
            .extend(product.sketches.into_iter().map(|(key, (version, sketch))| Row {
                key,
                partition,
                version,
                value: sketch.encode(),
            }));
        made.rows
            .extend(product.users.into_iter().map(|(key, (version, partial))| Row {
                key,
                partition,
                version,
                value: partial.encode(),
            }));
    }
    made.chain = Changelog::new(changelog);
    made
}

/// One partition's side of a product.
struct Product {
    partition: Partition,
    chain: Vec<Vec<u8>>,
    last: Uuid,
    next: u64,
    ledger: Ledger,
    max_append_ms: i64,
    days: BTreeMap<RowKey, (Offset, DayPartial)>,
    users: BTreeMap<RowKey, (Offset, UserPartial)>,
    sketches: BTreeMap<RowKey, (Offset, Distinct)>,
    letters: Vec<Row>,
}

impl Product {
    fn new(partition: Partition) -> Self {
        Self {
            partition,
            chain: Vec::new(),
            last: Uuid::nil(),
            next: 0,
            ledger: Ledger::default(),
            max_append_ms: 0,
            days: BTreeMap::new(),
            users: BTreeMap::new(),
            sketches: BTreeMap::new(),
            letters: Vec::new(),
        }
    }

    fn conclude(&mut self, records: &[(Stored, Said)], from: u64, to: u64) {
        let mut entries = Entries::default();
        for (offset, (stored, said)) in (0..)
            .zip(records)
            .filter(|(offset, _)| (from..to).contains(offset))
        {
            self.ledger.records += 1;
            self.ledger.copies += u64::from(stored.origin.is_some());
            self.max_append_ms = self.max_append_ms.max(stored.append_ms);
            self.add(&mut entries, Offset(offset), Offset(to), stored, said);
        }
        let head = Head {
            generation: 1,
            fold_version: FOLD_VERSION,
            partition: self.partition,
            from: Offset(from),
            to: Offset(to),
            leader_epoch: 0,
            lane: "rig".to_owned(),
            max_append_ms: self.max_append_ms,
            rerouted_through: Offset(to),
            released_through: Offset(0),
            ledger: self.ledger,
        };
        let id = self.id(to);
        let body = entries.encode(&head);
        // Another owner's record of the same place comes too late, and one of two parts is torn.
        let late = cut_at(Uuid::from_u128(99), self.last, &body, body.len());
        let torn = cut_at(Uuid::from_u128(98), self.last, &body, body.len() / 2 + 1);
        self.chain.push(torn[0].clone());
        self.chain
            .extend(cut_at(id, self.last, &body, body.len() / 2 + 1));
        self.chain.extend(late);
        self.last = id;
        self.next = to;
    }

    fn add(&mut self, entries: &mut Entries, offset: Offset, to: Offset, stored: &Stored, said: &Said) {
        let outcome = match said {
            Said::Counted(event) => {
                self.count(entries, offset, to, event, false);
                Outcome::Counted
            }
            Said::Reversed(event) => {
                self.count(entries, offset, to, event, true);
                Outcome::Reversed
            }
            Said::Duplicate | Said::Repeated => {
                let fate = match said {
                    Said::Duplicate => Fate::Duplicate,
                    _ => Fate::Repeated,
                };
                entries.add_exception(&Exception {
                    offset,
                    fate,
                    source: None,
                });
                fate.outcome()
            }
            Said::Rerouted(target) => {
                entries.add_exception(&Exception {
                    offset,
                    fate: Fate::Rerouted(*target),
                    source: None,
                });
                Outcome::Rerouted
            }
            Said::Refused(reason, tenant, user) => {
                let accepted_ms = stored.origin.map_or(stored.append_ms, |origin| origin.append_ms);
                let refusal = Refusal {
                    reason: *reason,
                    accepted_ms,
                    tenant,
                    user,
                    detail: "a detail",
                    row: None,
                };
                entries.add_exception(&Exception {
                    offset,
                    fate: Fate::DeadLettered(refusal),
                    source: None,
                });
                if stored.redrive.is_none() {
                    self.letters.push(self.letter(offset, to, &refusal));
                }
                Outcome::DeadLettered(*reason)
            }
        };
        self.ledger.add_outcome(outcome);
        if let Some(header) = &stored.redrive {
            let (redrive, origin) = (Redrive::decode(header).unwrap(), stored.origin.unwrap());
            entries.add_redriven(&Redriven {
                copy: offset,
                partition: origin.partition,
                offset: origin.offset,
                accepted_ms: origin.append_ms,
                redrive,
            });
            self.letters
                .push(self.tried((offset, to), redrive, origin, outcome));
        }
    }

    fn tried(
        &self,
        (copy, to): (Offset, Offset),
        redrive: Redrive<'_>,
        origin: Origin,
        outcome: Outcome,
    ) -> Row {
        let is_refused = matches!(outcome, Outcome::DeadLettered(_));
        let value = Try {
            outcome,
            detail: if is_refused { "a detail" } else { "" }.to_owned(),
            who: redrive.who.to_owned(),
            at_ms: redrive.at_ms,
            edited: redrive.edited,
        };
        let key = RowKey::Redrive {
            tenant: redrive.tenant.to_owned(),
            day: Timestamp::from_millis(origin.append_ms).quarter().day(),
            accepted_ms: origin.append_ms,
            letter: origin.partition,
            offset: origin.offset,
            copy,
        };
        Row {
            key,
            partition: self.partition,
            version: to,
            value: value.encode(),
        }
    }

    fn count(
        &mut self,
        entries: &mut Entries,
        offset: Offset,
        to: Offset,
        event: &Event<'_>,
        reversed: bool,
    ) {
        let hashing = Hashing::new(&generation().secret);
        let quarter = event.occurred_at.quarter();
        let type_index = entries.add_type(&event.tenant, &event.event_type);
        let fresh = Fresh {
            fingerprint: hashing.fingerprint(&event.tenant, &event.idempotency_key),
            content: hashing.content(event),
            quarter,
            reversed,
        };
        entries.add_counted(&Counted {
            offset,
            fresh,
            type_index,
            user: &event.user_id,
            amount: event.amount,
            source: None,
        });
        let (tenant, day, event_type) = (
            event.tenant.to_string(),
            quarter.day(),
            event.event_type.to_string(),
        );
        let row = self.days.entry(RowKey::Day {
            tenant: tenant.clone(),
            day,
            event_type: event_type.clone(),
        });
        let row = row.or_default();
        row.0 = to;
        match reversed {
            true => row.1.take_back(quarter.of_day(), event.amount),
            false => row.1.add(quarter.of_day(), event.amount),
        }
        let (user, link) = (event.user_id.to_string(), self.link(to));
        let row = self.users.entry(RowKey::User { tenant, user, day }).or_default();
        row.0 = to;
        match reversed {
            true => row.1.take_back(&event_type, quarter.of_day(), event.amount),
            false => row.1.add(&event_type, quarter.of_day(), event.amount),
        }
        row.1.remember(offset, reversed, link);
        if reversed {
            return;
        }
        let (tenant, user) = (event.tenant.to_string(), &event.user_id);
        let row = self.sketches.entry(RowKey::Distinct {
            tenant,
            day,
            event_type,
        });
        let row = row.or_default();
        let before = row.1.encode();
        row.1.add(user);
        if row.1.encode() != before {
            row.0 = to;
        }
    }

    /// The commit record in the making that will end at `to`: behind one that is torn it lies in two parts.
    fn link(&self, to: Offset) -> Link {
        Link {
            changelog: Offset((self.chain.len() as u64 + 2) * STRIDE),
            id: self.id(to.0),
        }
    }

    fn id(&self, to: u64) -> Uuid {
        Uuid::from_u128(u128::from(self.partition.0) << 64 | u128::from(to) << 8 | 1)
    }

    fn letter(&self, offset: Offset, to: Offset, refusal: &Refusal<'_>) -> Row {
        let value = DeadLetter {
            reason: refusal.reason,
            user: refusal.user.to_owned(),
            detail: refusal.detail.to_owned(),
            upload: None,
        };
        let key = RowKey::DeadLetter {
            tenant: refusal.tenant.to_owned(),
            day: Timestamp::from_millis(refusal.accepted_ms).quarter().day(),
            accepted_ms: refusal.accepted_ms,
            offset,
        };
        Row {
            key,
            partition: self.partition,
            version: to,
            value: value.encode(),
        }
    }

    fn progress(&self) -> Progress {
        let days = self.days.keys().filter_map(|key| match key {
            RowKey::Day { day, .. } => Some(*day),
            _ => None,
        });
        let days: Vec<_> = days.collect();
        Progress {
            next: Offset(self.next),
            changelog: Offset(self.chain.len() as u64 * STRIDE),
            chain: self.last,
            max_append_ms: self.max_append_ms,
            birth: Uuid::nil(),
            days: days.iter().min().copied().zip(days.iter().max().copied()),
            ledger: self.ledger,
        }
    }
}

impl Made {
    /// Audits this world; waits for nothing.
    pub fn audit(self) -> Result<Report, CouldNotLook> {
        self.audit_with(&Settings {
            patience: Duration::ZERO,
            wait: None,
        })
    }

    /// Audits this world on an embedded store.
    pub fn audit_with(mut self, settings: &Settings) -> Result<Report, CouldNotLook> {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let views = runtime.block_on(async {
            let views = Store::open(&folder.path().join("views"), 1).await.unwrap();
            views.upsert(self.rows).await.unwrap();
            for ((view, partition), progress) in &mut self.progress {
                progress.birth = views.begin(*view, *partition, Uuid::nil()).await.unwrap();
                views.write_progress(*view, *partition, progress).await.unwrap();
            }
            views
        });
        let mut registry =
            |id| Ok((id == crate::given::FOREIGN).then(|| crate::given::FOREIGN_SCHEMA.to_owned()));
        let world = World {
            generation: &self.generation,
            own_schema: self.generation.schema_id,
            log: &mut self.log,
            chain: &mut self.chain,
            views: &views,
            runtime: runtime.handle(),
            registry: &mut registry,
        };
        audit(world, settings, &mut |_| {})
    }

    /// The differences, as people read them.
    pub fn differences(self) -> Vec<String> {
        let report = self.audit().unwrap();
        report
            .differences
            .first()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// The first row that fits.
    pub fn row(&mut self, fits: impl Fn(&RowKey) -> bool) -> &mut Row {
        self.rows.iter_mut().find(|row| fits(&row.key)).unwrap()
    }
}
