//! The log's folder: its lock, who it is, its generation, and its partitions as readers see them.
//!
//! ```text
//! LOCK                                   held by the one process that has the log open
//! log.json                               layout, ids of the topics, partitions: written once
//! generation.json                        the generation record
//! events/P/00000000000000000000.seg ...  segments, named by their first offset
//! changelog/P/...                        commit records
//! dead-letters/0/...                     copies of dead letters
//! ```

use super::frame::Salt;
use super::partition::PartitionLog;
use super::recover::{Access, Recovered, recover};
use crate::ports::LogError;
use schemas::Partition;
use schemas::generation::Generation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// The layout of the folder that this release reads and writes.
const LAYOUT: u32 = 1;
const LOG_FILE: &str = "log.json";
const GENERATION_FILE: &str = "generation.json";

/// Who a log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    layout: u32,
    pub(super) partitions: u32,
    pub(super) events_id: Uuid,
    pub(super) changelog_id: Uuid,
    pub(super) dead_letters_id: Uuid,
    /// When it was made, in milliseconds since 1970.
    created_ms: i64,
}

/// A log's folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    pub(super) identity: Identity,
    pub(super) events: Vec<Arc<PartitionLog>>,
    pub(super) changelog: Vec<Arc<PartitionLog>>,
    pub(super) dead_letters: Arc<PartitionLog>,
    /// Unlocked when it is dropped, with the last reader.
    _lock: File,
}

/// A partition as it was found, for its writer.
pub(super) type Found = (Arc<PartitionLog>, Recovered);

/// A folder and what was found in it: events, changelog, dead letters.
pub(super) struct Opened {
    pub(super) folder: Folder,
    pub(super) events: Vec<Found>,
    pub(super) changelog: Vec<Found>,
    pub(super) dead_letters: Found,
}

impl Folder {
    /// Locks the folder, makes the log if there is none and `make` says with how many partitions, and recovers every partition.
    pub(super) fn open(path: &Path, make: Option<u32>, access: &Access) -> Result<Opened, LogError> {
        let lock = lock(path, make.is_some())?;
        let identity = identity(path, make)?;
        let topic = |name: &str, id: Uuid, partitions: u32| -> Result<Vec<Found>, LogError> {
            (0..partitions)
                .map(|p| found(path, name, id, Partition(p), access))
                .collect()
        };
        let events = topic("events", identity.events_id, identity.partitions)?;
        let changelog = topic("changelog", identity.changelog_id, identity.partitions)?;
        let dead_letters = found(
            path,
            "dead-letters",
            identity.dead_letters_id,
            Partition(0),
            access,
        )?;
        let logs = |topic: &[Found]| topic.iter().map(|(log, _)| log.clone()).collect();
        let folder = Self {
            path: path.to_owned(),
            identity,
            events: logs(&events),
            changelog: logs(&changelog),
            dead_letters: dead_letters.0.clone(),
            _lock: lock,
        };
        Ok(Opened {
            folder,
            events,
            changelog,
            dead_letters,
        })
    }

    /// The generation record; `None` before the first.
    pub(super) fn generation(&self) -> Result<Option<Generation>, LogError> {
        let path = self.path.join(GENERATION_FILE);
        let Some(Sealed { generation, crc32 }) = read_json(&path)? else {
            return Ok(None);
        };
        match crc32 == seal(&path, &generation)? {
            true => Ok(Some(generation)),
            false => Err(LogError::Wrong(format!(
                "{} is not as it was written: with another secret each key would count a second time. Put it back from a copy",
                path.display()
            ))),
        }
    }

    /// Writes the generation record, whole or not at all.
    pub(super) fn set_generation(&self, generation: &Generation) -> Result<(), LogError> {
        let path = self.path.join(GENERATION_FILE);
        let sealed = Sealed {
            generation: generation.clone(),
            crc32: seal(&path, generation)?,
        };
        write_json(&path, &sealed)
    }
}

/// The generation record as it lies in its file.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    generation: Generation,
    /// Of the record's JSON.
    crc32: u32,
}

