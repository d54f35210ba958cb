//! The roles: which parts each has, and in which order they start and stop. Readiness falls first, then the public port drains, then
//! the lanes, then the projector, and the admin port closes last.

use crate::ended::Ended;
use crate::kafka::StoreAccess;
use crate::world::{World, now};
use crate::{embedded, gauges, kafka, load, outcomes, registry, secrets};
use aggregator::fold::Rules;
use aggregator::service::{Aggregator, Handles, Running};
use aggregator::{lane, projector};
use axum::Router;
use ingest::{Ingest, OlderClients, OlderSecret, Target};
use log::Appender;
use log::kafka::{KafkaAppender, KafkaChainReader, KafkaReader};
use query_api::{Canaries, CanaryMetrics, LogEnds, LogEvents, LogLetters, ProgressWatch, QueryApi};
use schemas::generation::Generation;
use schemas::key::Hashing;
use service::api::Api;
use service::config::{self, Config};
use service::exit;
use service::shutdown::Shutdown;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Dirty rows of a process beyond which the projector writes before it reads on.
const DIRTY_ROWS: usize = 200_000;
/// Rows that the projector hands to the store at once.
const CHUNK_ROWS: usize = 20_000;
/// How long past its time a transaction may be open: brokers look for those every ten seconds by default.
const BROKER_LOOKS: Duration = Duration::from_secs(10);
/// How often the projector looks whether the tables are still what they were, while it writes nothing.
const STORE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// First wait of the projector for a store that does not answer; the longest is 2 s.
const STORE_RETRY_WAIT: Duration = Duration::from_millis(50);

/// `tidemark run`: everything in one process.
pub(crate) fn run(
    runtime: &Runtime,
    config: &Config,
    file: Option<&Path>,
    shutdown: &Shutdown,
) -> anyhow::Result<u8> {
    runtime.block_on(async {
        let world = World::new(config, shutdown)?;
        let port = world.listen().await?;
        let admin = world.open_admin().await?;
        let (log, generation) = embedded::open(config)?;
        let store = embedded::open_store(config, &generation).await?;
        let handles = Arc::new(embedded::EmbeddedHandles {
            log: log.clone(),
            lanes: config.aggregator.lanes,
        });
        let running = start(&world, &generation, handles, Some(store.clone()), "run")?;
        let target = Target {
            appender: log.appender(),
            partitions: generation.partitions,
            topic_id: generation.events_id,
            schema_id: embedded::OWN_SCHEMA,
        };
        let (queries, progress) = query_part(
            &world,
            store.clone(),
            &generation,
            &Source::Embedded(log.clone()),
            log.appender(),
        )?;
        let told = query_api::Outcomes::new(
            store,
            generation.number,
            Source::Embedded(log.clone()).chain_opener(),
            progress,
        );
        let told: Arc<dyn ingest::Outcomes> = Arc::new(outcomes::Ready(told));
        let routes = mounted(
            ingest_part(&world, target, Some(told))?
                .merge(queries)
                .merge(world.keys_api()),
            "run",
        );
        let router = routes.merge(console::router(console::Parts { takes_events: true }));
        let address = port.address()?.to_string();
        let serving = world.serve(port, router.clone());
        let loading = async {
            match file {
                Some(file) => load::load(&router, file, &address).await,
                None => Ok(()),
            }
        };
        let (served, loaded) = tokio::join!(serving, async {
            let loaded = loading.await;
            if loaded.is_err() {
                shutdown.begin();
            }
            loaded
        });
        let finished = finish(&world, Some(running), admin).await;
        // Last: until here the lanes still commit.
        log.close();
        served.and(loaded)?;
        finished
    })
}

