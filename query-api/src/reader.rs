//! A log reader, which blocks, behind calls that do not: one call at a time, each with a deadline. A call that hangs holds
//! one thread, however many ask meanwhile.

use log::{ChainReader, LogError, LogReader};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// Makes a reader: at the first use, and again when one broke.
pub(crate) type Open<R> = Box<dyn Fn() -> Result<Box<R>, LogError> + Send + Sync>;

/// Makes a log reader: at the first use, and again when one broke.
pub type OpenReader = Open<dyn LogReader>;

/// The same of a reader of the changelog.
pub type OpenChain = Open<dyn ChainReader>;

/// The log did not say what was asked, or not in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LogAway(
    /// Why, for the log lines; never for a client.
    pub String,
);

/// A reader and how to make another.
#[derive(Clone)]
pub(crate) struct Reader<R: ?Sized = dyn LogReader>(Arc<Mutex<Slot<R>>>);

struct Slot<R: ?Sized> {
    open: Open<R>,
    reader: Option<Box<R>>,
}

impl<R: ?Sized + Send + 'static> Reader<R> {
    pub(crate) fn new(open: Open<R>) -> Self {
        Self(Arc::new(Mutex::new(Slot { open, reader: None })))
    }

    /// Runs `work` on a thread that may block. At the deadline the caller goes on, and the thread ends by itself.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut R) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogAway> {
        let deadline = Instant::now() + limit;
        let late = |_| LogAway(format!("no answer within {} ms", limit.as_millis()));
        let mut slot = timeout_at(deadline, Arc::clone(&self.0).lock_owned())
            .await
            .map_err(late)?;
        let running = tokio::task::spawn_blocking(move || slot.call(work));
        match timeout_at(deadline, running).await.map_err(late)? {
            Ok(done) => done.map_err(|error| LogAway(error.to_string())),
            Err(panicked) => Err(LogAway(panicked.to_string())),
        }
    }
}

impl<R: ?Sized> Slot<R> {
    fn call<T>(&mut self, work: impl FnOnce(&mut R) -> Result<T, LogError>) -> Result<T, LogError> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => (self.open)()?,
        };
        let done = work(reader.as_mut());
        // Away may pass; any other failure may be the handle's.
        if matches!(done, Ok(_) | Err(LogError::Away(_))) {
            self.reader = Some(reader);
        }
        done
    }
}

impl<R: ?Sized> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}
