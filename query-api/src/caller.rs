//! Who asks. Without credentials the program is bound to loopback, so whoever asks is both the tenant `default` and the
//! operator; credentials will say it here, and nowhere else.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::sync::Arc;

/// The tenant of those who show no credential.
const TENANT: &str = "default";

/// Whoever made a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Whose rows it sees.
    pub(crate) tenant: Arc<str>,
    /// Whether it also sees what belongs to no tenant or to all of them.
    pub(crate) is_operator: bool,
}

impl Caller {
    /// Whose dead letters it sees: those without a readable tenant are the operator's.
    pub(crate) fn letter_tenants(&self) -> Vec<Arc<str>> {
        let mut tenants = vec![Arc::clone(&self.tenant)];
        if self.is_operator {
            tenants.push(Arc::from(""));
        }
        tenants
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            tenant: Arc::from(TENANT),
            is_operator: true,
        })
    }
}
