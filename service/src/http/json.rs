//! The head of a request whose body is one small JSON object, as it was typed.

use super::Problem;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};

/// What [`plain_json`] may answer.
pub const PLAIN_JSON: crate::api::Codes = &[
    (415, "charset_not_supported"),
    (415, "encoding_not_supported"),
    (415, "media_type_not_supported"),
];

/// Refuses a head that announces anything but JSON in UTF-8, not compressed.
///
/// # Errors
/// 415 `media_type_not_supported`, `charset_not_supported` or `encoding_not_supported`.
pub fn plain_json(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &HeaderName| {
        let value = headers.get(name).map_or(Ok(""), |value| value.to_str());
        value.unwrap_or("?").trim().to_ascii_lowercase()
    };
    let not_supported = |code, title, detail: &str| {
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, title).detail(detail))
    };
    let said = text(&header::CONTENT_TYPE);
    let mut parts = said.split(';').map(str::trim);
    if parts.next() != Some("application/json") {
        let title = "The media type is not supported";
        return not_supported("media_type_not_supported", title, "send application/json");
    }
    let charset = parts.find_map(|part| part.strip_prefix("charset="));
    if !matches!(
        charset.map(|word| word.trim_matches('"')),
        None | Some("utf-8" | "utf8" | "us-ascii")
    ) {
        let title = "The character set is not supported";
        return not_supported("charset_not_supported", title, "send UTF-8");
    }
    match text(&header::CONTENT_ENCODING).as_str() {
        "" | "identity" => Ok(()),
        _ => {
            let title = "The Content-Encoding is not supported";
            not_supported(
                "encoding_not_supported",
                title,
                "send this body as it is, not compressed",
            )
        }
    }
}
