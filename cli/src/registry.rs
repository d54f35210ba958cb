//! The schema registry: our schema goes in at `migrate`, others' come out while counting.

use crate::ended::Ended;
use aggregator::schema::{Answer, Registry};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use service::config;
use std::time::Duration;

/// The subject of events.
const SUBJECT: &str = "events-value";

/// The registry of the settings; an error if none is configured.
pub(crate) fn settings(registry: &config::Registry) -> anyhow::Result<SrSettings> {
    let Some(url) = registry.url.clone() else {
        anyhow::bail!(Ended::setting(
            "registry.url is not set: the address of the schema registry"
        ));
    };
    let mut builder = SrSettings::new_builder(url);
    builder.set_timeout(Duration::from_millis(registry.timeout_ms));
    builder
        .build()
        .map_err(|error| Ended::setting(format!("registry.url: {error}")).into())
}

/// Registers our schema; the id that the registry has for it.
pub(crate) async fn register(registry: &SrSettings) -> anyhow::Result<u32> {
    let schema = SuppliedSchema::new(None, SchemaType::Avro, schemas::avro::SCHEMA.to_owned());
    let registered = post_schema(registry, SUBJECT.to_owned(), schema).await;
    Ok(registered
        .map_err(|error| anyhow::anyhow!("the registry did not take the schema of events: {error}"))?
        .id)
}

/// A registry asked from a thread of its own.
pub(crate) struct Remote {
    settings: SrSettings,
    own: u32,
    runtime: tokio::runtime::Handle,
}

impl Remote {
    /// `own` is the id of our schema: it tells a registry that lost an id from one that lost everything.
    pub(crate) fn new(settings: SrSettings, own: u32, runtime: tokio::runtime::Handle) -> Self {
        Self {
            settings,
            own,
            runtime,
        }
    }

    async fn ask(&self, id: u32) -> Answer {
        match get_schema_by_id(id, &self.settings).await {
            Ok(registered) => Answer::Schema(registered.schema),
            Err(error) if is_unknown(&error) => match get_schema_by_id(self.own, &self.settings).await {
                Ok(_) => Answer::Unknown,
                Err(error) => Answer::Away(format!("it does not know id {id}, nor our own schema: {error}")),
            },
            Err(error) => Answer::Away(error.to_string()),
        }
    }
}

impl Registry for Remote {
    fn fetch(&mut self, id: u32) -> Answer {
        self.runtime.block_on(self.ask(id))
    }
}

/// Whether the registry said 404: the client gives the status only in its text.
fn is_unknown(error: &SRCError) -> bool {
    !error.retriable && error.error.contains("status 404")
}
