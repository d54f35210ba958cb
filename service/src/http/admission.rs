//! How many requests are worked on at one time. One more is told to come back, at once.
//!
//! Without it a log that stalls would fill the memory with requests that wait for it. A place is held until the head
//! of the answer is there, so an endless answer (an event stream) does not hold one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::problem::{Problem, RETRY_AFTER_S};

#[derive(Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }
}

pub(super) async fn admit(State(places): State<Places>, request: Request, next: Next) -> Response {
    match places.0.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => Problem::unavailable("too_busy", "Too many requests are being worked on", RETRY_AFTER_S)
            .detail("nothing of this request was recorded; send it again")
            .into_response(),
    }
}
