//! What the head of a request says of its body. What is not understood is refused, before a byte of the body is read:
//! a parameter that is ignored in silence is one that a client relied on in vain.

use crate::body::Encoding;
use crate::cloud_events::Shape;
use crate::rows::Format;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use schemas::limits::KEY_BYTES;
use service::http::Problem;
use std::time::Duration;

/// The header that carries a key for a whole request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the head says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// What the body is made of; `None` where the head does not say.
    pub(crate) format: Option<Format>,
    /// How events are put into it.
    pub(crate) shape: Shape,
    /// How it is compressed.
    pub(crate) encoding: Encoding,
    /// Its length in bytes as sent, where that is announced.
    pub(crate) length: Option<u64>,
    /// The key of the request.
    pub(crate) idempotency_key: Option<String>,
    /// Whether nothing is to be recorded.
    pub(crate) validate: bool,
    /// Whether the answer is to say what became of the events.
    pub(crate) wait: Option<Wait>,
}

/// The answer is to come when every view reflects the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// How long to wait at most.
    pub(crate) timeout: Option<Duration>,
}

impl Head {
    /// Reads the head, or says what to answer.
    pub(crate) fn read(uri: &Uri, headers: &HeaderMap) -> Result<Self, Problem> {
        let shape = Shape::read(headers)?;
        let (validate, wait) = flags(uri)?;
        Ok(Self {
            validate,
            wait,
            format: match shape.format() {
                Some(format) => Some(format),
                None => format(headers)?,
            },
            shape,
            encoding: encoding(headers)?,
            length: length(headers)?,
            idempotency_key: idempotency_key(headers)?,
        })
    }
}

/// Whether only to look at the rows, and whether to wait.
fn flags(uri: &Uri) -> Result<(bool, Option<Wait>), Problem> {
    let (mut validates, mut waits, mut timeout) = (false, false, None);
    for (name, value) in parameters(uri, &["validate", "wait", "timeout"])? {
        match name.as_str() {
            "validate" => validates = flag(name, &value)?,
            "wait" if value == "counted" => waits = true,
            "wait" => return Err(invalid(name, "must be `counted`")),
            _ => {
                let words = "must be a time such as 1500 (milliseconds) or 5s";
                timeout = Some(duration(&value).ok_or_else(|| invalid(name, words))?);
            }
        }
    }
    match (validates, waits, timeout) {
        (true, true, _) => Err(invalid("wait", "has no sense where nothing is recorded")),
        (_, false, Some(_)) => Err(invalid("timeout", "needs wait=counted beside it")),
        _ => Ok((validates, waits.then_some(Wait { timeout }))),
    }
}

/// `1500` and `1500ms` are milliseconds, `5s` seconds.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 1000),
        (None, None) => (text, 1),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

/// The parameters of the query string, each of them known and given once.
pub(crate) fn parameters(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(Problem::from)?;
    for (place, (name, _)) in parameters.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            return Err(invalid(
                name,
                &format!("is not known; known is {}", known.join(", ")),
            ));
        }
        if parameters.iter().take(place).any(|(other, _)| other == name) {
            return Err(invalid(name, "is given twice"));
        }
    }
    Ok(parameters)
}

/// A parameter that is `true` or `false`.
pub(crate) fn flag(name: impl Into<String>, value: &str) -> Result<bool, Problem> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(name, "must be `true` or `false`")),
    }
}

/// What is answered where a parameter cannot be used.
pub(crate) fn invalid(name: impl Into<String>, detail: &str) -> Problem {
    let name = name.into();
    Problem::bad_request("query_invalid", "The query string is not valid")
        .detail(format!("the parameter `{name}` {detail}"))
        .with("parameter", name)
}

/// The value of a header that may be there once; `None` where it is not there.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let invalid = |what| {
        Problem::bad_request("header_invalid", "A header is not valid").detail(format!("{name} {what}"))
    };
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid("is given twice"));
    }
    value
        .to_str()
        .map(Some)
        .map_err(|_| invalid("is not visible ASCII"))
}

/// How long the body is, as it is sent.
pub(crate) fn length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let length = text(headers, header::CONTENT_LENGTH.as_str())?;
    Ok(length.and_then(|length| length.parse().ok()))
}

/// The format of a media type, if it is one of ours.
pub(crate) fn known_format(content_type: &str) -> Option<Format> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "application/json" => Some(Format::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Some(Format::Lines)
        }
        "text/csv" | "application/csv" => Some(Format::Csv),
        _ => None,
    }
}

/// What the body is made of, by its type.
pub(crate) fn format(headers: &HeaderMap) -> Result<Option<Format>, Problem> {
    let Some(value) = text(headers, header::CONTENT_TYPE.as_str())? else {
        return Ok(None);
    };
    let format = known_format(value).ok_or_else(|| {
        not_supported("media_type_not_supported", "The media type is not supported").detail(
            "send application/json (an object or an array), application/x-ndjson or text/csv, or \
             application/cloudevents+json or application/cloudevents-batch+json to /v1/events; without a Content-Type \
             the first byte tells JSON from CSV",
        )
    })?;
    check_charset(value)?;
    match media_parameter(value, "header").as_deref() {
        Some("absent") => {
            let title = "CSV without a header is not supported";
            Err(not_supported("csv_header_absent", title).detail("the first record must name the columns"))
        }
        _ => Ok(Some(format)),
    }
}

