//! A JSON object as [`Raw`]. Values are looked at as text and never become floating-point numbers; texts without
//! escapes are borrowed.

use super::Raw;
use super::names::{Known, known};
use super::renames::Renames;
use crate::{Field, Invalid, limits};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Most fields of one object that are looked at: the most metadata and the event's own, with room for nulls.
const FIELDS: usize = limits::METADATA_ENTRIES + 64;

/// Reads an object. A field `tenant` is metadata here: over HTTP the credential says whose an event is.
pub(super) fn read(bytes: &[u8]) -> Result<Raw<'_>, Invalid> {
    let mut sorter = Sorter::default();
    for (name, value) in pairs(bytes)? {
        sorter.take(name, value)?;
    }
    sorter.finish()
}

/// Reads an object whose own fields, not those of its `metadata`, have other names.
pub(super) fn read_renamed<'a>(bytes: &'a [u8], renames: &'a Renames) -> Result<Raw<'a>, Invalid> {
    let mut sorter = Sorter::default();
    for (name, value) in pairs(bytes)? {
        sorter.take(renames.apply(name), value)?;
    }
    sorter.finish()
}

/// Reads an object whose field `tenant`, if any, says whose it is.
pub(crate) fn read_with_tenant(bytes: &[u8]) -> Result<(Raw<'_>, Option<Cow<'_, str>>), Invalid> {
    let mut sorter = Sorter::default();
    let mut tenant = None;
    for (name, value) in pairs(bytes)? {
        if name.eq_ignore_ascii_case("tenant") {
            set(&mut tenant, Field::Tenant, string(Field::Tenant, value)?)?;
        } else {
            sorter.take(name, value)?;
        }
    }
    Ok((sorter.finish()?, tenant))
}

/// Puts each field where it belongs.
#[derive(Default)]
struct Sorter<'a> {
    raw: Raw<'a>,
    loose_type: Option<(Cow<'a, str>, &'a str)>,
    loose_time: Option<(Cow<'a, str>, &'a str)>,
}

impl<'a> Sorter<'a> {
    fn take(&mut self, name: Cow<'a, str>, value: &'a str) -> Result<(), Invalid> {
        let raw = &mut self.raw;
        match known(&name) {
            Some(Known::Key) => {
                let field = Field::IdempotencyKey;
                set(&mut raw.idempotency_key, field, string(field, value)?)
            }
            Some(Known::User) => set(&mut raw.user_id, Field::UserId, string(Field::UserId, value)?),
            Some(Known::Type) => set(
                &mut raw.event_type,
                Field::EventType,
                string(Field::EventType, value)?,
            ),
            Some(Known::Time) => set(
                &mut raw.timestamp,
                Field::Timestamp,
                scalar(Field::Timestamp, value)?,
            ),
            Some(Known::Amount) => set(&mut raw.amount, Field::Amount, scalar(Field::Amount, value)?),
            Some(Known::Reverse) => set(&mut raw.reverse, Field::Reverse, boolean(value)?),
            Some(Known::LooseType) => set(&mut self.loose_type, Field::EventType, Some((name, value))),
            Some(Known::LooseTime) => set(&mut self.loose_time, Field::Timestamp, Some((name, value))),
            Some(Known::Metadata) if value.starts_with('{') => {
                for (name, value) in pairs(value.as_bytes())? {
                    self.add(name, value)?;
                }
                Ok(())
            }
            Some(Known::Metadata) if value != "null" => Err(Invalid::new(
                Field::Metadata,
                "not_an_object",
                "must be an object",
            )),
            Some(Known::Metadata) => Ok(()),
            None => self.add(name, value),
        }
    }

    /// Adds metadata.
    fn add(&mut self, name: Cow<'a, str>, value: &'a str) -> Result<(), Invalid> {
        if value == "null" {
            return Ok(());
        }
        if self.raw.metadata.len() >= limits::METADATA_ENTRIES {
            return Err(too_many());
        }
        let value = match value.starts_with('"') {
            true => unquote(value)?,
            false => compact(value),
        };
        self.raw.metadata.push((name, value));
        Ok(())
    }

