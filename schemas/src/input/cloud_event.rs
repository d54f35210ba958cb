//! A CloudEvent (CloudEvents 1.0.2, JSON event format and HTTP binding) as [`Raw`]: `id` and `source` make the key, `type`, `time` and
//! `subject` are type, time and user, the amount is in the data, and whatever else the sender said is metadata.
//!
//! The three modes of HTTP say the same of the same event, so its content is the same however it comes: a JSON `datacontenttype`, which
//! one mode must say and another may leave out, is no metadata. A name that both the data and an extension have is refused, never
//! guessed. Errors name the attribute.

use super::Raw;
use super::object::{compact, pairs, scalar, string, unquote};
use crate::{Field, Invalid, key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The one version that is read.
const VERSION: &str = "1.0";

/// The data of an event.
enum Data<'a> {
    Absent,
    /// JSON text.
    Json(&'a str),
    /// Text of another media type.
    Text(Cow<'a, str>),
    /// Bytes in base64, of a member or because they are no text.
    Base64(Cow<'a, str>),
}

/// The attributes of an event, before any of it was checked.
#[derive(Default)]
struct Attributes<'a> {
    specversion: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    reverse: Option<Cow<'a, str>>,
    /// `dataschema` and extensions.
    others: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Raw<'a> {
    /// Reads an event in the JSON event format: the body of the structured mode, or an element of a batch.
    ///
    /// Errors: those of [`Raw::from_json`], `not_supported` (another version), `not_base64`.
    pub fn from_cloud_event(bytes: &'a [u8]) -> Result<Self, Invalid> {
        let mut attributes = Attributes::default();
        let (mut json, mut base64) = (None, None);
        for (name, value) in pairs(bytes)? {
            let field = |name| Field::Attribute(name);
            match name.as_ref() {
                "data" => once(&mut json, "data", Some(value))?,
                "data_base64" => {
                    once(&mut base64, "data_base64", string(field("data_base64"), value)?)?;
                }
                _ => match named(&name) {
                    Some(known) => attributes.take(known, string(field(known), value)?)?,
                    None => attributes.add(name, value)?,
                },
            }
        }
        let data = match (json, base64) {
            (Some(_), Some(_)) => return Err(refused("data_base64", "twice", "must not stand beside data")),
            (Some("null") | None, None) => Data::Absent,
            (Some(json), None) => Data::Json(json),
            (None, Some(base64)) => Data::Base64(base64),
        };
        attributes.finish(data)
    }

    /// Reads an event in the binary mode: attributes by their names without `ce-`, and the data with its media type, if it has one.
    ///
    /// Errors: those of [`Raw::from_cloud_event`].
    pub fn from_binary_cloud_event(
        attributes: &'a [(String, String)],
        content_type: Option<&'a str>,
        data: &'a [u8],
    ) -> Result<Self, Invalid> {
        let mut all = Attributes {
            content_type: content_type.map(Cow::Borrowed),
            ..Attributes::default()
        };
        for (name, value) in attributes {
            let value = Cow::Borrowed(value.as_str());
            match (name.as_str(), named(name)) {
                ("data" | "data_base64", _) => {
                    return Err(refused("data", "twice", "is the body and no header"));
                }
                (_, Some(known)) => all.take(known, Some(value))?,
                ("reverse", _) => once(&mut all.reverse, "reverse", Some(value)).map(|_| ())?,
                _ => all.others.push((Cow::Borrowed(name), value)),
            }
        }
        let data = match std::str::from_utf8(data) {
            Ok(text) if is_nothing(text, content_type.is_none_or(is_json_type)) => Data::Absent,
            Ok(text) if content_type.map_or_else(|| is_json(text), is_json_type) => {
                if !is_json(text) {
                    return Err(refused("data", "not_json", "is not valid JSON"));
                }
                Data::Json(text.trim())
            }
            Ok(text) => Data::Text(Cow::Borrowed(text)),
            Err(_) if content_type.is_some_and(is_json_type) => {
                return Err(refused("data", "not_utf8", "is not valid UTF-8"));
            }
            Err(_) => Data::Base64(Cow::Owned(STANDARD.encode(data))),
        };
        all.finish(data)
    }
}

impl Invalid {
    /// The same error, named after the attribute that the field is made of.
    #[must_use]
    pub fn of_cloud_event(mut self) -> Self {
        self.field = match self.field {
            Field::UserId => Field::Attribute("subject"),
            Field::EventType => Field::Attribute("type"),
            Field::Timestamp => Field::Attribute("time"),
            Field::IdempotencyKey => Field::Attribute("id"),
            Field::Amount => Field::Attribute("data.amount"),
            other => other,
        };
        self
    }
}

/// An attribute that has a meaning here.
fn named(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 7] = [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "subject",
        "datacontenttype",
    ];
    NAMES.into_iter().find(|known| *known == name)
}

fn refused(attribute: &'static str, code: &'static str, message: &str) -> Invalid {
    Invalid::new(Field::Attribute(attribute), code, message)
}

fn once<T>(place: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), Invalid> {
    if place.is_some() {
        return Err(refused(name, "twice", "stands twice in the event"));
    }
    *place = value;
    Ok(())
}

/// Whether a media type is that of JSON.
fn is_json_type(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    matches!(media_type.as_str(), "application/json" | "text/json") || media_type.ends_with("+json")
}

/// Whether data is none: JSON may be blank, any other text is what it is.
fn is_nothing(text: &str, takes_json: bool) -> bool {
    text.is_empty() || takes_json && text.trim().is_empty()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

impl<'a> Attributes<'a> {
    fn take(&mut self, name: &'static str, value: Option<Cow<'a, str>>) -> Result<(), Invalid> {
        let place = match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.kind,
            "time" => &mut self.time,
            "subject" => &mut self.subject,
            _ => &mut self.content_type,
        };
        once(place, name, value)
    }

    /// Adds an extension of the JSON event format.
    fn add(&mut self, name: Cow<'a, str>, value: &'a str) -> Result<(), Invalid> {
        match (name.as_ref(), value) {
            (_, "null") => Ok(()),
            ("reverse", _) => once(&mut self.reverse, "reverse", flag("reverse", value)?),
            _ => {
                self.others.push((name, text(value)?));
                Ok(())
            }
        }
    }

    fn finish(mut self, data: Data<'a>) -> Result<Raw<'a>, Invalid> {
        let version = required("specversion", self.specversion.take())?;
        if version != VERSION {
            return Err(refused("specversion", "not_supported", "must be 1.0"));
        }
        let id = required("id", self.id.take())?;
        let source = required("source", self.source.take())?;
        let mut raw = Raw {
            idempotency_key: Some(Cow::Owned(key::cloud_event_key(&source, &id))),
            user_id: self.subject.take(),
            event_type: Some(required("type", self.kind.take())?),
            timestamp: self.time.take(),
            reverse: self.reverse.take(),
            metadata: self.others,
            ..Raw::default()
        };
        let is_said_json = self.content_type.as_deref().is_some_and(is_json_type);
        let content_type = self.content_type.filter(|_| !is_said_json);
        let takes_json = content_type.is_none();
        if let Some(content_type) = content_type {
            raw.metadata
                .push((Cow::Borrowed("datacontenttype"), content_type));
        }
        match data {
            Data::Absent => {}
            Data::Json(json) => add_data(&mut raw, json)?,
            Data::Text(text) => raw.metadata.push((Cow::Borrowed("data"), text)),
            Data::Base64(base64) => add_bytes(&mut raw, base64, takes_json, is_said_json)?,
        }
        if raw.user_id.is_none() {
            let message = "is missing, and the data has no user_id";
            return Err(refused("subject", "missing", message));
        }
        Ok(raw)
    }
}

/// An attribute that must be there.
fn required<'a>(name: &'static str, value: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, Invalid> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| refused(name, "missing", "is missing"))
}

