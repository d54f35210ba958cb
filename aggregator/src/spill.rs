//! The local folder for what does not fit in memory: older keys of the dedup index and rows that have not changed for a while. It
//! is a cache of what the chain says, made anew at every start, so nothing in it needs to survive.
//!
//! A read that fails stops the lane: to take it for "not there" would count a duplicate.

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// fjall's block cache for all partitions of a process, in bytes: small, since a filter keeps most look-ups away.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Memtable of one keyspace, in bytes.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;

/// The folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the local state folder failed: {0}")]
pub struct SpillError(#[from] fjall::Error);

/// One process's folder; cheap to clone. The folder is wiped when it is opened and locked while it is open.
#[derive(Clone)]
pub struct Spill {
    database: Database,
    named: Arc<AtomicU64>,
    /// Held as long as anybody may look into the folder.
    _lock: Arc<File>,
}

impl std::fmt::Debug for Spill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spill")
    }
}

impl Spill {
    /// Opens `folder`, empty. An old one is removed first; one that another process has open is refused.
    pub fn open(folder: &Path) -> Result<Self, SpillError> {
        let lock = lock(folder)?;
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SpillError(error.into()));
            }
            _ => {}
        }
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(64 * 1024 * 1024)
            .manual_journal_persist(true)
            .worker_threads(1)
            .open()?;
        Ok(Self {
            database,
            named: Arc::default(),
            _lock: Arc::new(lock),
        })
    }

    /// A new, empty space. It is removed when it is dropped.
    pub fn space(&self) -> Result<Space, SpillError> {
        let name = format!("s{}", self.named.fetch_add(1, Ordering::Relaxed));
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .manual_journal_persist(true)
        };
        Ok(Space {
            keyspace: self.database.keyspace(&name, options)?,
            database: self.database.clone(),
        })
    }
}

/// Locks the folder's neighbour `<folder>.lock`: the folder itself is removed, and a process that runs on it must not lose a key.
fn lock(folder: &Path) -> Result<File, SpillError> {
    let failed = |error: std::io::Error| SpillError(error.into());
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let file = File::create(folder.with_extension("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(failed(std::io::Error::other(format!(
            "{} is in use by another process: give each its own --data",
            folder.display()
        )))),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A space of keys and values of one partition.
pub struct Space {
    keyspace: Keyspace,
    database: Database,
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Space")
    }
}

impl Space {
    /// Writes many entries with rising keys at once, past journal and memtable.
    pub fn ingest<'a>(&self, sorted: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), SpillError> {
        let mut ingestion = self.keyspace.start_ingestion()?;
        for (key, value) in sorted {
            ingestion.write(key, value)?;
        }
        Ok(ingestion.finish()?)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<fjall::UserValue>, SpillError> {
        Ok(self.keyspace.get(key)?)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // What stays behind is wiped at the next start.
        let _ = self.database.delete_keyspace(self.keyspace.clone());
    }
}
