//! A changelog in memory, and commit records for it, whose counted events are also rows and records of the fixture.

use crate::fake_log::FakeLog;
use crate::fixture::{Fixture, row};
use log::{ChainEvent, ChainReader, LogError, Place};
use query_api::OpenChain;
use schemas::commit::{Counted, Entries, Fresh, Head, Link, cut_at};
use schemas::generation::FOLD_VERSION;
use schemas::key::{ContentHash, Fingerprint};
use schemas::partial::UserPartial;
use schemas::row::RowKey;
use schemas::{Day, Event, Ledger, Offset, Partition, avro};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// The id of the fixture's own schema.
pub const OWN_SCHEMA: u32 = 7;

/// Parts by partition and offset; every second offset is a gap.
pub type FakeChain = Arc<Mutex<BTreeMap<(u32, u64), Vec<u8>>>>;

pub fn open(chain: &FakeChain) -> OpenChain {
    let chain = Arc::clone(chain);
    Box::new(move || {
        let chain = Arc::clone(&chain);
        Ok(Box::new(FakeChainReader { chain, at: None }))
    })
}

struct FakeChainReader {
    chain: FakeChain,
    at: Option<Place>,
}

impl ChainReader for FakeChainReader {
    fn assign(&mut self, places: &[Place]) -> Result<(), LogError> {
        self.at = places.first().copied();
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Result<Vec<ChainEvent>, LogError> {
        let Some(Place { partition, next }) = self.at else {
            return Ok(Vec::new());
        };
        let chain = self.chain.lock().unwrap();
        let mut there = chain.range((partition.0, next.0)..(partition.0 + 1, 0));
        let Some(((_, offset), bytes)) = there.next() else {
            return Ok(vec![ChainEvent::Reached(Place {
                partition,
                next: Offset(u64::MAX),
            })]);
        };
        let offset = Offset(*offset);
        self.at = Some(Place {
            partition,
            next: offset.next(),
        });
        let bytes = bytes.clone();
        Ok(vec![ChainEvent::Part {
            partition,
            offset,
            bytes,
        }])
    }

    fn mark(&mut self, _: Partition) -> Result<Offset, LogError> {
        Ok(Offset(u64::MAX))
    }
}

/// One source partition as a product makes it: its events, their chain and its users' rows.
pub struct Counting<'f> {
    fixture: &'f Fixture,
    partition: u32,
    last: Uuid,
    ledger: Ledger,
    next: u64,
    changelog: u64,
    rows: BTreeMap<RowKey, (Offset, UserPartial)>,
}

impl<'f> Counting<'f> {
    pub fn new(fixture: &'f Fixture, partition: u32) -> Self {
        Self {
            fixture,
            partition,
            last: Uuid::nil(),
            ledger: Ledger::default(),
            next: 0,
            changelog: 0,
            rows: BTreeMap::new(),
        }
    }

    /// Appends events and concludes them in one commit record of two parts; of those that are marked it counts nothing, as of duplicates.
    /// A record of another owner stands beside it that concludes something else.
    pub async fn commit(&mut self, events: &[(Event<'static>, bool)]) {
        let log: &Arc<FakeLog> = &self.fixture.log;
        let (mut entries, mut other) = (Entries::default(), Entries::default());
        let from = self.next;
        let id = Uuid::from_u128(u128::from(self.partition) << 64 | u128::from(self.changelog + 1));
        let link = Link {
            changelog: Offset(self.changelog + 6),
            id,
        };
        let to = Offset(from + events.len() as u64);
        let mut changed = Vec::new();
        for (event, is_counted) in events {
            let mut value = Vec::new();
            avro::encode(event, OWN_SCHEMA, &mut value);
            let ms = event.occurred_at.millis() + 1_000;
            let key = event.idempotency_key.as_bytes();
            let offset = Offset(log.append(self.partition, ms, Some(key), Some(&value)));
            self.next = offset.0 + 1;
            self.ledger.records += 1;
            let type_index = other.add_type(&event.tenant, &event.event_type);
            let counted = Counted {
                offset,
                fresh: Fresh {
                    fingerprint: Fingerprint(u128::from(offset.0)),
                    content: ContentHash::from_low_bits(0),
                    quarter: event.occurred_at.quarter(),
                    reversed: event.reverse,
                },
                type_index,
                user: &event.user_id,
                amount: event.amount,
                source: None,
            };
            other.add_counted(&counted);
            if !is_counted {
                continue;
            }
            let type_index = entries.add_type(&event.tenant, &event.event_type);
            entries.add_counted(&Counted {
                type_index,
                ..counted
            });
            let day: Day = counted.fresh.quarter.day();
            let key = RowKey::User {
                tenant: event.tenant.to_string(),
                user: event.user_id.to_string(),
                day,
            };
            let row = self.rows.entry(key.clone()).or_default();
            row.0 = to;
            row.1
                .add(&event.event_type, counted.fresh.quarter.of_day(), event.amount);
            row.1.remember(offset, event.reverse, link);
            changed.push(key);
        }
        let head = Head {
            generation: 1,
            fold_version: FOLD_VERSION,
            partition: Partition(self.partition),
            from: Offset(from),
            to,
            leader_epoch: 0,
            lane: "fixture".to_owned(),
            max_append_ms: 0,
            rerouted_through: Offset(0),
            released_through: Offset(0),
            ledger: self.ledger,
        };
        let body = entries.encode(&head);
        let torn = cut_at(id, self.last, &body, body.len() / 2 + 1).remove(0);
        let late = cut_at(Uuid::max(), self.last, &other.encode(&head), usize::MAX).remove(0);
        let mut parts = vec![torn, late];
        parts.extend(cut_at(id, self.last, &body, body.len() / 2 + 1));
        for part in parts {
            let mut chain = self.fixture.chain.lock().unwrap();
            chain.insert((self.partition, self.changelog), part);
            self.changelog += 2;
        }
        self.last = id;
        let rows = changed.into_iter().map(|key| {
            let (version, partial) = &self.rows[&key];
            row(key, self.partition, version.0, partial.encode())
        });
        self.fixture.store.upsert(rows.collect::<Vec<_>>()).await.unwrap();
    }
}
