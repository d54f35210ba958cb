//! Service A's lines as events: `{"userId":"user1","name":"add_revenue","value":98}` becomes an event of the type
//! `add_revenue` with the amount 98, `subtract_revenue` one with the amount below zero.
//!
//! Such a line has no id and no time, so its key is made of the file and the line's number; what else it holds is kept as
//! metadata. A line that means nothing there is refused here, since its words are not those of the server. A value of 0
//! is a value.

use crate::json::{object, string};
use crate::shape::Keys;
use schemas::Amount;
use schemas::input::Raw;
use std::borrow::Cow;

/// Why a line is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) field: String,
    pub(crate) code: String,
    pub(crate) reason: String,
}

fn refused<T>(field: &str, code: &str, reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused {
        field: field.to_owned(),
        code: code.to_owned(),
        reason: reason.into(),
    })
}

/// Writes a line as an event, without its end.
pub(crate) fn write(text: &[u8], keys: &Keys<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    let mut raw = match Raw::from_json(text) {
        Ok(raw) => raw,
        Err(invalid) => return refused(invalid.field.name(), invalid.code, invalid.message),
    };
    let mut given = None;
    let mut take = |wanted: &str| {
        let place = raw.metadata.iter().position(|(name, _)| name == wanted)?;
        Some(raw.metadata.remove(place).1)
    };
    let (name, value) = (take("name"), take("value"));
    for column in crate::side::COLUMNS {
        let taken = take(column);
        if column == crate::side::KEY {
            given = taken;
        }
    }
    let Some(user_id) = raw.user_id else {
        return refused("userId", "missing", "is missing");
    };
    let amount = amount(name.as_deref(), value.as_deref())?;
    if raw.event_type.is_some() || raw.amount.is_some() {
        return refused(
            "name",
            "twice",
            "the event type or the amount is given a second time",
        );
    }
    let key = raw
        .idempotency_key
        .or(given)
        .unwrap_or_else(|| Cow::Owned(keys.own()));
    let metadata: Vec<(&str, String)> = raw
        .metadata
        .iter()
        .map(|(name, value)| (name.as_ref(), string(value)))
        .collect();
    let mut pairs = vec![
        ("user_id", string(&user_id)),
        ("event_type", string(name.as_deref().unwrap_or_default())),
        ("amount", string(&amount.to_string())),
        ("idempotency_key", string(&key)),
    ];
    if let Some(time) = &raw.timestamp {
        pairs.push(("occurred_at", string(time)));
    }
    if !metadata.is_empty() {
        pairs.push((
            "metadata",
            String::from_utf8_lossy(&object(&metadata)).into_owned(),
        ));
    }
    out.extend_from_slice(&object(&pairs));
    Ok(())
}

/// What the line adds to the revenue.
fn amount(name: Option<&str>, value: Option<&str>) -> Result<Amount, Refused> {
    let Some(value) = value else {
        return refused("value", "missing", "is missing");
    };
    let value: Amount = match value.parse() {
        Ok(value) => value,
        Err(error) => return refused("value", "not_a_number", format!("is {error}")),
    };
    match name {
        Some("add_revenue") => Ok(value),
        Some("subtract_revenue") => Ok(value.negated()),
        Some(_) => refused("name", "not_known", "is neither add_revenue nor subtract_revenue"),
        None => refused("name", "missing", "is missing"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sent(line: &str) -> Result<String, (String, String)> {
        let mut out = Vec::new();
        write(line.as_bytes(), &Keys::new("id", 7), &mut out)
            .map_err(|refused| (refused.field, refused.code))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_line_becomes_an_event_with_a_key_of_its_place() {
        let key = Keys::new("id", 7).own();
        let event = |amount: &str, name: &str, rest: &str| {
            format!(
                r#"{{"user_id":"u","event_type":"{name}","amount":"{amount}","idempotency_key":"{key}"{rest}}}"#
            )
        };
        let add = r#"{"userId":"u","name":"add_revenue","value":98}"#;
        assert_eq!(sent(add), Ok(event("98.00", "add_revenue", "")));
        let less = r#"{"userId":"u","name":"subtract_revenue","value":0.5,"shop":"a"}"#;
        let expected = event("-0.50", "subtract_revenue", r#","metadata":{"shop":"a"}"#);
        assert_eq!(sent(less), Ok(expected));
        let zero = r#"{"userId":"u","name":"add_revenue","value":0}"#;
        assert!(sent(zero).is_ok(), "a value of 0 is a value");
    }

    #[test]
    fn a_line_that_means_nothing_is_refused_with_its_field() {
        for (line, field, code) in [
            (r#"{"name":"add_revenue","value":1}"#, "userId", "missing"),
            (r#"{"userId":"u","value":1}"#, "name", "missing"),
            (r#"{"userId":"u","name":"buy","value":1}"#, "name", "not_known"),
            (r#"{"userId":"u","name":"add_revenue"}"#, "value", "missing"),
            (
                r#"{"userId":"u","name":"add_revenue","value":"x"}"#,
                "value",
                "not_a_number",
            ),
            ("nonsense", "event", "not_json"),
        ] {
            let expected = Err((field.to_owned(), code.to_owned()));
            assert_eq!(sent(line), expected, "{line}");
        }
    }
}