/// `tidemark ingest`: HTTP to Kafka.
pub(crate) fn ingest(runtime: &Runtime, config: &Config, shutdown: &Shutdown) -> anyhow::Result<u8> {
    runtime.block_on(async {
        let mut settings = kafka::settings(config)?;
        let world = World::new(config, shutdown)?;
        settings.statistics = Some(gauges::kafka(&world.metrics)?);
        kafka::follow_password(config, &settings, shutdown);
        let port = world.listen().await?;
        let admin = world.open_admin().await?;
        let generation = kafka::generation(&settings, shutdown).await?;
        let schema_id = generation
            .schema_id
            .ok_or_else(|| anyhow::anyhow!("the generation record names no schema"))?;
        let target = Target {
            appender: Arc::new(KafkaAppender::open(&settings)?),
            partitions: generation.partitions,
            topic_id: generation.events_id,
            schema_id,
        };
        let told = later_outcomes(&world, &generation, settings)?;
        let router = mounted(ingest_part(&world, target, told)?, "ingest");
        world.serve(port, router).await?;
        finish(&world, None, admin).await
    })
}

/// `tidemark aggregate`: lanes and projector on Kafka and the view store.
pub(crate) fn aggregate(
    runtime: &Runtime,
    config: &Config,
    without_store: bool,
    shutdown: &Shutdown,
) -> anyhow::Result<u8> {
    runtime.block_on(async {
        let mut settings = kafka::settings(config)?;
        registry::settings(&config.registry)?;
        if !without_store {
            kafka::check_store(config)?;
        }
        let world = World::new(config, shutdown)?;
        settings.statistics = Some(gauges::kafka(&world.metrics)?);
        kafka::follow_password(config, &settings, shutdown);
        let admin = world.open_admin().await?;
        let generation = kafka::generation(&settings, shutdown).await?;
        let store = match without_store {
            true => None,
            false => Some(kafka::open_store(config, &generation, StoreAccess::Writes, shutdown).await?),
        };
        if let Some(store) = &store {
            gauges::store(&world.metrics, store)?;
        }
        let name = config
            .kafka
            .instance_id
            .clone()
            .unwrap_or_else(|| format!("pid-{}", std::process::id()));
        let handles = Arc::new(kafka::KafkaHandles::new(config, settings, &generation)?);
        let running = start(&world, &generation, handles, store, &name)?;
        world.started.ready();
        shutdown.begun().await;
        finish(&world, Some(running), admin).await
    })
}

/// `tidemark query`: answers from the view store.
pub(crate) fn query(runtime: &Runtime, config: &Config, shutdown: &Shutdown) -> anyhow::Result<u8> {
    runtime.block_on(async {
        let mut settings = kafka::settings(config)?;
        kafka::check_store(config)?;
        let world = World::new(config, shutdown)?;
        settings.statistics = Some(gauges::kafka(&world.metrics)?);
        kafka::follow_password(config, &settings, shutdown);
        let port = world.listen().await?;
        let admin = world.open_admin().await?;
        let generation = kafka::generation(&settings, shutdown).await?;
        let store = kafka::open_store(config, &generation, StoreAccess::Reads, shutdown).await?;
        gauges::store(&world.metrics, &store)?;
        let appender = Arc::new(KafkaAppender::open(&settings)?);
        let source = Source::Kafka(Box::new(settings));
        let (queries, progress) = query_part(&world, store, &generation, &source, appender.clone())?;
        if config.query.canary_interval_ms > 0 {
            let canaries = Canaries {
                appender,
                progress,
                partitions: generation.partitions,
                interval: Duration::from_millis(config.query.canary_interval_ms),
                patience: Duration::from_millis(config.query.canary_patience_ms),
                metrics: CanaryMetrics::new(&world.metrics, generation.partitions)?,
            };
            canaries.start(shutdown);
        }
        let routes = mounted(
            queries.merge(query_api::health_api()).merge(world.keys_api()),
            "query",
        );
        let router = routes.merge(console::router(console::Parts { takes_events: false }));
        world.serve(port, router).await?;
        finish(&world, None, admin).await
    })
}

/// Where queries look at the log.
enum Source {
    Embedded(Arc<log::embedded::EmbeddedLog>),
    Kafka(Box<log::kafka::Settings>),
}

