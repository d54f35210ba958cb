//! The embedded view store: the same rows in one folder of this process, on fjall, with the same rule as ScyllaDB's: of two
//! writes to one row the higher version wins, in whatever order they come (`floors` says how that is cheap).
//!
//! Durability. fjall has one journal for all, and cuts it at its first torn batch, so what is there after a crash is a prefix
//! of what was written, and rows are never behind the progress that was written after them. Batches of rows are handed to
//! the operating system only (a killed process loses nothing); writing the progress of [`View::Progress`] waits for `fsync`.
//! What a power cut takes is projected again from the changelog.
//!
//! All of fjall's calls may block, so each runs on tokio's blocking threads. One process has the folder: fjall locks it.

mod floors;
mod keys;
mod read;

use crate::Error;
use crate::store::stamp;
use fjall::config::BlockSizePolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};
use floors::Floors;
use rustc_hash::FxBuildHasher;
use schemas::Partition;
use schemas::row::{Progress, Row, View};
use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows of one atomic batch: large, since sorted rows next to each other are cheap, and bounded, since it is held in memory.
const BATCH_ROWS: usize = 16_384;
/// Bytes of rows in memory before they go to a table of the tree: measured, smaller writes more tables, larger stalls longer.
const MEMTABLE_BYTES: u64 = 32 << 20;
/// Bytes of the cache of blocks.
const CACHE_BYTES: u64 = 64 << 20;
/// Bytes of a block: measured, 4 KiB (fjall's default) makes the start-up's and the queries' single looks cheapest.
const BLOCK_BYTES: u32 = 4 << 10;
/// Threads that flush and compact.
const WORKERS: usize = 2;

/// The embedded store of one generation.
pub struct Embedded {
    folder: PathBuf,
    db: Database,
    rows: Keyspace,
    /// Held through each write, so that writes to one row come one after the other.
    floors: Mutex<Floors>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Embedded({})", self.folder.display())
    }
}

impl Embedded {
    pub(crate) async fn open(folder: &Path, generation: u32) -> Result<Self, Error> {
        let folder = folder.to_owned();
        blocking(move || Self::open_now(folder, generation)).await
    }