    fn finish(mut self) -> Result<Raw<'a>, Invalid> {
        if let Some((name, value)) = self.loose_type.take() {
            match self.raw.event_type {
                None => self.raw.event_type = string(Field::EventType, value)?,
                Some(_) => self.add(name, value)?,
            }
        }
        if let Some((name, value)) = self.loose_time.take() {
            match self.raw.timestamp {
                None => self.raw.timestamp = scalar(Field::Timestamp, value)?,
                Some(_) => self.add(name, value)?,
            }
        }
        Ok(self.raw)
    }
}

fn set<T>(place: &mut Option<T>, field: Field, value: Option<T>) -> Result<(), Invalid> {
    if place.is_some() {
        return Err(Invalid::new(field, "twice", "stands twice in the object"));
    }
    *place = value;
    Ok(())
}

fn too_many() -> Invalid {
    let message = format!("has more than {} entries", limits::METADATA_ENTRIES);
    Invalid::new(Field::Metadata, "too_many", message)
}

/// A string, or nothing where it is null.
pub(super) fn string(field: Field, value: &str) -> Result<Option<Cow<'_, str>>, Invalid> {
    match value.as_bytes().first() {
        Some(b'"') => unquote(value).map(Some),
        Some(b'n') => Ok(None),
        _ => Err(Invalid::new(field, "not_text", "must be a string")),
    }
}

/// A string, or a number as its exact text, or nothing where it is null.
pub(super) fn scalar(field: Field, value: &str) -> Result<Option<Cow<'_, str>>, Invalid> {
    match value.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Ok(Some(Cow::Borrowed(value))),
        Some(b'"' | b'n') => string(field, value),
        _ => Err(Invalid::new(field, "not_text", "must be a string or a number")),
    }
}

/// `true` or `false`, bare or as a string, or nothing where it is null.
fn boolean(value: &str) -> Result<Option<Cow<'_, str>>, Invalid> {
    match value {
        "true" | "false" => Ok(Some(Cow::Borrowed(value))),
        _ if value.starts_with(['"', 'n']) => string(Field::Reverse, value),
        _ => Err(Invalid::new(
            Field::Reverse,
            "not_a_boolean",
            "must be true or false",
        )),
    }
}

/// The text of a JSON string.
pub(super) fn unquote(value: &str) -> Result<Cow<'_, str>, Invalid> {
    let inner = value.get(1..value.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let text: Result<String, _> = serde_json::from_str(value);
    text.map(Cow::Owned).map_err(|error| not_json(&error))
}

/// JSON text without the spaces between its words.
pub(super) fn compact(json: &str) -> Cow<'_, str> {
    if !json.contains([' ', '\n', '\r', '\t']) {
        return Cow::Borrowed(json);
    }
    let (mut quoted, mut escaped) = (false, false);
    let keep = |letter: &char| {
        let space = matches!(letter, ' ' | '\n' | '\r' | '\t') && !quoted;
        if *letter == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = *letter == '\\' && !escaped;
        !space
    };
    Cow::Owned(json.chars().filter(keep).collect())
}

/// The fields of an object with their values as JSON text.
pub(super) fn pairs(bytes: &[u8]) -> Result<Vec<(Cow<'_, str>, &str)>, Invalid> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Invalid::new(Field::Whole, "not_utf8", "is not valid UTF-8"))?;
    match serde_json::from_str::<Pairs<'_>>(text) {
        Ok(Pairs { pairs, left_out: 0 }) => Ok(pairs),
        Ok(_) => Err(too_many()),
        Err(error) if error.is_data() => Err(Invalid::new(
            Field::Whole,
            "not_an_object",
            "must be a JSON object",
        )),
        Err(error) => Err(not_json(&error)),
    }
}

/// Says where, never what: the text of the error might hold a part of the value.
fn not_json(error: &serde_json::Error) -> Invalid {
    let message = format!(
        "is not valid JSON at line {} column {}",
        error.line(),
        error.column()
    );
    Invalid::new(Field::Whole, "not_json", message)
}

