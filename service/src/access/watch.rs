//! Each second: has the file of keys changed? Each minute, and at the end: when was each key used last?
//!
//! Both look at the disk from a thread that may block, and neither may ever stop the service: what fails is said, and tried again.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::file::{self, Error, Stamp};
use super::{Access, State};
use crate::shutdown::Shutdown;

/// How long a revoked key may go on.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often what is wrong is said again, and uses are written.
const MINUTE: Duration = Duration::from_secs(60);

impl Access {
    /// Follows the file until `shutdown`.
    pub async fn watch(self, shutdown: Shutdown) {
        let mut written = BTreeMap::new();
        let (mut said, mut noted): (Option<Instant>, _) = (None, Instant::now());
        loop {
            tokio::select! {
                () = sleep(LOOK_INTERVAL) => {}
                () = shutdown.begun() => break,
            }
            let access = self.clone();
            let looked = spawn_blocking(move || access.look()).await;
            match looked {
                Ok(Err(error)) if said.is_none_or(|at| at.elapsed() >= MINUTE) => {
                    tracing::error!(%error, "the file of keys cannot be read; the keys that were read last hold");
                    said = Some(Instant::now());
                }
                Ok(Ok(())) => said = None,
                _ => {}
            }
            if noted.elapsed() >= MINUTE {
                noted = Instant::now();
                written = self.clone().note_uses(written).await;
            }
        }
        self.note_uses(written).await;
    }

    /// Takes the keys of the file, if it has changed. Blocks.
    pub(super) fn look(&self) -> Result<(), Error> {
        let stamp = Stamp::of(&self.0.path);
        let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        let is_damaged = self.0.metrics.damaged.get() != 0;
        if stamp == *read && !is_damaged {
            return Ok(());
        }
        let keys = file::read(&self.0.path);
        *read = stamp;
        match keys {
            Ok(keys) => {
                let count = keys.len();
                self.take(keys);
                self.0.metrics.damaged.set(0);
                tracing::info!(keys = count, "the file of keys was read");
                Ok(())
            }
            Err(Error::Missing(_)) if self.is_open() => Ok(()),
            Err(error) => {
                self.0.metrics.damaged.set(1);
                if self.is_open() {
                    // Whoever puts keys there does not want everybody in.
                    self.take(Vec::new());
                }
                Err(error)
            }
        }
    }

    /// Writes the last uses, if there are others than `written`; gives what is written now.
    pub(super) async fn note_uses(self, written: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let State::Keyed(table) = self.state() else {
            return written;
        };
        let used = table
            .iter()
            .map(|(id, entry)| (id.clone(), entry.usage.last_used_s()));
        let used: BTreeMap<_, _> = used.filter(|(_, at)| *at > 0).collect();
        if used == written {
            return written;
        }
        let uses = used.clone();
        let result = spawn_blocking(move || file::write_last_used(&self.0.path, &uses)).await;
        match result {
            Ok(Ok(())) => used,
            Ok(Err(error)) => {
                // A mounted secret cannot be written beside; that is no fault of anybody's.
                tracing::debug!(%error, "when keys were used last cannot be written");
                written
            }
            Err(_) => written,
        }
    }
}
