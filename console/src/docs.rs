//! The document of the API at `/openapi.json`, and a page that shows it and calls it, at `/api-docs`: Swagger UI, whose files come from
//! the crate that carries them and are served from here, so that the page asks nobody else.
//!
//! Neither holds anybody's data, so both are shown without a key; the calls that the page makes need one as any others do.

/// The archive in which the files lie.
mod archive;

use crate::files::{File, tag};
use crate::{guarded, sent};
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

/// The page.
const PAGE: &str = "/api-docs";
/// What it is made of.
const FILES: &str = "/api-docs/{*name}";
/// The document.
const DOCUMENT: &str = "/openapi.json";
/// All routes of the page and the document.
pub const DOCS_ROUTES: [&str; 4] = [PAGE, "/api-docs/", FILES, DOCUMENT];

/// Files of ours.
static OURS: [(&str, &[u8]); 3] = [
    ("index.html", include_bytes!("../docs/index.html")),
    ("start.js", include_bytes!("../docs/start.js")),
    ("icon.svg", include_bytes!("../web/icon.svg")),
];
/// Files of Swagger UI that the page uses, and its licence.
const THEIRS: [(&str, &str); 4] = [
    ("swagger-ui.css", "/dist/swagger-ui.css"),
    ("swagger-ui-bundle.js", "/dist/swagger-ui-bundle.js"),
    ("swagger-ui.LICENSE.txt", "/LICENSE"),
    ("swagger-ui.NOTICE.txt", "/NOTICE"),
];

/// By name, as in the path behind `/api-docs/`; unpacked when first asked for.
static ALL: LazyLock<BTreeMap<&'static str, File>> = LazyLock::new(|| {
    let theirs = THEIRS.into_iter().filter_map(|(name, end)| {
        let bytes: &'static [u8] = Box::leak(archive::find(SWAGGER_UI_VENDORED, end)?.into_boxed_slice());
        Some((name, bytes))
    });
    let all = OURS.iter().copied().chain(theirs);
    all.map(|(name, bytes)| {
        (
            name,
            File {
                bytes,
                tag: tag(bytes),
            },
        )
    })
    .collect()
});

/// The routes of the page and of `document`, for `service::http::serve`. Made once in a process.
pub fn docs(document: &Value) -> Router {
    // Leaked once: it lives as long as the program.
    let bytes: &'static [u8] = Box::leak(document.to_string().into_bytes().into_boxed_slice());
    let tag = tag(bytes);
    let page = async |headers: HeaderMap| file("index.html", &headers);
    Router::new()
        .route(PAGE, get(page))
        .route("/api-docs/", get(page))
        .route(
            FILES,
            get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)),
        )
        .route(
            DOCUMENT,
            get(
                move |headers: HeaderMap| async move { sent("openapi.json", &File { bytes, tag }, &headers) },
            ),
        )
        .layer(from_fn(guarded))
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    ALL.get(name).map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |file| sent(name, file, headers),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn get(path: &str) -> (u16, HeaderMap, Vec<u8>) {
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        let document = serde_json::json!({"openapi": "3.1.0"});
        let (head, body) = docs(&document).oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        (head.status.as_u16(), head.headers, body)
    }

    #[tokio::test]
    async fn the_page_has_all_that_it_names_under_the_policy() {
        let (status, head, page) = get("/api-docs").await;
        assert_eq!(
            (status, &head["content-type"]),
            (200, &"text/html; charset=utf-8".parse().unwrap())
        );
        assert_eq!(get("/api-docs/").await.2, page);
        let page = String::from_utf8(page).unwrap();
        let named: Vec<&str> = page
            .split(['"', '\''])
            .filter(|text| text.starts_with("/api-docs/"))
            .collect();
        assert_eq!(named.len(), 4, "{page}");
        for path in named.into_iter().chain(["/api-docs/swagger-ui.LICENSE.txt"]) {
            let (status, head, body) = get(path).await;
            assert_eq!(status, 200, "{path}");
            assert!(!body.is_empty(), "{path}");
            let policy = head["content-security-policy"].to_str().unwrap();
            assert!(
                policy.contains("script-src 'self'") && !policy.contains("unsafe"),
                "{policy}"
            );
        }
        let (_, head, script) = get("/api-docs/swagger-ui-bundle.js").await;
        assert_eq!(head["content-type"], "text/javascript; charset=utf-8");
        assert_eq!(script.len(), 1_526_593);
        assert_eq!(get("/api-docs/no-such-file").await.0, 404);
    }

    #[tokio::test]
    async fn the_document_is_json_and_has_a_tag() {
        let (status, head, body) = get("/openapi.json").await;
        assert_eq!(
            (status, body.as_slice()),
            (200, br#"{"openapi":"3.1.0"}"#.as_slice())
        );
        assert_eq!(head["content-type"], "application/json");
        assert!(head.contains_key("etag"));
    }

    #[test]
    fn no_file_of_ours_names_another_host() {
        for (name, bytes) in OURS {
            let text = std::str::from_utf8(bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://"), "{name}");
        }
    }
}
