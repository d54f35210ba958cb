//! JSON lines as they are sent: as they stand in the file, but for a key where the server would make a fresh one, and for
//! names that are to be changed. What is no JSON object is sent as it is, since the server says best what is wrong.

use crate::csv::needs_key;
use crate::shape::Keys;
use crate::side;
use memchr::memmem;
use schemas::input::Raw;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// How the lines of one file are written.
#[derive(Clone, Debug)]
pub(crate) struct Json {
    /// Their names of fields, and ours.
    map: Vec<(String, String)>,
}

impl Json {
    pub(crate) fn new(map: &[(String, String)]) -> Self {
        Self { map: map.to_vec() }
    }

    /// Writes a line, without its end.
    pub(crate) fn write(&self, text: &[u8], keys: &Keys<'_>, out: &mut Vec<u8>) {
        let text = text.trim_ascii_end();
        let may_be_side = memmem::find(text, side::ROW.as_bytes()).is_some();
        if self.map.is_empty() && !may_be_side {
            return write_keyed(text, keys.own(), out);
        }
        let Some(pairs) = pairs(text) else {
            return out.extend_from_slice(text);
        };
        let mut given = None;
        let mut kept = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            if name == side::KEY {
                given = serde_json::from_str::<String>(value)
                    .ok()
                    .filter(|key| !key.is_empty());
            } else if !side::COLUMNS.contains(&name.as_ref()) {
                kept.push((self.renamed(name), value));
            }
        }
        let line = object(&kept);
        write_keyed(&line, given.unwrap_or_else(|| keys.own()), out);
    }

    fn renamed<'a>(&'a self, name: Cow<'a, str>) -> Cow<'a, str> {
        match self.map.iter().find(|(theirs, _)| *theirs == name) {
            Some((_, ours)) => Cow::Borrowed(ours),
            None => name,
        }
    }
}

/// Writes `line`, with `key` if it needs one.
fn write_keyed(line: &[u8], key: String, out: &mut Vec<u8>) {
    // An object that says who is not empty, so a further field can be set behind the others.
    let needs = Raw::from_json(line).is_ok_and(|raw| raw.user_id.is_some() && needs_key(&raw));
    match line.strip_suffix(b"}") {
        Some(open) if needs => {
            out.extend_from_slice(open);
            out.extend_from_slice(b",\"idempotency_key\":");
            out.extend_from_slice(string(&key).as_bytes());
            out.push(b'}');
        }
        _ => out.extend_from_slice(line),
    }
}

/// An object of `pairs`, whose values are JSON.
pub(crate) fn object<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (place, (name, value)) in pairs.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(string(name.as_ref()).as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_ref().as_bytes());
    }
    out.push(b'}');
    out
}

/// A text as JSON.
pub(crate) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The fields of an object and their values as they stand there; `None` of what is no object.
pub(crate) fn pairs(bytes: &[u8]) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str::<Pairs<'_>>(text).ok().map(|pairs| pairs.0)
}

struct Pairs<'a>(Vec<(Cow<'a, str>, &'a str)>);

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
        let mut pairs = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            pairs.push((name, map.next_value::<&RawValue>()?.get()));
        }
        Ok(Pairs(pairs))
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sent(line: &str, map: &[(&str, &str)]) -> String {
        let map: Vec<(String, String)> = map
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        let mut out = Vec::new();
        Json::new(&map).write(line.as_bytes(), &Keys::new("id", 7), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_a_line_without_key_and_time_gets_a_key() {
        for line in [
            r#"{"userId":"u","type":"t","time":1}"#,
            r#" {"userId":"u", "idempotencyKey":"k"}"#,
            r#"{"type":"t"}"#,
            "{}",
            "[1]",
            r#"{"userId":"u""#,
            "nonsense",
        ] {
            assert_eq!(sent(line, &[]), line);
        }
        let key = Keys::new("id", 7).own();
        for line in [
            r#"{"userId":"u","type":"t"}"#,
            r#"{"userId":"u","idempotency_key":null,"time":null}"#,
        ] {
            let open = line.strip_suffix('}').unwrap();
            let expected = format!(r#"{open},"idempotency_key":"{key}"}}"#);
            assert_eq!(sent(&format!("{line} \r"), &[]), expected);
            let raw = Raw::from_json(expected.as_bytes()).unwrap();
            assert_eq!(raw.idempotency_key.as_deref(), Some(key.as_str()));
        }
    }

    #[test]
    fn fields_are_renamed_and_values_stay_as_they_stand() {
        let line = r#"{"who":"u\"1","n":1.50,"o":{"who":1},"time":1}"#;
        assert_eq!(
            sent(line, &[("who", "user_id")]),
            r#"{"user_id":"u\"1","n":1.50,"o":{"who":1},"time":1}"#
        );
        assert_eq!(sent("nope", &[("who", "user_id")]), "nope");
    }

    #[test]
    fn a_line_of_a_side_file_loses_what_it_says_of_itself_and_keeps_its_key() {
        let line = r#"{"refused_row":7,"refused_field":"type","refused_code":"missing","refused_reason":"is missing","refused_key":"K7","userId":"u","type":"t"}"#;
        assert_eq!(
            sent(line, &[]),
            r#"{"userId":"u","type":"t","idempotency_key":"K7"}"#
        );
    }
}
