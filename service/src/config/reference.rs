//! `docs/configuration.md` is what the doc comments of the settings say; this makes it, and holds it against the file. With
//! `TIDEMARK_TEST_WRITE` set the test writes the file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::redact::REDACTED;
use super::{Config, Setting, layers};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const SOURCES: [&str; 9] = [
    include_str!("../config.rs"),
    include_str!("http.rs"),
    include_str!("access.rs"),
    include_str!("kafka.rs"),
    include_str!("links.rs"),
    include_str!("store.rs"),
    include_str!("aggregator.rs"),
    include_str!("query.rs"),
    include_str!("traces.rs"),
];

const HEAD: &str = "# Settings

From the lowest to the highest: default, TOML file (`--config FILE` or `TIDEMARK_CONFIG`), environment, flags (`--set KEY=VALUE`). The variable of a setting is
`TIDEMARK_`, its key in capitals, and `__` for each dot: `http.listen` is `TIDEMARK_HTTP__LISTEN`. A list is separated by commas there. A setting that is not known, or out of its
limits, ends the program with 64 before a port opens. `tidemark check-config` prints every value and where it came from.

This page is made from the code, by `TIDEMARK_TEST_WRITE=1 cargo test -p service --lib config::reference`, and a test holds it.
";

/// What the docs say of the setting of a variable: what it is, and its default in words.
fn said() -> BTreeMap<String, (String, String)> {
    let mut said = BTreeMap::new();
    let mut block = String::new();
    for line in SOURCES.iter().flat_map(|source| source.lines()).map(str::trim) {
        match line.strip_prefix("///") {
            Some(text) => {
                block.push_str(text);
                continue;
            }
            None if line.starts_with("pub ") => take(&block, &mut said),
            None => {}
        }
        block.clear();
    }
    said
}

/// Takes a block of docs apart: what it is, `Default`, words, `;`, variables.
fn take(block: &str, said: &mut BTreeMap<String, (String, String)>) {
    let Some((what, rest)) = block.split_once(" Default ") else {
        return;
    };
    let Some((default, rest)) = rest.split_once("; `TIDEMARK_") else {
        return;
    };
    let (variables, more) = rest
        .split_once("`.")
        .or(rest.split_once("`;"))
        .or(rest.split_once("`,"))
        .unwrap_or((rest, ""));
    let all = format!("TIDEMARK_{variables}`{more}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for variable in all.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')) {
        if variable.starts_with("TIDEMARK_") {
            said.insert(variable.to_owned(), (words(what), words(default)));
        }
    }
}

/// The value that these words for a default mean, as settings are printed.
fn value_of(default: &str) -> String {
    let words = default.trim_matches('`').replace(',', "");
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let sized = units.iter().find_map(|(unit, bytes)| {
        let number: u64 = words.strip_suffix(unit)?.trim().parse().ok()?;
        Some((number * bytes).to_string())
    });
    match words == "empty" || words.starts_with("none") {
        true => String::new(),
        false => sized.unwrap_or(words),
    }
}

fn page() -> String {
    let said = said();
    let mut page = HEAD.to_owned();
    let mut section: Option<String> = None;
    let maps = [
        ("kafka.extra", "TIDEMARK_KAFKA__EXTRA__"),
        ("kafka.extra_files", "TIDEMARK_KAFKA__EXTRA_FILES__"),
    ];
    let mut settings: Vec<Setting> = Config::default().explain();
    settings.extend(maps.map(|(key, _)| Setting {
        key: key.to_owned(),
        value: String::new(),
        source: String::new(),
    }));
    settings.sort_by_key(|setting| {
        let (section, key) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        (section.to_owned(), key.to_owned())
    });
    for Setting { key, value, .. } in settings {
        let (of, _) = key.rsplit_once('.').unwrap_or(("", &key));
        if section.as_deref() != Some(of) {
            let title = if of.is_empty() { "The whole" } else { of };
            write!(
                page,
                "\n## {title}\n\n| Setting | Default | |\n| --- | --- | --- |\n"
            )
            .unwrap();
            section = Some(of.to_owned());
        }
        let variable = layers::variable(&key);
        let found = said.get(&variable).or_else(|| {
            let (_, prefix) = maps.iter().find(|(map, _)| *map == key)?;
            said.iter()
                .find(|(variable, _)| variable.starts_with(prefix))
                .map(|(_, found)| found)
        });
        let (what, default) = found.unwrap_or_else(|| panic!("no docs of the setting name {variable}"));
        if value != REDACTED {
            assert_eq!(value_of(default), value, "the default that the docs of {key} say");
        }
        let cell = |text: &str| text.replace('|', "\\|").replace("[`", "`").replace("`]", "`");
        writeln!(page, "| `{key}` | {} | {} |", cell(default), cell(what)).unwrap();
    }
    page
}

#[test]
fn the_page_of_the_settings_says_what_their_docs_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = page();
    if std::env::var_os("TIDEMARK_TEST_WRITE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is not what the settings' docs say: TIDEMARK_TEST_WRITE=1 cargo test -p service --lib config::reference"
    );
}
