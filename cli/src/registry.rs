//! The schema registry: our schema goes in at `migrate`, others' come out while counting.

use crate::ended::Ended;
use aggregator::schema::{Answer, Registry};
use reqwest::Certificate;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use service::config;
use std::path::Path;
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
    if let (Some(name), Some(file)) = (&registry.username, &registry.password_file) {
        let password = config::read_password(file).map_err(Ended::setting)?;
        builder.set_basic_authorization(name, Some(password.reveal()));
    }
    let mut client = reqwest::Client::builder();
    if let Some(file) = &registry.ca_file {
        client = client.tls_certs_only(authorities(file)?);
    }
    builder
        .build_with(client)
        .map_err(|error| Ended::setting(format!("registry.url: {error}")).into())
}

/// The authorities of a PEM file.
fn authorities(file: &Path) -> anyhow::Result<Vec<Certificate>> {
    let wrong = |why: String| Ended::setting(format!("registry.ca_file {}: {why}", file.display()));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    anyhow::ensure!(!found.is_empty(), wrong("holds no certificate".to_owned()));
    Ok(found)
}

/// Registers our schema; the id that the registry has for it.
pub(crate) async fn register(registry: &SrSettings) -> anyhow::Result<u32> {
    let schema = SuppliedSchema::new(None, SchemaType::Avro, schemas::avro::SCHEMA.to_owned());
    let registered = post_schema(registry, SUBJECT.to_owned(), schema).await;
    Ok(registered
        .map_err(|error| {
            anyhow::anyhow!(
                "the registry did not take the schema of events: {}",
                in_words(&error)
            )
        })?
        .id)
}

/// A registry asked from a thread of its own.
pub(crate) struct Remote {
    registry: config::Registry,
    own: u32,
    runtime: tokio::runtime::Handle,
}

impl Remote {
    /// `own` is the id of our schema: it tells a registry that lost an id from one that lost everything.
    pub(crate) fn new(registry: config::Registry, own: u32, runtime: tokio::runtime::Handle) -> Self {
        Self {
            registry,
            own,
            runtime,
        }
    }

    async fn ask(&self, id: u32) -> Answer {
        // Made for each question, of which there are few: so the password is always the one that the file holds.
        let settings = match settings(&self.registry) {
            Ok(settings) => settings,
            Err(error) => return Answer::Away(error.to_string()),
        };
        match get_schema_by_id(id, &settings).await {
            Ok(registered) => Answer::Schema(registered.schema),
            Err(error) if is_unknown(&error) => match get_schema_by_id(self.own, &settings).await {
                Ok(_) => Answer::Unknown,
                Err(error) => Answer::Away(format!("it does not know id {id}, nor our own schema: {error}")),
            },
            Err(error) => Answer::Away(in_words(&error)),
        }
    }
}

impl Registry for Remote {
    fn fetch(&mut self, id: u32) -> Answer {
        self.runtime.block_on(self.ask(id))
    }
}

/// What went wrong with what is behind it, and what to mend where that is known.
fn in_words(error: &SRCError) -> String {
    let mut words = error.error.clone();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    let known = [
        (
            "certificate has expired",
            "its certificate has expired: renew it there",
        ),
        (
            "mismatch",
            "its certificate does not name the host of registry.url",
        ),
        (
            "certificate verify failed",
            "registry.ca_file does not hold the authority that signed its certificate",
        ),
        (
            "wrong version number",
            "it speaks no TLS: registry.url must be http://",
        ),
        (
            "status 401",
            "it does not know registry.username, or its password is not the one in registry.password_file",
        ),
        ("status 403", "registry.username lacks a right there"),
    ];
    if let Some((_, advice)) = known.iter().find(|(text, _)| words.contains(text)) {
        words = format!("{words}: {advice}");
    }
    words
}

/// Whether the registry said 404: the client gives the status only in its text.
fn is_unknown(error: &SRCError) -> bool {
    !error.retriable && error.error.contains("status 404")
}
