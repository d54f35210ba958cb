//! Pages of other origins that may call: those that `http.cors_origins` lists, and no others.
//!
//! Credentials of a browser (cookies) are never asked for: a page shows its key itself, in a header.

use std::time::Duration;

use axum::Router;
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    RETRY_AFTER,
};
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::REQUEST_ID;
use crate::access::API_KEY;

/// How long a browser may remember what it was told.
const MAX_AGE: Duration = Duration::from_secs(600);

/// A router that tells browsers of the origins; without any it says nothing, and browsers refuse.
pub(super) fn layer(router: Router, origins: &[String]) -> Router {
    if origins.is_empty() {
        return router;
    }
    let origins: Vec<HeaderValue> = origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok())
        .collect();
    let ours = HeaderName::from_static;
    router.layer(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers([
                ACCEPT,
                AUTHORIZATION,
                API_KEY,
                CONTENT_TYPE,
                CONTENT_ENCODING,
                IF_NONE_MATCH,
                REQUEST_ID,
                ours("idempotency-key"),
                ours("last-event-id"),
            ])
            .expose_headers([
                CONTENT_DISPOSITION,
                ETAG,
                RETRY_AFTER,
                REQUEST_ID,
                ours("x-tidemark-as-of"),
            ])
            .max_age(MAX_AGE),
    )
}
