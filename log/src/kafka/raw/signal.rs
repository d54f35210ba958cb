//! One flag that any of librdkafka's threads raises when a queue has something, and that one thread waits for. A raised
//! flag stays raised until it is seen, so a wake-up between two looks is never lost.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Raised when there is something to look at.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Says that there is something; never blocks for long.
    pub(in crate::kafka) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Waits until it is raised, at most `timeout`, and lowers it.
    pub(in crate::kafka) fn wait(&self, timeout: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(raised, timeout, |raised| !*raised);
        let (mut raised, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *raised = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_signal_raised_before_the_wait_is_not_lost() {
        let signal = Signal::default();
        signal.raise();
        let began = Instant::now();
        signal.wait(Duration::from_secs(5));
        assert!(began.elapsed() < Duration::from_secs(1));
        signal.wait(Duration::from_millis(10));
        assert!(
            began.elapsed() >= Duration::from_millis(10),
            "a signal is seen once"
        );
    }
}
