//! `docs/http.md` is what the document says; this makes it, and holds it against the file. With `TIDEMARK_TEST_WRITE` set the test writes
//! the file. It knows no call: what the page should say of one is to be said at its handler.

use super::operations;
use crate::rig::Rig;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "# HTTP API

Every call of `tidemark run`. Of the three services `ingest` answers `POST /v1/events`, `POST /v1/uploads`, `POST /api/uploads` and `POST /liveEvent`, `query` answers the
others, and both answer `GET /health`. To try them: [first calls](../README.md#first-calls), or `/api-docs` of a running process. What each problem means:
[problems.md](problems.md); its members: [Problem](#shape-problem). What holds without a parameter stands in its meaning; one that is true or false is false then.

This page is made from what `/openapi.json` answers, by `TIDEMARK_TEST_WRITE=1 cargo test -p cli --test program openapi::page`, and a test holds it.
";

const SHAPES: &str = "\n## Shapes\n\nWhat bodies and answers in JSON are made of.\n";

/// The page of a document. Members of JSON come in the order of their names, so it is the same each time.
fn page(document: &Value) -> String {
    let mut page = format!("{HEAD}\n{}\n", text(&document["info"]["description"]));
    for group in items(&document["tags"]) {
        let name = text(&group["name"]);
        write!(page, "\n## {name}\n\n{}\n", text(&group["description"])).unwrap();
        for (path, method, operation) in operations(document) {
            if text(&operation["tags"][0]) == name {
                let name = format!("{} {path}", method.to_uppercase());
                call(&mut page, document, &name, operation);
            }
        }
    }
    page.push_str(SHAPES);
    for (name, schema) in members(&document["components"]["schemas"]) {
        write!(page, "\n### Shape `{name}`\n").unwrap();
        shape(&mut page, schema);
    }
    page
}

fn call(page: &mut String, document: &Value, name: &str, operation: &Value) {
    let summary = text(&operation["summary"]).trim_end_matches('.');
    write!(page, "\n### `{name}`\n\n{summary}.\n").unwrap();
    // It says the scopes as well.
    paragraph(page, text(&operation["description"]));
    access(page, document, operation);
    let parameters = items(&operation["parameters"]);
    if !parameters.is_empty() {
        page.push_str("\n| Parameter | In | Type | Means |\n| --- | --- | --- | --- |\n");
    }
    for parameter in parameters {
        let parameter = resolve(document, parameter);
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let needed = match parameter["required"] == true && place != "path" {
            true => ", required",
            false => "",
        };
        let (kind, about) = (cell(&words(&parameter["schema"])), cell(about(parameter)));
        writeln!(page, "| `{name}` | {place} | {kind}{needed} | {about} |").unwrap();
    }
    let body = resolve(document, &operation["requestBody"]);
    if body.is_object() {
        let left_out = match body["required"] == true {
            true => "",
            false => ", which may be left out",
        };
        paragraph(page, &format!("Body{left_out}: {}.", content(&body["content"])));
    }
    answers(page, document, operation);
}

/// What is needed instead of a key with a scope.
fn access(page: &mut String, document: &Value, operation: &Value) {
    let Some(needed) = operation["security"].as_array() else {
        return paragraph(page, "Scope: none. No key is needed.");
    };
    for (scheme, _) in needed
        .iter()
        .flat_map(members)
        .filter(|(_, scopes)| items(scopes).is_empty())
    {
        let scheme = resolve(document, &document["components"]["securitySchemes"][scheme]);
        let (name, about) = (text(&scheme["name"]), about(scheme));
        let instead = format!("Or, in place of a key, in the header `{name}`: {about}");
        paragraph(page, &instead);
    }
}

fn answers(page: &mut String, document: &Value, operation: &Value) {
    page.push_str("\n| Status | Means | Content |\n| --- | --- | --- |\n");
    let mut headers = BTreeMap::new();
    for (status, answer) in members(&operation["responses"]) {
        let answer = resolve(document, answer);
        let (about, content) = (cell(about(answer)), cell(&content(&answer["content"])));
        writeln!(page, "| {status} | {about} | {content} |").unwrap();
        // Those that every call has are described in one place of the document, and at the top of the page.
        let own = members(&answer["headers"]).filter(|(_, header)| header["$ref"].is_null());
        headers.extend(own.map(|(name, header)| (name, self::about(header))));
    }
    if !headers.is_empty() {
        page.push_str("\n| Header of the answer | Means |\n| --- | --- |\n");
    }
    for (name, about) in headers {
        writeln!(page, "| `{name}` | {} |", cell(about)).unwrap();
    }
}

/// Media types, each with what comes in it where that has a shape.
fn content(content: &Value) -> String {
    let each = members(content).map(|(media, of)| match &of["schema"] {
        _ if media == "application/problem+json" => "[problem](problems.md)".to_owned(),
        schema if schema.is_null() || schema["type"] == "string" => format!("`{media}`"),
        schema => format!("`{media}`: {}", words(schema)),
    });
    each.collect::<Vec<_>>().join("; ")
}

/// What stands below the heading of a shape.
fn shape(page: &mut String, schema: &Value) {
    paragraph(page, about(schema));
    if let Some(parts) = schema["allOf"].as_array() {
        let (named, own): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part["$ref"].is_string());
        let named: Vec<String> = named.into_iter().map(words).collect();
        let below = if own.is_empty() { "" } else { ", and those below" };
        paragraph(page, &format!("The members of {}{below}.", named.join(" and ")));
        own.into_iter().for_each(|part| shape(page, part));
    } else if let Some(choices) = choices(schema) {
        paragraph(page, "One of:");
        page.push('\n');
        for choice in choices {
            let about = match self::about(choice) {
                "" => String::new(),
                about => format!(": {about}"),
            };
            writeln!(page, "- {}{about}", words(choice)).unwrap();
        }
    } else if schema["properties"].is_object() {
        page.push_str("\n| Member | Type | Means |\n| --- | --- | --- |\n");
        for (name, member) in members(&schema["properties"]) {
            let absent = match items(&schema["required"]).iter().any(|needed| needed == name) {
                true => "",
                false => ", may be absent",
            };
            let (kind, about) = (cell(&words(member)), cell(self::about(member)));
            writeln!(page, "| `{name}` | {kind}{absent} | {about} |").unwrap();
        }
        let others = &schema["additionalProperties"];
        if others.is_object() {
            paragraph(page, &format!("Other members: {}.", words(others)));
        }
    } else {
        paragraph(page, &format!("It is {}.", words(schema)));
    }
}

/// What a value is, in words.
fn words(schema: &Value) -> String {
    let all = |schemas: &[Value], between: &str| schemas.iter().map(words).collect::<Vec<_>>().join(between);
    if let Some(place) = schema["$ref"].as_str() {
        let name = place.rsplit('/').next().unwrap_or(place);
        return format!("[{name}](#shape-{})", name.to_lowercase());
    }
    if let Some(choices) = choices(schema) {
        return all(choices, " or ");
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return all(parts, " with ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(code).collect::<Vec<_>>().join(", ");
    }
    if let Some(value) = schema.get("const") {
        return code(value);
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect(),
        Value::String(kind) => vec![kind.as_str()],
        _ => return "anything".to_owned(),
    };
    let kinds: Vec<String> = kinds.into_iter().map(|kind| of_kind(kind, schema)).collect();
    let default = match schema.get("default") {
        Some(value) => format!(", default {}", code(value)),
        None => String::new(),
    };
    kinds.join(" or ") + &default
}

fn of_kind(kind: &str, schema: &Value) -> String {
    match kind {
        "array" => format!("list of {}", words(&schema["items"])),
        "object" if schema["properties"].is_object() => {
            let each =
                members(&schema["properties"]).map(|(name, member)| format!("`{name}`: {}", words(member)));
            format!("object ({})", each.collect::<Vec<_>>().join(", "))
        }
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", words(&schema["additionalProperties"]))
        }
        "string" => match text(&schema["format"]) {
            "date" => "date".to_owned(),
            "date-time" => "time (RFC 3339)".to_owned(),
            "uuid" => "UUID".to_owned(),
            "binary" => "bytes".to_owned(),
            _ if schema["pattern"].is_string() => format!("text like {}", code(&schema["pattern"])),
            _ => match bounds(schema, "minLength", "maxLength") {
                Some(bounds) => format!("text (length {bounds})"),
                None => "text".to_owned(),
            },
        },
        _ => match bounds(schema, "minimum", "maximum") {
            Some(bounds) if kind != "null" => format!("{kind} ({bounds})"),
            _ => kind.to_owned(),
        },
    }
}

fn bounds(schema: &Value, least: &str, most: &str) -> Option<String> {
    match (schema.get(least), schema.get(most)) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        // Of whatever is counted.
        (Some(least), None) if *least == 0 => None,
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    }
}

