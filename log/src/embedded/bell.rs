//! Wakes readers when something became durable. A reader looks first how often the bell has rung, then for records, and
//! then waits for the next ring: so no ring between looking and waiting is missed, and nobody spins.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One reader's bell.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    /// Wakes whoever waits.
    pub(super) fn ring(&self) {
        let mut rings = hold(&self.rings);
        *rings = rings.wrapping_add(1);
        drop(rings);
        self.rung.notify_all();
    }

    /// How often it has rung.
    pub(super) fn rings(&self) -> u64 {
        *hold(&self.rings)
    }

    /// Waits until it has rung since `seen` was read, or until `deadline`. Whether it has.
    pub(super) fn wait(&self, seen: u64, deadline: Instant) -> bool {
        let mut rings = hold(&self.rings);
        while *rings == seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let (again, _) = self
                .rung
                .wait_timeout(rings, left)
                .unwrap_or_else(PoisonError::into_inner);
            rings = again;
        }
        true
    }
}

/// Locks. A lock whose holder panicked is taken all the same: each holder here leaves its data whole at every step.
pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_ring_between_looking_and_waiting_is_not_missed() {
        let bell = Bell::default();
        let seen = bell.rings();
        bell.ring();
        assert!(bell.wait(seen, Instant::now() + Duration::from_secs(60)));
        assert!(!bell.wait(bell.rings(), Instant::now() + Duration::from_millis(1)));
    }
}
