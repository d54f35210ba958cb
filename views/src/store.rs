//! The store as the projector, the queries and the audit see it.

use crate::cassandra::{self, Cassandra};
use crate::embedded::Embedded;
use futures::stream::BoxStream;
use schemas::row::{LetterPlace, Progress, Row, View};
use schemas::{Day, Offset, Partition};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// Stamps of ours are next offsets, far below this; a stamp above it is a clock's microseconds (1.7 * 10^15 in 2025), so
/// somebody wrote without a stamp, and no stamped write would ever replace that row.
pub const STAMP_LIMIT: u64 = 100_000_000_000_000;

/// Lives of tables lie beside the progress rows, under the partition and this: more than there can be partitions.
const BIRTHS: u32 = 1 << 30;
/// The fixed stamp of a life, so that a second one written at once does not replace the first on some replicas only.
const BIRTH_STAMP: Offset = Offset(1);

fn birth_place(partition: Partition) -> Partition {
    Partition(partition.0 | BIRTHS)
}

/// The id of a life, if it is of this log.
fn of_log(view: View, life: &Progress, changelog_id: Uuid) -> Result<Uuid, Error> {
    match life.chain == changelog_id {
        true => Ok(life.birth),
        false => Err(Error::Wrong(format!(
            "the table of {} was filled from another log, whose changelog was {} (ours is {changelog_id}): bring that log back, or empty the \
             store (truncate its tables, or move the folder of the embedded views away) and it is filled from this one",
            view.name(),
            life.chain
        ))),
    }
}

/// A view store of one generation; cheap to clone.
#[derive(Clone, Debug)]
pub enum Store {
    /// ScyllaDB or Cassandra.
    Cassandra(Arc<Cassandra>),
    /// A folder of this process.
    Embedded(Arc<Embedded>),
}

/// What a view's table holds of a source partition beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The life of the table, as [`Store::begin`] began it; none where the table was emptied since.
    pub life: Option<Uuid>,
    /// The progress row, of whatever life.
    pub progress: Option<Progress>,
}

impl Stored {
    /// The progress, if it is of the table's present life: only then do the rows that it stands for lie there.
    pub fn believed(&self) -> Option<&Progress> {
        self.progress
            .as_ref()
            .filter(|progress| self.life == Some(progress.birth))
    }
}

/// A row with the stamp that the store itself keeps for it, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The row; its `version` is the one that was written into it.
    pub row: Row,
    /// The store's own stamp: must equal the version.
    pub stamp: i64,
}

/// Some rows of a part of a tenant's users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRows {
    /// The rows of the days that were asked for, by user, day and partition.
    pub rows: Vec<Row>,
    /// How many rows the store looked at for them, those of other days too.
    pub looked_at: usize,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not answer, or not in time: waiting may cure it.
    #[error("the view store is away: {0}")]
    Away(String),
    /// What it holds is not what it should hold: a person must look. The text says what to do.
    #[error("the view store is not what it should be: {0}")]
    Wrong(String),
}

impl Store {
    /// Connects to ScyllaDB or Cassandra, whose tables `cassandra::migrate` has made. Fails with [`Error::Away`] within the
    /// configured time where it does not answer; a session that stands mends itself when nodes go and come.
    pub async fn connect(config: cassandra::Config) -> Result<Self, Error> {
        Ok(Self::Cassandra(Arc::new(Cassandra::connect(config).await?)))
    }

    /// Opens the embedded store of one generation in `folder`, and makes it where there is none.
    pub async fn open(folder: &Path, generation: u32) -> Result<Self, Error> {
        Ok(Self::Embedded(Arc::new(
            Embedded::open(folder, generation).await?,
        )))
    }

    /// The start-up check: writes a stamped row under a reserved key and reads it back, and looks at the tables' definitions,
    /// all progress rows and a bounded sample of rows for what cannot be ours. [`Error::Wrong`] says what it found.
    pub async fn probe(&self) -> Result<(), Error> {
        match self {
            Self::Cassandra(store) => store.probe().await,
            Self::Embedded(store) => store.probe().await,
        }
    }

    /// [`probe`](Self::probe) without its write, for who only reads.
    pub async fn look(&self) -> Result<(), Error> {
        match self {
            Self::Cassandra(store) => store.look().await,
            Self::Embedded(store) => store.probe().await,
        }
    }

    /// What the driver of the store measures of itself; the embedded one has none.
    pub fn driver(&self) -> Option<cassandra::Driver> {
        match self {
            Self::Cassandra(store) => Some(store.driver()),
            Self::Embedded(_) => None,
        }
    }

