//! The settings of a `tidemark` process: small typed structs, and where each value came from.
//!
//! A value is taken from, later beating earlier: the default, the TOML file, the environment, the flags. The variable
//! of a setting is `TIDEMARK_`, the key in capitals, and `__` for each dot: `http.listen` is `TIDEMARK_HTTP__LISTEN`.
//! Whatever is set but unknown is an error: a misspelt setting must never be ignored in silence. An error never shows
//! the value of a secret.

// Reading each layer: TOML, environment, flags.
mod layers;
// Merging the layers, and turning what fails into words.
mod load;
// What went wrong, all of it at once.
mod error;
// Limits of values, each named by its key.
mod check;
// What may not be printed.
mod redact;
// Links over TLS, and the files of passwords.
mod links;
// The public and admin ports.
mod http;
// Where keys lie.
mod access;
// Kafka and the schema registry.
mod kafka;
// ScyllaDB.
mod store;
// The lanes, and the embedded log.
mod aggregator;
// Queries and log lines.
mod query;
// Traces.
mod traces;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::access::Access;
pub use self::aggregator::{Aggregator, Embedded};
pub use self::error::{ConfigError, Fault};
pub use self::http::{Certificate, Http, is_known_secret};
pub use self::kafka::{Kafka, Registry, Sasl, SaslMechanism};
pub use self::links::{Tls, read_password};
pub use self::query::{Log, LogFormat, Query};
pub use self::redact::Secret;
pub use self::store::{Consistency, Store};
pub use self::traces::Traces;

use self::check::Checks;

/// Every setting of every role. `Default` gives the documented defaults, which are valid.
///
/// Serializing this gives secrets away; print [`Config::explain`] instead.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder for all that this process keeps: embedded log and store, what lanes spill, the file of keys.
    /// Default `./tidemark-data`; `TIDEMARK_DATA`.
    pub data: PathBuf,
    /// The public and admin ports.
    pub http: Http,
    /// Keys.
    pub access: Access,
    /// Kafka.
    pub kafka: Kafka,
    /// The schema registry.
    pub registry: Registry,
    /// ScyllaDB.
    pub store: Store,
    /// The lanes that count.
    pub aggregator: Aggregator,
    /// The log and store of `tidemark run`.
    pub embedded: Embedded,
    /// Queries.
    pub query: Query,
    /// Log lines.
    pub log: Log,
    /// Traces.
    pub traces: Traces,
    /// Source of each value that is not the default, by key.
    #[serde(skip)]
    origins: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("./tidemark-data"),
            http: Http::default(),
            access: Access::default(),
            kafka: Kafka::default(),
            registry: Registry::default(),
            store: Store::default(),
            aggregator: Aggregator::default(),
            embedded: Embedded::default(),
            query: Query::default(),
            log: Log::default(),
            traces: Traces::default(),
            origins: BTreeMap::new(),
        }
    }
}

/// One line of `tidemark check-config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The key, as in `http.listen`.
    pub key: String,
    /// The value that holds, or `<redacted>`.
    pub value: String,
    /// `default`, the path of the file, the variable, or `flag`.
    pub source: String,
}

impl Config {
    /// Reads the settings of this process.
    ///
    /// `file` is the path of `--config`; without it that of `TIDEMARK_CONFIG`, if set. `overrides` are flags as
    /// (key, value), such as `("http.listen", "127.0.0.1:9000")`; lists are separated by commas.
    ///
    /// # Errors
    /// All that is wrong in the first layer, type or limit that is: unreadable or malformed file, unknown key,
    /// unknown `TIDEMARK_` variable, wrong type, value out of limits.
    pub fn load(file: Option<&Path>, overrides: Vec<(String, String)>) -> Result<Self, ConfigError> {
        load::load(file, std::env::vars_os(), overrides)
    }

    /// Where the keys lie: `access.keys_file`, else `keys.jsonl` in the folder of `data`.
    #[must_use]
    pub fn keys_file(&self) -> PathBuf {
        let named = self.access.keys_file.clone();
        named.unwrap_or_else(|| self.data.join("keys.jsonl"))
    }

    /// Every setting in the order of its key, with secrets redacted.
    #[must_use]
    pub fn explain(&self) -> Vec<Setting> {
        load::explain(self)
    }

    fn faults(&self) -> Vec<Fault> {
        let mut checks = Checks::new(&self.origins);
        checks.that(
            !self.data.as_os_str().is_empty(),
            "data",
            self.data.display(),
            "must name a folder",
        );
        self.http.check(self.keys_file().exists(), &mut checks);
        self.kafka.check(&mut checks);
        self.registry.check(&mut checks);
        self.store.check(&mut checks);
        self.aggregator.check(&mut checks);
        self.embedded.check(&mut checks);
        self.query.check(&mut checks);
        self.log.check(&mut checks);
        self.traces.check(&mut checks);
        checks.into_faults()
    }
}

// What `docs/configuration.md` says, out of the docs of the settings.
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
