//! The audit's own fold: records of one source partition in, an outcome for each and the rows that follow out.

use crate::look::CouldNotLook;
use crate::names::Names;
use crate::outcomes::{Came, Concluded, Verdict};
use crate::record::{Finding, Reading, Refused, accepted_ms, tried};
use crate::rows::{Letter, Rows};
use crate::seen::{Known, Seen};
use crate::tries::Tried;
use crate::uploads::Id;
use log::Record;
use log::batch::Origin;
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::commit::Fate;
use schemas::{Event, Ledger, Offset, Outcome, Partition, Reason, limits};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What all partitions share.
pub(crate) struct Shared<'w> {
    pub(crate) reading: Reading<'w>,
    pub(crate) users: Names,
    pub(crate) types: Names,
    /// Records that were rerouted: to where, and what they hold.
    pub(crate) rerouted: FxHashMap<(Partition, Offset), (Partition, u64)>,
    /// Where copies came from, and what they hold.
    pub(crate) origins: FxHashSet<(Partition, Offset, u64)>,
    /// Records whose outcome is the chain's word alone.
    pub(crate) rulings: u64,
}

/// The fold of one source partition.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) partition: Partition,
    /// Next offset on `events`.
    pub(crate) next: Offset,
    pub(crate) ledger: Ledger,
    pub(crate) max_append_ms: i64,
    pub(crate) rows: Rows,
    seen: Seen,
    /// Dead letters of this partition that had their effect through a try.
    healed: FxHashSet<Offset>,
    /// Types counted, by tenant.
    types: FxHashMap<Box<str>, FxHashSet<u32>>,
}

impl Fold {
    pub(crate) fn new(partition: Partition) -> Self {
        Self {
            partition,
            next: Offset(0),
            ledger: Ledger::default(),
            max_append_ms: 0,
            rows: Rows::default(),
            seen: Seen::default(),
            healed: FxHashSet::default(),
            types: FxHashMap::default(),
        }
    }

