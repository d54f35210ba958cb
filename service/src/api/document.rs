//! The document of a role: what its parts say of themselves, completed by what stands around all of them.

use super::problems::complete;
use super::{BEARER, KEY, SECRET};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use utoipa::openapi::OpenApi;

/// What stands before the operations.
const ABOUT: &str = "\
Events are counted exactly once per day and per user. Success is said only when an event is durable; the answer carries a receipt, and a \
query can wait for it with `after` and `wait`.

Errors are problem documents (RFC 9457), `application/problem+json`; their `type` is stable, and `instance` is the request's id, which is \
also in `X-Request-Id`. Under `/api/` they are `{error, message, details}` instead. A 429 and a 503 say in `Retry-After` when to come back.

While there is no file of keys, none is needed and only this machine is answered. With keys, each call needs one, as \
`Authorization: Bearer tmk_...` or as `X-API-Key`, with one of the scopes that the call names. A key sees its own tenant only.

Every GET answers HEAD too. What breaks HTTP/1.1 itself, or has a head that is too large, gets a bare 400 or 431.";

/// The groups of operations, in the order in which they are shown.
const GROUPS: [(&str, &str); 9] = [
    ("Events", "Sending events, and whether they are counted."),
    ("Uploads", "Files with an id, a status and a ledger of their own."),
    ("Counts", "What was counted, by day, user and type."),
    ("Dead letters", "What was refused for good, and putting it back."),
    ("Audit", "Whether it adds up."),
    ("Keys", "Who may do what."),
    ("Service", "How the process is."),
    (
        "Older: revenue",
        "The calls of the older service that kept revenue per user.",
    ),
    (
        "Older: counts per day",
        "The calls of the older service that counted uploads per day.",
    ),
];

/// Says `anyOf` for `oneOf`: what stands for a choice here may fit more than one of its forms, such as a line with few members.
fn any_of(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(choice) = members.remove("oneOf") {
                members.insert("anyOf".to_owned(), choice);
            }
            members.values_mut().for_each(any_of);
        }
        Value::Array(items) => items.iter_mut().for_each(any_of),
        _ => {}
    }
}

/// The finished document of a role, as JSON. `role` is what `tidemark` was told to be.
#[must_use]
pub fn document(raw: &OpenApi, role: &str, version: &str) -> Value {
    let mut whole = serde_json::to_value(raw).unwrap_or_default();
    any_of(&mut whole);
    let Value::Object(members) = &mut whole else {
        return whole;
    };
    let info = json!({
        "title": "Tidemark",
        "summary": format!("What `tidemark {role}` answers."),
        "description": ABOUT,
        "version": version,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    members.insert("info".to_owned(), info);
    let mut used = BTreeSet::new();
    if let Some(Value::Object(paths)) = members.get_mut("paths") {
        for (path, item) in paths {
            let Value::Object(operations) = item else { continue };
            for (method, operation) in operations {
                if let Value::Object(operation) = operation {
                    // The names of handlers repeat; method and path do not.
                    operation.insert("operationId".to_owned(), Value::from(id(method, path)));
                    let groups = operation.get("tags").and_then(Value::as_array);
                    let groups = groups.into_iter().flatten().filter_map(Value::as_str);
                    used.extend(groups.map(str::to_owned));
                    say_scopes(operation);
                    complete(path, operation);
                }
            }
        }
    }
    let groups = GROUPS.iter().filter(|(name, _)| used.contains(*name));
    let groups = groups.map(|(name, about)| json!({"name": name, "description": about}));
    members.insert("tags".to_owned(), groups.collect());
    let components = members.entry("components").or_insert_with(|| json!({}));
    for (kind, ours) in [
        ("schemas", schemas()),
        ("headers", headers()),
        ("securitySchemes", schemes()),
    ] {
        if let (Value::Object(components), Value::Object(ours)) = (&mut *components, ours) {
            let kind = components.entry(kind).or_insert_with(|| json!({}));
            if let Value::Object(kind) = kind {
                kind.extend(ours);
            }
        }
    }
    whole
}

/// `get_v1_days_date` of `GET /v1/days/{date}`.
fn id(method: &str, path: &str) -> String {
    let words = path
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let words: Vec<&str> = std::iter::once(method).chain(words).collect();
    words.join("_")
}

/// Puts the scopes into the description, since few readers show them.
fn say_scopes(operation: &mut Map<String, Value>) {
    let needed = operation.get("security").and_then(Value::as_array);
    let mut scopes: Vec<String> = Vec::new();
    for scope in needed
        .into_iter()
        .flatten()
        .filter_map(|needed| needed.get(BEARER))
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_str)
    {
        scopes.push(format!("`{scope}`"));
    }
    if scopes.is_empty() {
        return;
    }
    let before = operation
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = format!("{before}\n\nScope: {}.", scopes.join(" or "));
    operation.insert("description".to_owned(), Value::from(text.trim()));
}

fn schemas() -> Value {
    json!({
        "Problem": {
            "type": "object",
            "description": "A problem document (RFC 9457). Further members say more of some problems.",
            "required": ["type", "title", "status", "instance"],
            "properties": {
                "type": {"type": "string", "description": "Stable: branch on it.", "examples": ["/problems/parameter_invalid"]},
                "title": {"type": "string", "description": "The same for all problems of a type."},
                "status": {"type": "integer", "description": "The status of the answer."},
                "detail": {"type": "string", "description": "What is wrong with this request, for people."},
                "instance": {"type": "string", "description": "The id of the request."},
                "parameter": {"type": "string", "description": "The parameter at fault."},
            },
        },
        "OlderError": {
            "type": "object",
            "description": "An error in the form of the older service.",
            "required": ["error", "message"],
            "properties": {
                "error": {"type": "string"},
                "message": {"type": "string"},
                "details": {
                    "type": "array",
                    "description": "Rows of a file that are not valid; the header is row 1.",
                    "items": {
                        "type": "object",
                        "required": ["row", "field", "message"],
                        "properties": {
                            "row": {"type": "integer", "minimum": 0},
                            "field": {"type": "string"},
                            "message": {"type": "string"},
                        },
                    },
                },
                "retryAfter": {"type": "integer", "minimum": 0, "description": "Seconds."},
            },
        },
    })
}

fn headers() -> Value {
    json!({
        "RequestId": {
            "description": "The request's own `X-Request-Id` where it has 1 to 128 visible ASCII characters; else one that was made.",
            "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        },
        "CorrelationId": {
            "description": "The request's own `X-Correlation-ID`, or that of `X-Request-Id`.",
            "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        },
        "RetryAfter": {
            "description": "Seconds after which to try again.",
            "required": true,
            "schema": {"type": "integer", "minimum": 0},
        },
        "Challenge": {
            "description": "How to show a key.",
            "schema": {"type": "string"},
        },
    })
}

fn schemes() -> Value {
    json!({
        BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "tmk_...", "description": "A key of `tidemark keys create`."},
        KEY: {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, in a header of its own."},
        SECRET: {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "The setting `http.live_event_secret`, as the older service had it.",
        },
    })
}
