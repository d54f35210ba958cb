//! The local folder for what does not fit in memory: older keys of the dedup index and rows that have not changed for a while. It
//! is a cache of what the chain says, made anew at every start, so nothing in it needs to survive.
//!
//! A read that fails stops the lane: to take it for "not there" would count a duplicate.
//!
//! Each space is a database of its own. As keyspaces of one database they would leave something behind: fjall writes the list of
//! keyspaces anew for each that comes or goes and keeps the old lists, so a process of many take-overs would fill its disk. And a
//! keyspace that is cleared and used again must not be trusted, since a compaction under way may bring back what was cleared.

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// fjall's block cache of one space, in bytes: small, since a filter keeps most look-ups away.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Memtable of one keyspace, in bytes.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;

/// The folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the local state folder failed: {0}")]
pub struct SpillError(#[from] fjall::Error);

/// One process's folder; cheap to clone. The folder is wiped when it is opened and locked while it is open.
#[derive(Clone)]
pub struct Spill {
    folder: Arc<Path>,
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
        Ok(Self {
            folder: folder.into(),
            named: Arc::default(),
            _lock: Arc::new(lock),
        })
    }

    /// A new, empty space. It is removed when it is dropped.
    pub fn space(&self) -> Result<Space, SpillError> {
        let name = self.named.fetch_add(1, Ordering::Relaxed).to_string();
        let database = Database::builder(self.folder.join(name))
            .cache_size(CACHE_BYTES)
            .max_journaling_size(64 * 1024 * 1024)
            .manual_journal_persist(true)
            .worker_threads(1)
            .temporary(true)
            .open()?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .manual_journal_persist(true)
        };
        Ok(Space {
            keyspace: database.keyspace("space", options)?,
            _database: database,
            _spill: self.clone(),
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
    /// Removes its folder when it goes.
    _database: Database,
    /// The folder's lock is held as long as there is a space.
    _spill: Spill,
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn bytes_below(folder: &Path) -> u64 {
        let entries = std::fs::read_dir(folder).unwrap();
        let size = |entry: std::fs::DirEntry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        };
        entries.filter_map(Result::ok).map(size).sum()
    }

    #[test]
    fn a_space_that_is_gone_takes_no_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        let spill = Spill::open(&path).unwrap();
        for number in 0..50_u64 {
            let space = spill.space().unwrap();
            let key = |key: u64| (key + (number << 32)).to_be_bytes();
            let noise: Vec<[u8; 8]> = (0..32_768).map(key).collect();
            let value = [number as u8; 24];
            space
                .ingest(noise.iter().map(|key| (&key[..], &value[..])))
                .unwrap();
            assert!(space.get(&key(7)).unwrap().is_some());
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while path.exists() && bytes_below(&path) > 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "{} bytes stay",
                bytes_below(&path)
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
