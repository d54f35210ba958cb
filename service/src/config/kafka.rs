//! Kafka and the schema registry.
//!
//! Raw librdkafka properties are allowed for tuning, but never those on which exactly-once rests, nor those of TLS and SASL that have
//! settings of their own here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::links::{self, Tls};
use super::redact;

/// Properties that we set ourselves; another value would break exactly-once, fill the memory (with statistics that nobody takes), or belongs to a
/// setting of ours.
const OURS: [&str; 27] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "linger.ms",
    "metadata.broker.list",
    "request.required.acks",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "enable.ssl.certificate.verification",
    "ssl.endpoint.identification.algorithm",
    "statistics.interval.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Section `kafka`. Its `Debug` redacts secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to start from, `host:port` separated by commas; empty: Kafka is not configured.
    /// Default empty; `TIDEMARK_KAFKA__BROKERS`.
    pub brokers: String,
    /// Consumer group of the lanes, before the generation's number is put to it.
    /// Default `tidemark`; `TIDEMARK_KAFKA__GROUP`.
    pub group: String,
    /// Topic of the events.
    /// Default `events`; `TIDEMARK_KAFKA__EVENTS_TOPIC`.
    pub events_topic: String,
    /// What the names of our own topics (changelog, dead letters, generations) start with.
    /// Default `tidemark`; `TIDEMARK_KAFKA__PREFIX`.
    pub prefix: String,
    /// Partitions of the events topic, when `migrate` creates it; the generation holds the number from then on, and a later `migrate` with
    /// another one is refused.
    /// Default 4; `TIDEMARK_KAFKA__PARTITIONS`.
    pub partitions: u32,
    /// Copies of each partition when `migrate` creates topics.
    /// Default 1; `TIDEMARK_KAFKA__REPLICATION_FACTOR`.
    pub replication_factor: i16,
    /// Milliseconds that a record waits for company before it is sent.
    /// Default 5; `TIDEMARK_KAFKA__LINGER_MS`.
    pub linger_ms: u32,
    /// Milliseconds within which a record must be durable, else its request fails with a 503.
    /// Default 10,000; `TIDEMARK_KAFKA__PRODUCE_DEADLINE_MS`.
    pub produce_deadline_ms: u32,
    /// Bytes of records that may wait to be sent.
    /// Default 32 MiB; `TIDEMARK_KAFKA__BUFFER_BYTES`.
    pub buffer_bytes: u64,
    /// Milliseconds without a heartbeat after which the group gives a lane's partitions to others.
    /// Default 45,000; `TIDEMARK_KAFKA__SESSION_TIMEOUT_MS`.
    pub session_timeout_ms: u32,
    /// Milliseconds after which the broker aborts a transaction left open.
    /// Default 10,000; `TIDEMARK_KAFKA__TRANSACTION_TIMEOUT_MS`.
    pub transaction_timeout_ms: u32,
    /// Name of this process in the group, unique in it (static membership); none: a dynamic member.
    /// Default none; `TIDEMARK_KAFKA__INSTANCE_ID`.
    pub instance_id: Option<String>,
    /// Encryption.
    pub tls: Tls,
    /// Who we are to the brokers.
    pub sasl: Sasl,
    /// Raw librdkafka properties, such as `"client.rack" = "a"`; in a variable `_` stands for each dot of the property:
    /// `TIDEMARK_KAFKA__EXTRA__CLIENT_RACK`.
    /// Default none; `TIDEMARK_KAFKA__EXTRA__CLIENT_RACK` and so on.
    pub extra: BTreeMap<String, String>,
    /// Properties whose values are read from files, for secrets: `"ssl.key.password" = "/run/secrets/kafka"`. When
    /// loaded they stand in `extra`; a line end at the end of the file is left out. Variables are named as there.
    /// Default none; `TIDEMARK_KAFKA__EXTRA_FILES__SSL_KEY_PASSWORD` and so on.
    pub extra_files: BTreeMap<String, PathBuf>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            group: "tidemark".to_owned(),
            events_topic: "events".to_owned(),
            prefix: "tidemark".to_owned(),
            partitions: 4,
            replication_factor: 1,
            linger_ms: 5,
            produce_deadline_ms: 10_000,
            buffer_bytes: 32 * 1024 * 1024,
            session_timeout_ms: 45_000,
            transaction_timeout_ms: 10_000,
            instance_id: None,
            tls: Tls::default(),
            sasl: Sasl::default(),
            extra: BTreeMap::new(),
            extra_files: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: BTreeMap<_, _> = self
            .extra
            .iter()
            .map(|(name, value)| (name, redact::value(&format!("kafka.extra.{name}"), value)))
            .collect();
        f.debug_struct("Kafka")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("events_topic", &self.events_topic)
            .field("prefix", &self.prefix)
            .field("instance_id", &self.instance_id)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("extra", &extra)
            .field("extra_files", &self.extra_files)
            .finish_non_exhaustive()
    }
}

