//! The fold: what is remembered and a run of records in, a commit record out. Pure and deterministic, so that two owners
//! who fold the same offsets conclude the same, and whoever is first on the chain speaks for both.

use crate::decide::{Decision, Refused, accepted_ms, redriven};
use crate::dedup::Dedup;
use crate::spill::SpillError;
use crate::uploads::{Call, Uploads};
use hashbrown::HashMap;
use log::{DeadLetterCopy, Record};
use rustc_hash::FxBuildHasher;
use schemas::commit::{Counted, Entries, Exception, Fate, Fresh, Refusal, Source, prefix};
use schemas::key::{Fingerprint, Hashing};
use schemas::redrive::Redriven;
use schemas::upload::Fact;
use schemas::{Event, Ledger, Offset, Outcome, Partition, Reason, limits};
use uuid::Uuid;

/// What the fold must know beside what it remembers; the same for every owner, since the generation says it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The number of the generation.
    pub generation: u32,
    /// Partitions of `events`.
    pub partitions: u32,
    /// Fingerprints and content hashes.
    pub hashing: Hashing,
}

/// What is remembered of one source partition: all of it follows from the chain.
#[derive(Debug)]
pub struct Known {
    /// Every key counted.
    pub dedup: Dedup,
    /// Every type counted, by tenant.
    pub types: Types,
    /// Uploads that are held or being copied.
    pub uploads: Uploads,
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

/// What a batch calls for once it is on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A copy for another partition.
    Reroute(Misplaced),
    /// What a fact of an upload calls for.
    Call(Call),
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
    /// What it calls for, in the order of its records.
    pub work: Vec<Work>,
    /// Copies for the topic of dead letters.
    pub dead_letters: Vec<DeadLetterCopy>,
    copied_bytes: usize,
    type_indexes: HashMap<String, u32, FxBuildHasher>,
    upload_indexes: HashMap<Uuid, Vec<(String, u32)>, FxBuildHasher>,
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
            work: Vec::new(),
            dead_letters: Vec::new(),
            copied_bytes: 0,
            type_indexes: HashMap::default(),
            upload_indexes: HashMap::default(),
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
        // What goes elsewhere, waits or is no event is no try, whatever its headers say.
        let redriven = match decision {
            Decision::Event(_) | Decision::Refused(_) | Decision::NeedsSchema(_) => {
                redriven(record, source, rules.partitions)
            }
            Decision::Held(_) | Decision::Fact(_) | Decision::Canary | Decision::Misplaced(_) => None,
        };
        let outcome = match decision {
            Decision::Event(event) => match &redriven {
                Some(redriven) => self.redriven(source, record, &event, redriven, known, rules)?,
                None => self.event(source, record, &event, known, rules)?,
            },
            Decision::Held(event) => self.hold(record.offset, &event),
            Decision::Fact(fact) => self.note(record, &fact, known),
            Decision::Canary => self.pass(record.offset),
            Decision::Misplaced(to) => self.reroute(record, to),
            Decision::Refused(refused) => self.refuse(source, record, &refused, came_as(&redriven)),
            Decision::NeedsSchema(id) => {
                let detail = format!("schema id {id} was not fetched");
                let refused = Refused::unread(Reason::UnknownSchema, detail);
                self.refuse(source, record, &refused, came_as(&redriven))
            }
        };
        if let Some(redriven) = &redriven {
            self.entries.add_redriven(redriven);
        }
        self.ledger.add_outcome(outcome);
        Ok(outcome)
    }

    /// Concludes an event. Of a held record's copies the first is concluded like any event, and the others are repeats.
    fn event(
        &mut self,
        source: Partition,
        record: &Record<'_>,
        event: &Event<'_>,
        known: &mut Known,
        rules: &Rules,
    ) -> Result<Outcome, SpillError> {
        let offset = record.offset;
        let original = record
            .origin
            .filter(|origin| origin.held && origin.partition == source && event.upload_id.is_some())
            // A copy lies behind its original; anything else is a header that somebody made up.
            .filter(|origin| origin.offset < offset)
            .map(|origin| origin.offset);
        let came_in = self.came_in(event, original);
        if let Some(original) = original {
            let print = rules.hashing.copy(source, original);
            if known.dedup.get(print)?.is_some() {
                let fate = Fate::Repeated;
                self.entries.add_exception(&Exception {
                    offset,
                    fate,
                    source: came_in,
                });
                return Ok(Outcome::Repeated);
            }
            known.dedup.insert(Fresh::of_copy(print))?;
        }
        match self.remember(offset, event, (came_in, None), known, rules)? {
            Ok(outcome) => Ok(outcome),
            Err(refused) => Ok(self.refuse(source, record, &refused, CameAs::Itself(original))),
        }
    }

    /// Concludes an event that is a redriven copy: like any event, but that of all tries of one letter, mended or not, one alone has an
    /// effect. The ledger of its upload says what became of the rows as they were sent, so the copy is no part of it.
    fn redriven(
        &mut self,
        source: Partition,
        record: &Record<'_>,
        event: &Event<'_>,
        redriven: &Redriven<'_>,
        known: &mut Known,
        rules: &Rules,
    ) -> Result<Outcome, SpillError> {
        let print = rules.hashing.redriven(source, redriven.offset);
        let print = (redriven.partition == source).then_some(print);
        match self.remember(record.offset, event, (None, print), known, rules)? {
            Ok(outcome) => Ok(outcome),
            Err(refused) => Ok(self.refuse(source, record, &refused, CameAs::Redriven)),
        }
    }

    /// Counts an event unless its key was counted before, or takes one back. `letter` is the print of the dead letter that it is a try of.
    fn remember(
        &mut self,
        offset: Offset,
        event: &Event<'_>,
        (came_in, letter): (Option<Source>, Option<Fingerprint>),
        known: &mut Known,
        rules: &Rules,
    ) -> Result<Result<Outcome, Refused>, SpillError> {
        let fingerprint = rules.hashing.fingerprint(&event.tenant, &event.idempotency_key);
        let content = rules.hashing.content(event);
        let (fresh, outcome) = match known.dedup.get(fingerprint)? {
            Some(seen) if seen.content != content => {
                let detail = "this idempotency_key was counted before with other content";
                return Ok(Err(Refused::of(event, Reason::KeyConflict, detail)));
            }
            Some(seen) if seen.reversed || !event.reverse => {
                self.entries.add_exception(&Exception {
                    offset,
                    fate: Fate::Duplicate,
                    source: came_in,
                });
                return Ok(Ok(Outcome::Duplicate));
            }
            Some(seen) => (
                // Taken back where it was counted, wherever a time that the server set would put it now.
                Fresh {
                    reversed: true,
                    ..seen
                },
                Outcome::Reversed,
            ),
            None if event.reverse => {
                let detail = "takes back an event whose idempotency_key was never counted";
                return Ok(Err(Refused::of(event, Reason::ReversalUnmatched, detail)));
            }
            None => (
                Fresh {
                    fingerprint,
                    content,
                    quarter: event.occurred_at.quarter(),
                    reversed: false,
                },
                Outcome::Counted,
            ),
        };
        if let Some(letter) = letter
            && known.dedup.get(letter)?.is_some()
        {
            self.entries.add_exception(&Exception {
                offset,
                fate: Fate::Repeated,
                source: came_in,
            });
            return Ok(Ok(Outcome::Repeated));
        }
        let Some(type_index) = self.type_index(event, known) else {
            let detail = format!("more than {} event types of one tenant", limits::TYPES);
            return Ok(Err(Refused::of(event, Reason::TooManyTypes, detail)));
        };
        match outcome {
            Outcome::Reversed => known.dedup.replace(fresh)?,
            _ => known.dedup.insert(fresh)?,
        }
        if let Some(letter) = letter {
            known.dedup.insert(Fresh::of_copy(letter))?;
        }
        self.entries.add_counted(&Counted {
            offset,
            fresh,
            type_index,
            user: &event.user_id,
            amount: event.amount,
            source: came_in,
        });
        Ok(Ok(outcome))
    }

    /// Keeps an event back until its upload is released.
    fn hold(&mut self, offset: Offset, event: &Event<'_>) -> Outcome {
        let source = self.came_in(event, None);
        self.entries.add_exception(&Exception {
            offset,
            fate: Fate::Held,
            source,
        });
        Outcome::Held
    }

    /// Passes over what counts for nothing; the ledger has it as noted.
    fn pass(&mut self, offset: Offset) -> Outcome {
        self.entries.add_exception(&Exception {
            offset,
            fate: Fate::Noted(&[]),
            source: None,
        });
        Outcome::Noted
    }

    /// Takes in a fact of an upload.
    fn note(&mut self, record: &Record<'_>, fact: &Fact, known: &mut Known) -> Outcome {
        let bytes = record.value.filter(|_| fact.is_kept()).unwrap_or_default();
        let upload_index = self.upload_index(&fact.tenant, fact.upload);
        self.entries.add_exception(&Exception {
            offset: record.offset,
            fate: Fate::Noted(bytes),
            source: Some(Source {
                upload_index,
                copy_of: None,
            }),
        });
        self.work
            .extend(known.uploads.take(fact, record.offset).map(Work::Call));
        Outcome::Noted
    }

    /// The upload that an event came in.
    fn came_in(&mut self, event: &Event<'_>, copy_of: Option<Offset>) -> Option<Source> {
        let upload = event.upload_id?;
        Some(Source {
            upload_index: self.upload_index(&event.tenant, upload),
            copy_of,
        })
    }

    fn upload_index(&mut self, tenant: &str, upload: Uuid) -> u32 {
        let known = self.upload_indexes.entry(upload).or_default();
        if let Some((_, index)) = known.iter().find(|(known, _)| known == tenant) {
            return *index;
        }
        let index = self.entries.add_upload(tenant, upload);
        known.push((tenant.to_owned(), index));
        index
    }

    /// The index of the event's type in this batch; `None` when the tenant may have no more types.
    fn type_index(&mut self, event: &Event<'_>, known: &mut Known) -> Option<u32> {
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
            .admits(&event.tenant, &event.event_type, limits::TYPES)
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
            source: None,
        });
        let misplaced = misplaced(record, to);
        self.copied_bytes += misplaced.key.len() + misplaced.value.len();
        self.work.push(Work::Reroute(misplaced));
        Outcome::Rerouted
    }

    fn refuse(
        &mut self,
        source: Partition,
        record: &Record<'_>,
        refused: &Refused,
        came_as: CameAs,
    ) -> Outcome {
        let came_in = match came_as {
            CameAs::Redriven => None,
            CameAs::Itself(copy_of) => refused.upload.map(|(upload, _)| Source {
                upload_index: self.upload_index(&refused.tenant, upload),
                copy_of,
            }),
        };
        let refusal = Refusal {
            reason: refused.reason,
            accepted_ms: accepted_ms(record),
            tenant: &refused.tenant,
            user: &refused.user,
            detail: &refused.detail,
            row: refused.upload.map(|(_, row)| row),
        };
        self.entries.add_exception(&Exception {
            offset: record.offset,
            fate: Fate::DeadLettered(refusal),
            source: came_in,
        });
        self.copy(source, record, refused);
        Outcome::DeadLettered(refused.reason)
    }

    /// The copy for the topic of dead letters. It fits whatever the record holds, else the lane would stand still at it for ever: a producer
    /// may write more than ours do, where the broker looks at what is left of it by compression.
    fn copy(&mut self, source: Partition, record: &Record<'_>, refused: &Refused) {
        let cut = |text: &str, limit| prefix(text, limit).as_bytes().to_vec();
        let mut headers = vec![
            ("reason".to_owned(), refused.reason.word().as_bytes().to_vec()),
            ("detail".to_owned(), cut(&refused.detail, limits::DETAIL_BYTES)),
            ("tenant".to_owned(), cut(&refused.tenant, limits::TENANT_BYTES)),
            (
                "accepted_ms".to_owned(),
                accepted_ms(record).to_string().into_bytes(),
            ),
        ];
        let bytes: usize = [record.key, record.value]
            .into_iter()
            .flatten()
            .map(<[u8]>::len)
            .sum();
        let (mut key, mut value) = (record.key, record.value);
        if bytes > limits::RECORD_BYTES {
            // They lie on `events` in any case.
            (key, value) = (None, None);
            headers.push(("left_out_bytes".to_owned(), bytes.to_string().into_bytes()));
        }
        headers.extend(key.map(|key| ("key".to_owned(), key.to_vec())));
        self.copied_bytes += value.map_or(0, <[u8]>::len);
        self.dead_letters.push(DeadLetterCopy {
            key: format!("{source}/{}", record.offset),
            value: value.map(<[u8]>::to_vec),
            headers,
        });
    }
}

/// What a refused record is to its upload.
enum CameAs {
    /// One of its own, or the copy of the held record at this offset.
    Itself(Option<Offset>),
    /// A try to redrive one of its own: no record of it.
    Redriven,
}

fn came_as(redriven: &Option<Redriven<'_>>) -> CameAs {
    match redriven {
        Some(_) => CameAs::Redriven,
        None => CameAs::Itself(None),
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
