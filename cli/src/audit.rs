//! `tidemark audit`: reads the raw log with a fold of its own and compares every row of every view. Reads only.

use crate::kafka::StoreAccess;
use crate::registry::{self, Remote};
use crate::{embedded, kafka};
use aggregator::schema::{Answer, Registry};
use audit::{Settings, World};
use log::embedded::LogFolder;
use log::kafka::{KafkaChainReader, KafkaReader};
use log::{ChainReader, LogReader};
use schemas::generation::Generation;
use service::config::Config;
use service::exit;
use service::shutdown::Shutdown;
use std::io::Write;
use std::time::Duration;
use tokio::runtime::Runtime;

/// What is audited.
struct Opened {
    generation: Generation,
    log: Box<dyn LogReader>,
    chain: Box<dyn ChainReader>,
    views: views::Store,
    registry: Option<Remote>,
}

/// Audits the folder or the cluster of the settings, and prints what it found. The exit code is 0, 1 or 2.
pub(crate) fn run(runtime: &Runtime, config: &Config, of_folder: bool, wait: u64) -> anyhow::Result<u8> {
    let opened = if of_folder {
        folder(runtime, config)
    } else {
        cluster(runtime, config)
    };
    let mut opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("tidemark: could not look: {error:#}");
            return Ok(exit::COULD_NOT_LOOK);
        }
    };
    let mut registry = opened.registry;
    let mut schema_of = |id| match registry.as_mut().map(|registry| registry.fetch(id)) {
        None | Some(Answer::Unknown) => Ok(None),
        Some(Answer::Schema(text)) => Ok(Some(text)),
        Some(Answer::Away(reason)) => Err(reason),
    };
    let world = World {
        own_schema: opened.generation.schema_id,
        generation: &opened.generation,
        log: &mut *opened.log,
        chain: &mut *opened.chain,
        views: &opened.views,
        runtime: runtime.handle(),
        registry: &mut schema_of,
    };
    let settings = Settings {
        wait: (wait > 0).then(|| Duration::from_secs(wait)),
        ..Settings::default()
    };
    match audit::audit(world, &settings, &mut |_| {}) {
        Ok(report) => {
            // The exit code speaks even where nobody reads.
            let _ = writeln!(std::io::stdout(), "{report}");
            Ok(if report.is_clean() {
                exit::OK
            } else {
                exit::DIFFERENCES
            })
        }
        Err(error) => {
            eprintln!("tidemark: could not look: {error}");
            Ok(exit::COULD_NOT_LOOK)
        }
    }
}

fn folder(runtime: &Runtime, config: &Config) -> anyhow::Result<Opened> {
    let log = LogFolder::open(&embedded::log_folder(config))?;
    let generation = log
        .generation()?
        .ok_or_else(|| anyhow::anyhow!("the folder has no generation"))?;
    let views = runtime.block_on(embedded::open_store(config, &generation))?;
    Ok(Opened {
        log: log.reader(),
        chain: log.chain_reader(),
        generation,
        views,
        registry: None,
    })
}

fn cluster(runtime: &Runtime, config: &Config) -> anyhow::Result<Opened> {
    let shutdown = Shutdown::new();
    let settings = kafka::settings(config)?;
    let generation = runtime.block_on(kafka::generation(&settings, &shutdown))?;
    let views = runtime.block_on(kafka::open_store(
        config,
        &generation,
        StoreAccess::Reads,
        &shutdown,
    ))?;
    registry::settings(&config.registry)?;
    Ok(Opened {
        log: Box::new(KafkaReader::new(&settings)?),
        chain: Box::new(KafkaChainReader::new(&settings)?),
        registry: generation
            .schema_id
            .map(|own| Remote::new(config.registry.clone(), own, runtime.handle().clone())),
        generation,
        views,
    })
}
