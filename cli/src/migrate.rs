//! `tidemark migrate`: makes topics, schema, tables and the first generation. Safe to run twice, and by two at once: what is there is
//! checked and left as it is.

use crate::args::Rights;
use crate::{embedded, kafka, registry};
use log::ChainReader;
use log::kafka::{Admin, KafkaChainReader, Plan, Role, Settings};
use schemas::{Offset, Partition};
use service::config::Config;
use service::exit;

/// Makes what is missing. Anything that is away fails it: run it again.
pub(crate) fn run(runtime: &tokio::runtime::Runtime, config: &Config, rights: &Rights) -> anyhow::Result<u8> {
    runtime.block_on(async {
        let settings = kafka::settings(config)?;
        let registry = registry::settings(&config.registry)?;
        let store = kafka::store_config(config, kafka::GENERATION, config.query.user_buckets)?;
        let admin = Admin::new(&settings)?;
        let copies = u16::try_from(config.kafka.replication_factor).ok();
        let found = admin.create(&Plan::all(&settings, config.kafka.partitions), copies)?;
        tracing::info!(topics = found.len(), "topics are there");
        let schema_id = registry::register(&registry).await?;
        tracing::info!(schema_id, "the schema of events is registered");
        let generation = match admin.generation()? {
            Some(generation) => generation,
            None => {
                refuse_without_generation(&settings, config.kafka.partitions)?;
                let id = |name: &str| {
                    let topic = found.iter().find(|topic| topic.name == name);
                    topic
                        .map(|topic| topic.id)
                        .ok_or_else(|| anyhow::anyhow!("the broker says no id for topic {name}"))
                };
                let topics = (id(&settings.events)?, id(&settings.changelog)?);
                let made = embedded::new_generation(
                    config.kafka.partitions,
                    topics,
                    config.query.user_buckets,
                    schema_id,
                );
                admin.write_generation(&made)?;
                // Of two that write at once the later one on the log holds, for both.
                admin.generation()?.unwrap_or(made)
            }
        };
        admin.check(&generation)?;
        let store = views::cassandra::Config {
            user_buckets: generation.user_buckets,
            ..store
        };
        views::cassandra::migrate(&store).await?;
        let granted =
            |(role, name): &(Role, String)| (name.clone(), matches!(role, Role::Aggregate | Role::Migrate));
        let grants: Vec<_> = rights.grants.iter().map(granted).collect();
        views::cassandra::grant(&store, &grants).await?;
        for (role, principal) in &rights.acls {
            let count = admin.allow(*role, principal)?;
            tracing::info!(%role, principal, count, "has its rights at the brokers");
        }
        tracing::info!(
            generation = generation.number,
            partitions = generation.partitions,
            "ready"
        );
        Ok(exit::OK)
    })
}

/// What was counted was counted under the secret of a generation: under another one each key would count a second time.
fn refuse_without_generation(settings: &Settings, partitions: u32) -> anyhow::Result<()> {
    let mut chain = KafkaChainReader::new(settings)?;
    for partition in (0..partitions).map(Partition) {
        anyhow::ensure!(
            chain.mark(partition)? == Offset(0),
            "{} holds commit records, but {} has no generation: bring that topic back, or remove the changelog, and the events with it unless all \
             of them shall be counted anew",
            settings.changelog,
            settings.generations
        );
    }
    Ok(())
}
