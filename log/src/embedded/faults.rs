//! Failures of a disk, for tests: it runs full, an fsync fails, the power goes. Handed to
//! [`EmbeddedLog::open_with_faults`](super::EmbeddedLog::open_with_faults); a program never has one.
//!
//! Power loss is modelled by what had been synced: after [`Faults::cut_power`] every call fails, and
//! [`Faults::survivors`] tells how much of each file the disk has promised to keep. What lies behind that may be lost,
//! kept, or garbage: the test chooses.

use super::bell::hold;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What a disk is to do wrong.
#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    space: Option<u64>,
    power_bytes: Option<u64>,
    power_syncs: Option<u64>,
    failing_syncs: bool,
    dead: bool,
    files: BTreeMap<PathBuf, Survivor>,
}

/// What the disk has promised to keep of a file that was written through this handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survivor {
    /// Bytes that were written, durable or not.
    pub written: u64,
    /// Bytes that an fsync has made durable.
    pub durable: u64,
    /// Whether the file's name is durable.
    pub named: bool,
}

/// How much of a write happens, and how it ends.
pub(super) struct Allowed {
    pub(super) bytes: usize,
    pub(super) then: io::Result<()>,
}

impl Faults {
    /// Lets `bytes` more be written; then the disk is full.
    pub fn fill_after(&self, bytes: u64) {
        hold(&self.plan).space = Some(bytes);
    }

    /// Gives the disk room again.
    pub fn free(&self) {
        hold(&self.plan).space = None;
    }

    /// Makes every fsync fail from now on, having done nothing.
    pub fn fail_syncs(&self) {
        hold(&self.plan).failing_syncs = true;
    }

    /// The power goes now.
    pub fn cut_power(&self) {
        hold(&self.plan).dead = true;
    }

    /// The power goes when `bytes` more are written, in the middle of a write.
    pub fn cut_power_after_bytes(&self, bytes: u64) {
        hold(&self.plan).power_bytes = Some(bytes);
    }

    /// The power goes at the fsync after `count` more of them, before it has done anything.
    pub fn cut_power_after_syncs(&self, count: u64) {
        hold(&self.plan).power_syncs = Some(count);
    }

    /// Every file that was written, and what must be there of it after a power loss.
    pub fn survivors(&self) -> BTreeMap<PathBuf, Survivor> {
        hold(&self.plan).files.clone()
    }

    pub(super) fn before_create(&self, path: &Path) -> io::Result<()> {
        let mut plan = hold(&self.plan);
        plan.alive()?;
        if plan.space == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        plan.files.insert(path.to_owned(), Survivor::default());
        Ok(())
    }

    pub(super) fn before_write(&self, path: &Path, bytes: usize, position: u64) -> Allowed {
        let mut plan = hold(&self.plan);
        if let Err(error) = plan.alive() {
            return Allowed {
                bytes: 0,
                then: Err(error),
            };
        }
        let mut allowed = Allowed { bytes, then: Ok(()) };
        if let Some(space) = &mut plan.space {
            allowed.bytes = bytes.min(*space as usize);
            *space -= allowed.bytes as u64;
            if allowed.bytes < bytes {
                allowed.then = Err(io::ErrorKind::StorageFull.into());
            }
        }
        if let Some(left) = &mut plan.power_bytes {
            let fits = allowed.bytes.min(*left as usize);
            *left -= fits as u64;
            if fits < allowed.bytes {
                allowed = Allowed {
                    bytes: fits,
                    then: Err(power_is_off()),
                };
                plan.dead = true;
            }
        }
        let file = plan.file(path);
        file.written = file.written.max(position + allowed.bytes as u64);
        allowed
    }

    pub(super) fn before_cut(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut plan = hold(&self.plan);
        plan.alive()?;
        let file = plan.file(path);
        file.written = file.written.min(bytes);
        file.durable = file.durable.min(bytes);
        Ok(())
    }

    pub(super) fn sync(&self, path: &Path, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        hold(&self.plan).may_sync()?;
        sync()?;
        let mut plan = hold(&self.plan);
        plan.alive()?;
        let file = plan.file(path);
        file.durable = file.written;
        Ok(())
    }

    pub(super) fn sync_folder(&self, folder: &Path, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        hold(&self.plan).may_sync()?;
        sync()?;
        let mut plan = hold(&self.plan);
        plan.alive()?;
        for (path, file) in &mut plan.files {
            file.named |= path.parent() == Some(folder);
        }
        Ok(())
    }
}

impl Plan {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(power_is_off()) } else { Ok(()) }
    }

    fn may_sync(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.power_syncs {
            self.dead |= *left == 0;
            *left = left.saturating_sub(1);
        }
        self.alive()?;
        if self.failing_syncs {
            return Err(io::Error::other("fsync failed, as the test asked"));
        }
        Ok(())
    }

    /// A file that was there before is durable as it was found: it is read, cut and synced before it is written.
    fn file(&mut self, path: &Path) -> &mut Survivor {
        self.files.entry(path.to_owned()).or_insert_with(|| {
            let bytes = path.metadata().map_or(0, |metadata| metadata.len());
            Survivor {
                written: bytes,
                durable: bytes,
                named: true,
            }
        })
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off, as the test asked")
}