struct Pairs<'a> {
    pairs: Vec<(Cow<'a, str>, &'a str)>,
    left_out: usize,
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::with_capacity(8);
        let mut left_out = 0;
        while let Some(Name(name)) = map.next_key()? {
            if pairs.len() < FIELDS {
                pairs.push((name, map.next_value::<&RawValue>()?.get()));
            } else {
                map.next_value::<IgnoredAny>()?;
                left_out += 1;
            }
        }
        Ok(Pairs { pairs, left_out })
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn code(json: &str) -> (Field, &'static str) {
        let invalid = read(json.as_bytes()).unwrap_err();
        (invalid.field, invalid.code)
    }

    #[test]
    fn fields_go_by_their_names_in_any_case_and_the_rest_is_metadata() {
        let json = r#" {"USERID": "u\"1", "Event_Type":"click", "occurredAt":1700000000.25, "Amount": 1.10,
            "idempotencyKey":"k", "page" : "home", "tags": [ "a b", {"x" : 1.0 , "q":"\" ' "} ], "ok":true, "none":null,
            "metadata": {"nested": {"a": 1}, "n": 2.50, "nothing": null}, "tenant":"x"} "#;
        let raw = read(json.as_bytes()).unwrap();
        assert_eq!(raw.user_id.as_deref(), Some("u\"1"));
        assert!(matches!(raw.event_type, Some(Cow::Borrowed("click"))));
        assert_eq!(raw.timestamp.as_deref(), Some("1700000000.25"));
        assert_eq!(raw.amount.as_deref(), Some("1.10"));
        assert_eq!(raw.idempotency_key.as_deref(), Some("k"));
        let metadata: Vec<(&str, &str)> = raw
            .metadata
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let expected = [
            ("page", "home"),
            ("tags", r#"["a b",{"x":1.0,"q":"\" ' "}]"#),
            ("ok", "true"),
            ("nested", r#"{"a":1}"#),
            ("n", "2.50"),
            ("tenant", "x"),
        ];
        assert_eq!(metadata, expected);
    }

    #[test]
    fn renamed_fields_are_taken_for_ours_and_those_inside_metadata_are_not() {
        let renames = Renames::parse("customer:user_id,what:event_type").unwrap();
        let json = br#"{"customer":"u","what":"t","metadata":{"customer":"c"}}"#;
        let raw = read_renamed(json, &renames).unwrap();
        assert_eq!(
            (raw.user_id.as_deref(), raw.event_type.as_deref()),
            (Some("u"), Some("t"))
        );
        assert_eq!(raw.metadata, [("customer".into(), "c".into())]);
        let twice = read_renamed(br#"{"customer":"u","user_id":"v"}"#, &renames);
        assert_eq!(twice.unwrap_err().code, "twice");
    }

    #[test]
    fn type_and_time_stand_in_only_where_nothing_says_it_better() {
        let raw = read(br#"{"type":"a","time":1}"#).unwrap();
        assert_eq!(
            (raw.event_type.as_deref(), raw.timestamp.as_deref()),
            (Some("a"), Some("1"))
        );
        let raw = read(br#"{"type":"a","time":1,"eventType":"b","timestamp":"2"}"#).unwrap();
        assert_eq!(
            (raw.event_type.as_deref(), raw.timestamp.as_deref()),
            (Some("b"), Some("2"))
        );
        assert_eq!(
            raw.metadata,
            [("type".into(), "a".into()), ("time".into(), "1".into())]
        );
    }

    #[test]
    fn what_is_no_object_or_says_a_thing_twice_is_refused() {
        assert_eq!(code(r#"{"userId":"a","user_id":"b"}"#), (Field::UserId, "twice"));
        assert_eq!(code(r#"{"userId":7}"#), (Field::UserId, "not_text"));
        assert_eq!(code(r#"{"amount":[1]}"#), (Field::Amount, "not_text"));
        assert_eq!(code(r#"{"metadata":"x"}"#), (Field::Metadata, "not_an_object"));
        for json in ["[]", "1", "\"x\"", "null"] {
            assert_eq!(code(json), (Field::Whole, "not_an_object"), "{json}");
        }
        for json in ["", "{", "{}x", "{\"a\":\"\\ud800\"}", "{\"a\":\"\u{1}\"}", "nope"] {
            assert_eq!(code(json), (Field::Whole, "not_json"), "{json}");
        }
        assert_eq!(read(b"{\"a\":\"\xff\"}").unwrap_err().code, "not_utf8");
        let fields = |count: usize| {
            let fields: Vec<String> = (0..count).map(|number| format!("\"f{number}\":1")).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert_eq!(read(fields(64).as_bytes()).unwrap().metadata.len(), 64);
        assert_eq!(code(&fields(65)), (Field::Metadata, "too_many"));
        assert_eq!(code(&fields(10_000)), (Field::Metadata, "too_many"));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(deep.as_bytes()).is_ok());
    }
}
