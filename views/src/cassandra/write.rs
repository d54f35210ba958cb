//! Writing rows and progress. Rows go out grouped by store partition, about 50 to an unlogged batch, since a batch over
//! several partitions costs the store more than single writes; a bounded number of requests is under way at once.

use super::Cassandra;
use super::session::{fate, retried};
use super::statements::BATCH_ROWS;
use crate::Error;
use crate::store::stamp;
use futures::stream::{FuturesUnordered, TryStreamExt};
use schemas::Partition;
use schemas::row::{Progress, Row, RowKey, View, user_bucket};
use scylla::errors::ExecutionError;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes of values in one batch of more than one row; a larger row goes alone.
const BATCH_BYTES: usize = 64 << 10;

/// Stands for the offset of a fact where a row is an upload's ledger.
pub(super) const LEDGER: i64 = -1;
/// Stands for the partition and the offset of a redriven copy where a row is the dead letter itself.
pub(super) const LETTER: i8 = -1;

/// A row as it is bound to its table's insert.
struct Bound<'a> {
    partition: StorePartition<'a>,
    key: &'a RowKey,
    p: i32,
    value: &'a [u8],
    stamp: i64,
}

/// A partition of a table: what one batch may hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum StorePartition<'a> {
    Day(&'a str, i32),
    User { bucket: i32, year: i32 },
    DeadLetter(&'a str, i32),
    Upload(&'a str, i32),
    Distinct(&'a str, i32),
}

impl Cassandra {
    /// Neighbours in a store partition come to lie side by side, so that they fill batches.
    pub(crate) fn arrange(&self, rows: &mut [Row]) {
        rows.sort_by_cached_key(|row| {
            let partition = StorePartition::of(&row.key, self.config.user_buckets);
            // What has none is refused when it is written.
            (row.key.view(), partition.map_or(0, StorePartition::hash_64))
        });
    }

    pub(crate) async fn upsert(&self, rows: &[Row]) -> Result<(), Error> {
        let bound = rows.iter().map(|row| Bound::of(row, self.config.user_buckets));
        let bound = bound.collect::<Result<Vec<_>, _>>()?;
        // A loop, since the compiler cannot show that a stream of these futures may move between threads.
        let mut under_way = FuturesUnordered::new();
        for chunk in chunks(&bound) {
            if under_way.len() >= self.config.in_flight {
                under_way.try_next().await?;
            }
            under_way.push(self.write(chunk));
        }
        under_way.try_collect().await
    }

    /// Writes rows of one store partition, and waits for the acknowledgement.
    async fn write(&self, rows: Vec<&Bound<'_>>) -> Result<(), Error> {
        let Some(first) = rows.first() else { return Ok(()) };
        let table = self.statements.table(first.key.view());
        let _permit = self
            .in_flight
            .acquire()
            .await
            .map_err(|error| Error::Away(error.to_string()))?;
        retried(self.config.retry_for, async || {
            match table.batch(rows.len()) {
                Some(batch) => self.session.batch(batch, &rows).await,
                None => self.session.execute_unpaged(&table.insert, first).await,
            }
            .map(|_| ())
            .map_err(fate)
        })
        .await
    }

    pub(crate) async fn write_progress(
        &self,
        view: View,
        partition: Partition,
        progress: &Progress,
    ) -> Result<(), Error> {
        let values = (
            number(partition.0, "partition")?,
            progress.encode(),
            stamp(progress.changelog.0, "a progress row")?,
        );
        let statement = &self.statements.table(view).write_progress;
        retried(self.config.retry_for, async || {
            let written: Result<_, ExecutionError> = self.session.execute_unpaged(statement, &values).await;
            written.map(|_| ()).map_err(fate)
        })
        .await
    }
}

/// The rows cut into chunks of one store partition each. Sorts 8-byte hashes, not keys: equal partitions lie side by side,
/// and two partitions of one hash are told apart where they meet.
fn chunks<'a>(rows: &'a [Bound<'a>]) -> Vec<Vec<&'a Bound<'a>>> {
    let mut order: Vec<(u64, &Bound<'_>)> = rows.iter().map(|row| (row.partition.hash_64(), row)).collect();
    order.sort_unstable_by_key(|(hash, _)| *hash);
    let mut chunks: Vec<Vec<&Bound<'_>>> = Vec::with_capacity(rows.len() / BATCH_ROWS + 1);
    let mut bytes = 0;
    for (_, row) in order {
        bytes += row.value.len();
        match chunks.last_mut() {
            Some(chunk)
                if chunk.len() < BATCH_ROWS
                    && bytes <= BATCH_BYTES
                    && chunk.last().is_some_and(|last| last.partition == row.partition) =>
            {
                chunk.push(row);
            }
            _ => {
                bytes = row.value.len();
                chunks.push(vec![row]);
            }
        }
    }
    chunks
}

impl<'a> Bound<'a> {
    fn of(row: &'a Row, buckets: u32) -> Result<Self, Error> {
        let partition = StorePartition::of(&row.key, buckets)?;
        Ok(Self {
            partition,
            key: &row.key,
            p: number(row.partition.0, "partition")?,
            value: &row.value,
            stamp: stamp(row.version.0, "a row")?,
        })
    }
}

impl<'a> StorePartition<'a> {
    fn of(key: &'a RowKey, buckets: u32) -> Result<Self, Error> {
        Ok(match key {
            RowKey::Day { tenant, day, .. } => Self::Day(tenant, number(day.0, "day")?),
            RowKey::User { tenant, user, day } => Self::User {
                bucket: number(user_bucket(tenant, user, buckets), "bucket")?,
                year: day.year(),
            },
            RowKey::DeadLetter { tenant, day, .. } | RowKey::Redrive { tenant, day, .. } => {
                Self::DeadLetter(tenant, number(day.0, "day")?)
            }
            RowKey::Upload { tenant, day, .. } => Self::Upload(tenant, number(day.0, "day")?),
            RowKey::Distinct { tenant, day, .. } => Self::Distinct(tenant, number(day.0, "day")?),
        })
    }

    fn hash_64(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The order of values is that of the columns in [`schemas::cql::columns`], then the stamp.
impl SerializeRow for Bound<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let (p, value, stamp) = (self.p, self.value, self.stamp);
        match (self.partition, self.key) {
            (StorePartition::Day(tenant, day), RowKey::Day { event_type, .. })
            | (StorePartition::Distinct(tenant, day), RowKey::Distinct { event_type, .. }) => {
                (tenant, day, event_type.as_str(), p, value, stamp).serialize(context, writer)
            }
            (StorePartition::User { bucket, year }, RowKey::User { tenant, user, day }) => {
                // Every day of a row fits: `year` was made of it.
                let day = i32::try_from(day.0).map_err(SerializationError::new)?;
                (bucket, year, tenant.as_str(), user.as_str(), day, p, value, stamp)
                    .serialize(context, writer)
            }
            (
                StorePartition::DeadLetter(tenant, day),
                RowKey::DeadLetter {
                    accepted_ms, offset, ..
                },
            ) => {
                let offset = i64::try_from(offset.0).map_err(SerializationError::new)?;
                let (q, copy) = (i32::from(LETTER), i64::from(LETTER));
                (tenant, day, *accepted_ms, p, offset, q, copy, value, stamp).serialize(context, writer)
            }
            (
                StorePartition::DeadLetter(tenant, day),
                RowKey::Redrive {
                    accepted_ms,
                    letter,
                    offset,
                    copy,
                    ..
                },
            ) => {
                let letter = i32::try_from(letter.0).map_err(SerializationError::new)?;
                let offset = i64::try_from(offset.0).map_err(SerializationError::new)?;
                let copy = i64::try_from(copy.0).map_err(SerializationError::new)?;
                (tenant, day, *accepted_ms, letter, offset, p, copy, value, stamp).serialize(context, writer)
            }
            (StorePartition::Upload(tenant, day), RowKey::Upload { upload, fact, .. }) => {
                let offset = fact.map_or(Ok(LEDGER), |offset| i64::try_from(offset.0));
                let offset = offset.map_err(SerializationError::new)?;
                (tenant, day, upload.as_bytes().as_slice(), p, offset, value, stamp)
                    .serialize(context, writer)
            }
            _ => Err(SerializationError::new(std::io::Error::other(
                "row of another view",
            ))),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// A number as an `int` of CQL.
pub(super) fn number(number: u32, what: &str) -> Result<i32, Error> {
    i32::try_from(number)
        .map_err(|_| Error::Wrong(format!("{what} {number} is beyond what the store can hold")))
}
