//! All that the log does to its segment files. Nothing else writes to them, so that a test can take the disk's
//! part: run full, fail, or lose its power ([`Faults`]). Without faults each call is the system's own.

use super::faults::Faults;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    faults: Option<Arc<Faults>>,
}

impl Disk {
    /// A disk that does what the faults say.
    pub(super) fn faulty(faults: Arc<Faults>) -> Self {
        Self { faults: Some(faults) }
    }

    /// A new, empty file. Its name is durable only after [`Disk::sync_folder`].
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        if let Some(faults) = &self.faults {
            faults.before_create(path)?;
        }
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    }

    /// A file that is there.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Writes all of `bytes` at a position. After an error any part of them may be there.
    pub(super) fn write(&self, path: &Path, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        let Some(faults) = &self.faults else {
            return file.write_all_at(bytes, position);
        };
        let allowed = faults.before_write(path, bytes.len(), position);
        file.write_all_at(bytes.get(..allowed.bytes).unwrap_or(bytes), position)?;
        allowed.then
    }

    /// Makes durable what was written. After an error nobody knows what is durable, and asking again gives no answer
    /// (the kernel drops what it could not write): never retried.
    pub(super) fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            return faults.sync(path, || file.sync_data());
        }
        file.sync_data()
    }

    /// Cuts a file.
    pub(super) fn cut(&self, path: &Path, file: &File, bytes: u64) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            faults.before_cut(path, bytes)?;
        }
        file.set_len(bytes)
    }

    /// Makes the names of new files durable.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let sync = || File::open(folder)?.sync_all();
        match &self.faults {
            Some(faults) => faults.sync_folder(folder, sync),
            None => sync(),
        }
    }
}
