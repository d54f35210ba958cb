//! `docs/problems.md` names each type that the code can answer with, and no other. The types are collected from the source of all
//! crates: a type is written where its problem is made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What stands before a type, or before the status that stands before it.
const MADE_BY: [&str; 10] = [
    "Problem::new(",
    "Problem::bad_request(",
    "Problem::unavailable(",
    "Problem::too_many(",
    "Self::new(StatusCode::",
    "Self::new(\n            StatusCode::",
    "Self::bad_request(",
    "not_supported(",
    "Fault::Form(",
    "unauthorized(",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The code of all crates, without its tests.
fn sources() -> Vec<String> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .filter(|path| path.is_dir())
        .collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("documented.rs") {
                let text = std::fs::read_to_string(path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                sources.push(code.to_owned());
            }
        }
    }
    sources
}

/// The first text in a call, or that of the constant that is its first argument.
fn first_text(code: &str, call: &str) -> Option<String> {
    let call = call.split(';').next()?;
    let text = |from: &str| Some(from.split('"').nth(1)?.to_owned());
    let word: String = call
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_uppercase() || *c == '_')
        .collect();
    match code.split_once(&format!("const {word}: &str = ")) {
        Some((_, constant)) if !word.is_empty() => text(constant),
        _ => text(call),
    }
}

fn is_type(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

fn made() -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    for code in sources() {
        for maker in MADE_BY {
            let calls = code.split(maker).skip(1);
            types.extend(
                calls
                    .filter_map(|call| first_text(&code, call))
                    .filter(|text| is_type(text)),
            );
        }
    }
    types
}

/// The words in the first column of the table behind a heading.
fn documented(text: &str, heading: &str) -> BTreeSet<String> {
    let (_, table) = text.split_once(heading).unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn each_type_of_a_problem_is_in_the_docs_and_no_other() {
    let text = std::fs::read_to_string(root().join("docs/problems.md")).unwrap();
    let (made, documented) = (made(), documented(&text, "# Problems"));
    assert!(made.len() > 50, "types are not found any more: {made:?}");
    let missing: Vec<_> = made.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&made).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in the docs: {missing:?}; only there: {gone:?}"
    );
}

#[test]
fn each_code_of_a_row_is_in_the_docs_and_no_other() {
    let text = std::fs::read_to_string(root().join("docs/problems.md")).unwrap();
    let metrics = std::fs::read_to_string(root().join("ingest/src/metrics.rs")).unwrap();
    let (_, codes) = metrics.split_once("const CODES: ").unwrap();
    let (codes, _) = codes.split_once("];").unwrap();
    let codes: BTreeSet<String> = codes.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(codes.len() > 15);
    assert_eq!(documented(&text, "## Rows"), codes);
}
