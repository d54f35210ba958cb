//! A keyspace of one test's own, with the tables of generation 1.

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use std::time::Duration;
use views::Store;
use views::cassandra::{Config, migrate};

pub struct Keyspace {
    pub config: Config,
    pub session: Session,
}

impl Keyspace {
    /// A keyspace with its tables.
    pub async fn new() -> Self {
        let keyspace = Self::without_tables().await;
        migrate(&keyspace.config).await.unwrap();
        keyspace
    }

    /// The name of a keyspace that is not there yet.
    pub async fn without_tables() -> Self {
        let address = std::env::var("TIDEMARK_TEST_CASSANDRA").expect(
            "TIDEMARK_TEST_CASSANDRA must name a store; `deploy/engines/engines up cassandra` starts one",
        );
        let name = format!("views_{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        // The machine is shared, and a change of the schema takes seconds on it.
        let config = Config {
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(20),
            retry_for: Duration::from_secs(60),
            ..Config::new(vec![address.clone()], &name, 1, 64)
        };
        let session = SessionBuilder::new().known_node(address).build().await.unwrap();
        Self { config, session }
    }

    pub async fn store(&self) -> Store {
        Store::connect(self.config.clone()).await.unwrap()
    }

    /// Runs a statement in which `KS` stands for the keyspace.
    pub async fn run(&self, text: &str) {
        let text = text.replace("KS", &self.config.keyspace);
        self.session.query_unpaged(text, ()).await.unwrap();
    }

    pub async fn remove(self) {
        self.run("DROP KEYSPACE KS").await;
    }
}
