//! Bodies that are too large, or whose bytes stop coming or only drip.
//!
//! A body whose length is announced is refused before a byte is read; any other fails while it is read, as soon as it
//! has passed the limit. The time runs only while a handler waits for bytes, so a handler that is slow itself is not
//! held against the client. [`Problem::of_body`] says what to answer.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::problem::Problem;
use crate::config;

/// Why a body was not read to its end, where it is a limit of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// More bytes than `http.body_limit_bytes`.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// Fewer bytes than `http.body_least_bytes_per_s`, once `http.body_idle_timeout_ms` were waited for them.
    #[error("the body brought fewer than {bytes_per_s} bytes a second")]
    BelowRate {
        /// The least rate in bytes a second.
        bytes_per_s: u64,
    },
    /// No byte for `http.body_idle_timeout_ms`.
    #[error("no byte of the body came for {after_ms} ms")]
    TooSlow {
        /// The time in milliseconds.
        after_ms: u64,
    },
}

impl BodyFault {
    /// Looks for a fault in an error and its sources, as bodies and extractors wrap them.
    #[must_use]
    pub fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = error.downcast_ref::<Self>() {
                return Some(*fault);
            }
            next = error.source();
        }
        None
    }
}

#[derive(Clone, Copy)]
pub(super) struct Limits {
    bytes: u64,
    idle: Duration,
    bytes_per_s: u64,
}

impl Limits {
    pub(super) fn new(limits: &config::Http) -> Self {
        Self {
            bytes: limits.body_limit_bytes,
            idle: limits.body_idle_timeout(),
            bytes_per_s: limits.body_least_bytes_per_s.max(1),
        }
    }
}

pub(super) async fn guard(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > limits.bytes {
        return Problem::body_too_large(limits.bytes).into_response();
    }
    next.run(request.map(|body| Body::new(Guarded::new(body, limits))))
        .await
}

struct Guarded {
    body: Body,
    limits: Limits,
    left_bytes: u64,
    /// Made when first needed: most bodies are there with their head.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the next byte is waited for.
    waiting: Option<Instant>,
    /// How long the client was waited for before.
    waited: Duration,
}

impl Guarded {
    fn new(body: Body, limits: Limits) -> Self {
        Self {
            body,
            limits,
            left_bytes: limits.bytes,
            timer: None,
            waiting: None,
            waited: Duration::ZERO,
        }
    }

    /// Ready with what is wrong when the time for the next byte is over; begins that time if it does not run. It is the time between two
    /// bytes, or what the rate leaves: all bytes so far bought so much waiting, and the first wait is free.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<BodyFault> {
        let Limits {
            idle, bytes_per_s, ..
        } = self.limits;
        let bought =
            Duration::from_millis((self.limits.bytes - self.left_bytes).saturating_mul(1000) / bytes_per_s);
        let left = (idle + bought).saturating_sub(self.waited);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(idle)));
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            timer.as_mut().reset(now + idle.min(left));
        }
        ready!(timer.as_mut().poll(cx));
        let after_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        Poll::Ready(match left < idle {
            true => BodyFault::BelowRate { bytes_per_s },
            false => BodyFault::TooSlow { after_ms },
        })
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let fault = ready!(self.poll_patience(cx));
            return Poll::Ready(Some(Err(fault.into())));
        };
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        let Some(frame) = frame.transpose()? else {
            return Poll::Ready(None);
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left_bytes.checked_sub(bytes) {
            Some(left) => self.left_bytes = left,
            None => {
                let limit_bytes = self.limits.bytes;
                return Poll::Ready(Some(Err(BodyFault::TooLarge { limit_bytes }.into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
