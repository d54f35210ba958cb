//! Errors, as answers of the document: of the problems that a handler names, and those of what stands around it, each status becomes one
//! answer that lists their types. Under `/api/` they have the older form, which has no type.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The extension of an operation that names its problems: lists of [`Codes`], in any depth. It is not in the finished document.
pub const PROBLEMS: &str = "x-problems";

/// The extension that names the headers of answers that succeed: lists of name and description. It is not in the finished document.
const HEADERS: &str = "x-headers";

/// Problems that go together: status and code of each.
pub type Codes = &'static [(u16, &'static str)];

/// What any route may answer: a fault of ours, too many requests at one time, and where no keys are needed another machine's request.
const ALWAYS: Codes = &[
    (403, "host_not_allowed"),
    (403, "origin_not_allowed"),
    (429, "rate_exceeded"),
    (500, "internal"),
    (503, "too_busy"),
];
/// What the guard answers where a key is needed.
const GUARDED: Codes = &[
    (401, "key_missing"),
    (401, "key_revoked"),
    (401, "key_unknown"),
    (403, "scope_missing"),
];
/// What may be wrong with any body.
const BODY: Codes = &[
    (400, "body_incomplete"),
    (408, "body_too_slow"),
    (413, "body_too_large"),
];

/// Codes by status.
type ByStatus = BTreeMap<u16, Vec<String>>;

/// Completes the answers of an operation of a path.
pub(super) fn complete(path: &str, operation: &mut Map<String, Value>) {
    let mut named = ByStatus::new();
    if let Some(lists) = operation.remove(PROBLEMS) {
        collect(&lists, &mut named);
    }
    // Routes that look for a key themselves name its problems themselves.
    let is_guarded = operation.get("security").is_some() && !named.contains_key(&401);
    let own = [
        (true, ALWAYS),
        (is_guarded, GUARDED),
        (operation.contains_key("requestBody"), BODY),
    ];
    for (status, code) in own
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .flat_map(|(_, codes)| codes)
    {
        named.entry(*status).or_default().push((*code).to_owned());
    }
    let mut headers = Vec::new();
    if let Some(lists) = operation.remove(HEADERS) {
        collect_headers(&lists, &mut headers);
    }
    let answers = operation.entry("responses").or_insert_with(|| json!({}));
    let Value::Object(answers) = answers else { return };
    for (status, mut codes) in named {
        codes.sort_unstable();
        codes.dedup();
        add(answers, status, &codes, crate::http::is_older(path));
    }
    for (status, answer) in answers {
        let Value::Object(answer) = answer else { continue };
        if status.starts_with(['2', '3']) {
            for (name, about) in &headers {
                insert(
                    answer,
                    "headers",
                    name,
                    json!({"description": about, "schema": {"type": "string"}}),
                );
            }
        }
        head(answer, crate::http::is_older(path));
    }
}

/// Finds pairs of status and code, however deep.
fn collect(lists: &Value, named: &mut ByStatus) {
    let Value::Array(items) = lists else { return };
    if let [Value::Number(status), Value::String(code)] = items.as_slice() {
        let status = status.as_u64().and_then(|status| u16::try_from(status).ok());
        named
            .entry(status.unwrap_or_default())
            .or_default()
            .push(code.clone());
        return;
    }
    items.iter().for_each(|item| collect(item, named));
}

/// Finds pairs of texts, however deep.
fn collect_headers(lists: &Value, found: &mut Vec<(String, String)>) {
    let Value::Array(items) = lists else { return };
    if let [Value::String(name), Value::String(about)] = items.as_slice() {
        found.push((name.clone(), about.clone()));
        return;
    }
    items.iter().for_each(|item| collect_headers(item, found));
}

fn add(answers: &mut Map<String, Value>, status: u16, codes: &[String], is_older: bool) {
    let answer = answers
        .entry(status.to_string())
        .or_insert_with(|| json!({"description": ""}));
    let Value::Object(answer) = answer else { return };
    let types: Vec<String> = codes.iter().map(|code| format!("/problems/{code}")).collect();
    if is_older {
        let schema = json!({"$ref": "#/components/schemas/OlderError"});
        insert(answer, "content", "application/json", json!({"schema": schema}));
    } else {
        let schema = json!({
            "allOf": [{"$ref": "#/components/schemas/Problem"}],
            "properties": {"type": {"enum": types}, "status": {"const": status}},
        });
        insert(
            answer,
            "content",
            crate::http::CONTENT_TYPE,
            json!({"schema": schema}),
        );
    }
    let listed = codes
        .iter()
        .map(|code| format!("`{code}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let before = answer
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = match before {
        "" => format!("{}: {listed}", phrase(status)),
        before => format!("{before} Or {listed}"),
    };
    answer.insert("description".to_owned(), Value::from(text));
    match status {
        401 => insert(answer, "headers", "WWW-Authenticate", reference("Challenge")),
        429 | 503 => insert(answer, "headers", "Retry-After", reference("RetryAfter")),
        _ => {}
    }
}

/// What every answer carries.
fn head(answer: &mut Map<String, Value>, is_older: bool) {
    insert(answer, "headers", "X-Request-Id", reference("RequestId"));
    if is_older {
        insert(answer, "headers", "X-Correlation-ID", reference("CorrelationId"));
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

fn insert(answer: &mut Map<String, Value>, member: &str, name: &str, value: Value) {
    let members = answer.entry(member).or_insert_with(|| json!({}));
    if let Value::Object(members) = members {
        members.insert(name.to_owned(), value);
    }
}

fn phrase(status: u16) -> &'static str {
    let status = hyper::StatusCode::from_u16(status).unwrap_or_default();
    status.canonical_reason().unwrap_or("Error")
}
