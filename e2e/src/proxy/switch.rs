//! The switches that concern the whole proxy: paused or not, cut or not.
//!
//! A pause stops the pumps between two frames, so at most one frame per direction and connection waits in the
//! proxy and the rest stays in the peers' socket buffers. A cut cancels every connection and refuses new
//! ones. The listener stays open meanwhile and closes what it accepts: closed and opened again, it could lose
//! its port to another process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The state of both switches.
pub(crate) struct Switches {
    flowing: watch::Sender<bool>,
    /// The parent of all connections' tokens; cancelled while cut.
    connections: Mutex<CancellationToken>,
    /// Cancelled once, when the proxy stops.
    pub(crate) stop: CancellationToken,
}

impl Default for Switches {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self {
            flowing: watch::Sender::new(true),
            connections: Mutex::new(stop.child_token()),
            stop,
        }
    }
}

impl Switches {
    pub(crate) fn pause(&self) {
        self.flowing.send_replace(false);
    }

    pub(crate) fn resume(&self) {
        self.flowing.send_replace(true);
    }

    pub(crate) fn cut(&self) {
        self.connections().cancel();
    }

    pub(crate) fn heal(&self) {
        let mut connections = self.connections();
        if connections.is_cancelled() {
            *connections = self.stop.child_token();
        }
    }

    /// Returns at once unless paused.
    pub(crate) async fn flowing(&self) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.flowing.subscribe().wait_for(|flowing| *flowing).await;
    }

    /// A token for a new connection, or none while cut.
    pub(crate) fn admit(&self) -> Option<CancellationToken> {
        let connections = self.connections();
        (!connections.is_cancelled()).then(|| connections.child_token())
    }

    fn connections(&self) -> MutexGuard<'_, CancellationToken> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_ends_the_admitted_and_admits_nobody_until_healed() {
        let switches = Switches::default();
        let admitted = switches.admit().unwrap();
        switches.cut();
        assert!(admitted.is_cancelled());
        assert!(switches.admit().is_none());
        switches.heal();
        let later = switches.admit().unwrap();
        switches.heal();
        assert!(
            !later.is_cancelled(),
            "a second heal must not end what the first let in"
        );
        switches.stop.cancel();
        assert!(later.is_cancelled());
    }

    #[tokio::test]
    async fn a_pause_lasts_until_resumed() {
        let switches = Switches::default();
        switches.flowing().await;
        switches.pause();
        let short = std::time::Duration::from_millis(5);
        assert!(tokio::time::timeout(short, switches.flowing()).await.is_err());
        switches.resume();
        switches.flowing().await;
    }
}
