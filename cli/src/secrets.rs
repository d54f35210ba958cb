//! Secrets that lie in files: what was changed there holds without a restart.

use service::config::{Secret, read_password};
use service::shutdown::Shutdown;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at a file.
const LOOK: Duration = Duration::from_secs(10);

/// Follows the file that the setting `name` names until `shutdown`. `change` takes what it holds and says whether that is new; what cannot be
/// read changes nothing. Needs a tokio runtime.
pub(crate) fn follow(
    name: &'static str,
    file: PathBuf,
    change: impl Fn(&Secret) -> bool + Send + Sync + 'static,
    shutdown: &Shutdown,
) {
    let (change, shutdown) = (Arc::new(change), shutdown.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.begun() => return,
            }
            let (file, change) = (file.clone(), Arc::clone(&change));
            let looked =
                tokio::task::spawn_blocking(move || read_password(&file).map(|secret| change(&secret)));
            match looked.await {
                Ok(Ok(true)) => tracing::info!(name, "the secret of this file has changed"),
                Ok(Err(reason)) => tracing::warn!(name, reason, "the secret before it stays"),
                _ => {}
            }
        }
    });
}
