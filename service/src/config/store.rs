//! ScyllaDB, the store of the views.
//!
//! Nothing here may be wanted by `tidemark run`, whose store is embedded.

use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::kafka::is_host_and_port;
use super::links::{self, Tls};
use std::path::PathBuf;

/// Section `store`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Nodes to start from, each `host:port`, separated by commas in variables and flags; empty: not configured.
    /// Default empty; `TIDEMARK_STORE__NODES`.
    pub nodes: Vec<String>,
    /// The data centre to talk to, and in which `migrate` keeps copies; may be left out where the nodes are in one.
    /// Default none; `TIDEMARK_STORE__DATACENTER`.
    pub datacenter: Option<String>,
    /// Keyspace of our tables.
    /// Default `tidemark`; `TIDEMARK_STORE__KEYSPACE`.
    pub keyspace: String,
    /// Copies of each row when `migrate` creates the keyspace.
    /// Default 1; `TIDEMARK_STORE__REPLICATION_FACTOR`.
    pub replication_factor: u16,
    /// Rows a second that the projector may write while it is fresh, so that readers stay fast; 0: unbounded.
    /// Default 20,000; `TIDEMARK_STORE__ROWS_PER_S_FRESH`.
    pub rows_per_s_fresh: u32,
    /// Rows a second that the projector may write while it catches up; 0: unbounded.
    /// Default 0; `TIDEMARK_STORE__ROWS_PER_S_BULK`.
    pub rows_per_s_bulk: u32,
    /// Requests to the store in flight at one time.
    /// Default 32; `TIDEMARK_STORE__IN_FLIGHT`.
    pub in_flight: usize,
    /// Milliseconds that an answer may take.
    /// Default 5000; `TIDEMARK_STORE__TIMEOUT_MS`.
    pub timeout_ms: u64,
    /// How many copies must answer a read or write: `local_quorum`, `quorum`, `one` or `local_one`.
    /// Default `local_quorum`; `TIDEMARK_STORE__CONSISTENCY`.
    pub consistency: Consistency,
    /// Encryption. A node's certificate must name the address at which the others know it.
    pub tls: Tls,
    /// Our role.
    /// Default none; `TIDEMARK_STORE__USERNAME`.
    pub username: Option<String>,
    /// File of its password; it is read for each new connection.
    /// Default none; `TIDEMARK_STORE__PASSWORD_FILE`.
    pub password_file: Option<PathBuf>,
}

/// How many copies must answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Most of the copies in this data centre.
    #[default]
    LocalQuorum,
    /// Most of all copies.
    Quorum,
    /// Any one copy.
    One,
    /// Any one copy in this data centre.
    LocalOne,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            datacenter: None,
            keyspace: "tidemark".to_owned(),
            replication_factor: 1,
            rows_per_s_fresh: 20_000,
            rows_per_s_bulk: 0,
            in_flight: 32,
            timeout_ms: 5000,
            consistency: Consistency::LocalQuorum,
            tls: Tls::default(),
            username: None,
            password_file: None,
        }
    }
}

impl Store {
    /// Whether nodes are configured.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.nodes.is_empty()
    }

    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let fits = self.nodes.iter().all(|node| is_host_and_port(node));
        checks.that(
            fits,
            "store.nodes",
            self.nodes.join(","),
            "each must be host:port",
        );
        if let Some(datacenter) = &self.datacenter {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let fits = (1..=128).contains(&datacenter.len()) && datacenter.bytes().all(is_of_name);
            let reason = "must be 1 to 128 letters, digits, '.', '_' or '-'";
            checks.that(fits, "store.datacenter", datacenter, reason);
        }
        // CQL: an unquoted name of at most 48 characters.
        let fits = self.keyspace.len() <= 48
            && self
                .keyspace
                .starts_with(|first: char| first.is_ascii_lowercase())
            && self
                .keyspace
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let reason = "must be 1 to 48 characters out of a-z 0-9 _, the first a letter";
        checks.that(fits, "store.keyspace", &self.keyspace, reason);
        checks.range("store.replication_factor", self.replication_factor, 1, 100);
        checks.range("store.in_flight", self.in_flight as u64, 1, 10_000);
        checks.range("store.timeout_ms", self.timeout_ms, 1, 600_000);
        self.tls.check("store.tls", checks);
        let (name, file) = (self.username.as_deref(), self.password_file.as_deref());
        links::check_login("store", name, file, checks);
        let reason = "goes with a password that is sent as it is: set store.tls.enabled";
        checks.that(
            self.tls.enabled || name.is_none(),
            "store.username",
            name.unwrap_or_default(),
            reason,
        );
    }
}
