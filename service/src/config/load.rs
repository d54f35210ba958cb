//! Merging the layers into a [`Config`], and saying of each value where it came from.
//!
//! figment keeps with every value the layer that it came from; that is what errors and `check-config` show. What
//! figment says of a failure is put into our words here, since its own would quote the value of a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::value::{Dict, Value};

use super::error::{ConfigError, Fault};
use super::layers::{self, DEFAULT, ENVIRONMENT, FILE_VARIABLE};
use super::{Config, Setting, redact};

/// The size beyond which a file in `kafka.extra_files` is not a secret but a mistake.
const SECRET_FILE_BYTES: usize = 64 * 1024;

/// [`Config::load`] with the environment as an argument.
pub(super) fn load(
    file: Option<&Path>,
    variables: impl Iterator<Item = (OsString, OsString)>,
    overrides: Vec<(String, String)>,
) -> Result<Config, ConfigError> {
    let variables: Vec<_> = variables.collect();
    let from_variable = variables
        .iter()
        .find(|(name, _)| name == FILE_VARIABLE)
        .map(|(_, value)| value);
    let file = file
        .map(Path::to_path_buf)
        .or_else(|| from_variable.map(PathBuf::from));

    let defaults = dict_of(&Config::default());
    let mut figment = Figment::from(layers::defaults(defaults.clone()));
    if let Some(file) = file {
        figment = figment.merge(layers::file(&file)?);
    }
    let ours = layers::our_variables(variables);
    if let Some(filter) = layers::log_filter(&ours) {
        figment = figment.merge(filter);
    }
    let environment = layers::environment(&ours, &defaults).map_err(|faults| ConfigError { faults })?;
    let flags = layers::flags(&overrides, &defaults).map_err(|faults| ConfigError { faults })?;
    let figment = figment.merge(environment).merge(flags);

    let values = merged(&figment);
    let origins = origins(&figment, &values);
    let mut config: Config = figment.extract().map_err(|error| ConfigError {
        faults: error
            .into_iter()
            .map(|error| in_our_words(&error, &values, &origins))
            .collect(),
    })?;
    config.origins = origins;
    let mut faults = read_secret_files(&mut config);
    faults.extend(config.faults());
    match faults.is_empty() {
        true => Ok(config),
        false => Err(ConfigError { faults }),
    }
}

/// [`Config::explain`].
pub(super) fn explain(config: &Config) -> Vec<Setting> {
    let mut settings = Vec::new();
    let values = dict_of(config);
    leaves(&values, "", &mut |key, value| {
        settings.push(Setting {
            value: redact::value(key, &show(value)),
            source: config.origins.get(key).map_or(DEFAULT, String::as_str).to_owned(),
            key: key.to_owned(),
        });
    });
    settings
}

fn dict_of(config: &Config) -> Dict {
    // Structs of numbers, texts, lists and maps with text keys serialize without fail, and to a dictionary.
    Value::serialize(config)
        .ok()
        .and_then(Value::into_dict)
        .unwrap_or_default()
}

fn merged(figment: &Figment) -> Dict {
    // An empty path is the whole tree; it is there, since the defaults are.
    figment
        .find_value("")
        .ok()
        .and_then(Value::into_dict)
        .unwrap_or_default()
}

fn origins(figment: &Figment, values: &Dict) -> BTreeMap<String, String> {
    let mut origins = BTreeMap::new();
    leaves(values, "", &mut |key, value| {
        let Some(layer) = figment.get_metadata(value.tag()) else {
            return;
        };
        let source = match layer.name.as_ref() {
            DEFAULT => return,
            ENVIRONMENT => layers::variable(key),
            name => name.to_owned(),
        };
        origins.insert(key.to_owned(), source);
    });
    origins
}

/// Calls `each` with the key and value of every leaf. A list is a leaf.
fn leaves(dict: &Dict, prefix: &str, each: &mut impl FnMut(&str, &Value)) {
    for (name, value) in dict {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Dict(_, inner) => leaves(inner, &key, &mut *each),
            leaf => each(&key, leaf),
        }
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Char(_, char) => char.to_string(),
        Value::Bool(_, bool) => bool.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128()) {
            (Some(number), _) => number.to_string(),
            (_, Some(number)) => number.to_string(),
            _ => number
                .to_f64()
                .map_or_else(String::new, |number| number.to_string()),
        },
        Value::Array(_, items) => items.iter().map(show).collect::<Vec<_>>().join(","),
        Value::Empty(..) => String::new(),
        Value::Dict(..) => "a table".to_owned(),
    }
}

fn in_our_words(error: &figment::Error, values: &Dict, origins: &BTreeMap<String, String>) -> Fault {
    let mut path = error.path.clone();
    let reason = match &error.kind {
        Kind::UnknownField(name, known) => {
            if path.last() != Some(name) {
                path.push(name.clone());
            }
            format!("there is no such setting; known here: {}", known.join(", "))
        }
        Kind::UnknownVariant(_, known) => format!("must be one of: {}", known.join(", ")),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("must be {expected}"),
        Kind::Message(message) if !redact::is_secret(&path.join(".")) => message.clone(),
        _ => "cannot be read".to_owned(),
    };
    let key = path.join(".");
    let mut shown = None;
    let mut source = error.metadata.as_ref().map(|layer| layer.name.to_string());
    leaves(values, "", &mut |leaf, value| {
        if leaf == key {
            shown = Some(redact::value(&key, &show(value)));
            source = origins.get(leaf).cloned().or_else(|| source.take());
        }
    });
    Fault {
        key,
        value: shown,
        source: source.unwrap_or_else(|| DEFAULT.to_owned()),
        reason,
    }
}

/// Puts the content of each file in `kafka.extra_files` into `kafka.extra`, so that secrets need not stand in the
/// environment or in the settings.
fn read_secret_files(config: &mut Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (property, path) in &config.kafka.extra_files {
        let key = format!("kafka.extra_files.{property}");
        let mut fault = |reason: String| {
            faults.push(Fault {
                source: config
                    .origins
                    .get(&key)
                    .map_or(DEFAULT, String::as_str)
                    .to_owned(),
                key: key.clone(),
                value: Some(path.display().to_string()),
                reason,
            });
        };
        match std::fs::read_to_string(path) {
            Err(error) => fault(format!("the file cannot be read: {error}")),
            Ok(text) if text.len() > SECRET_FILE_BYTES => {
                fault(format!("the file must be at most {SECRET_FILE_BYTES} bytes"));
            }
            Ok(_) if config.kafka.extra.contains_key(property) => {
                fault(format!(
                    "is also set as kafka.extra.{property}; keep one of the two"
                ));
            }
            Ok(text) => {
                config
                    .kafka
                    .extra
                    .insert(property.clone(), text.trim_end_matches(['\r', '\n']).to_owned());
                config
                    .origins
                    .insert(format!("kafka.extra.{property}"), path.display().to_string());
            }
        }
    }
    faults
}