/// Puts the members of the data where they belong.
fn add_data<'a>(raw: &mut Raw<'a>, json: &'a str) -> Result<(), Invalid> {
    if !json.starts_with('{') {
        raw.metadata.push((Cow::Borrowed("data"), text(json)?));
        return Ok(());
    }
    let has_subject = raw.user_id.is_some();
    let members = pairs(json.as_bytes()).map_err(|mut invalid| {
        invalid.field = Field::Attribute("data");
        invalid
    })?;
    let is = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
    for (name, value) in members {
        if value == "null" {
            continue;
        }
        if is(&name, "amount") {
            let amount = scalar(Field::Attribute("data.amount"), value)?;
            once(&mut raw.amount, "data.amount", amount)?;
        } else if is(&name, "reverse") {
            once(&mut raw.reverse, "data.reverse", flag("data.reverse", value)?)?;
        } else if !has_subject && (is(&name, "user_id") || is(&name, "userId")) {
            let user = string(Field::Attribute("data.user_id"), value)?;
            once(&mut raw.user_id, "data.user_id", user)?;
        } else {
            raw.metadata.push((name, text(value)?));
        }
    }
    Ok(())
}

/// Data in base64: its members where it is a JSON object, its text where it is one, as if it was sent so; else kept as it stands.
fn add_bytes<'a>(
    raw: &mut Raw<'a>,
    base64: Cow<'a, str>,
    takes_json: bool,
    is_said_json: bool,
) -> Result<(), Invalid> {
    let Ok(bytes) = STANDARD.decode(base64.as_bytes()) else {
        return Err(refused("data_base64", "not_base64", "is not valid base64"));
    };
    let json = match std::str::from_utf8(&bytes) {
        Ok(text) if is_nothing(text, takes_json) => return Ok(()),
        Ok(text) if takes_json && is_json(text) => text.trim(),
        Ok(text) if !is_said_json => {
            raw.metadata
                .push((Cow::Borrowed("data"), Cow::Owned(text.to_owned())));
            return Ok(());
        }
        _ => {
            raw.metadata.push((Cow::Borrowed("data_base64"), base64));
            return Ok(());
        }
    };
    let mut decoded = Raw {
        user_id: raw.user_id.as_deref().map(Cow::Borrowed),
        reverse: raw.reverse.as_deref().map(Cow::Borrowed),
        ..Raw::default()
    };
    add_data(&mut decoded, json)?;
    let own = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
    let (user_id, reverse, amount) = (own(decoded.user_id), own(decoded.reverse), own(decoded.amount));
    let members = decoded.metadata.into_iter();
    let members: Vec<(Cow<'a, str>, Cow<'a, str>)> = members
        .map(|(name, value)| (Cow::Owned(name.into_owned()), Cow::Owned(value.into_owned())))
        .collect();
    (raw.user_id, raw.reverse, raw.amount) = (user_id, reverse, amount);
    raw.metadata.extend(members);
    Ok(())
}

