//! The file of keys: one JSON object a line, written whole and put in its place by a rename, so that a reader sees the old one or the
//! new one. A file with one line that cannot be read is refused as a whole: a line left out could be the one that
//! revokes a key.
//!
//! Beside it lie `<file>.lock`, held by whoever changes it, and `<file>.used`, which the server writes: when each key was used last.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::key::Key;

/// Largest file that is read, in bytes: some ten thousand keys.
const FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Why there are no keys to go by.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no file of keys at {}; `tidemark keys create` makes it", .0.display())]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("the file of keys {} failed: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What is in it are not keys.
    #[error("the file of keys {} is damaged: line {line}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it; never what it holds.
        what: String,
    },
}

impl Error {
    fn io(path: &Path, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::Io {
                path: path.to_owned(),
                cause,
            },
        }
    }
}

/// Reads all keys, in the order of the file.
///
/// # Errors
/// If there is no file, it cannot be read, or any line is no key or repeats an id.
pub fn read(path: &Path) -> Result<Vec<Key>, Error> {
    let text = bounded(path).map_err(|cause| Error::io(path, cause))?;
    let damaged = |line: usize, what: String| Error::Damaged {
        path: path.to_owned(),
        line,
        what,
    };
    let mut keys: Vec<Key> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        // What serde says of a value may quote it.
        let key: Key = serde_json::from_str(text).map_err(|error| damaged(line, in_words(&error)))?;
        if !seen.insert(key.id.clone()) {
            return Err(damaged(line, "an id stands twice".to_owned()));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn in_words(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => {
            let text = error.to_string();
            // Our own words, of `Key::try_from`, quote nothing; those of serde may.
            match text.contains(" must ") {
                true => text.split(" at line ").next().unwrap_or_default().to_owned(),
                false => format!(
                    "a field is missing, unknown or of a wrong type (column {})",
                    error.column()
                ),
            }
        }
        _ => format!("it is no JSON object (column {})", error.column()),
    }
}

fn bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    let bytes = file.take(FILE_BYTES + 1).read_to_string(&mut text)? as u64;
    match bytes > FILE_BYTES {
        true => Err(io::Error::other(format!("it is larger than {FILE_BYTES} bytes"))),
        false => Ok(text),
    }
}

/// The right to change a file of keys, which one process, and one task of it, has at a time. It ends when it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _held: File,
}

impl Lock {
    /// Waits for it as long as it takes; makes the folder of the file where there is none.
    ///
    /// # Errors
    /// If the file beside, which is locked, cannot be made.
    pub fn wait(path: &Path) -> Result<Self, Error> {
        let held = Self::file(path)?;
        held.lock().map_err(|cause| Error::io(path, cause))?;
        Ok(Self::of(path, held))
    }

