//! Requests that wait in the proxy for the test's word: those of a `Hold` rule, and the copies of a
//! `Duplicate` rule.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use super::answer::Answer;
use super::connection::{ToClient, answer_to};
use super::event::What;
use super::frame::FRAME_LIMIT_BYTES;
use super::request::Request;
use super::rewrite::rewrite;
use super::{Shared, upstream};

/// How many may wait: more than a test can reason about, and a rule that holds too much shows at once.
const HELD_LIMIT: usize = 256;

/// How many bytes may wait in all; one frame of the largest size still fits.
const HELD_LIMIT_BYTES: usize = FRAME_LIMIT_BYTES;

/// A request that waits.
pub(crate) struct Held {
    pub(crate) request: Arc<Request>,
    pub(crate) bytes: Vec<u8>,
    /// Who gets the answer; none for a copy, whose original was answered.
    pub(crate) to_client: Option<ToClient>,
}

/// All requests that wait, by id.
#[derive(Default)]
pub(crate) struct Shelf {
    inner: Mutex<(u64, BTreeMap<u64, Held>)>,
}

impl Shelf {
    pub(crate) fn keep(&self, held: Held) -> Result<u64> {
        let mut inner = self.inner();
        ensure!(
            inner.1.len() < HELD_LIMIT,
            "more than {HELD_LIMIT} requests are held"
        );
        let bytes = inner.1.values().map(|held| held.bytes.len()).sum::<usize>() + held.bytes.len();
        ensure!(
            bytes <= HELD_LIMIT_BYTES,
            "more than {HELD_LIMIT_BYTES} bytes are held"
        );
        inner.0 += 1;
        let id = inner.0;
        inner.1.insert(id, held);
        Ok(id)
    }

    pub(crate) fn take(&self, id: u64) -> Result<Held> {
        self.inner()
            .1
            .remove(&id)
            .with_context(|| format!("no request is held as {id}"))
    }

    fn inner(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Held>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what was held over a connection of its own. The answer goes to the test, and to the client that
/// asked if it is still there.
pub(crate) async fn release(shared: &Shared, id: u64) -> Result<Answer> {
    let held = shared.held.take(id)?;
    ensure!(
        held.request.is_answered(),
        "a held request that nobody answers cannot be waited for"
    );
    let response = upstream::exchange(shared.broker, &held.bytes).await?;
    let answer = answer_to(&held.request, &response);
    shared.events.push(What::Released { id, answer });
    if let Some(client) = held.to_client {
        let response = rewrite(held.request.api, held.request.version, response, shared.address)?;
        // A client that leaves meanwhile is no failure of the release.
        let _ = client.write(&response).await;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::api::Api;
    use crate::proxy::request::Facts;

    fn held(length: usize) -> Held {
        let request = Request {
            connection: 1,
            api: Api::Produce,
            version: 10,
            correlation_id: 1,
            client_id: None,
            facts: Facts::Opaque,
        };
        Held {
            request: Arc::new(request),
            bytes: vec![0; length],
            to_client: None,
        }
    }

    #[test]
    fn the_shelf_is_bounded_in_number_and_in_bytes() {
        let shelf = Shelf::default();
        for id in 1..=HELD_LIMIT as u64 {
            assert_eq!(shelf.keep(held(1)).unwrap(), id);
        }
        assert!(shelf.keep(held(1)).is_err());
        let shelf = Shelf::default();
        assert!(shelf.keep(held(HELD_LIMIT_BYTES)).is_ok());
        assert!(shelf.keep(held(1)).is_err());
        assert!(shelf.take(1).is_ok());
        assert!(shelf.take(1).is_err());
        assert!(shelf.keep(held(1)).is_ok());
    }
}
