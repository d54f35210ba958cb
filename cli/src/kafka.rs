//! Kafka, the registry and the view store as the settings name them.

use crate::ended::Ended;
use crate::registry::Remote;
use crate::secrets;
use aggregator::schema::Registry;
use aggregator::service::Handles;
use anyhow::Context;
use log::kafka::{Admin, KafkaAppender, KafkaChainReader, KafkaLane, KafkaReader, Login, Settings};
use log::{Appender, ChainReader, Lane, LogError, LogReader};
use query_api::Retention;
use schemas::generation::Generation;
use service::config::{self, Config, Consistency};
use service::shutdown::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use views::cassandra;

/// Wait between tries while something that is needed at the start is away.
const RETRY: Duration = Duration::from_secs(1);

/// The generation that this release works on; a later one comes with rebuilds.
pub(crate) const GENERATION: u32 = 1;

/// How to reach Kafka.
pub(crate) fn settings(config: &Config) -> anyhow::Result<Settings> {
    let kafka = &config.kafka;
    if !kafka.is_configured() {
        anyhow::bail!(Ended::setting(
            "kafka.brokers is not set: the bootstrap servers, host:port"
        ));
    }
    let prefix = &kafka.prefix;
    Ok(Settings {
        group: format!("{}.g{GENERATION}", kafka.group),
        events: kafka.events_topic.clone(),
        changelog: format!("{prefix}.changelog.g{GENERATION}"),
        dead_letters: format!("{prefix}.dead-letters.g{GENERATION}"),
        generations: format!("{prefix}.generations"),
        session_timeout_ms: kafka.session_timeout_ms,
        transaction_timeout_ms: kafka.transaction_timeout_ms,
        linger_ms: kafka.linger_ms,
        produce_deadline_ms: kafka.produce_deadline_ms,
        buffer_bytes: usize::try_from(kafka.buffer_bytes)?,
        properties: kafka.properties(),
        login: login(kafka)?,
        ..Settings::new(kafka.brokers.clone(), GENERATION)
    })
}

/// Who we are to the brokers, as the file of the password has it now.
fn login(kafka: &config::Kafka) -> anyhow::Result<Option<Arc<Login>>> {
    let (Some(username), Some(file)) = (&kafka.sasl.username, &kafka.sasl.password_file) else {
        return Ok(None);
    };
    let password = config::read_password(file).map_err(Ended::setting)?;
    Ok(Some(Login::new(username.clone(), password.reveal())))
}

/// Follows the file of the password until `shutdown`.
pub(crate) fn follow_password(config: &Config, settings: &Settings, shutdown: &Shutdown) {
    let (Some(file), Some(login)) = (config.kafka.sasl.password_file.clone(), settings.login.clone()) else {
        return;
    };
    let change = move |password: &config::Secret| login.change(password.reveal());
    secrets::follow("kafka.sasl.password_file", file, change, shutdown);
}

/// Waits for Kafka and reads the generation; refuses one that does not fit what is there.
pub(crate) async fn generation(settings: &Settings, shutdown: &Shutdown) -> anyhow::Result<Generation> {
    loop {
        match look(settings) {
            Ok(Some(generation)) => return Ok(generation),
            Ok(None) => anyhow::bail!(Ended::not_there(
                "there is no generation yet: run `tidemark migrate` first"
            )),
            Err(LogError::Away(reason)) => tracing::warn!(reason, "waiting for Kafka"),
            Err(error) => return Err(error.into()),
        }
        wait(shutdown).await?;
    }
}

fn look(settings: &Settings) -> Result<Option<Generation>, LogError> {
    let admin = Admin::new(settings)?;
    let Some(generation) = admin.generation()? else {
        return Ok(None);
    };
    admin.check(&generation)?;
    Ok(Some(generation))
}

/// How long the topic of events keeps its records, by its settings as they are now.
pub(crate) fn retention(settings: &Settings) -> Result<Retention, LogError> {
    let topic = Admin::new(settings)?.describe(&settings.events)?;
    let topic = topic.ok_or_else(|| LogError::Wrong(format!("there is no topic {}", settings.events)))?;
    let said = |name: &str| topic.config.get(name).and_then(|text| text.parse::<i64>().ok());
    Ok(match (said("retention.ms"), said("retention.bytes")) {
        (Some(..0), Some(..0)) => Retention::Forever,
        // A limit in bytes may strike at any time.
        (Some(_), Some(0..)) => Retention::Bounded(None),
        (Some(ms @ 0..), Some(..0)) => Retention::Bounded(Some(ms.unsigned_abs())),
        (None, _) | (_, None) => Retention::Unknown,
    })
}

async fn wait(shutdown: &Shutdown) -> anyhow::Result<()> {
    tokio::select! {
        () = tokio::time::sleep(RETRY) => Ok(()),
        () = shutdown.begun() => anyhow::bail!(Ended::early()),
    }
}

