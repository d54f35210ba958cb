//! The console: the web page of the program, built into it. It shows and does what the HTTP API can, and nothing else: the page asks
//! the same paths as any other client, so there is nothing here that reads or writes data.
//!
//! The files under `web/` are what the browser gets, byte for byte: there is no build step. They are told apart from the API by
//! their paths, `/` and `/console/...`. The policy in `headers.rs` lets the page load from this origin alone; a file must never ask
//! for anything elsewhere, nor hold a script or a style within HTML.

/// What is served, by name.
mod files;
/// What is said with every file: type, policy, tag.
mod headers;
/// The API's document and the page that shows it.
mod docs;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use files::File;

pub use docs::{DOCS_ROUTES, docs};

/// What of the API is at the same address, so that the page offers nothing that does not work there.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Whether events can be sent to it.
    pub takes_events: bool,
}

/// The page itself.
const PAGE: &str = "/";
/// What it asks before all else.
const ABOUT: &str = "/console/about.json";
/// What it is made of.
const FILES: &str = "/console/{*name}";
/// All routes of the page. It holds nobody's data, and asks for a key itself where the API demands one.
pub const ROUTES: [&str; 3] = [PAGE, ABOUT, FILES];

/// The page's routes, for `service::http::serve`.
pub fn router(parts: Parts) -> Router {
    let about = serde_json::json!({
        "takes_events": parts.takes_events,
        "version": env!("CARGO_PKG_VERSION"),
    });
    let about = about.to_string();
    Router::new()
        .route(PAGE, get(async |headers: HeaderMap| file("index.html", &headers)))
        .route(
            ABOUT,
            get(move || {
                let about = about.clone();
                async move { ([headers::content_type("about.json"), headers::NO_STORE], about) }
            }),
        )
        .route(
            FILES,
            get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)),
        )
        .layer(from_fn(guarded))
}

/// A file; 304 where the browser has it already.
fn file(name: &str, headers: &HeaderMap) -> Response {
    match files::find(name) {
        Some(file) => sent(name, file, headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn sent(name: &str, file: &File, headers: &HeaderMap) -> Response {
    let File { bytes, tag } = *file;
    let head = [
        headers::content_type(name),
        headers::REVALIDATE,
        headers::etag(tag),
    ];
    match headers::is_known(headers, tag) {
        true => (StatusCode::NOT_MODIFIED, head).into_response(),
        false => (head, bytes).into_response(),
    }
}

/// The policy stands on every answer, since what a browser shows of an error is a page too.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    headers::guard(response.headers_mut());
    response
}

#[cfg(test)]
mod tests;
