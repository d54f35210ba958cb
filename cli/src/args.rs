//! The command line.

use clap::{Parser, Subcommand};
use service::access::Scope;
use std::path::PathBuf;

/// Counts events exactly once, per day and per user.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Settings file (TOML).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of the HTTP port [default: 127.0.0.1:8080].
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address of the admin port: /live, /ready, /metrics [default: 127.0.0.1:8081].
    #[arg(long, global = true, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Folder for everything this process keeps [default: ./tidemark-data].
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<String>,
    /// Any setting, as in `--set aggregator.lanes=2`; `check-config` lists them all.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process, on a log and a store of its own in one folder.
    Run {
        /// Load this CSV file (plain) at the start, say what was counted and what was refused, and go on serving.
        #[arg(long, value_name = "FILE")]
        load: Option<PathBuf>,
    },
    /// Takes events over HTTP, onto Kafka.
    Ingest,
    /// Counts: lanes on Kafka, views in the store.
    Aggregate {
        /// Count, but keep no views: to measure lanes alone.
        #[arg(long)]
        without_store: bool,
    },
    /// Answers queries from the view store.
    Query,
    /// Makes topics, tables, schema and the first generation; safe to run twice.
    Migrate(Rights),
    /// Reads the raw log with a fold of its own and compares every row of every view. Exit 0: all equal; 1: differences; 2: could not look.
    Audit {
        /// Audit the folder of `tidemark run`, which must not be running.
        #[arg(long)]
        embedded: bool,
        /// Wait at most this many seconds until the views have reached the end of the log.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        wait: u64,
    },
    /// Makes, lists and revokes the keys that clients need.
    #[command(subcommand)]
    Keys(Keys),
    /// Sends files of events to a server; can be stopped at any point and started again.
    Send(send::Args),
    /// Lists dead letters of a server, shows one, and redrives them.
    #[command(subcommand)]
    DeadLetters(send::letters::Letters),
    /// Prints the completions of a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages, one for each subcommand, into a folder.
    Man {
        /// The folder; it is made if it is not there.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Prints every setting, its value and where it came from; exit 64 if one is wrong.
    CheckConfig,
    /// Asks a running process, by its admin port, whether it is ready, and prints why not. Exit 0: ready; 1: not; 69: no answer.
    Ready,
}

/// Who else shall be let in; for whom may give rights. Roles are ingest, aggregate, query, migrate and audit.
#[derive(Debug, clap::Args)]
pub(crate) struct Rights {
    /// Gives a user of Kafka's what a role needs there, and no more, as in `--acl ingest=User:tidemark-ingest`; may be repeated.
    #[arg(long = "acl", value_name = "ROLE=PRINCIPAL", value_parser = role_and_name)]
    pub(crate) acls: Vec<(log::kafka::Role, String)>,
    /// Gives a role of the view store's, which must be there, what a role needs there, as in `--grant query=tidemark_query`; may be repeated.
    #[arg(long = "grant", value_name = "ROLE=NAME", value_parser = role_and_name)]
    pub(crate) grants: Vec<(log::kafka::Role, String)>,
}

fn role_and_name(text: &str) -> Result<(log::kafka::Role, String), String> {
    let (role, name) = key_value(text).map_err(|_| "must be ROLE=NAME")?;
    let role = log::kafka::Role::parse(&role)
        .ok_or("the role must be ingest, aggregate, query, migrate or audit")?;
    Ok((role, name))
}

/// What to do with keys. Servers follow the file within two seconds, so nothing need be restarted.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Makes a key and prints it, once: nobody can print it again.
    Create {
        /// Whose events and answers it stands for: 1 to 128 bytes.
        #[arg(long, value_name = "TENANT")]
        tenant: String,
        /// What it may be used for: ingest, query, admin (dead letters), operator (what spans tenants); may be repeated.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// A name, for people.
        #[arg(long, value_name = "NAME", default_value = "")]
        name: String,
        /// Most requests in a second, for each process that serves.
        #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rate: Option<u32>,
        /// Most events that are accepted on one UTC day, for each process that serves.
        #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
        quota: Option<u64>,
    },
    /// Lists all keys, without their secrets.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Revokes a key for good.
    Revoke {
        /// Its id, as `keys list` shows it: never the key itself.
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl Args {
    /// Whether something is given that only a server heeds.
    pub(crate) fn has_settings(&self) -> bool {
        self.config.is_some() || !self.overrides().is_empty()
    }

    /// What flags say, as settings.
    pub(crate) fn overrides(&self) -> Vec<(String, String)> {
        let flag = |key: &str, value: &Option<String>| value.clone().map(|value| (key.to_owned(), value));
        let flags = [
            flag("http.listen", &self.listen),
            flag("http.admin_listen", &self.admin_listen),
            flag("data", &self.data),
        ];
        flags
            .into_iter()
            .flatten()
            .chain(self.set.iter().cloned())
            .collect()
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