impl Source {
    /// Says how long the log keeps records.
    fn retention(&self) -> query_api::AskRetention {
        match self {
            Self::Embedded(_) => Box::new(|| Ok(query_api::Retention::Forever)),
            Self::Kafka(settings) => {
                let settings = settings.clone();
                Box::new(move || kafka::retention(&settings))
            }
        }
    }

    fn chain_opener(&self) -> query_api::OpenChain {
        match self {
            Self::Embedded(log) => {
                let log = log.clone();
                Box::new(move || Ok(log.chain_reader()))
            }
            Self::Kafka(settings) => {
                let settings = settings.clone();
                Box::new(move || Ok(Box::new(KafkaChainReader::new(&settings)?)))
            }
        }
    }

    fn opener(&self) -> query_api::OpenReader {
        match self {
            Self::Embedded(log) => {
                let log = log.clone();
                Box::new(move || Ok(log.reader()))
            }
            Self::Kafka(settings) => {
                let settings = settings.clone();
                Box::new(move || Ok(Box::new(KafkaReader::new(&settings)?)))
            }
        }
    }
}

/// The routes of a role, and its document with the page that shows it.
fn mounted(api: Api, role: &str) -> Router {
    let (router, document) = api.into_parts();
    let document = service::api::document(&document, role, env!("CARGO_PKG_VERSION"));
    router.merge(console::docs(&document))
}

/// Outcomes for the role that needs no view store, if one is set.
fn later_outcomes(
    world: &World<'_>,
    generation: &Generation,
    chain: log::kafka::Settings,
) -> anyhow::Result<Option<Arc<dyn ingest::Outcomes>>> {
    if !world.config.store.is_configured() {
        return Ok(None);
    }
    let later = outcomes::Later::new(outcomes::Parts {
        store: kafka::store_config(world.config, generation.number, generation.user_buckets)?,
        generation: generation.number,
        changelog_id: generation.changelog_id,
        chain,
        metrics: query_api::Metrics::new(&world.metrics)?,
        shutdown: world.shutdown.clone(),
    });
    Ok(Some(Arc::new(later)))
}

fn ingest_part(
    world: &World<'_>,
    target: Target,
    outcomes: Option<Arc<dyn ingest::Outcomes>>,
) -> anyhow::Result<Api> {
    let metrics = ingest::Metrics::new(&world.metrics)?;
    let http = &world.config.http;
    let ingest = Ingest::new(
        target,
        ingest::Limits::from(http),
        metrics,
        now,
        &OlderClients {
            secret: older_secret(world)?,
            tenant: &http.live_event_tenant,
        },
    );
    let limit = Duration::from_millis(world.config.query.wait_limit_ms);
    let ingest = match outcomes {
        Some(outcomes) => ingest.with_outcomes(outcomes, limit),
        None => ingest,
    };
    Ok(ingest::api(ingest).merge(ingest::health(world.readiness.clone())))
}

fn query_part(
    world: &World<'_>,
    store: views::Store,
    generation: &Generation,
    source: &Source,
    appender: Arc<dyn Appender>,
) -> anyhow::Result<(Api, ProgressWatch)> {
    let metrics = query_api::Metrics::new(&world.metrics)?;
    let progress = ProgressWatch::start(store.clone(), metrics.clone(), world.shutdown.clone());
    let state = QueryApi {
        store,
        generation: Arc::new(generation.clone()),
        ends: Arc::new(LogEnds::new(source.opener(), generation.partitions)),
        appender,
        letters: Arc::new(LogLetters::new(source.opener(), source.retention())),
        events: Arc::new(LogEvents::new(source.opener(), source.chain_opener())),
        limits: world.config.query.clone(),
        progress: progress.clone(),
        metrics,
        clock: now,
    };
    Ok((query_api::api(state), progress))
}