impl Kafka {
    /// Whether brokers are configured.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.brokers.is_empty()
    }

    /// What librdkafka is told beside what tidemark sets itself: `extra`, and what `tls` and `sasl` come to; no password.
    #[must_use]
    pub fn properties(&self) -> BTreeMap<String, String> {
        let mut properties = self.extra.clone();
        let is_named = self.sasl.username.is_some();
        let protocol = match (self.tls.enabled, is_named) {
            (true, true) => "sasl_ssl",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (false, false) => "plaintext",
        };
        let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
        set("security.protocol", protocol.to_owned());
        if is_named {
            set("sasl.mechanism", self.sasl.mechanism.name().to_owned());
        }
        let files = [
            ("ssl.ca.location", &self.tls.ca_file),
            ("ssl.certificate.location", &self.tls.certificate_file),
            ("ssl.key.location", &self.tls.key_file),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                set(name, file.display().to_string());
            }
        }
        properties
    }

    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        if self.is_configured() {
            let fits = self
                .brokers
                .split(',')
                .all(|broker| is_host_and_port(broker.trim()));
            checks.that(
                fits,
                "kafka.brokers",
                &self.brokers,
                "must be host:port, separated by commas",
            );
        }
        checks.text("kafka.group", &self.group, 200);
        for (key, name) in [
            ("kafka.events_topic", &self.events_topic),
            ("kafka.prefix", &self.prefix),
        ] {
            // Topic names have at most 249 characters; the prefix leaves room for what we put to it.
            let reason = "must be 1 to 200 characters out of a-z A-Z 0-9 . _ -, and not . or ..";
            checks.that(is_topic_name(name), key, name, reason);
        }
        checks.range("kafka.partitions", self.partitions, 1, 10_000);
        checks.range("kafka.replication_factor", self.replication_factor, 1, 100);
        checks.range("kafka.linger_ms", self.linger_ms, 0, 10_000);
        checks.range(
            "kafka.produce_deadline_ms",
            self.produce_deadline_ms,
            100,
            3_600_000,
        );
        checks.that(
            self.produce_deadline_ms > self.linger_ms,
            "kafka.produce_deadline_ms",
            self.produce_deadline_ms,
            "must be more than kafka.linger_ms",
        );
        // librdkafka: queue.buffering.max.kbytes is 1 to 2,147,483,647.
        checks.range(
            "kafka.buffer_bytes",
            self.buffer_bytes,
            1024 * 1024,
            2_147_483_647 * 1024,
        );
        checks.range(
            "kafka.session_timeout_ms",
            self.session_timeout_ms,
            1000,
            3_600_000,
        );
        // librdkafka: transaction.timeout.ms is 1000 to 2,147,483,647; the broker's own limit is 15 minutes.
        checks.range(
            "kafka.transaction_timeout_ms",
            self.transaction_timeout_ms,
            1000,
            900_000,
        );
        if let Some(id) = &self.instance_id {
            checks.text("kafka.instance_id", id, 200);
        }
        self.tls.check("kafka.tls", checks);
        self.sasl.check(self.tls.enabled, checks);
        for (name, value) in &self.extra {
            let reason = "is set by tidemark itself: exactly-once or its memory depends on it, or it has a setting of its own";
            checks.that(
                !OURS.contains(&name.as_str()),
                &format!("kafka.extra.{name}"),
                value,
                reason,
            );
        }
    }
}

