//! The fold: what is remembered and a run of records in, a commit record out. Pure and deterministic, so that two owners
//! who fold the same offsets conclude the same, and whoever is first on the chain speaks for both.

use crate::decide::{Decision, Refused, accepted_ms};
use crate::dedup::Dedup;
use crate::spill::SpillError;
use hashbrown::HashMap;
use log::{DeadLetterCopy, Record};
use rustc_hash::FxBuildHasher;
use schemas::commit::{Counted, Entries, Exception, Fate, Fresh, Refusal};
use schemas::key::Hashing;
use schemas::{Event, Ledger, Offset, Outcome, Partition, Reason};

/// What the fold must know beside what it remembers; the same for every owner, since the generation says it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The number of the generation.
    pub generation: u32,
    /// Partitions of `events`.
    pub partitions: u32,
    /// Fingerprints and content hashes.
    pub hashing: Hashing,
    /// Event types of one tenant in one partition at most.
    pub types_limit: usize,
}

/// What is remembered of one source partition: all of it follows from the chain.
#[derive(Debug)]
pub struct Known {
    /// Every key counted.
    pub dedup: Dedup,
    /// Every type counted, by tenant.
    pub types: Types,
}

/// The event types that each tenant has in one source partition.
#[derive(Debug, Default)]
pub struct Types {
    by_tenant: HashMap<String, hashbrown::HashSet<String, FxBuildHasher>, FxBuildHasher>,
}

impl Types {
    /// Whether an event of this type may be counted: the type is known, or there is room for one more.
    pub fn admits(&self, tenant: &str, event_type: &str, limit: usize) -> bool {
        self.by_tenant
            .get(tenant)
            .is_none_or(|types| types.len() < limit || types.contains(event_type))
    }

    /// Remembers a type.
    pub fn add(&mut self, tenant: &str, event_type: &str) {
        let types = match self.by_tenant.get_mut(tenant) {
            Some(types) => types,
            None => self.by_tenant.entry(tenant.to_owned()).or_default(),
        };
        if !types.contains(event_type) {
            types.insert(event_type.to_owned());
        }
    }
}

/// A record that lies in the wrong partition, on its way to the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// Where it lies.
    pub offset: Offset,
    /// Where it belongs.
    pub to: Partition,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// When the log took it, in milliseconds.
    pub append_ms: i64,
}

/// A batch of one source partition while it is being folded.
#[derive(Debug)]
pub struct Batch {
    /// First offset of the batch.
    pub from: Offset,
    /// Next offset behind the last record folded.
    pub to: Offset,
    /// Totals up to `to`.
    pub ledger: Ledger,
    /// The newest append time up to `to`, in milliseconds.
    pub max_append_ms: i64,
    /// Leader epoch of the last record, -1 where unknown.
    pub leader_epoch: i32,
    /// The conclusions.
    pub entries: Entries,
    /// Records for other partitions.
    pub misplaced: Vec<Misplaced>,
    /// Copies for the topic of dead letters.
    pub dead_letters: Vec<DeadLetterCopy>,
    copied_bytes: usize,
    type_indexes: HashMap<String, u32, FxBuildHasher>,
    scratch: String,
}

impl Batch {
    /// An empty batch behind `to`.
    pub fn new(to: Offset, ledger: Ledger, max_append_ms: i64) -> Self {
        Self {
            from: to,
            to,
            ledger,
            max_append_ms,
            leader_epoch: -1,
            entries: Entries::default(),
            misplaced: Vec::new(),
            dead_letters: Vec::new(),
            copied_bytes: 0,
            type_indexes: HashMap::default(),
            scratch: String::new(),
        }
    }

    /// Records folded so far.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Bytes that this batch holds.
    pub fn bytes(&self) -> usize {
        self.entries.bytes() + self.copied_bytes
    }

    /// Folds one record. `decision` must be [`crate::decide::decide`]'s of this record and not `NeedsSchema`.
    pub fn fold(
        &mut self,
        source: Partition,
        record: &Record<'_>,
        decision: Decision<'_>,
        known: &mut Known,
        rules: &Rules,
    ) -> Result<Outcome, SpillError> {
        self.ledger.records += 1;
        self.ledger.copies += u64::from(record.origin.is_some());
        self.max_append_ms = self.max_append_ms.max(record.append_ms);
        self.to = record.offset.next();
        let outcome = match decision {
            Decision::Event(event) => match self.remember(record.offset, &event, known, rules)? {
                Ok(outcome) => outcome,
                Err(refused) => self.refuse(source, record, &refused),
            },
            Decision::Misplaced(to) => self.reroute(record, to),
            Decision::Refused(refused) => self.refuse(source, record, &refused),
            Decision::NeedsSchema(id) => {
                let detail = format!("schema id {id} was not fetched");
                let refused = Refused {
                    reason: Reason::UnknownSchema,
                    tenant: String::new(),
                    user: String::new(),
                    detail,
                };
                self.refuse(source, record, &refused)
            }
        };
        self.ledger.add_outcome(outcome);
        Ok(outcome)
    }