fn seal(path: &Path, generation: &Generation) -> Result<u32, LogError> {
    let bytes = serde_json::to_vec(generation).map_err(|error| away(path, &error.into()))?;
    Ok(crc32fast::hash(&bytes))
}

/// A partition of a topic by its number.
pub(super) fn of_partition(
    topic: &[Arc<PartitionLog>],
    partition: Partition,
) -> Result<&Arc<PartitionLog>, LogError> {
    let wrong = || LogError::Wrong(format!("there is no partition {partition}, only {}", topic.len()));
    topic.get(partition.0 as usize).ok_or_else(wrong)
}

fn found(
    folder: &Path,
    topic: &str,
    id: Uuid,
    partition: Partition,
    access: &Access,
) -> Result<Found, LogError> {
    let path = folder.join(topic).join(partition.to_string());
    let salt = Salt::new(id, partition);
    let found = recover(&path, salt, access)?;
    Ok((
        Arc::new(PartitionLog::new(topic, partition, path, salt, &found)),
        found,
    ))
}

fn lock(folder: &Path, make: bool) -> Result<File, LogError> {
    if make {
        make_folder(folder)?;
    }
    let path = folder.join("LOCK");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(make)
        .truncate(false)
        .open(&path);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LogError::Wrong(format!("there is no log in {}", folder.display())),
        _ => away(&path, &error),
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Wrong(format!(
            "{} is in use by another process",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => Err(away(&path, &error)),
    }
}

fn identity(folder: &Path, make: Option<u32>) -> Result<Identity, LogError> {
    let path = folder.join(LOG_FILE);
    let wrong = |what: String| Err(LogError::Wrong(format!("{}: {what}", path.display())));
    match (read_json::<Identity>(&path)?, make) {
        (Some(identity), _) if identity.layout != LAYOUT => wrong(format!(
            "layout {}, but this release knows only {LAYOUT}",
            identity.layout
        )),
        (Some(identity), Some(partitions)) if identity.partitions != partitions => wrong(format!(
            "the log has {} partitions and the settings say {partitions}: the number is fixed when the log is made",
            identity.partitions
        )),
        (Some(identity), _) => Ok(identity),
        (None, None) => wrong("there is no log here".to_owned()),
        (None, Some(0)) => wrong("a log has at least one partition".to_owned()),
        (None, Some(partitions)) => create(folder, partitions),
    }
}

/// Makes a log. `log.json` is written last: without it there is no log, and what a killed start left is taken over.
fn create(folder: &Path, partitions: u32) -> Result<Identity, LogError> {
    for (topic, count) in [
        ("events", partitions),
        ("changelog", partitions),
        ("dead-letters", 1),
    ] {
        for partition in 0..count {
            let path = folder.join(topic).join(partition.to_string());
            make_folder(&path)?;
            if path
                .read_dir()
                .map_err(|error| away(&path, &error))?
                .next()
                .is_some()
            {
                return Err(LogError::Wrong(format!(
                    "{} holds a log, but {LOG_FILE} is gone",
                    path.display()
                )));
            }
        }
    }
    let created_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64);
    let identity = Identity {
        layout: LAYOUT,
        partitions,
        events_id: Uuid::new_v4(),
        changelog_id: Uuid::new_v4(),
        dead_letters_id: Uuid::new_v4(),
        created_ms,
    };
    write_json(&folder.join(LOG_FILE), &identity)?;
    Ok(identity)
}

/// Makes a folder and its parents, all durable.
fn make_folder(path: &Path) -> Result<(), LogError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    make_folder(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(away(path, &error)),
        _ => sync_folder(parent),
    }
}

fn sync_folder(path: &Path) -> Result<(), LogError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| away(path, &error))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LogError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| LogError::Wrong(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(away(path, &error)),
    }
}

/// Writes a file whole or not at all: beside it, synced, renamed over it, and the name synced.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), LogError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| away(path, &error.into()))?;
    let temporary = path.with_extension("json.new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| away(path, &error))?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn away(path: &Path, error: &io::Error) -> LogError {
    LogError::Away(format!("{}: {error}", path.display()))
}
