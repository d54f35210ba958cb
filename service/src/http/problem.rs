//! Errors as RFC 9457 problem documents, the only form in which a client learns of one.
//!
//! `type` is `/problems/<code>` and is stable: clients branch on it. It is relative, so that it points at no host
//! that is not ours. A detail says what the client can do; it never holds an inner cause, which belongs in the log.

use std::error::Error as StdError;

use axum::body::Body;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde_json::{Map, Value};

use super::body::BodyFault;

/// The media type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";
/// Seconds after which to try again, where nobody knows better.
pub const RETRY_AFTER_S: u32 = 1;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Option<String>,
    retry_after_s: Option<u32>,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem of the type `/problems/<code>`; `title` is the same for all problems of one code.
    ///
    /// A 429 and a 503 have a `Retry-After` of [`RETRY_AFTER_S`] unless told otherwise.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        let retries = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let retry_after_s = retries.then_some(RETRY_AFTER_S);
        Self {
            status,
            code,
            title,
            detail: None,
            retry_after_s,
            members: Map::new(),
        }
    }

    /// What is wrong with this very request.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A further member of the document. The members of RFC 9457 cannot be replaced by it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Seconds after which the client should try again.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// 400 with a code of the caller's.
    #[must_use]
    pub fn bad_request(code: &'static str, title: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, title)
    }

    /// 404 `not_found`.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found").detail(detail)
    }

    /// 405 `method_not_allowed`; the router adds the header `Allow`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Method not allowed",
        )
    }

    /// 408 `body_too_slow`.
    #[must_use]
    pub fn body_too_slow(after_ms: u64) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            "The body came too slowly",
        )
        .detail(format!("no byte of the body came for {after_ms} ms"))
    }

    /// 408 `body_too_slow` of one that goes on all the time.
    #[must_use]
    pub fn body_below_rate(bytes_per_s: u64) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            "The body came too slowly",
        )
        .detail(format!(
            "a body must bring {bytes_per_s} bytes a second on average"
        ))
    }

    /// 413 `body_too_large`.
    #[must_use]
    pub fn body_too_large(limit_bytes: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The body is too large",
        )
        .detail(format!("a body has at most {limit_bytes} bytes"))
        .with("limit_bytes", limit_bytes)
    }

    /// 429 with a code of the caller's.
    #[must_use]
    pub fn too_many(code: &'static str, title: &'static str, retry_after_s: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, title).retry_after_s(retry_after_s)
    }

    /// 500 `internal`, which says nothing: the cause is in the log, under the request id.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
            .detail("this is a fault of the server; the log has its cause under the request id in `instance`")
    }

    /// 503 with a code of the caller's.
    #[must_use]
    pub fn unavailable(code: &'static str, title: &'static str, retry_after_s: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title).retry_after_s(retry_after_s)
    }

    /// What to answer when a body could not be read: 413, 408, or 400 if the client broke off.
    #[must_use]
    pub fn of_body(error: &(dyn StdError + 'static)) -> Self {
        match BodyFault::find(error) {
            Some(BodyFault::TooLarge { limit_bytes }) => Self::body_too_large(limit_bytes),
            Some(BodyFault::TooSlow { after_ms }) => Self::body_too_slow(after_ms),
            Some(BodyFault::BelowRate { bytes_per_s }) => Self::body_below_rate(bytes_per_s),
            None => Self::bad_request("body_incomplete", "The body is incomplete")
                .detail("the body ended before its end, or its framing is broken"),
        }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code, the last part of the type.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong, for people: the detail, or the title where there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.title)
    }

    pub(super) fn title(&self) -> &'static str {
        self.title
    }

    pub(super) fn retry_seconds(&self) -> Option<u32> {
        self.retry_after_s
    }

    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The document; `instance` is the request id.
    pub(super) fn document(&self, instance: Option<&str>) -> Vec<u8> {
        let mut members = self.members.clone();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        set("type", Value::from(format!("/problems/{}", self.code)));
        set("title", Value::from(self.title));
        set("status", Value::from(self.status.as_u16()));
        if let Some(detail) = &self.detail {
            set("detail", Value::from(detail.as_str()));
        }
        if let Some(instance) = instance {
            set("instance", Value::from(instance));
        }
        Value::Object(members).to_string().into_bytes()
    }
}

/// The document lacks its `instance` here; the request id layer finds the problem in the extensions and adds it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document(None)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, 15.5.2: a 401 says how to do better.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request("query_invalid", "The query string is not valid").detail(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request("path_invalid", "The path is not valid").detail(rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(rejection.status(), "body_too_large", "The body is too large")
                    .detail(rejection.body_text())
            }
            _ => Self::of_body(&rejection),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::BytesRejection(rejection) => Self::from(rejection),
            JsonRejection::MissingJsonContentType(_) => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type_not_supported",
                "The media type is not supported",
            )
            .detail(rejection.body_text()),
            _ => Self::bad_request("json_invalid", "The body is not the JSON expected")
                .detail(rejection.body_text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_429_and_a_503_always_say_when_to_come_back() {
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            let response = Problem::new(status, "busy", "Busy").into_response();
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
        let response = Problem::unavailable("log_away", "The log is away", 7).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
    }

    #[test]
    fn a_further_member_cannot_replace_one_of_the_standard() {
        let problem = Problem::not_found("gone").with("status", 200).with("row", 7);
        let document: Value = serde_json::from_slice(&problem.document(Some("r1"))).unwrap();
        let expected = serde_json::json!({
            "type": "/problems/not_found", "title": "Not found", "status": 404, "detail": "gone",
            "instance": "r1", "row": 7,
        });
        assert_eq!(document, expected);
    }
}
