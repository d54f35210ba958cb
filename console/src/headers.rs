//! What is said with every file of the page: its type, the policy that keeps the browser to this origin, and a tag by which an
//! unchanged file is not sent again.
//!
//! No file may be used without asking whether it is still the present one: a page made of files of two releases would break in
//! ways that nobody can report.

use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

/// Nothing but this origin: no script or style within HTML, no frame around the page, no form sent by the browser.
/// `data:` is for images only. See <https://www.w3.org/TR/CSP3/>.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A header.
pub(crate) type Header = (HeaderName, HeaderValue);

/// Ask before use, each time.
pub(crate) const REVALIDATE: Header = (CACHE_CONTROL, HeaderValue::from_static("no-cache"));
/// Never keep it.
pub(crate) const NO_STORE: Header = (CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// The type of a file, by the end of its name.
pub(crate) fn content_type(name: &str) -> Header {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    let media = match end {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        _ => "text/plain; charset=utf-8",
    };
    (CONTENT_TYPE, HeaderValue::from_static(media))
}

/// The tag of a file.
pub(crate) fn etag(tag: &'static str) -> Header {
    (ETAG, HeaderValue::from_static(tag))
}

/// Whether the browser has the file of this tag: RFC 9110, 13.1.2. Tags hold no commas.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let mut known = known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','));
    known.any(|known| known.trim().trim_start_matches("W/") == tag)
}

/// Puts the policy onto an answer.
pub(crate) fn guard(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}
