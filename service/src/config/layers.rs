//! The layers above the defaults: file, environment and flags, each turned into a tree of values.
//!
//! The environment and flags are text; the default of a key says what the text must be read as. Names that are not
//! settings are faults, with the exceptions that are listed here by name.

use std::ffi::OsString;
use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Empty, Map, Num, Tag, Value};
use figment::{Metadata, Profile, Provider};

use super::error::Fault;

/// What every variable of ours starts with.
const PREFIX: &str = "TIDEMARK_";
/// Names the file when there is no `--config`.
pub(super) const FILE_VARIABLE: &str = "TIDEMARK_CONFIG";
/// Short for `TIDEMARK_LOG__FILTER`, which beats it.
const LOG_VARIABLE: &str = "TIDEMARK_LOG";
/// Variables of our tests and of the engines that they start: not settings.
const FOREIGN: [&str; 3] = ["TIDEMARK_TEST_", "TIDEMARK_ENGINES_", "TIDEMARK_SEND_"];
/// Variables that `tidemark send` reads: a shell that has them may start a server as well.
const OF_SEND: [&str; 5] = [
    "TIDEMARK_SERVER",
    "TIDEMARK_QUERY_SERVER",
    "TIDEMARK_KEY",
    "TIDEMARK_KEY_FILE",
    "TIDEMARK_CA_FILE",
];
/// Settings that are maps, whose keys are librdkafka's: `kafka.extra.client.rack`.
const MAPS: [&str; 2] = ["kafka.extra", "kafka.extra_files"];