/// Refuses a media type whose character set is not UTF-8.
pub(crate) fn check_charset(content_type: &str) -> Result<(), Problem> {
    match media_parameter(content_type, "charset").as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(()),
        Some(_) => {
            let title = "The character set is not supported";
            Err(not_supported("charset_not_supported", title).detail("send UTF-8"))
        }
    }
}

/// A parameter of a media type, in lower case.
fn media_parameter(content_type: &str, name: &str) -> Option<String> {
    let parameters = content_type.split(';').skip(1);
    parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase())
}

/// How the body is compressed.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let Some(value) = text(headers, header::CONTENT_ENCODING.as_str())? else {
        return Ok(Encoding::Identity);
    };
    known_encoding(value)
}

/// The encoding of a word.
pub(crate) fn known_encoding(word: &str) -> Result<Encoding, Problem> {
    match word.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "zstd" => Ok(Encoding::Zstd),
        _ => Err(
            not_supported("encoding_not_supported", "The Content-Encoding is not supported")
                .detail("send gzip, zstd or identity, and only one of them"),
        ),
    }
}

/// The header `Idempotency-Key`, where it is there.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = text(headers, IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let fits = (1..=KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    match fits {
        true => Ok(Some(key.to_owned())),
        false => Err(
            Problem::bad_request("idempotency_key_invalid", "The Idempotency-Key is not valid")
                .detail(format!("it must have 1 to {KEY_BYTES} visible ASCII characters")),
        ),
    }
}

fn not_supported(code: &'static str, title: &'static str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, title)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn head(uri: &str, headers: &[(&'static str, &str)]) -> Result<Head, (u16, &'static str)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        Head::read(&uri.parse().unwrap(), &map).map_err(|problem| (problem.status().as_u16(), problem.code()))
    }

    #[test]
    fn a_type_is_known_by_any_of_its_names() {
        for (value, expected) in [
            ("application/json", Format::Json),
            ("Application/JSON; Charset=\"UTF-8\"", Format::Json),
            ("application/x-ndjson", Format::Lines),
            ("application/jsonl;charset=utf8", Format::Lines),
            ("text/csv; header=present; charset=us-ascii", Format::Csv),
        ] {
            assert_eq!(
                head("/", &[("content-type", value)]).unwrap().format,
                Some(expected),
                "{value}"
            );
        }
        assert_eq!(head("/", &[]).unwrap().format, None);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let long = "k".repeat(257);
        for (uri, headers, expected) in [
            (
                "/",
                vec![("content-type", "application/xml")],
                (415, "media_type_not_supported"),
            ),
            ("/", vec![("content-type", "")], (415, "media_type_not_supported")),
            (
                "/",
                vec![("content-type", "text/csv; charset=latin1")],
                (415, "charset_not_supported"),
            ),
            (
                "/",
                vec![("content-type", "text/csv; header=absent")],
                (415, "csv_header_absent"),
            ),
            (
                "/",
                vec![("content-encoding", "br")],
                (415, "encoding_not_supported"),
            ),
            (
                "/",
                vec![("content-encoding", "gzip, gzip")],
                (415, "encoding_not_supported"),
            ),
            (
                "/",
                vec![("content-encoding", "gzip"), ("content-encoding", "gzip")],
                (400, "header_invalid"),
            ),
            (
                "/",
                vec![("idempotency-key", "")],
                (400, "idempotency_key_invalid"),
            ),
            (
                "/",
                vec![("idempotency-key", "a b")],
                (400, "idempotency_key_invalid"),
            ),
            (
                "/",
                vec![("idempotency-key", &long)],
                (400, "idempotency_key_invalid"),
            ),
            (
                "/",
                vec![("idempotency-key", "a"), ("idempotency-key", "a")],
                (400, "header_invalid"),
            ),
            ("/?wait=true", vec![], (400, "query_invalid")),
            ("/?timeout=5s", vec![], (400, "query_invalid")),
            ("/?wait=counted&timeout=5m", vec![], (400, "query_invalid")),
            ("/?wait=counted&timeout=", vec![], (400, "query_invalid")),
            ("/?wait=counted&validate=true", vec![], (400, "query_invalid")),
            ("/?validate=1", vec![], (400, "query_invalid")),
            ("/?validate=true&validate=true", vec![], (400, "query_invalid")),
        ] {
            assert_eq!(head(uri, &headers), Err(expected), "{uri} {headers:?}");
        }
    }

    #[test]
    fn a_request_says_its_key_and_whether_it_is_meant() {
        let read = head(
            "/?validate=true",
            &[("idempotency-key", "k-1"), ("content-encoding", "X-GZIP")],
        )
        .unwrap();
        assert_eq!(read.idempotency_key.as_deref(), Some("k-1"));
        assert!(read.validate && read.encoding == Encoding::Gzip);
        assert_eq!(read.wait, None);
        for (uri, timeout_ms) in [
            ("/?wait=counted", None),
            ("/?wait=counted&timeout=1500", Some(1500)),
            ("/?timeout=20ms&wait=counted", Some(20)),
            ("/?wait=counted&timeout=5s&validate=false", Some(5000)),
        ] {
            let timeout = timeout_ms.map(Duration::from_millis);
            assert_eq!(head(uri, &[]).unwrap().wait, Some(Wait { timeout }), "{uri}");
        }
    }
}