    /// Folds one record and says what must become of it. `concluded` is what the chain says: used for what only the
    /// chain can know (whether a schema was unknown, and the text for people).
    pub(crate) fn take<'a>(
        &mut self,
        record: &Record<'a>,
        concluded: Option<&Concluded<'_>>,
        shared: &mut Shared<'_>,
    ) -> Result<(Verdict<'a>, Came<'a>), CouldNotLook> {
        let said = concluded.and_then(Concluded::refusal);
        let ruled_unknown = said.is_some_and(|refusal| refusal.reason == Reason::UnknownSchema);
        self.note(record, &mut shared.origins);
        let mut upload: Option<Id> = None;
        let mut copy_of = None;
        let finding = shared.reading.look(record, self.partition, ruled_unknown)?;
        let redriven = match &finding {
            Finding::Event(_) | Finding::Refused(_) | Finding::Ruled => {
                tried(record, self.partition, shared.reading.partitions)
            }
            Finding::Held(_) | Finding::Fact(_) | Finding::Canary | Finding::Misplaced(_) => None,
        };
        let verdict = match finding {
            Finding::Event(event) if redriven.is_some() => {
                let here = redriven.filter(|redriven| redriven.partition == self.partition);
                self.remember(event, record.offset, here.map(|redriven| redriven.offset), shared)
            }
            Finding::Event(event) => {
                upload = id_of(&event);
                let origin = record.origin.filter(|origin| origin.held && upload.is_some());
                copy_of = origin
                    .filter(|origin| origin.partition == self.partition && origin.offset < record.offset)
                    .map(|origin| origin.offset);
                match copy_of {
                    Some(original) if !self.rows.uploads.copy(original) => Verdict::Repeated,
                    _ => self.remember(event, record.offset, None, shared),
                }
            }
            Finding::Held(event) => {
                upload = id_of(&event);
                if let Some(id) = &upload {
                    self.rows.uploads.hold(id.clone(), record.offset);
                }
                Verdict::Held
            }
            Finding::Fact(fact) => {
                let bytes = record.value.unwrap_or_default();
                let version = self.rows.present();
                self.rows.uploads.note(&fact, bytes, record.offset, version);
                Verdict::Noted(Some(fact))
            }
            Finding::Canary => Verdict::Noted(None),
            Finding::Misplaced(to) => {
                let place = (self.partition, record.offset);
                shared.rerouted.insert(place, (to, content(record)));
                Verdict::Rerouted(to)
            }
            Finding::Refused(refused) => Verdict::Refused(refused),
            Finding::Ruled => {
                shared.rulings += 1;
                let (tenant, user) = (String::new(), String::new());
                Verdict::Refused(Refused {
                    reason: Reason::UnknownSchema,
                    tenant,
                    user,
                    upload: None,
                })
            }
        };
        let outcome = verdict.outcome();
        if let Some(redriven) = &redriven {
            let detail = said.map(|refusal| refusal.detail);
            let row = Tried::new(redriven, outcome, detail, self.rows.present());
            self.rows.tries.insert(record.offset, row);
        } else if let Verdict::Refused(refused) = &verdict {
            let letter = Letter {
                version: Offset(0),
                accepted_ms: accepted_ms(record),
                tenant: prefix(&refused.tenant, limits::TENANT_BYTES).into(),
                user: prefix(&refused.user, limits::USER_BYTES).into(),
                reason: refused.reason,
                upload: refused.upload,
                detail: said.map(|refusal| refusal.detail.into()),
            };
            self.rows.refuse(record.offset, letter);
            upload = refused.upload.map(|(upload, _)| (refused.tenant.clone(), upload));
        }
        self.ledger.add_outcome(outcome);
        if let Some(id) = upload.clone() {
            let version = self.rows.present();
            self.rows.uploads.add(id, outcome, copy_of.is_some(), version);
        }
        let came = Came {
            upload,
            copy_of,
            redriven,
        };
        Ok((verdict, came))
    }

    fn note(&mut self, record: &Record<'_>, origins: &mut FxHashSet<(Partition, Offset, u64)>) {
        self.next = record.offset.next();
        self.max_append_ms = self.max_append_ms.max(record.append_ms);
        self.ledger.records += 1;
        if let Some(Origin {
            partition, offset, ..
        }) = record.origin
        {
            self.ledger.copies += 1;
            origins.insert((partition, offset, content(record)));
        }
    }

    /// `letter`: the dead letter of this partition that the event is a try for.
    fn remember<'a>(
        &mut self,
        event: Event<'a>,
        offset: Offset,
        letter: Option<Offset>,
        shared: &mut Shared<'_>,
    ) -> Verdict<'a> {
        let print = self.seen.print(&event);
        let event_type = shared.types.number(&event.tenant, &event.event_type);
        match self.seen.look(print) {
            Known::Other => return Verdict::Refused(Refused::of(&event, Reason::KeyConflict)),
            Known::Same if !event.reverse || self.seen.is_reversed(print) => return Verdict::Duplicate,
            Known::New if event.reverse => {
                return Verdict::Refused(Refused::of(&event, Reason::ReversalUnmatched));
            }
            Known::Same | Known::New => {}
        }
        // What is left would change the counts, which no letter may do twice.
        if letter.is_some_and(|letter| self.healed.contains(&letter)) {
            return Verdict::Repeated;
        }
        if event.reverse {
            let Some(quarter) = self.seen.reverse(print, &event) else {
                return Verdict::Duplicate;
            };
            self.healed.extend(letter);
            let place = (quarter, true);
            self.rows
                .count((&event, offset), place, event_type, &mut shared.users);
            return Verdict::Reversed(Box::new(event), quarter);
        }
        if !self.admits(&event.tenant, event_type) {
            return Verdict::Refused(Refused::of(&event, Reason::TooManyTypes));
        }
        self.healed.extend(letter);
        self.seen.remember(print, &event);
        let place = (event.occurred_at.quarter(), false);
        self.rows
            .count((&event, offset), place, event_type, &mut shared.users);
        Verdict::Counted(Box::new(event))
    }

    /// Whether an event of this type may be counted; if so, the type is one of the tenant's from now on.
    fn admits(&mut self, tenant: &str, event_type: u32) -> bool {
        let Some(types) = self.types.get_mut(tenant) else {
            self.types
                .insert(tenant.into(), FxHashSet::from_iter([event_type]));
            return true;
        };
        if types.contains(&event_type) {
            return true;
        }
        types.len() < limits::TYPES && types.insert(event_type)
    }
}

/// What a record holds, to hold its copy against.
fn content(record: &Record<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (record.key, record.value).hash(&mut hasher);
    hasher.finish()
}

/// The upload that an event came in.
fn id_of(event: &Event<'_>) -> Option<Id> {
    event.upload_id.map(|upload| (event.tenant.to_string(), upload))
}

/// At most `limit` bytes of a text, whole characters of it: as a dead letter's row holds it.
pub(crate) fn prefix(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

impl Verdict<'_> {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Counted(_) => Outcome::Counted,
            Self::Duplicate => Outcome::Duplicate,
            Self::Rerouted(_) => Outcome::Rerouted,
            Self::Reversed(..) => Outcome::Reversed,
            Self::Held => Outcome::Held,
            Self::Repeated => Outcome::Repeated,
            Self::Noted(_) => Outcome::Noted,
            Self::Refused(refused) => Outcome::DeadLettered(refused.reason),
        }
    }
}

impl<'c> Concluded<'c> {
    fn refusal(&self) -> Option<schemas::commit::Refusal<'c>> {
        match self {
            Self::Exception {
                fate: Fate::DeadLettered(refusal),
                ..
            } => Some(*refusal),
            Self::Exception { .. } | Self::Counted { .. } => None,
        }
    }
}