    /// Counts an event unless its key was counted before.
    fn remember(
        &mut self,
        offset: Offset,
        event: &Event<'_>,
        known: &mut Known,
        rules: &Rules,
    ) -> Result<Result<Outcome, Refused>, SpillError> {
        let fingerprint = rules.hashing.fingerprint(&event.tenant, &event.idempotency_key);
        let content = rules.hashing.content(event);
        if let Some(seen) = known.dedup.get(fingerprint)? {
            if seen.content == content {
                self.entries.add_exception(&Exception {
                    offset,
                    fate: Fate::Duplicate,
                });
                return Ok(Ok(Outcome::Duplicate));
            }
            let detail = "this idempotency_key was counted before with other content";
            return Ok(Err(Refused::of(event, Reason::KeyConflict, detail)));
        }
        let Some(type_index) = self.type_index(event, known, rules) else {
            let detail = format!("more than {} event types of one tenant", rules.types_limit);
            return Ok(Err(Refused::of(event, Reason::TooManyTypes, detail)));
        };
        let fresh = Fresh {
            fingerprint,
            content,
            quarter: event.occurred_at.quarter(),
            reversed: false,
        };
        known.dedup.insert(fresh)?;
        self.entries.add_counted(&Counted {
            offset,
            fresh,
            type_index,
            user: &event.user_id,
            amount: event.amount,
        });
        Ok(Ok(Outcome::Counted))
    }

    /// The index of the event's type in this batch; `None` when the tenant may have no more types.
    fn type_index(&mut self, event: &Event<'_>, known: &mut Known, rules: &Rules) -> Option<u32> {
        // Neither tenant nor type holds a control character, so NUL keeps them apart.
        self.scratch.clear();
        self.scratch.push_str(&event.tenant);
        self.scratch.push('\0');
        self.scratch.push_str(&event.event_type);
        if let Some(index) = self.type_indexes.get(self.scratch.as_str()) {
            return Some(*index);
        }
        if !known
            .types
            .admits(&event.tenant, &event.event_type, rules.types_limit)
        {
            return None;
        }
        known.types.add(&event.tenant, &event.event_type);
        let index = self.entries.add_type(&event.tenant, &event.event_type);
        self.type_indexes.insert(self.scratch.clone(), index);
        Some(index)
    }

    fn reroute(&mut self, record: &Record<'_>, to: Partition) -> Outcome {
        self.entries.add_exception(&Exception {
            offset: record.offset,
            fate: Fate::Rerouted(to),
        });
        let misplaced = misplaced(record, to);
        self.copied_bytes += misplaced.key.len() + misplaced.value.len();
        self.misplaced.push(misplaced);
        Outcome::Rerouted
    }

    fn refuse(&mut self, source: Partition, record: &Record<'_>, refused: &Refused) -> Outcome {
        let refusal = Refusal {
            reason: refused.reason,
            accepted_ms: accepted_ms(record),
            tenant: &refused.tenant,
            user: &refused.user,
            detail: &refused.detail,
        };
        self.entries.add_exception(&Exception {
            offset: record.offset,
            fate: Fate::DeadLettered(refusal),
        });
        let mut headers = vec![
            ("reason".to_owned(), refused.reason.word().as_bytes().to_vec()),
            ("detail".to_owned(), refused.detail.as_bytes().to_vec()),
            ("tenant".to_owned(), refused.tenant.as_bytes().to_vec()),
            (
                "accepted_ms".to_owned(),
                accepted_ms(record).to_string().into_bytes(),
            ),
        ];
        if let Some(key) = record.key {
            headers.push(("key".to_owned(), key.to_vec()));
        }
        self.copied_bytes += record.value.map_or(0, <[u8]>::len);
        self.dead_letters.push(DeadLetterCopy {
            key: format!("{source}/{}", record.offset),
            value: record.value.map(<[u8]>::to_vec),
            headers,
        });
        Outcome::DeadLettered(refused.reason)
    }
}

/// A record on its way to partition `to`.
pub fn misplaced(record: &Record<'_>, to: Partition) -> Misplaced {
    Misplaced {
        offset: record.offset,
        to,
        key: record.key.unwrap_or_default().to_vec(),
        value: record.value.unwrap_or_default().to_vec(),
        append_ms: accepted_ms(record),
    }
}