/// Whether the settings name a view store.
pub(crate) fn check_store(config: &Config) -> anyhow::Result<()> {
    if !config.store.is_configured() {
        let what = "store.nodes is not set: contact points of ScyllaDB or Cassandra, host:port";
        anyhow::bail!(Ended::setting(what));
    }
    Ok(())
}

/// How to reach the view store.
pub(crate) fn store_config(
    config: &Config,
    generation: u32,
    user_buckets: u32,
) -> anyhow::Result<cassandra::Config> {
    check_store(config)?;
    let store = &config.store;
    let consistency = match store.consistency {
        Consistency::LocalQuorum => cassandra::Consistency::LocalQuorum,
        Consistency::Quorum => cassandra::Consistency::Quorum,
        Consistency::One | Consistency::LocalOne => cassandra::Consistency::LocalOne,
    };
    Ok(cassandra::Config {
        credentials: store
            .username
            .clone()
            .zip(store.password_file.clone())
            .map(|(user, password_file)| cassandra::Credentials { user, password_file }),
        tls: store.tls.enabled.then(|| cassandra::Tls {
            ca_file: store.tls.ca_file.clone(),
            own: store.tls.certificate_file.clone().zip(store.tls.key_file.clone()),
        }),
        datacenter: store.datacenter.clone(),
        replicas: store.replication_factor.into(),
        consistency,
        in_flight: store.in_flight,
        request_timeout: Duration::from_millis(store.timeout_ms),
        ..cassandra::Config::new(store.nodes.clone(), &store.keyspace, generation, user_buckets)
    })
}

/// What a role does at the view store: one that only reads needs no right to write.
#[derive(Clone, Copy)]
pub(crate) enum StoreAccess {
    Reads,
    Writes,
}

/// Waits for the view store and looks whether it is what it should be.
pub(crate) async fn open_store(
    config: &Config,
    generation: &Generation,
    access: StoreAccess,
    shutdown: &Shutdown,
) -> anyhow::Result<views::Store> {
    let settings = store_config(config, generation.number, generation.user_buckets)?;
    loop {
        let opened = match views::Store::connect(settings.clone()).await {
            Ok(store) => checked(store, generation, access).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(store) => return Ok(store),
            Err(views::Error::Away(reason)) => tracing::warn!(reason, "waiting for the view store"),
            Err(error) => return Err(error.into()),
        }
        wait(shutdown).await?;
    }
}

/// The store, if it is what it should be, and of this log.
async fn checked(
    store: views::Store,
    generation: &Generation,
    access: StoreAccess,
) -> Result<views::Store, views::Error> {
    match access {
        StoreAccess::Writes => store.probe().await?,
        StoreAccess::Reads => store.look().await?,
    }
    store.check_log(generation.changelog_id).await?;
    Ok(store)
}

/// Opens the handles of lanes on Kafka.
pub(crate) struct KafkaHandles {
    settings: Settings,
    lane_id: String,
    instance: Option<String>,
    appender: Arc<dyn Appender>,
    registry: config::Registry,
    own_schema: u32,
    runtime: tokio::runtime::Handle,
}

impl KafkaHandles {
    pub(crate) fn new(config: &Config, settings: Settings, generation: &Generation) -> anyhow::Result<Self> {
        let own_schema = generation
            .schema_id
            .context("the generation record names no schema: run `tidemark migrate`")?;
        let instance = config.kafka.instance_id.clone();
        // A transactional id must be stable for its slot: the instance id where there is one. Without one each start takes
        // a new id, and what a killed process left open is aborted by its time-out.
        let lane_id = instance
            .clone()
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        Ok(Self {
            appender: Arc::new(KafkaAppender::open(&settings)?),
            registry: config.registry.clone(),
            settings,
            lane_id,
            instance,
            own_schema,
            runtime: tokio::runtime::Handle::current(),
        })
    }
}

impl Handles for KafkaHandles {
    fn member(&self, lane: u32) -> Result<Box<dyn Lane>, LogError> {
        let settings = Settings {
            transactional_id: format!("{}.{}-{lane}", self.settings.group, self.lane_id),
            instance_id: self
                .instance
                .as_ref()
                .map(|instance| format!("{instance}-{lane}")),
            ..self.settings.clone()
        };
        Ok(Box::new(KafkaLane::open(&settings)?))
    }

    fn chain(&self) -> Result<Box<dyn ChainReader>, LogError> {
        Ok(Box::new(KafkaChainReader::new(&self.settings)?))
    }

    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(KafkaReader::new(&self.settings)?))
    }

    fn appender(&self) -> Result<Arc<dyn Appender>, LogError> {
        Ok(self.appender.clone())
    }

    fn registry(&self) -> Option<Box<dyn Registry>> {
        Some(Box::new(Remote::new(
            self.registry.clone(),
            self.own_schema,
            self.runtime.clone(),
        )))
    }
}
