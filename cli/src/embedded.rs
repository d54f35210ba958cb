//! The embedded log and store of `tidemark run`, and their generation.

use aggregator::schema::Registry;
use aggregator::service::Handles;
use anyhow::Context;
use log::embedded::{EmbeddedLog, Settings};
use log::{Appender, ChainReader, Lane, LogError, LogReader};
use schemas::generation::{FOLD_VERSION, Generation, PARTITIONER};
use schemas::key::Secret;
use schemas::{Offset, Partition};
use service::config::Config;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Id of our schema where there is no registry.
pub(crate) const OWN_SCHEMA: u32 = 1;

/// The folder of the log.
pub(crate) fn log_folder(config: &Config) -> PathBuf {
    config.data.join("log")
}

/// The folder of the views.
pub(crate) fn views_folder(config: &Config) -> PathBuf {
    config.data.join("views")
}

/// The folder of lanes for what does not fit in memory.
pub(crate) fn spill_folder(config: &Config) -> PathBuf {
    config.data.join("spill")
}

/// Opens the log, making its generation where there is none.
pub(crate) fn open(config: &Config) -> anyhow::Result<(Arc<EmbeddedLog>, Generation)> {
    let settings = Settings {
        partitions: config.embedded.partitions,
        segment_bytes: config.embedded.segment_bytes,
        fsync_interval_ms: config.embedded.fsync_interval_ms,
        ..Settings::new(log_folder(config))
    };
    let log = EmbeddedLog::open(&settings)?;
    let generation = match log.generation()? {
        Some(generation) => generation,
        None => {
            refuse_without_generation(&log)?;
            let made = new_generation(
                log.partitions(),
                (log.events_id(), log.changelog_id()),
                config.query.user_buckets,
                OWN_SCHEMA,
            );
            log.set_generation(&made)?;
            made
        }
    };
    check(&generation, &log)?;
    Ok((log, generation))
}

/// What was counted was counted under the secret of a generation: under another one each key would count a second time.
fn refuse_without_generation(log: &EmbeddedLog) -> anyhow::Result<()> {
    let (mut reader, mut chain) = (log.reader(), log.chain_reader());
    for partition in (0..log.partitions()).map(Partition) {
        let (_, end) = reader.range(partition)?;
        anyhow::ensure!(
            end.max(chain.mark(partition)?) == Offset(0),
            "the folder holds a log, but its generation.json is gone: put it back from a copy, or move the whole data folder away and start with \
             an empty one"
        );
    }
    Ok(())
}

/// A new generation with a fresh secret.
pub(crate) fn new_generation(
    partitions: u32,
    topics: (Uuid, Uuid),
    user_buckets: u32,
    schema_id: u32,
) -> Generation {
    Generation {
        layout: 1,
        number: 1,
        partitions,
        events_id: topics.0,
        changelog_id: topics.1,
        partitioner: PARTITIONER.to_owned(),
        secret: new_secret(),
        user_buckets,
        fold_version: FOLD_VERSION,
        schema_id: Some(schema_id),
        schema_digest: schemas::avro::digest(),
    }
}

/// A secret out of 366 bits from the system's generator: three random UUIDs, hashed.
fn new_secret() -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key("tidemark 2026 generation secret v1");
    for _ in 0..3 {
        hasher.update(Uuid::new_v4().as_bytes());
    }
    Secret(*hasher.finalize().as_bytes())
}

fn check(generation: &Generation, log: &EmbeddedLog) -> anyhow::Result<()> {
    let same = generation.partitions == log.partitions()
        && generation.events_id == log.events_id()
        && generation.changelog_id == log.changelog_id();
    anyhow::ensure!(
        same,
        "the generation record is of another log: put back the folder it belongs to"
    );
    anyhow::ensure!(
        generation.fold_version == FOLD_VERSION,
        "the folder was counted by fold version {}, this release has {FOLD_VERSION}: use the release it was made with, \
         or an empty folder",
        generation.fold_version
    );
    Ok(())
}

/// Opens the handles of lanes on an embedded log.
pub(crate) struct EmbeddedHandles {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) lanes: u32,
}

impl Handles for EmbeddedHandles {
    fn member(&self, lane: u32) -> Result<Box<dyn Lane>, LogError> {
        Ok(self.log.lane(lane, self.lanes))
    }

    fn chain(&self) -> Result<Box<dyn ChainReader>, LogError> {
        Ok(self.log.chain_reader())
    }

    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        Ok(self.log.reader())
    }

    fn appender(&self) -> Result<Arc<dyn Appender>, LogError> {
        Ok(self.log.appender())
    }

    fn registry(&self) -> Option<Box<dyn Registry>> {
        None
    }
}

/// Opens the embedded store.
pub(crate) async fn open_store(config: &Config, generation: &Generation) -> anyhow::Result<views::Store> {
    let folder = views_folder(config);
    let store = views::Store::open(&folder, generation.number).await;
    let store = store.with_context(|| format!("the views in {}", folder.display()))?;
    store.probe().await?;
    store.check_log(generation.changelog_id).await?;
    Ok(store)
}
