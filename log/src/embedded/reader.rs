//! Looks at `events` at chosen places.

use super::cursor::Cursor;
use super::folder::{Folder, of_partition};
use crate::batch::RecordBatch;
use crate::ports::{LogError, LogReader};
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A reader; it keeps its place in each partition, so that reading on is cheap.
pub(super) struct Reader {
    folder: Arc<Folder>,
    cursors: BTreeMap<Partition, Cursor>,
}

impl Reader {
    pub(super) fn new(folder: Arc<Folder>) -> Self {
        Self {
            folder,
            cursors: BTreeMap::new(),
        }
    }
}

impl LogReader for Reader {
    fn range(&mut self, partition: Partition) -> Result<(Offset, Offset), LogError> {
        // Nothing is ever deleted, and the start is refused when the first segment is gone.
        Ok((Offset(0), of_partition(&self.folder.events, partition)?.end()))
    }

    fn read(
        &mut self,
        partition: Partition,
        next: Offset,
        end: Offset,
        max_bytes: usize,
    ) -> Result<RecordBatch, LogError> {
        let log = of_partition(&self.folder.events, partition)?;
        log.check_next(next)?;
        let cursor = self
            .cursors
            .entry(partition)
            .or_insert_with(|| Cursor::new(log.clone(), next));
        if cursor.next() != next {
            *cursor = Cursor::new(log.clone(), next);
        }
        let batch = cursor.read(end, max_bytes);
        if batch.is_err() {
            // Part of the batch may have been taken before it failed.
            self.cursors.remove(&partition);
        }
        batch
    }
}
