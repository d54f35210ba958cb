//! Reads the changelog. A commit record is one frame, and only what is durable is read, so all that is read is committed.

use super::bell::Bell;
use super::cursor::Cursor;
use super::folder::{Folder, of_partition};
use crate::ports::{ChainEvent, ChainReader, LogError, Place};
use schemas::{Offset, Partition};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of parts that one poll gives from one partition.
const POLL_BYTES: usize = 4 * 1024 * 1024;

/// A chain reader.
pub(super) struct Chain {
    folder: Arc<Folder>,
    bell: Arc<Bell>,
    assigned: Vec<Assigned>,
}

struct Assigned {
    partition: Partition,
    cursor: Cursor,
    /// Whether `Reached` was said for the cursor's place.
    told: bool,
}

impl Chain {
    pub(super) fn new(folder: Arc<Folder>) -> Self {
        Self {
            folder,
            bell: Arc::default(),
            assigned: Vec::new(),
        }
    }

    fn look(&mut self) -> Result<Vec<ChainEvent>, LogError> {
        let mut events = Vec::new();
        for assigned in &mut self.assigned {
            let partition = assigned.partition;
            if assigned.cursor.has_more() {
                let batch = assigned.cursor.read(Offset(u64::MAX), POLL_BYTES)?;
                events.extend(batch.iter().map(|record| ChainEvent::Part {
                    partition,
                    offset: record.offset,
                    bytes: record.value.unwrap_or_default().to_vec(),
                }));
                assigned.told = false;
            }
            if !assigned.told {
                events.push(ChainEvent::Reached(Place {
                    partition,
                    next: assigned.cursor.next(),
                }));
                assigned.told = true;
            }
        }
        Ok(events)
    }
}

impl ChainReader for Chain {
    fn assign(&mut self, places: &[Place]) -> Result<(), LogError> {
        self.assigned.clear();
        // A new bell, so that partitions given up do not wake this reader.
        self.bell = Arc::default();
        for place in places {
            let log = of_partition(&self.folder.changelog, place.partition)?;
            log.check_next(place.next)?;
            log.watch(&self.bell);
            let cursor = Cursor::new(log.clone(), place.next);
            self.assigned.push(Assigned {
                partition: place.partition,
                cursor,
                told: false,
            });
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Vec<ChainEvent>, LogError> {
        let deadline = Instant::now() + timeout;
        loop {
            let seen = self.bell.rings();
            let events = self.look()?;
            if !events.is_empty() || !self.bell.wait(seen, deadline) {
                return Ok(events);
            }
        }
    }

    fn mark(&mut self, partition: Partition) -> Result<Offset, LogError> {
        Ok(of_partition(&self.folder.changelog, partition)?.end())
    }
}