/// One layer, as figment takes it.
pub(super) struct Layer {
    name: Metadata,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.name.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The name figment's metadata has for the defaults, and the source shown for them.
pub(super) const DEFAULT: &str = "default";
/// The name figment's metadata has for the environment; shown is the variable.
pub(super) const ENVIRONMENT: &str = "environment";
/// The name figment's metadata has for flags, and the source shown for them.
pub(super) const FLAG: &str = "flag";

/// The defaults, which are also the list of all settings and of the kind of each.
pub(super) fn defaults(values: Dict) -> Layer {
    Layer {
        name: Metadata::named(DEFAULT),
        values,
    }
}

/// The TOML file. Unknown keys are found later, when all layers are read into [`super::Config`].
pub(super) fn file(path: &Path) -> Result<Layer, Fault> {
    let shown = path.display().to_string();
    let fault = |reason: String| Fault {
        key: "config file".to_owned(),
        value: None,
        source: shown.clone(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    // The parser quotes the offending lines, between bars; such a line may hold a secret.
    let values: Dict = Toml::from_str(&text).map_err(|error| {
        let lines: Vec<String> = error
            .to_string()
            .lines()
            .filter(|line| !line.contains('|'))
            .map(str::to_owned)
            .collect();
        fault(lines.join("; "))
    })?;
    Ok(Layer {
        name: Metadata::named(format!("file {shown}")),
        values,
    })
}

/// `TIDEMARK_LOG`, a layer of its own below the other variables.
pub(super) fn log_filter(variables: &[(String, OsString)]) -> Option<Layer> {
    let (_, filter) = variables.iter().find(|(name, _)| name == LOG_VARIABLE)?;
    let mut values = Dict::new();
    insert(
        &mut values,
        &["log".to_owned(), "filter".to_owned()],
        Value::from(filter.to_string_lossy().as_ref()),
    );
    Some(Layer {
        name: Metadata::named(LOG_VARIABLE),
        values,
    })
}

/// The variables; whatever starts with `TIDEMARK_` and is no setting is a fault.
pub(super) fn environment(variables: &[(String, OsString)], defaults: &Dict) -> Result<Layer, Vec<Fault>> {
    let mut values = Dict::new();
    let mut faults = Vec::new();
    for (name, value) in variables.iter().filter(|(name, _)| name != LOG_VARIABLE) {
        let fault = |reason: String| Fault {
            key: name.clone(),
            value: None,
            source: ENVIRONMENT.to_owned(),
            reason,
        };
        let Some(path) = path_of_variable(name, defaults) else {
            faults.push(fault(unknown_variable(name, defaults)));
            continue;
        };
        match value.to_str() {
            Some(text) => insert(&mut values, &path, typed(default_of(defaults, &path), text)),
            None => faults.push(fault("the value is not UTF-8".to_owned())),
        }
    }
    match faults.is_empty() {
        true => Ok(Layer {
            name: Metadata::named(ENVIRONMENT),
            values,
        }),
        false => Err(faults),
    }
}

/// The flags, as (key, value).
pub(super) fn flags(overrides: &[(String, String)], defaults: &Dict) -> Result<Layer, Vec<Fault>> {
    let mut values = Dict::new();
    let mut faults = Vec::new();
    for (key, text) in overrides {
        match path_of_key(key, defaults) {
            Some(path) => insert(&mut values, &path, typed(default_of(defaults, &path), text)),
            None => faults.push(Fault {
                key: key.clone(),
                value: None,
                source: FLAG.to_owned(),
                reason: "there is no such setting".to_owned(),
            }),
        }
    }
    match faults.is_empty() {
        true => Ok(Layer {
            name: Metadata::named(FLAG),
            values,
        }),
        false => Err(faults),
    }
}

/// The variables that concern us, in the order of their names.
pub(super) fn our_variables(all: Vec<(OsString, OsString)>) -> Vec<(String, OsString)> {
    let mut ours: Vec<_> = all
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX) && name != FILE_VARIABLE)
        .filter(|(name, _)| !OF_SEND.contains(&name.as_str()))
        .filter(|(name, _)| !FOREIGN.iter().any(|foreign| name.starts_with(foreign)))
        .filter(|(name, _)| !is_service_link(name))
        .collect();
    ours.sort();
    ours
}

/// `http.listen` as `TIDEMARK_HTTP__LISTEN`.
pub(super) fn variable(key: &str) -> String {
    for map in MAPS {
        if let Some(property) = key.strip_prefix(map).and_then(|rest| rest.strip_prefix('.')) {
            return format!(
                "{}__{}",
                variable(map),
                property.replace('.', "_").to_ascii_uppercase()
            );
        }
    }
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// Kubernetes puts the addresses of every service of a namespace into every pod; for services named `tidemark` or
/// `tidemark-...` these look like ours. Refusing them would keep the program from starting in a cluster.
/// Source: kubernetes.io, "Service", "Environment variables".
fn is_service_link(name: &str) -> bool {
    if name.contains("__") {
        return false;
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let after_port = |tail: &str| {
        let mut words = tail.split('_');
        words.next().is_some_and(is_number)
            && words.next().is_some_and(|w| matches!(w, "TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, tail)| after_port(tail))
}

fn path_of_variable(name: &str, defaults: &Dict) -> Option<Vec<String>> {
    let bare = name.strip_prefix(PREFIX)?;
    if bare != bare.to_ascii_uppercase() {
        return None;
    }
    let bare = bare.to_ascii_lowercase();
    for map in MAPS {
        let prefix = format!("{}__", map.replace('.', "__"));
        if let Some(property) = bare.strip_prefix(&prefix).filter(|property| !property.is_empty()) {
            return path_of_key(&format!("{map}.{}", property.replace('_', ".")), defaults);
        }
    }
    path_of_key(&bare.replace("__", "."), defaults)
}

/// The way to a leaf, or none if there is no such setting.
fn path_of_key(key: &str, defaults: &Dict) -> Option<Vec<String>> {
    for map in MAPS {
        if let Some(property) = key.strip_prefix(map).and_then(|rest| rest.strip_prefix('.')) {
            return Some(map.split('.').chain([property]).map(str::to_owned).collect());
        }
    }
    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
    match default_of(defaults, &path)? {
        Value::Dict(..) => None,
        _ => Some(path),
    }
}

fn default_of<'a>(defaults: &'a Dict, path: &[String]) -> Option<&'a Value> {
    let (last, sections) = path.split_last()?;
    let mut dict = defaults;
    for section in sections {
        dict = dict.get(section)?.as_dict()?;
    }
    dict.get(last)
}

/// The text as the kind of value that the default has. What does not fit stays text, and its type is refused later
/// with key and source.
fn typed(default: Option<&Value>, text: &str) -> Value {
    match default {
        Some(Value::Num(_, Num::F32(_) | Num::F64(_))) => text
            .parse::<f64>()
            .map_or_else(|_| Value::from(text), Value::from),
        Some(Value::Num(..)) => match (text.parse::<u64>(), text.parse::<i64>()) {
            (Ok(number), _) => Value::from(number),
            (_, Ok(number)) => Value::from(number),
            _ => Value::from(text),
        },
        Some(Value::Bool(..)) => text
            .parse::<bool>()
            .map_or_else(|_| Value::from(text), Value::from),
        Some(Value::Array(..)) => {
            let items: Vec<&str> = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect();
            Value::from(items)
        }
        Some(Value::Empty(..)) if text.is_empty() => Value::Empty(Tag::Default, Empty::None),
        _ => Value::from(text),
    }
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            dict.insert(last.clone(), value);
        }
        [section, rest @ ..] => {
            let entry = dict
                .entry(section.clone())
                .or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

fn unknown_variable(name: &str, defaults: &Dict) -> String {
    let mended = name
        .strip_prefix(PREFIX)
        .and_then(|bare| bare.split_once('_'))
        .map(|(section, key)| {
            format!(
                "{PREFIX}{}__{}",
                section.to_ascii_uppercase(),
                key.trim_start_matches('_').to_ascii_uppercase()
            )
        });
    match mended.filter(|mended| mended != name && path_of_variable(mended, defaults).is_some()) {
        Some(mended) => format!("there is no such setting; did you mean {mended}?"),
        None => "there is no such setting; variables are TIDEMARK_SECTION__KEY, as in TIDEMARK_HTTP__LISTEN"
            .to_owned(),
    }
}
