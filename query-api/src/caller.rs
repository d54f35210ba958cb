//! Who asks: the tenant whose rows are read, and whether it is the operator. It comes from the guard before all routes, and from nowhere
//! else.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use service::access::{self, Scope};
use service::http::Problem;
use std::future::Future;
use std::sync::Arc;

/// Whoever made a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Whose rows it sees.
    pub(crate) tenant: Arc<str>,
    /// Whether it also sees what belongs to no tenant or to all of them.
    pub(crate) is_operator: bool,
    who: access::Caller,
}

impl Caller {
    /// Whoever the guard let through.
    pub(crate) fn of(who: access::Caller) -> Self {
        Self {
            tenant: Arc::clone(who.tenant()),
            is_operator: who.has(Scope::Operator),
            who,
        }
    }

    /// Whose dead letters it sees: those without a readable tenant are the operator's.
    pub(crate) fn letter_tenants(&self) -> Vec<Arc<str>> {
        let mut tenants = vec![Arc::clone(&self.tenant)];
        if self.is_operator {
            tenants.push(Arc::from(""));
        }
        tenants
    }

    /// Who it is: the id of its key, or `local`.
    pub(crate) fn id(&self) -> &str {
        self.who.id()
    }

    /// That it is an operator.
    ///
    /// Errors: 403 `scope_missing`.
    pub(crate) fn check_operator(&self) -> Result<(), Problem> {
        self.who.check_scope(&[Scope::Operator])
    }

    /// Done when it may see nothing any more: an answer without end ends then.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.who.ended()
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let who = <access::Caller as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(Self::of(who))
    }
}