/// JSON as a text of metadata: a string as it is, anything else as compact JSON.
fn text(value: &str) -> Result<Cow<'_, str>, Invalid> {
    match value.starts_with('"') {
        true => unquote(value),
        false => Ok(compact(value)),
    }
}

/// `true` or `false`, bare or as a string.
fn flag<'a>(name: &'static str, value: &'a str) -> Result<Option<Cow<'a, str>>, Invalid> {
    match value {
        "true" | "false" => Ok(Some(Cow::Borrowed(value))),
        _ if value.starts_with('"') => unquote(value).map(Some),
        _ => Err(refused(name, "not_a_boolean", "must be true or false")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn read(members: &str) -> Result<Raw<'static>, (&'static str, &'static str)> {
        let json = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#);
        let json: &'static str = json.leak();
        Raw::from_cloud_event(json.as_bytes()).map_err(|invalid| (invalid.field.name(), invalid.code))
    }

    #[test]
    fn each_part_of_an_event_goes_where_it_belongs() {
        let raw = read(
            r#","subject":"u1","time":"2026-11-20T10:00:00Z","region":"eu","n":3,"datacontenttype":"application/json",
               "data":{"amount":12.50,"user_id":"other","page":{"a": 1},"type":"x","reverse":true,"none":null}"#,
        )
        .unwrap();
        assert_eq!(raw.user_id.as_deref(), Some("u1"));
        assert_eq!(raw.event_type.as_deref(), Some("t"));
        assert_eq!(raw.timestamp.as_deref(), Some("2026-11-20T10:00:00Z"));
        assert_eq!(raw.amount.as_deref(), Some("12.50"));
        assert_eq!(raw.reverse.as_deref(), Some("true"));
        let metadata: Vec<(&str, &str)> = raw.metadata.iter().map(|(n, v)| (&**n, &**v)).collect();
        let expected = [
            ("region", "eu"),
            ("n", "3"),
            ("user_id", "other"),
            ("page", r#"{"a":1}"#),
            ("type", "x"),
        ];
        assert_eq!(metadata, expected);
    }

    #[test]
    fn data_in_base64_is_read_where_it_is_json_and_kept_where_it_is_not() {
        let encoded = |text: &str| STANDARD.encode(text);
        let json = encoded(r#"{"userId":"u9","amount":"1","page":"p"}"#);
        let raw = read(&format!(r#","data_base64":"{json}""#)).unwrap();
        assert_eq!(raw.user_id.as_deref(), Some("u9"));
        assert_eq!(raw.amount.as_deref(), Some("1"));
        assert_eq!(raw.metadata, [("page".into(), "p".into())]);
        for (kind, data) in [("image/png", "/wA="), ("application/json", "/////w==")] {
            let members = format!(r#","subject":"u","datacontenttype":"{kind}","data_base64":"{data}""#);
            let raw = read(&members).unwrap();
            let kept = raw.metadata.iter().find(|(name, _)| name == "data_base64");
            assert_eq!(kept.unwrap().1, data, "{kind}");
        }
    }

    #[test]
    fn the_binary_mode_says_the_same_as_the_structured_one() {
        let attributes = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/s"),
            ("type", "t"),
            ("subject", "u"),
            ("region", "eu"),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let json = r#"{"amount":2,"page":"p"}"#;
        let same = read(&format!(r#","subject":"u","region":"eu","data":{json}"#)).unwrap();
        for kind in [
            None,
            Some("application/json; charset=utf-8"),
            Some("application/x+json"),
        ] {
            let raw = Raw::from_binary_cloud_event(&attributes, kind, json.as_bytes()).unwrap();
            assert_eq!(raw, same, "{kind:?}");
        }
        let same =
            read(r#","subject":"u","region":"eu","datacontenttype":"text/plain","data":"hello""#).unwrap();
        let raw = Raw::from_binary_cloud_event(&attributes, Some("text/plain"), b"hello").unwrap();
        assert_eq!(raw, same);
        let bytes = Raw::from_binary_cloud_event(&attributes, Some("image/png"), b"\xff\x00").unwrap();
        assert_eq!(
            bytes.metadata.last().unwrap(),
            &("data_base64".into(), "/wA=".into())
        );
        let error = |kind, data| {
            Raw::from_binary_cloud_event(&attributes, kind, data)
                .unwrap_err()
                .code
        };
        assert_eq!(error(Some("application/json"), b"{"), "not_json");
        assert_eq!(error(Some("application/json"), b"\xff"), "not_utf8");
    }

    #[test]
    fn a_text_is_the_same_content_by_each_mode_and_never_lost() {
        let attributes = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/s"),
            ("type", "t"),
            ("subject", "u"),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for text in ["hello", " ", "\n", r#"{"amount":1}"#] {
            let said = r#","subject":"u","datacontenttype":"text/plain""#;
            let quoted = serde_json::to_string(text).unwrap();
            let structured = read(&format!("{said},\"data\":{quoted}")).unwrap();
            assert_eq!(structured.metadata.last().unwrap(), &("data".into(), text.into()));
            let encoded = STANDARD.encode(text);
            let in_base64 = read(&format!("{said},\"data_base64\":\"{encoded}\"")).unwrap();
            let binary =
                Raw::from_binary_cloud_event(&attributes, Some("text/plain"), text.as_bytes()).unwrap();
            // Else a repeat by another mode would be a key conflict.
            assert_eq!((&in_base64, &binary), (&structured, &structured), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_attribute() {
        for (members, expected) in [
            ("", ("subject", "missing")),
            (r#","data":{"user_id":null}"#, ("subject", "missing")),
            (r#","data":{"userId":7}"#, ("data.user_id", "not_text")),
            (
                r#","subject":"u","data":{"amount":true}"#,
                ("data.amount", "not_text"),
            ),
            (
                r#","subject":"u","data":{"amount":1,"Amount":1}"#,
                ("data.amount", "twice"),
            ),
            (
                r#","subject":"u","data":{"reverse":1}"#,
                ("data.reverse", "not_a_boolean"),
            ),
            (
                r#","subject":"u","reverse":true,"data":{"reverse":true}"#,
                ("data.reverse", "twice"),
            ),
            (r#","subject":"u","subject":"v""#, ("subject", "twice")),
            (r#","subject":7"#, ("subject", "not_text")),
            (r#","id":"2""#, ("id", "twice")),
            (
                r#","subject":"u","data_base64":"?""#,
                ("data_base64", "not_base64"),
            ),
            (
                r#","subject":"u","data":1,"data_base64":"MQ==""#,
                ("data_base64", "twice"),
            ),
        ] {
            assert_eq!(read(members).unwrap_err(), expected, "{members}");
        }
        for (json, expected) in [
            (r"{}", ("specversion", "missing")),
            (r#"{"specversion":"0.3"}"#, ("specversion", "not_supported")),
            (r#"{"specversion":1.0}"#, ("specversion", "not_text")),
            (r#"{"specversion":"1.0","id":""}"#, ("id", "missing")),
            (r#"{"specversion":"1.0","id":"1"}"#, ("source", "missing")),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s"}"#,
                ("type", "missing"),
            ),
            ("[]", ("event", "not_an_object")),
            ("{", ("event", "not_json")),
        ] {
            let invalid = Raw::from_cloud_event(json.as_bytes()).unwrap_err();
            assert_eq!((invalid.field.name(), invalid.code), expected, "{json}");
        }
    }
}