    /// Puts rows in the order in which [`Self::upsert`] writes them best, also over several calls of it.
    pub fn arrange(&self, rows: &mut [Row]) {
        match self {
            Self::Cassandra(store) => store.arrange(rows),
            Self::Embedded(_) => rows.sort_unstable_by(|a, b| a.key.cmp(&b.key)),
        }
    }

    /// Writes absolute partials under their versions. Resolves when all are durable as the store is configured. May be
    /// repeated: an older stamp never replaces a newer one, whichever comes first. On an error any part may have been
    /// written: go on from the stored progress.
    pub async fn upsert(&self, rows: impl Into<Arc<[Row]>>) -> Result<(), Error> {
        let rows = rows.into();
        match self {
            Self::Cassandra(store) => store.upsert(&rows).await,
            Self::Embedded(store) => store.upsert(rows).await,
        }
    }

    /// The life of a view's table for a partition: a random id in the view's own table, read if it is there, else begun. Every progress
    /// row carries it, so that one written just after its table was emptied is never believed. Written with a fixed
    /// stamp and read back: of two that begin a life at once one may go on with an
    /// id that the store does not keep: its progress is then not believed, and it finds that out and begins again.
    ///
    /// Ids of lives rise with the time of their beginning (UUID version 7, RFC 9562): of two progress rows of one stamp, one written
    /// for a life that is over, both stores keep the greater value, which must be the one of the present life.
    ///
    /// A life says of which log it is, by the id of its changelog: rows of another one are [`Error::Wrong`].
    pub async fn begin(&self, view: View, partition: Partition, changelog_id: Uuid) -> Result<Uuid, Error> {
        if let Some(life) = self.life(view, partition).await? {
            return of_log(view, &life, changelog_id);
        }
        let life = Progress {
            birth: Uuid::now_v7(),
            chain: changelog_id,
            changelog: BIRTH_STAMP,
            ..Progress::default()
        };
        self.write_progress(view, birth_place(partition), &life).await?;
        let kept = self.life(view, partition).await?;
        let kept = kept.ok_or_else(|| Error::Away("a row just written is not there yet".into()))?;
        of_log(view, &kept, changelog_id)
    }

    /// Whether all that the tables hold is of the log with this changelog: [`Error::Wrong`] where it is not. To be asked at the start, by
    /// whoever reads as by whoever writes, since the numbers of another log look like any others.
    pub async fn check_log(&self, changelog_id: Uuid) -> Result<(), Error> {
        for view in View::ALL {
            let rows = self.progress_rows(view).await?;
            for (_, life) in rows.iter().filter(|(place, _)| place.0 >= BIRTHS) {
                of_log(view, life, changelog_id)?;
            }
        }
        Ok(())
    }

    async fn life(&self, view: View, partition: Partition) -> Result<Option<Progress>, Error> {
        let mut rows = self.progress_rows(view).await?;
        Ok(rows.remove(&birth_place(partition)))
    }

    /// Writes how far `view` reflects `partition`, into that view's own table, stamped with `progress.changelog`.
    pub async fn write_progress(
        &self,
        view: View,
        partition: Partition,
        progress: &Progress,
    ) -> Result<(), Error> {
        match self {
            Self::Cassandra(store) => store.write_progress(view, partition, progress).await,
            Self::Embedded(store) => store.write_progress(view, partition, progress).await,
        }
    }

    /// How far `view` reflects each partition, from that view's own table; absent where the table has no life for the partition, or
    /// another one than the progress row says.
    pub async fn progress(&self, view: View) -> Result<BTreeMap<Partition, Progress>, Error> {
        let believed = |(partition, stored): (Partition, Stored)| {
            let progress = stored.believed().cloned()?;
            Some((partition, progress))
        };
        Ok(self
            .stored(view)
            .await?
            .into_iter()
            .filter_map(believed)
            .collect())
    }

    /// The life and the progress row of each partition in that view's own table, believed or not: for whoever writes them.
    pub async fn stored(&self, view: View) -> Result<BTreeMap<Partition, Stored>, Error> {
        let mut stored: BTreeMap<Partition, Stored> = BTreeMap::new();
        for (place, row) in self.progress_rows(view).await? {
            match place.0 < BIRTHS {
                true => stored.entry(place).or_default().progress = Some(row),
                false => stored.entry(Partition(place.0 & !BIRTHS)).or_default().life = Some(row.birth),
            }
        }
        Ok(stored)
    }

    async fn progress_rows(&self, view: View) -> Result<BTreeMap<Partition, Progress>, Error> {
        match self {
            Self::Cassandra(store) => store.progress(view).await,
            Self::Embedded(store) => store.progress(view).await,
        }
    }

