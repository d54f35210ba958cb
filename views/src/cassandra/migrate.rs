//! Makes the keyspace and the tables of a generation. Safe to run twice, and by two at once: every statement says
//! `IF NOT EXISTS`, and what stands there afterwards is checked. Never changes or drops what it finds.

use super::session::{self, fate, retried, unexpected};
use super::{Config, definitions};
use crate::Error;
use schemas::cql;
use schemas::row::View;
use scylla::client::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a change of the schema may take until all nodes agree on it.
const SCHEMA_CHANGE: Duration = Duration::from_secs(60);

/// Makes the keyspace and the tables of `config.generation` where they are missing, and checks all of them.
pub async fn migrate(config: &Config) -> Result<(), Error> {
    let patient = Config {
        request_timeout: SCHEMA_CHANGE,
        ..config.clone()
    };
    let session = session::open(&patient).await?;
    let datacenter = datacenter(&session, config)?;
    let keyspace = cql::create_keyspace(&config.keyspace, datacenter.as_deref(), config.replicas);
    change(&session, &keyspace).await?;
    for view in View::ALL {
        change(
            &session,
            &cql::create_table(&config.keyspace, view, config.generation),
        )
        .await?;
    }
    definitions::check(&session, config).await?;
    warn_of_replication(&session, config, datacenter.as_deref()).await
}

/// Lets each of these roles, which must be there, read the keyspace, and write it where it says `true`.
pub async fn grant(config: &Config, roles: &[(String, bool)]) -> Result<(), Error> {
    if roles.is_empty() {
        return Ok(());
    }
    let session = session::open(config).await?;
    for (name, writes) in roles {
        let rights: &[&str] = if *writes {
            &["SELECT", "MODIFY"]
        } else {
            &["SELECT"]
        };
        for right in rights {
            let (keyspace, name) = (&config.keyspace, name.replace('"', "\"\""));
            change(
                &session,
                &format!("GRANT {right} ON KEYSPACE {keyspace} TO \"{name}\""),
            )
            .await?;
        }
        tracing::info!(role = name, ?rights, "has its rights at the view store");
    }
    Ok(())
}

async fn change(session: &Session, text: &str) -> Result<(), Error> {
    retried(SCHEMA_CHANGE, async || {
        session.query_unpaged(text, ()).await.map(|_| ()).map_err(fate)
    })
    .await
}

/// The datacenter that copies are kept in: the configured one, or the only one that the nodes name.
fn datacenter(session: &Session, config: &Config) -> Result<Option<String>, Error> {
    let state = session.get_cluster_state();
    let names: BTreeSet<&String> = state
        .get_nodes_info()
        .iter()
        .filter_map(|node| node.datacenter.as_ref())
        .collect();
    match &config.datacenter {
        Some(name) if names.is_empty() || names.contains(name) => Ok(Some(name.clone())),
        Some(name) => Err(Error::Wrong(format!(
            "no node is in store.datacenter {name:?}, only in {names:?}"
        ))),
        None if names.len() > 1 => Err(Error::Wrong(format!(
            "the nodes are in several datacenters: set store.datacenter to one of {names:?}"
        ))),
        None => Ok(names.first().map(|name| (*name).clone())),
    }
}

/// A keyspace that was there keeps its replication, which only its owner can change: it takes a repair.
async fn warn_of_replication(
    session: &Session,
    config: &Config,
    datacenter: Option<&str>,
) -> Result<(), Error> {
    let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let answer = definitions::ask(session, text, (config.keyspace.as_str(),)).await?;
    let (found,): (BTreeMap<String, String>,) = answer.first_row().map_err(unexpected)?;
    let copies = found.get(datacenter.unwrap_or("replication_factor"));
    if copies != Some(&config.replicas.to_string()) {
        tracing::warn!(
            keyspace = config.keyspace,
            ?found,
            wanted = config.replicas,
            "keyspace has other copies than configured"
        );
    }
    Ok(())
}