/// The secret of clients of the older service, which follows its file, if it has one.
fn older_secret(world: &World<'_>) -> anyhow::Result<OlderSecret> {
    let http = &world.config.http;
    let Some(file) = http.live_event_secret_file.clone() else {
        let is_known = http.live_event_secret_is_known();
        return Ok(OlderSecret::new(http.live_event_secret.reveal(), is_known));
    };
    let first = config::read_password(&file)
        .map_err(|reason| Ended::setting(format!("http.live_event_secret_file: {reason}")))?;
    let secret = OlderSecret::new(first.reveal(), config::is_known_secret(&first));
    let followed = secret.clone();
    let change = move |text: &config::Secret| followed.change(text.reveal(), config::is_known_secret(text));
    secrets::follow("http.live_event_secret_file", file, change, &world.shutdown);
    Ok(secret)
}

/// Starts lanes and projector as the settings say.
fn start(
    world: &World<'_>,
    generation: &Generation,
    handles: Arc<dyn Handles>,
    sink: Option<views::Store>,
    name: &str,
) -> anyhow::Result<Running> {
    gauges::disk(&world.metrics, &world.config.data)?;
    let config = &world.config.aggregator;
    let partitions = generation.partitions.max(1) as usize;
    let ms = Duration::from_millis;
    let rules = Rules {
        generation: generation.number,
        partitions: generation.partitions,
        hashing: Hashing::new(&generation.secret),
    };
    let aggregator = Aggregator {
        rules: Arc::new(rules),
        own_schema: generation.schema_id,
        lane: lane::Settings {
            name: name.to_owned(),
            commit_interval: ms(config.commit_interval_ms),
            bulk_commit_interval: ms(config.bulk_commit_interval_ms),
            bulk_lag_records: config.bulk_lag_records,
            batch_records: config.batch_records as u64,
            pipeline: config.pipeline,
            hanging_after: ms(world.config.kafka.transaction_timeout_ms.into()) + BROKER_LOOKS,
            dedup_memory_bytes: usize::try_from(config.dedup_memory_bytes)? / partitions,
            dedup_max_keys: match config.dedup_max_keys {
                0 => u64::MAX,
                keys => keys.div_ceil(partitions as u64),
            },
            drain_deadline: world.config.http.drain_deadline(),
        },
        lanes: config.lanes,
        projector: projector::Settings {
            generation: generation.number,
            changelog_id: generation.changelog_id,
            flush_interval: ms(config.flush_interval_ms),
            bulk_flush_interval: ms(config.bulk_flush_interval_ms),
            // Lanes leave one interval and the commit itself between two commits.
            quiet: 2 * ms(config.bulk_commit_interval_ms.max(config.commit_interval_ms))
                + ms(config.flush_interval_ms),
            dirty_rows: DIRTY_ROWS,
            chunk_rows: CHUNK_ROWS,
            rows_per_s: world.config.store.rows_per_s_fresh,
            bulk_rows_per_s: world.config.store.rows_per_s_bulk,
            rows_memory_bytes: usize::try_from(config.rows_memory_bytes)? / partitions,
            check_interval: STORE_CHECK_INTERVAL,
            retry_wait: STORE_RETRY_WAIT,
        },
        handles,
        sink,
        lane_metrics: lane::Metrics::new(&world.metrics, generation.partitions)?,
        projector_metrics: projector::Metrics::new(&world.metrics, generation.partitions)?,
    };
    let runtime = tokio::runtime::Handle::current();
    Ok(aggregator.start(
        &embedded::spill_folder(world.config),
        &world.readiness,
        &runtime,
        &world.shutdown,
    )?)
}

/// Stops what runs, and says how it went.
async fn finish(
    world: &World<'_>,
    running: Option<Running>,
    admin: tokio::task::JoinHandle<std::io::Result<()>>,
) -> anyhow::Result<u8> {
    let fault = match running {
        Some(running) => tokio::task::spawn_blocking(move || running.stop()).await?,
        None => None,
    };
    world.close_admin();
    admin.await??;
    match fault {
        Some(what) => anyhow::bail!("{what}"),
        None => Ok(exit::OK),
    }
}
