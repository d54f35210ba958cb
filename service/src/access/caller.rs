//! Whoever made a request: a tenant, and what it may do. The guard puts it into each request; a handler takes it as an argument. There is no
//! other way to a tenant, and no request names its own.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::Entry;
use super::key::Key;
use super::scope::Scope;
use super::usage::{DAY_S, Usage, rfc3339};
use crate::http::Problem;

/// The tenant of those who show no key, where none is needed.
const DEFAULT_TENANT: &str = "default";

/// Whoever made a request.
#[derive(Clone, Debug)]
pub struct Caller {
    tenant: Arc<str>,
    /// None where no key is needed: then it may do everything.
    entry: Option<Arc<Entry>>,
    ends: CancellationToken,
}

impl Caller {
    /// Whoever reaches a port of this machine where no key is needed, and the program itself.
    #[must_use]
    pub fn local() -> Self {
        Self::until(CancellationToken::new())
    }

    /// The same in another tenant.
    #[must_use]
    pub fn in_tenant(mut self, tenant: &str) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// The bearer of a key that nothing has used yet.
    #[must_use]
    pub fn bearer(key: Key) -> Self {
        Self::of(Arc::new(Entry {
            key,
            usage: Arc::new(Usage::default()),
        }))
    }

    pub(super) fn until(ends: CancellationToken) -> Self {
        Self {
            tenant: DEFAULT_TENANT.into(),
            entry: None,
            ends,
        }
    }

    pub(super) fn of(entry: Arc<Entry>) -> Self {
        Self {
            tenant: Arc::clone(&entry.key.tenant),
            ends: entry.usage.revoked().clone(),
            entry: Some(entry),
        }
    }

    /// Whose events and answers it may have to do with.
    #[must_use]
    pub fn tenant(&self) -> &Arc<str> {
        &self.tenant
    }

    /// Whether it has shown a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.entry.is_some()
    }

    /// The id of its key.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.entry.as_ref().map(|entry| entry.key.id.as_str())
    }

    /// The id of its key, or `local` where no key is needed.
    #[must_use]
    pub fn id(&self) -> &str {
        self.key_id().unwrap_or("local")
    }

    /// Whether it may do what needs `scope`.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.entry
            .as_ref()
            .is_none_or(|entry| entry.key.scopes.contains(&scope))
    }

    /// That it has one of `scopes`.
    ///
    /// # Errors
    /// 403 `scope_missing`, which names the first of them.
    pub fn check_scope(&self, scopes: &[Scope]) -> Result<(), Problem> {
        if scopes.iter().any(|scope| self.has(*scope)) {
            return Ok(());
        }
        let words: Vec<&str> = scopes.iter().map(|scope| scope.word()).collect();
        let title = "The key lacks the scope for this";
        Err(
            Problem::new(axum::http::StatusCode::FORBIDDEN, "scope_missing", title)
                .detail(format!("this needs a key with the scope {}", words.join(" or ")))
                .with("scope", words.first().copied().unwrap_or_default()),
        )
    }

    /// Counts events that were accepted of it, at a moment in seconds since 1970.
    pub fn spend(&self, events: u64, now_s: u64) {
        if let Some(entry) = &self.entry {
            entry.usage.spend(events, now_s);
        }
    }

    /// That its quota of this UTC day is not spent. It is looked at between pieces of a request, so a key may exceed it by what is
    /// under way at that moment.
    ///
    /// # Errors
    /// 429 `quota_exceeded`, with the moment when the next day begins.
    pub fn check_quota(&self, now_s: u64) -> Result<(), Problem> {
        let Some(quota) = self.entry.as_ref().and_then(|entry| entry.key.quota) else {
            return Ok(());
        };
        let spent = self.entry.as_ref().map_or(0, |entry| entry.usage.spent(now_s));
        if spent < quota {
            return Ok(());
        }
        let reset_s = (now_s / DAY_S + 1) * DAY_S;
        let wait_s = u32::try_from(reset_s - now_s).unwrap_or(u32::MAX);
        Err(
            Problem::too_many("quota_exceeded", "The key's quota of the day is spent", wait_s)
                .detail(format!("the key may send {quota} events on one UTC day"))
                .with("quota_events", quota)
                .with("resets_at", rfc3339(reset_s)),
        )
    }

    /// Done when its key holds no longer, or a key is needed where none was: what goes on for longer than a request must end then.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ends.clone().cancelled_owned()
    }
}

/// A route that was mounted without the guard answers nobody.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!("a route has no guard before it");
            Problem::internal()
        })
    }
}

/// For public routes: none where a key is needed and none that holds was shown.
impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}
