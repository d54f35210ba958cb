//! Who a request is: the id that the client gave or that we make, in the answer, in the log, in each problem.
//!
//! An id from outside is taken only if it can stand in a header and in a log line as it is. It identifies a request,
//! never an event: the same event sent twice has one idempotency key and two request ids.

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument;
use uuid::Uuid;

use super::older;
use super::problem::Problem;
use crate::telemetry::traces;

/// The header that carries the id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a client, in characters.
const LENGTH_LIMIT: usize = 128;

/// The id of a request: 1 to 128 visible ASCII characters. Handlers take it as `Extension<RequestId>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Holds only visible ASCII, see `of`.
        self.0.to_str().unwrap_or_default()
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(REQUEST_ID)?;
        let fits =
            (1..=LENGTH_LIMIT).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
        fits.then(|| Self(value.clone()))
    }

    fn fresh() -> Self {
        let mut buffer = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        // Hex digits and hyphens are always a header value.
        Self(HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown")))
    }
}

pub(super) fn layer(router: Router) -> Router {
    router.layer(from_fn(identify))
}

async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers()).unwrap_or_else(RequestId::fresh);
    request.extensions_mut().insert(id.clone());
    let correlation =
        older::is_older(request.uri().path()).then(|| older::correlation(request.headers(), &id.0));
    // The route and not the path, since paths hold the ids of users.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let traced = traces::request(request.method(), route, request.headers(), id.as_str());
    let span = traced.in_scope(
        || tracing::info_span!("request", request_id = id.as_str(), method = %request.method(), route),
    );
    let work = next.run(request).instrument(span.clone());
    let mut response = work.instrument(traced.clone()).await;
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    traces::answered(&traced, response.status());
    if let Some(correlation) = correlation {
        older::reshape(&mut response, correlation);
    } else if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        *response.body_mut() = Body::from(problem.document(Some(id.as_str())));
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response.headers_mut().insert(REQUEST_ID, id.0);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> Option<RequestId> {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn an_id_that_could_break_a_log_line_is_not_taken() {
        assert_eq!(of(b"abc-123").unwrap().as_str(), "abc-123");
        assert!(of(&[b'a'; 128]).is_some());
        for bad in [b"".as_slice(), &[b'a'; 129], b"a b", b"a\tb", "\u{e9}".as_bytes()] {
            assert_eq!(of(bad), None);
        }
        assert_eq!(RequestId::fresh().as_str().len(), 36);
    }
}
