//! The view store on ScyllaDB, or on Cassandra, which speaks the same protocol: tables and their columns stand in
//! [`schemas::cql`].
//!
//! Every write carries `USING TIMESTAMP version`, so that of two writes to a row the higher version wins whenever they
//! arrive, and a repeated one changes nothing. Never an unstamped write: its stamp would be a clock's microseconds, and no
//! version would ever replace it. Never a delete, a lifetime, or a conditional write.

mod session;
mod secure;
mod statements;
mod write;
mod read;
mod definitions;
mod migrate;
mod probe;

pub use migrate::{grant, migrate};

use crate::Error;
use scylla::client::session::Session;
use statements::Statements;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How to reach the store, and what lies there.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of some nodes; the others are learnt from them.
    pub contact_points: Vec<String>,
    /// Who we are, where the store asks for it.
    pub credentials: Option<Credentials>,
    /// Encryption; none: none.
    pub tls: Option<Tls>,
    /// The datacenter to talk to and to keep copies in; may be left out where the nodes are in one.
    pub datacenter: Option<String>,
    /// The keyspace, see [`schemas::cql::is_keyspace`].
    pub keyspace: String,
    /// The generation whose tables are meant.
    pub generation: u32,
    /// Buckets of user rows, as the generation record has them.
    pub user_buckets: u32,
    /// Copies of each row, for `migrate`; default 1.
    pub replicas: u32,
    /// How many replicas must answer; default `LocalQuorum`.
    pub consistency: Consistency,
    /// Requests of rows at once; default 64. More brings no more rows, only longer waits for readers.
    pub in_flight: usize,
    /// How long connecting may take; default 5 s.
    pub connect_timeout: Duration,
    /// How long one request may take; default 5 s.
    pub request_timeout: Duration,
    /// How long a request is tried again before the store counts as away; default 15 s.
    pub retry_for: Duration,
}

/// A role of the store.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its name.
    pub user: String,
    /// The file of its password, read for each connection: one that was changed holds for those to come.
    pub password_file: PathBuf,
}

/// How connections are encrypted. A node's certificate and the address in it are always checked.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file of the authorities that are believed; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our own certificate and its key, for nodes that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// How many replicas must answer a read or acknowledge a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// A majority of the local datacenter's.
    LocalQuorum,
    /// A majority of all.
    Quorum,
    /// One of the local datacenter's: with more than one copy an answer may be older than its `as_of`.
    LocalOne,
}

impl Config {
    /// The configuration with its defaults.
    pub fn new(contact_points: Vec<String>, keyspace: &str, generation: u32, user_buckets: u32) -> Self {
        Self {
            contact_points,
            credentials: None,
            tls: None,
            datacenter: None,
            keyspace: keyspace.to_owned(),
            generation,
            user_buckets,
            replicas: 1,
            consistency: Consistency::LocalQuorum,
            in_flight: 64,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(15),
        }
    }
}

/// A session with the store, for one generation.
pub struct Cassandra {
    session: Session,
    config: Config,
    statements: Statements,
    /// Bounds the requests of rows over all callers.
    in_flight: Semaphore,
}

impl std::fmt::Debug for Cassandra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cassandra({:?})", self.config)
    }
}

/// What the driver measures of itself, since its session was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Driver {
    /// Requests sent.
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Requests that the driver sent again by itself.
    pub retries: u64,
    /// Requests and connections that were not answered in time.
    pub timeouts: u64,
    /// Connections, now.
    pub connections: u64,
    /// Time to the answer of half of the requests, and of 99 in 100, in milliseconds; whole ones.
    pub latency_ms: [u64; 2],
}

impl Cassandra {
    pub(crate) fn driver(&self) -> Driver {
        let said = self.session.get_metrics();
        Driver {
            requests: said.get_requests_unpaged_num()
                + said.get_requests_manually_paged_num()
                + said.get_requests_automatically_paged_num(),
            errors: said.get_errors_unpaged_num()
                + said.get_errors_manually_paged_num()
                + said.get_errors_automatically_paged_num(),
            retries: said.get_retries_num(),
            timeouts: said.get_request_timeouts() + said.get_connection_timeouts(),
            connections: said.get_total_connections(),
            latency_ms: [0.5, 0.99].map(|part| said.get_latency_percentile_ms(part * 100.0).unwrap_or(0)),
        }
    }

    pub(crate) async fn connect(config: Config) -> Result<Self, Error> {
        let session = session::open(&config).await?;
        let prepare = Statements::prepare(&session, &config);
        // On the heap: it holds the futures of all tables' statements at once.
        let statements = Box::pin(session::limited(
            config.connect_timeout,
            "preparing statements",
            prepare,
        ))
        .await?;
        let in_flight = Semaphore::new(config.in_flight.max(1));
        Ok(Self {
            session,
            config,
            statements,
            in_flight,
        })
    }
}