    fn open_now(folder: PathBuf, generation: u32) -> Result<Self, Error> {
        let db = match open_database(&folder) {
            Err(fjall::Error::JournalRecovery(damage)) => {
                set_aside(&folder, &damage)?;
                open_database(&folder)
            }
            opened => opened,
        }
        .map_err(|error| match error {
            fjall::Error::Locked => wrong(&folder, "another process has it"),
            error => wrong(&folder, &error.to_string()),
        })?;
        let rows = db.keyspace(&format!("views_g{generation}"), || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        });
        let rows = rows.map_err(|error| wrong(&folder, &error.to_string()))?;
        let mut store = Self {
            folder,
            db,
            rows,
            floors: Mutex::default(),
        };
        store.check_layout()?;
        store.floors = Mutex::new(Floors::on_disk(store.highs()?));
        Ok(store)
    }

    fn check_layout(&self) -> Result<(), Error> {
        match self.get(&keys::layout())?.as_deref() {
            Some([keys::LAYOUT]) => Ok(()),
            Some(other) => {
                let text = format!(
                    "layout {other:?} is not of this release: delete the folder, the views are made again"
                );
                Err(wrong(&self.folder, &text))
            }
            None => self.put(&keys::layout(), &[keys::LAYOUT], false),
        }
    }

    fn highs(&self) -> Result<Vec<(Partition, u64)>, Error> {
        let mut highs = Vec::new();
        for guard in self.rows.prefix(keys::highs()) {
            let (key, value) = guard.into_inner().map_err(|error| self.broken(&error))?;
            let (high, _) = keys::read_value(&value)?;
            highs.push((keys::read_progress(&key)?, high));
        }
        Ok(highs)
    }

    pub(crate) async fn probe(self: &Arc<Self>) -> Result<(), Error> {
        let store = Arc::clone(self);
        blocking(move || {
            let before = store.get(&keys::probe())?.map_or(Ok(0), |value| {
                keys::read_value(&value).map(|(version, _)| version)
            })?;
            let mut value = Vec::new();
            keys::put_value(&mut value, before.saturating_add(1), b"probe");
            store.put(&keys::probe(), &value, true)?;
            if store.get(&keys::probe())?.as_deref() == Some(value.as_slice()) {
                return Ok(());
            }
            Err(wrong(&store.folder, "it does not give back what was written"))
        })
        .await
    }

    pub(crate) async fn upsert(self: &Arc<Self>, rows: Arc<[Row]>) -> Result<(), Error> {
        let store = Arc::clone(self);
        blocking(move || store.upsert_now(&rows)).await
    }

    fn upsert_now(&self, rows: &[Row]) -> Result<(), Error> {
        let entries = sorted(rows)?;
        let mut floors = self.floors();
        let mut value = Vec::new();
        for chunk in entries.chunks(BATCH_ROWS) {
            let mut batch = self.db.batch();
            let mut partitions = BTreeSet::new();
            for (key, row) in chunk {
                let (partition, version) = (row.partition, row.version.0);
                if floors.must_look(partition, FxBuildHasher.hash_one(&key[..]), version)
                    && self.version(key)?.is_some_and(|stored| stored >= version)
                {
                    continue;
                }
                value.clear();
                keys::put_value(&mut value, version, &row.value);
                batch.insert(&self.rows, key.clone(), value.as_slice());
                partitions.insert(partition);
            }
            for partition in partitions {
                let high = floors.high(partition).to_be_bytes();
                batch.insert(&self.rows, keys::high(partition), high.as_slice());
            }
            batch.commit().map_err(|error| self.broken(&error))?;
        }
        Ok(())
    }

    pub(crate) async fn write_progress(
        self: &Arc<Self>,
        view: View,
        partition: Partition,
        progress: &Progress,
    ) -> Result<(), Error> {
        stamp(progress.changelog.0, "a progress row")?;
        let (store, progress) = (Arc::clone(self), progress.clone());
        blocking(move || {
            let mut floors = store.floors();
            let key = keys::progress(view, partition);
            let mut value = Vec::new();
            keys::put_value(&mut value, progress.changelog.0, &progress.encode());
            // The stamp comes first in a value, so this is Cassandra's rule: the higher stamp wins, of equal ones the greater value.
            if store.get(&key)?.is_none_or(|stored| stored[..] < value[..]) {
                store.put(&key, &value, false)?;
            }
            if view != View::Progress {
                return Ok(());
            }
            floors.raise(partition, progress.next.0);
            drop(floors);
            store
                .db
                .persist(PersistMode::SyncAll)
                .map_err(|error| store.broken(&error))
        })
        .await
    }

    /// The version stored under a key.
    fn version(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        match self.get(key)? {
            Some(value) => keys::read_value(&value).map(|(version, _)| Some(version)),
            None => Ok(None),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Slice>, Error> {
        self.rows.get(key).map_err(|error| self.broken(&error))
    }

    fn put(&self, key: &[u8], value: &[u8], durable: bool) -> Result<(), Error> {
        let mut batch = self.db.batch();
        if durable {
            batch = batch.durability(Some(PersistMode::SyncAll));
        }
        batch.insert(&self.rows, key, value);
        batch.commit().map_err(|error| self.broken(&error))
    }

    fn floors(&self) -> MutexGuard<'_, Floors> {
        // Sound after a panic: a row that is noted and not written only costs a look.
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, error: &fjall::Error) -> Error {
        wrong(
            &self.folder,
            &format!("{error}; see to the disk, then start again"),
        )
    }
}

fn open_database(folder: &Path) -> fjall::Result<Database> {
    Database::builder(folder)
        .cache_size(CACHE_BYTES)
        .worker_threads(WORKERS)
        .open()
}

/// Moves a folder away whose journal is damaged, as a power cut may do to what no `fsync` covered: the views are made again
/// from the changelog. What was set aside before is dropped.
fn set_aside(folder: &Path, damage: &fjall::JournalRecoveryError) -> Result<(), Error> {
    let aside = folder.with_extension("damaged");
    tracing::error!(folder = %folder.display(), aside = %aside.display(), ?damage, "journal of the view store is damaged; views are made again");
    let moved = || {
        if aside.exists() {
            std::fs::remove_dir_all(&aside)?;
        }
        std::fs::rename(folder, &aside)
    };
    moved().map_err(|error| {
        wrong(
            folder,
            &format!("damaged ({damage:?}), and cannot be set aside: {error}"),
        )
    })
}

/// The rows with their keys in the order of keys, each key once with its highest version. Sorted writes cost half of unsorted ones.
fn sorted(rows: &[Row]) -> Result<Vec<(Slice, &Row)>, Error> {
    let mut entries = Vec::with_capacity(rows.len());
    let mut key = Vec::with_capacity(128);
    for row in rows {
        stamp(row.version.0, "a row")?;
        key.clear();
        keys::put_row(&mut key, row);
        entries.push((Slice::from(key.as_slice()), row));
    }
    entries.sort_unstable_by(|(key, row), (other_key, other)| {
        key.cmp(other_key).then(other.version.cmp(&row.version))
    });
    entries.dedup_by(|(later, _), (kept, _)| later == kept);
    Ok(entries)
}

/// Runs what may block on a thread that may.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) => Err(Error::Away(format!(
            "the embedded view store was interrupted: {error}"
        ))),
    }
}

fn wrong(folder: &Path, what: &str) -> Error {
    Error::Wrong(format!("{}: {what}", folder.display()))
}