    /// All rows of one tenant and UTC day, over all types and source partitions, by type and partition.
    pub async fn day_rows(&self, tenant: &str, day: Day) -> Result<Vec<Row>, Error> {
        match self {
            Self::Cassandra(store) => store.day_rows(tenant, day).await,
            Self::Embedded(store) => store.day_rows(tenant, day).await,
        }
    }

    /// The sketches of distinct users of one tenant and UTC day, over all types and source partitions, by type and partition.
    pub async fn distinct_rows(&self, tenant: &str, day: Day) -> Result<Vec<Row>, Error> {
        match self {
            Self::Cassandra(store) => store.distinct_rows(tenant, day).await,
            Self::Embedded(store) => store.distinct_rows(tenant, day).await,
        }
    }

    /// All rows of one user from `first` to `last` (both included), over all source partitions, by day and partition.
    pub async fn user_rows(
        &self,
        tenant: &str,
        user: &str,
        first: Day,
        last: Day,
    ) -> Result<Vec<Row>, Error> {
        match self {
            Self::Cassandra(store) => store.user_rows(tenant, user, first, last).await,
            Self::Embedded(store) => store.user_rows(tenant, user, first, last).await,
        }
    }

    /// Into how many parts a tenant's users are cut: 0 to this number - 1.
    pub fn user_parts(&self) -> u32 {
        match self {
            Self::Cassandra(store) => store.user_parts(),
            // One range of keys holds all of them.
            Self::Embedded(_) => 1,
        }
    }

    /// The rows of all users of one part from `first` to `last` (both included), some at a time. Users lie beside
    /// each other with all their days, so this may look at many more rows than it finds: whoever asks gives up where
    /// `looked_at` becomes too much.
    pub fn user_part(
        &self,
        tenant: &str,
        part: u32,
        first: Day,
        last: Day,
    ) -> BoxStream<'static, Result<UserRows, Error>> {
        match self {
            Self::Cassandra(store) => store.user_part(tenant, part, first, last),
            Self::Embedded(store) => store.user_part(tenant, first, last),
        }
    }

    /// Dead letters of one tenant and UTC day, oldest first, each with the tries to redrive it behind it, behind `after`, at most `limit` rows.
    pub async fn dead_letter_rows(
        &self,
        tenant: &str,
        day: Day,
        after: Option<LetterPlace>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        match self {
            Self::Cassandra(store) => store.dead_letter_rows(tenant, day, after, limit).await,
            Self::Embedded(store) => store.dead_letter_rows(tenant, day, after, limit).await,
        }
    }

    /// Facts and ledgers of one tenant's uploads of one UTC day, with ids from `first` to `last` (both included), by id, partition and offset;
    /// of a partition the ledger stands before facts.
    pub async fn upload_rows(
        &self,
        tenant: &str,
        day: Day,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<Row>, Error> {
        match self {
            Self::Cassandra(store) => store.upload_rows(tenant, day, first, last).await,
            Self::Embedded(store) => store.upload_rows(tenant, day, first, last).await,
        }
    }

    /// Every row of a view (not its progress rows), in no order, for the audit. Rows that are written meanwhile may or may
    /// not be among them.
    pub fn scan(&self, view: View) -> BoxStream<'_, Result<Stamped, Error>> {
        match self {
            Self::Cassandra(store) => store.scan(view),
            Self::Embedded(store) => store.scan(view),
        }
    }
}

/// The stamp of a version; refuses one that a store could not tell from a clock.
pub(crate) fn stamp(version: u64, what: &str) -> Result<i64, Error> {
    match i64::try_from(version) {
        Ok(stamp) if version <= STAMP_LIMIT => Ok(stamp),
        _ => Err(Error::Wrong(format!(
            "{what} has the version {version}, which is no offset"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves_between_threads<T: Send>(_: T) {}

    /// Never run: that it compiles is the test.
    #[allow(dead_code)]
    fn every_call_may_move_between_threads(store: &Store, rows: Arc<[Row]>, config: cassandra::Config) {
        moves_between_threads(cassandra::migrate(&config));
        moves_between_threads(store.probe());
        moves_between_threads(store.upsert(rows));
        moves_between_threads(store.write_progress(View::Days, Partition(0), &Progress::default()));
        moves_between_threads(store.progress(View::Days));
        moves_between_threads(store.day_rows("t", Day(0)));
        moves_between_threads(store.distinct_rows("t", Day(0)));
        moves_between_threads(store.user_rows("t", "u", Day(0), Day(1)));
        moves_between_threads(store.dead_letter_rows("t", Day(0), None, 1));
        moves_between_threads(store.upload_rows("t", Day(0), Uuid::nil(), Uuid::max()));
        moves_between_threads(Store::connect(config.clone()));
    }
}
