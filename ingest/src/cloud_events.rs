//! What the head says of CloudEvents (HTTP binding 1.0.2): `application/cloudevents+json` is one event, `application/cloudevents-batch+json`
//! an array of them, and headers `ce-*` beside any other type make the body the data of one event.
//!
//! One of the headers that each event must have is enough for that: an event that lacks another is told so, and not taken for something
//! else. What an event says is read by [`schemas::input::Raw`].

use crate::head;
use crate::rows::Format;
use axum::http::{HeaderMap, header};
use service::http::Problem;

/// What stands before the name of an attribute.
const PREFIX: &str = "ce-";
/// Headers of which each makes the request a CloudEvent.
const REQUIRED: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// How an event is put into a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Our own way.
    #[default]
    Plain,
    /// One CloudEvent in JSON.
    Structured,
    /// An array of these.
    Batch,
    /// No CloudEvent either, but `{userId, name, value}` of an older service.
    Revenue,
    /// Attributes in the head, data in the body.
    Binary {
        /// By their names without the prefix.
        attributes: Vec<(String, String)>,
        /// The media type of the data.
        content_type: Option<String>,
    },
}

impl Shape {
    /// Reads the head; `Plain` where it does not speak of CloudEvents.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let content_type = head::text(headers, header::CONTENT_TYPE.as_str())?;
        let media_type = content_type.and_then(|value| value.split(';').next());
        let media_type = media_type.unwrap_or_default().trim().to_ascii_lowercase();
        let shape = match media_type.as_str() {
            "application/cloudevents+json" => Self::Structured,
            "application/cloudevents-batch+json" => Self::Batch,
            // Of another event format; that it is not supported is said of its type.
            other if other.starts_with("application/cloudevents") => Self::Plain,
            _ if REQUIRED.iter().any(|name| headers.contains_key(*name)) => Self::Binary {
                attributes: attributes(headers)?,
                content_type: content_type.map(str::to_owned),
            },
            _ => Self::Plain,
        };
        if shape != Self::Plain {
            head::check_charset(content_type.unwrap_or_default())?;
        }
        Ok(shape)
    }

    /// How the body is cut, where that follows.
    pub(crate) fn format(&self) -> Option<Format> {
        match self {
            Self::Plain => None,
            Self::Structured | Self::Batch => Some(Format::Json),
            Self::Revenue => Some(Format::Lines),
            Self::Binary { .. } => Some(Format::Whole),
        }
    }
}

fn attributes(headers: &HeaderMap) -> Result<Vec<(String, String)>, Problem> {
    let mut attributes = Vec::new();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        let value = head::text(headers, name.as_str())?.and_then(decode);
        let (false, Some(value)) = (attribute.is_empty(), value) else {
            let problem = Problem::bad_request("header_invalid", "A header is not valid");
            return Err(problem.detail(format!("{name} is not percent-encoded UTF-8")));
        };
        attributes.push((attribute.to_owned(), value));
    }
    Ok(attributes)
}

/// The value of an attribute in a header: without quotes around it, then with one round of percent-decoding.
fn decode(value: &str) -> Option<String> {
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut letters = quoted.unwrap_or(value).bytes();
    let mut bytes = Vec::with_capacity(value.len());
    while let Some(letter) = letters.next() {
        match letter {
            b'\\' if quoted.is_some() => bytes.push(letters.next()?),
            b'%' => {
                let digit = |letter: u8| char::from(letter).to_digit(16);
                let (high, low) = (digit(letters.next()?)?, digit(letters.next()?)?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_unquoted_and_decoded_once() {
        for (value, expected) in [
            ("u1", Some("u1")),
            ("Euro%20%E2%82%AC", Some("Euro €")),
            ("%2520", Some("%20")),
            (r#""a \"b\" c""#, Some(r#"a "b" c"#)),
            ("a\\b", Some("a\\b")),
            ("%", None),
            ("%zz", None),
            ("%ff", None),
        ] {
            assert_eq!(decode(value).as_deref(), expected, "{value}");
        }
    }
}
