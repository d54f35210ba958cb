//! What stands before every handler: it finds out who calls, and lets nobody else through.
//!
//! A key comes as `Authorization: Bearer tmk_...` or `X-API-Key: tmk_...`; `Authorization: tmk_...` is understood too, since clients
//! of older services send their secret so. Whether a key is unknown, or known and its secret wrong, is answered alike.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::key::{PREFIX, id_of};
use super::metrics::REFUSALS;
use super::{Access, Caller, Scope, State};
use crate::http::Problem;
use crate::http::loopback::Local;

/// The header that carries a key where `Authorization` is not free.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// How much of a refused body is read, in bytes: what `tidemark send` sends at once, and some more.
const DISCARD_BYTES: usize = 8 * 1024 * 1024;
/// How long it is read.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Why nobody is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No key was shown.
    Missing,
    /// What was shown is no key, or no key that there is.
    Unknown,
    /// The key was revoked.
    Revoked,
    /// Too many requests; there is room after so many seconds.
    TooMany(u32),
}

impl Refusal {
    pub(super) fn problem(self) -> Problem {
        let unauthorized = |code, title| Problem::new(StatusCode::UNAUTHORIZED, code, title);
        match self {
            Self::Missing => unauthorized("key_missing", "A key is needed")
                .detail("send it as Authorization: Bearer tmk_..., or as X-API-Key"),
            Self::Unknown => unauthorized("key_unknown", "The key is not known")
                .detail("there is no such key, or its secret is another"),
            Self::Revoked => unauthorized("key_revoked", "The key was revoked").detail("ask for a new one"),
            Self::TooMany(after_s) => {
                Problem::too_many("rate_exceeded", "Too many requests with this key", after_s)
                    .detail("nothing of this request was recorded; send it again later")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}

/// What the guard goes by.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) access: Access,
    /// Where no key is needed: who is on this machine.
    pub(crate) local: Local,
}

/// The layer around all routes.
pub(crate) async fn guard(Shared(guard): Shared<Guard>, mut request: Request, next: Next) -> Response {
    let access = &guard.access;
    let response = match guard.admitted(&mut request) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            discard(request).await;
            *refused
        }
    };
    let problem = response.extensions().get::<Problem>().map(Problem::code);
    if let Some(code) = problem.filter(|code| REFUSALS.contains(code)) {
        access.0.metrics.refused.get(&[code]).inc();
    }
    response
}

/// Reads on for a while without a use for it: to close a connection on bytes that nobody read would reset it, and many a client
/// would see that instead of the refusal.
async fn discard(request: Request) {
    let mut body = request.into_body();
    let mut left = DISCARD_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len()));
            if left == 0 {
                break;
            }
        }
    };
    // Whatever comes of it, the answer is decided.
    let _ = timeout(DISCARD_TIME, reading).await;
}

impl Guard {
    fn admitted(&self, request: &mut Request) -> Result<(), Box<Response>> {
        if self.access.is_open()
            && let Some(problem) = self.local.refusal(request)
        {
            return Err(Box::new(problem.into_response()));
        }
        let is_public = request
            .extensions()
            .get::<MatchedPath>()
            .is_some_and(|path| self.access.0.public.contains(&path.as_str()));
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        match self.access.caller(request.headers(), now_s) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Ok(())
            }
            // A public route answers those without a key as well, but it lets no key do more than it may.
            Err(Refusal::Missing | Refusal::Unknown | Refusal::Revoked) if is_public => Ok(()),
            Err(refusal) => {
                tracing::debug!(?refusal, "a request was refused");
                Err(Box::new(refusal.into_response()))
            }
        }
    }
}

impl Access {
    /// Who shows these headers; takes a request of its rate.
    pub(super) fn caller(&self, headers: &HeaderMap, now_s: u64) -> Result<Caller, Refusal> {
        let shown = shown(headers)?;
        let table = match (self.state(), shown) {
            (State::Open(until), None) => return Ok(Caller::until(until)),
            // It is meant for another server: here it would count into a tenant that is not the key's.
            (State::Open(_), Some(_)) => return Err(Refusal::Unknown),
            (State::Keyed(_), None) => return Err(Refusal::Missing),
            (State::Keyed(table), Some(_)) => table,
        };
        let text = shown.unwrap_or_default();
        let entry = id_of(text).and_then(|id| table.get(id));
        let entry = entry
            .filter(|entry| entry.key.is_of(text))
            .ok_or(Refusal::Unknown)?;
        if entry.key.revoked_s.is_some() {
            return Err(Refusal::Revoked);
        }
        if let Some(rate) = entry.key.rate {
            let now_us = u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX);
            entry.usage.take_request(rate, now_us).map_err(Refusal::TooMany)?;
        }
        entry.usage.used(now_s);
        Ok(Caller::of(entry.clone()))
    }
}

/// The key that headers show. What is no key of ours may be another's: a proxy's, or an older service's secret.
fn shown(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let text = value.to_str().ok()?;
        match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Some(key.trim_matches(' ')),
            _ => text.starts_with(PREFIX).then_some(text),
        }
    });
    let api_key = headers
        .get_all(API_KEY)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|text| text.starts_with(PREFIX));
    let mut all = bearer.chain(api_key);
    let first = all.next();
    // Of two keys nobody could say which one was meant.
    match all.all(|other| Some(other) == first) {
        true => Ok(first),
        false => Err(Refusal::Unknown),
    }
}

/// Routes that need a key with one of `scopes`; which of them were mounted before.
pub fn needs<S: Clone + Send + Sync + 'static>(router: Router<S>, scopes: &'static [Scope]) -> Router<S> {
    router.route_layer(from_fn(
        move |caller: Caller, request: Request, next: Next| async move {
            match caller.check_scope(scopes) {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            }
        },
    ))
}
