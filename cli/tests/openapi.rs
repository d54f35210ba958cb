//! The document of the API against the program that serves it: the same routes, methods, parameters and problems in both, and no answer to
//! a generated client that the document does not hold.

// All that a generated client makes of the document.
mod generated;
// The page of the documentation that is made of it.
mod page;

use crate::access::create;
use crate::rig::Rig;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// A path of the document with something that fits for each of its parameters.
fn filled(path: &str) -> String {
    path.replace("{date}", "2025-11-04")
        .replace("/users/{id}", "/users/u1")
        .replace("/userEvents/{id}", "/userEvents/u1")
        .replace("/dead-letters/{id}", "/dead-letters/0-0")
        .replace("{id}", "019a5000-0000-7000-8000-000000000000")
        .replace("{receipt}", "r1")
        .replace("{queue}", "event-processing")
}

/// Status and head of an answer, and its body.
fn ask(rig: &Rig, method: &str, path: &str) -> (u16, String, Value) {
    ask_with(rig, method, path, "")
}

/// The same with a key.
fn ask_with(rig: &Rig, method: &str, path: &str, key: &str) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(rig.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let host = rig.address();
    let key = match key {
        "" => String::new(),
        key => format!("Authorization: Bearer {key}\r\n"),
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{key}\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        head.to_owned(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

/// The operations of the document: path, method, and what it says.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(|(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.collect()
}

/// Each path answers to the methods of the document and to no other. That no route is mounted beside it is a matter of types: `ingest` and
/// `query-api` hand over a `service::api::Api`, which takes nothing else.
#[test]
fn each_path_of_the_document_has_its_methods_and_no_other() {
    let rig = Rig::new();
    let document = rig.get("/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let groups: BTreeSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut paths: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, method, operation) in operations(&document) {
        let group = operation["tags"][0].as_str().unwrap();
        assert!(
            groups.contains(group),
            "{path}: the group {group} is not described"
        );
        let methods = paths.entry(path).or_default();
        methods.insert(method.to_uppercase());
        if method == "get" {
            methods.insert("HEAD".to_owned());
        }
    }
    assert!(paths.len() >= 20, "{paths:?}");
    for (path, methods) in paths {
        let (status, head, problem) = ask(&rig, "PATCH", &filled(path));
        assert_eq!(status, 405, "{path}: {problem}");
        let allow = head
            .lines()
            .find_map(|line| line.strip_prefix("allow: "))
            .unwrap();
        let allowed: BTreeSet<String> = allow.split(',').map(|word| word.trim().to_owned()).collect();
        assert_eq!(allowed, methods, "{path}");
    }
}

/// Each handler says which parameters it knows when it is given another one.
#[test]
fn each_operation_of_the_document_has_the_parameters_that_its_handler_knows() {
    let rig = Rig::new();
    let document = rig.get("/openapi.json");
    let mut looked_at = 0;
    for (path, method, operation) in operations(&document) {
        // The older service ignored what it did not know; a client's new ones must not be refused there.
        if path.starts_with("/api/") || ["/liveEvent", "/userEvents/{id}", "/health"].contains(&path) {
            continue;
        }
        let documented: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let (status, _, problem) = ask(
            &rig,
            &method.to_uppercase(),
            &format!("{}?no_such=1", filled(path)),
        );
        assert_eq!(status, 400, "{method} {path}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        let (_, known) = detail.split_once("; ").unwrap_or_else(|| panic!("{detail}"));
        let known: BTreeSet<&str> = known
            .split([' ', ','])
            .map(|word| word.trim_matches('`'))
            .filter(|word| !["there", "are", "none", "here", "known", "is", ""].contains(word))
            .collect();
        assert_eq!(documented, known, "{method} {path}");
        looked_at += 1;
    }
    assert!(looked_at >= 15, "{looked_at}");
}

/// The document and its page are for anybody; each operation opens to the scopes that the document names and to no other.
#[test]
fn with_keys_each_operation_opens_to_the_scopes_of_the_document_and_to_no_other() {
    let mut rig = Rig::idle();
    let scopes = ["ingest", "query", "admin", "operator"];
    let keys = scopes.map(|scope| (scope, create(&rig, "shop", &[scope], &[]).0));
    rig.start();
    assert_eq!(ask(&rig, "GET", "/api-docs").0, 200);
    let document = ask(&rig, "GET", "/openapi.json").2;
    let mut looked_at = 0;
    for (path, method, operation) in operations(&document) {
        let Some(needed) = operation["security"].as_array() else {
            assert_eq!(path, "/health");
            continue;
        };
        let opens: BTreeSet<&str> = needed
            .iter()
            .flat_map(|needed| needed["bearer"].as_array().into_iter().flatten())
            .map(|scope| scope.as_str().unwrap())
            .collect();
        // The parameter makes live totals end.
        let path = format!("{}?no_such=1", filled(path));
        let method = method.to_uppercase();
        let (status, _, _) = ask(&rig, &method, &path);
        assert!([401, 403].contains(&status), "{method} {path}: {status}");
        for (scope, key) in &keys {
            let (status, _, _) = ask_with(&rig, &method, &path, key);
            assert_ne!(status, 401, "{method} {path}");
            assert_eq!(
                status != 403,
                opens.contains(scope),
                "{method} {path} with {scope}: {status}"
            );
        }
        looked_at += 1;
    }
    assert!(looked_at >= 25, "{looked_at}");
}

/// What makes a problem.
const CALLS: [&str; 8] = [
    "Problem::new(",
    "Self::new(StatusCode::",
    "bad_request(",
    "unavailable(",
    "too_many(",
    "unauthorized(",
    "Fault::Form(",
    "not_supported(",
];

/// Codes of problems that the code of these crates makes, by its text.
fn codes_of_the_code() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for name in ["ingest", "query-api", "service"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(name)
            .join("src");
        sources(&folder, &mut |text| {
            let text = text.split("#[cfg(test)]").next().unwrap();
            let text = text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace("( ", "(");
            for call in CALLS {
                for (at, _) in text.match_indices(call) {
                    // The first literal of the call is its code; a constant has its own line.
                    let rest = &text[at + call.len()..];
                    let call = rest.split(')').next().unwrap();
                    codes.extend(call.split('"').nth(1).map(str::to_owned));
                }
            }
            for word in ["code: \"", "NOT_READY: &str = \""] {
                for (at, _) in text.match_indices(word) {
                    codes.extend(text[at + word.len()..].split('"').next().map(str::to_owned));
                }
            }
        });
    }
    codes.retain(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    codes
}

fn sources(folder: &Path, look: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, look);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            look(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// A new problem must be named by a handler, and one that no code makes any more must go.
#[test]
fn the_problems_of_the_document_are_those_that_the_code_makes() {
    let rig = Rig::new();
    let document = rig.get("/openapi.json");
    let mut documented = BTreeSet::new();
    for (_, _, operation) in operations(&document) {
        for answer in operation["responses"].as_object().unwrap().values() {
            let schema = &answer["content"]["application/problem+json"]["schema"];
            let types = schema["properties"]["type"]["enum"]
                .as_array()
                .into_iter()
                .flatten();
            documented
                .extend(types.map(|kind| kind.as_str().unwrap().trim_start_matches("/problems/").to_owned()));
        }
    }
    let mut made = codes_of_the_code();
    // Where there is no route or no such method there is no operation either; the others have the older form, which has no type.
    for beside in [
        "method_not_allowed",
        "queue_unknown",
        "file_not_csv",
        "too_many_uploads",
    ] {
        assert!(made.remove(beside), "{beside}");
    }
    // Rows of a body, dead letters and failures have codes of their own, which are no problems.
    made.remove("refused");
    assert_eq!(documented, made);
}
