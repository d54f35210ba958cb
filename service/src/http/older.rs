//! What clients of an older service rely on under `/api/`: errors are `{error, message, details}` there, also those of routes that do not
//! exist, and a request is known by `X-Correlation-ID` as well.
//!
//! It is done where problems get their form, so that no refusal has another, wherever it comes from.

use axum::body::Body;
use axum::response::Response;
use hyper::HeaderMap;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::problem::Problem;

/// The header that carries the id of a request, in and out.
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Longest id taken from a client, in characters.
const LENGTH_LIMIT: usize = 128;

/// Whether a path is one of the older service's.
pub(crate) fn is_older(path: &str) -> bool {
    path.starts_with("/api/")
}

/// The id that the client gave, if it can stand in a header as it is; else `id`.
pub(super) fn correlation(headers: &HeaderMap, id: &HeaderValue) -> HeaderValue {
    let given = headers.get(CORRELATION_ID).filter(|value| {
        (1..=LENGTH_LIMIT).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.unwrap_or(id).clone()
}

/// Gives an answer the older form.
pub(super) fn reshape(response: &mut Response, correlation: HeaderValue) {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        *response.body_mut() = Body::from(problem.older_document());
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response.headers_mut().insert(CORRELATION_ID, correlation);
}

impl Problem {
    /// `{error, message}`, with `details` where the problem has them and `retryAfter` where it says when to come back.
    fn older_document(&self) -> Vec<u8> {
        let mut members = Map::new();
        members.insert("error".to_owned(), Value::from(self.title()));
        members.insert("message".to_owned(), Value::from(self.text()));
        if let Some(details) = self.member("details") {
            members.insert("details".to_owned(), details.clone());
        }
        if let Some(seconds) = self.retry_seconds() {
            members.insert("retryAfter".to_owned(), Value::from(seconds));
        }
        Value::Object(members).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_older_form() {
        let document = |problem: &Problem| -> Value {
            serde_json::from_slice(&problem.older_document()).unwrap_or_default()
        };
        let problem = Problem::not_found("nothing here").with("row", 7);
        let expected = serde_json::json!({"error": "Not found", "message": "nothing here"});
        assert_eq!(document(&problem), expected);
        let problem = Problem::too_many("many", "Too Many Requests", 9).with("details", vec![1]);
        let expected = serde_json::json!({
            "error": "Too Many Requests", "message": "Too Many Requests", "details": [1], "retryAfter": 9
        });
        assert_eq!(document(&problem), expected);
    }

    #[test]
    fn a_correlation_id_is_the_clients_or_that_of_the_request() {
        let own = HeaderValue::from_static("request-1");
        let mut headers = HeaderMap::new();
        assert_eq!(correlation(&headers, &own), own);
        headers.insert(CORRELATION_ID, HeaderValue::from_static("abc"));
        assert_eq!(correlation(&headers, &own), "abc");
        headers.insert(CORRELATION_ID, HeaderValue::from_static("a b"));
        assert_eq!(correlation(&headers, &own), own);
        assert!(is_older("/api/x") && !is_older("/api-docs") && !is_older("/v1/api/"));
    }
}