    /// None where somebody else has it.
    ///
    /// # Errors
    /// Those of [`Lock::wait`].
    pub fn try_take(path: &Path) -> Result<Option<Self>, Error> {
        let held = Self::file(path)?;
        match held.try_lock() {
            Ok(()) => Ok(Some(Self::of(path, held))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(Error::io(path, cause)),
        }
    }

    fn file(path: &Path) -> Result<File, Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| Error::io(path, cause))?;
        }
        private(&beside(path, "lock")).map_err(|cause| Error::io(path, cause))
    }

    fn of(path: &Path, held: File) -> Self {
        Self {
            path: path.to_owned(),
            _held: held,
        }
    }

    /// Changes the keys of the file; one that is not there holds none.
    ///
    /// # Errors
    /// Those of [`read`], and of writing. What `change` refuses leaves the file as it is.
    pub fn change<T, E: From<Error>>(
        self,
        change: impl FnOnce(&mut Vec<Key>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut keys = match read(&self.path) {
            Ok(keys) => keys,
            Err(Error::Missing(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let changed = change(&mut keys)?;
        write(&self.path, &keys)?;
        Ok(changed)
    }
}

/// Changes the keys of a file, alone among all who do so with a [`Lock`].
///
/// # Errors
/// Those of [`Lock::wait`] and [`Lock::change`].
pub fn change<T, E: From<Error>>(
    path: &Path,
    change: impl FnOnce(&mut Vec<Key>) -> Result<T, E>,
) -> Result<T, E> {
    Lock::wait(path)?.change(change)
}

fn write(path: &Path, keys: &[Key]) -> Result<(), Error> {
    let mut text = String::new();
    for key in keys {
        let line = serde_json::to_string(key).map_err(|error| Error::io(path, error.into()))?;
        text.push_str(&line);
        text.push('\n');
    }
    if text.len() as u64 > FILE_BYTES {
        // It could not be read again, and then nobody could be let in or kept out.
        let cause = io::Error::other(format!("it would be larger than {FILE_BYTES} bytes"));
        return Err(Error::io(path, cause));
    }
    replace(path, text.as_bytes()).map_err(|cause| Error::io(path, cause))
}

/// Writes a file beside its place, readable by its owner alone, and puts it there once it is on the disk.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path, "new");
    // One that was left behind may have other rights.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

/// By what a change of the file is seen, without reading it; none if it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp([i64; 5]);

impl Stamp {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let inode = i64::from_ne_bytes(found.ino().to_ne_bytes());
        let bytes = i64::from_ne_bytes(found.len().to_ne_bytes());
        Some(Self([
            inode,
            bytes,
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ]))
    }
}

/// When each key was used last, in seconds since 1970, by id. What cannot be read is nothing: it is for people, and best effort.
#[must_use]
pub fn last_used(path: &Path) -> BTreeMap<String, u64> {
    let text = bounded(&beside(path, "used")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Adds to what is written of the last use of keys. Several processes may do so; the latest time holds.
pub(super) fn write_last_used(path: &Path, used: &BTreeMap<String, u64>) -> io::Result<()> {
    let lock = private(&beside(path, "used.lock"))?;
    lock.lock()?;
    let mut all = last_used(path);
    for (id, at) in used {
        let known = all.entry(id.clone()).or_default();
        *known = (*known).max(*at);
    }
    replace(&beside(path, "used"), &serde_json::to_vec(&all)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::key::Wanted;
    use crate::access::scope::Scope;
    use std::os::unix::fs::PermissionsExt;

    fn add(path: &Path) -> Key {
        let wanted = Wanted {
            tenant: "acme".to_owned(),
            scopes: [Scope::Query].into(),
            name: String::new(),
            rate: None,
            quota: None,
        };
        let (key, _) = Key::make(wanted, 1).unwrap();
        change(path, |keys| {
            keys.push(key.clone());
            Ok::<_, Error>(())
        })
        .unwrap();
        key
    }

    #[test]
    fn keys_come_back_and_only_their_owner_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/keys.jsonl");
        let ids = [add(&path).id, add(&path).id];
        let read: Vec<_> = read(&path).unwrap().into_iter().map(|key| key.id).collect();
        assert_eq!(read, ids);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        write_last_used(&path, &[(ids[0].clone(), 7)].into()).unwrap();
        write_last_used(&path, &[(ids[0].clone(), 5), (ids[1].clone(), 9)].into()).unwrap();
        assert_eq!(
            last_used(&path),
            [(ids[0].clone(), 7), (ids[1].clone(), 9)].into()
        );
        assert_eq!(mode(&beside(&path, "used")), 0o600);
    }

    #[test]
    fn one_bad_line_refuses_the_file_and_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        assert!(matches!(read(&path), Err(Error::Missing(_))));
        let good = serde_json::to_string(&add(&path)).unwrap();
        for bad in [
            "xyzzy".to_owned(),
            "{}".to_owned(),
            good.clone(),
            good.replace("\"acme\"", "\"\""),
            good.replace("\"query\"", "\"xyzzy\""),
            good.replace("\"created_s\":1", "\"created_s\":1,\"xyzzy\":1"),
            good.replace("\"digest\":\"", "\"digest\":\"xyzzy"),
            good[..good.len() - 9].to_owned(),
        ] {
            std::fs::write(&path, format!("{good}\n\n{bad}\n")).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, Error::Damaged { line: 3, .. }), "{error}");
            assert!(!error.to_string().contains("xyzzy"), "{error}");
            // Nobody may write over what cannot be read.
            assert!(change(&path, |_| Ok::<_, Error>(())).is_err());
        }
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(matches!(read(&path), Err(Error::Io { .. })));
    }

    #[test]
    fn keys_that_are_made_at_one_time_are_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..5).for_each(|_| drop(add(&path))));
            }
        });
        assert_eq!(read(&path).unwrap().len(), 40);
    }

    #[test]
    fn any_change_is_seen_by_the_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        assert_eq!(Stamp::of(&path), None);
        add(&path);
        let first = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path).unwrap(), first);
        add(&path);
        assert_ne!(Stamp::of(&path).unwrap(), first);
    }
}