fn choices(schema: &Value) -> Option<&Vec<Value>> {
    schema["anyOf"].as_array().or(schema["oneOf"].as_array())
}

/// Its description; of one that may be null, that of what it is else.
fn about(value: &Value) -> &str {
    let own = value["description"].as_str();
    own.unwrap_or_else(|| text(&value["anyOf"][0]["description"]))
}

/// What a reference leads to.
fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let Some(place) = value["$ref"].as_str() else {
        return value;
    };
    document
        .pointer(place.trim_start_matches('#'))
        .unwrap_or_else(|| panic!("{place} leads nowhere"))
}

fn paragraph(page: &mut String, text: &str) {
    if !text.is_empty() {
        write!(page, "\n{text}\n").unwrap();
    }
}

/// Text as it may stand in a table.
fn cell(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace('|', "\\|")
}

fn code(value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("`{text}`"),
        None => format!("`{value}`"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[test]
fn the_reference_of_http_is_the_document() {
    let rig = Rig::new();
    let page = page(&rig.get("/openapi.json"));
    // It would be taken for commands (deploy/docs-check).
    assert!(!page.contains("```"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http.md");
    if std::env::var_os("TIDEMARK_TEST_WRITE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/http.md is not what the document says: TIDEMARK_TEST_WRITE=1 cargo test -p cli --test program openapi::page"
    );
}