/// Section `kafka.sasl`: who we are to the brokers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How we show it: `scram-sha-512`, `scram-sha-256`, or `plain`, which sends the password and so needs TLS. Without a name, nothing
    /// is shown, or the certificate of `kafka.tls`.
    /// Default `scram-sha-512`; `TIDEMARK_KAFKA__SASL__MECHANISM`.
    pub mechanism: SaslMechanism,
    /// Our name.
    /// Default none; `TIDEMARK_KAFKA__SASL__USERNAME`.
    pub username: Option<String>,
    /// File of our password. One that was changed holds for new connections within 10 s.
    /// Default none; `TIDEMARK_KAFKA__SASL__PASSWORD_FILE`.
    pub password_file: Option<PathBuf>,
}

/// SASL's ways that librdkafka has without libraries of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// RFC 5802 with SHA-512.
    #[default]
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// RFC 5802 with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// RFC 4616.
    #[serde(rename = "plain")]
    Plain,
}

impl SaslMechanism {
    /// Kafka's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
    }
}

impl Sasl {
    fn check(&self, is_encrypted: bool, checks: &mut Checks<'_>) {
        let (name, file) = (self.username.as_deref(), self.password_file.as_deref());
        links::check_login("kafka.sasl", name, file, checks);
        let is_hidden = is_encrypted || name.is_none() || self.mechanism != SaslMechanism::Plain;
        let reason = "sends the password as it is: set kafka.tls.enabled, or a scram mechanism";
        checks.that(is_hidden, "kafka.sasl.mechanism", "plain", reason);
    }
}

/// Section `registry`: the schema registry.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Address of the registry; `migrate`, `aggregate` and `audit` need it.
    /// Default none; `TIDEMARK_REGISTRY__URL`.
    pub url: Option<String>,
    /// Milliseconds that an answer may take.
    /// Default 3000; `TIDEMARK_REGISTRY__TIMEOUT_MS`.
    pub timeout_ms: u64,
    /// PEM file of the authorities whose certificates are believed of an `https://` address; none: the system's.
    /// Default none; `TIDEMARK_REGISTRY__CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// Our name, for basic authentication.
    /// Default none; `TIDEMARK_REGISTRY__USERNAME`.
    pub username: Option<String>,
    /// File of our password; it is read for each question.
    /// Default none; `TIDEMARK_REGISTRY__PASSWORD_FILE`.
    pub password_file: Option<PathBuf>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            url: None,
            timeout_ms: 3000,
            ca_file: None,
            username: None,
            password_file: None,
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_deref().map(|url| redact::value("registry.url", url));
        f.debug_struct("Registry")
            .field("url", &url)
            .field("timeout_ms", &self.timeout_ms)
            .field("ca_file", &self.ca_file)
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .finish()
    }
}

impl Registry {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        if let Some(url) = &self.url {
            let rest = url
                .strip_prefix("http://")
                .or_else(|| url.strip_prefix("https://"));
            let fits = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace));
            checks.that(
                fits,
                "registry.url",
                url,
                "must be an http:// or https:// address",
            );
        }
        checks.range("registry.timeout_ms", self.timeout_ms, 1, 600_000);
        let is_https = self.url.as_deref().is_some_and(|url| url.starts_with("https://"));
        if let Some(file) = &self.ca_file {
            let reason = "has no effect on a registry.url that is not https://";
            checks.that(is_https, "registry.ca_file", file.display(), reason);
            links::is_readable("registry.ca_file", file, checks);
        }
        let (name, file) = (self.username.as_deref(), self.password_file.as_deref());
        links::check_login("registry", name, file, checks);
        let reason = "goes with a password that would be sent as it is: registry.url must be https://";
        checks.that(
            is_https || name.is_none(),
            "registry.username",
            name.unwrap_or_default(),
            reason,
        );
    }
}

fn is_topic_name(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// `host:port`, also `[::1]:9092`.
pub(super) fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(char::is_whitespace)
            && (!host.contains(':') || host.starts_with('['))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
