//! The document of the HTTP API (OpenAPI 3.1), and routes that cannot be mounted without being in it.
//!
//! A part adds its handlers to an [`Api`] by `routes!`, which takes what `#[utoipa::path]` says above each of them; there is no other
//! way in. [`needs`] adds what a key must open. [`document`] adds what stands around every handler, so that no handler repeats it: the
//! guard, the places, the form of errors.
//!
//! A handler names the problems that it answers with in the extension [`PROBLEMS`], as lists of status and code: several
//! problems of one status become one answer of the document, whose `type` is one of theirs.

/// Errors, as answers of the document.
mod problems;
/// The document of a role.
mod document;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{OpenApi, OpenApiBuilder};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

pub use self::document::document;
pub use self::problems::{Codes, PROBLEMS};

use crate::access::{self, Scope};

/// The scheme of a key in `Authorization`.
pub const BEARER: &str = "bearer";
/// The scheme of a key in `X-API-Key`.
pub const KEY: &str = "key";
/// The scheme of the older service's secret in `Authorization`.
pub const SECRET: &str = "secret";

/// Routes, and what the document says of each.
#[derive(Clone)]
pub struct Api<S = ()> {
    router: Router<S>,
    document: OpenApi,
}

impl<S: Clone + Send + Sync + 'static> Default for Api<S> {
    fn default() -> Self {
        Self {
            router: Router::new(),
            document: OpenApiBuilder::new().build(),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Api<S> {
    /// Without routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what `utoipa_axum::routes!` made of handlers of one path.
    #[must_use]
    pub fn on(self, routes: UtoipaMethodRouter<S>) -> Self {
        let (router, document) = OpenApiRouter::new().routes(routes).split_for_parts();
        self.merge(Self { router, document })
    }

    /// Adds the routes of another.
    ///
    /// # Panics
    /// As `axum::Router` does, where both have a method of one path.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.document.merge(other.document);
        Self {
            router: self.router.merge(other.router),
            document: self.document,
        }
    }

    /// Takes bodies of so many bytes at most.
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        Self {
            router: self.router.layer(DefaultBodyLimit::max(bytes)),
            document: self.document,
        }
    }

    /// Gives the handlers their state.
    #[must_use]
    pub fn with_state<T>(self, state: S) -> Api<T> {
        Api {
            router: self.router.with_state(state),
            document: self.document,
        }
    }

    /// The routes, and the raw document, which [`document`] completes.
    pub fn into_parts(self) -> (Router<S>, OpenApi) {
        (self.router, self.document)
    }
}

/// Routes that need a key with one of `scopes`; which of them were added before.
#[must_use]
pub fn needs<S: Clone + Send + Sync + 'static>(api: Api<S>, scopes: &'static [Scope]) -> Api<S> {
    let Api { router, mut document } = api;
    let schemes = [BEARER, KEY].into_iter();
    let each = schemes.flat_map(|scheme| scopes.iter().map(move |scope| (scheme, scope.word())));
    let mut security: Vec<SecurityRequirement> = each
        .map(|(scheme, scope)| SecurityRequirement::new(scheme, [scope]))
        .collect();
    // Where there are no keys, nobody needs one.
    security.push(SecurityRequirement::default());
    for operation in operations(&mut document) {
        operation.security = Some(security.clone());
    }
    Api {
        router: access::needs(router, scopes),
        document,
    }
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        let methods = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        methods.into_iter().flatten()
    })
}

#[cfg(test)]
mod tests;
