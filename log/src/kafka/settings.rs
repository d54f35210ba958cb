//! What a Kafka client needs to know, and what of it each kind of client is told.
//!
//! The properties that exactness or boundedness rest on are set last, so that an operator's own properties (TLS, SASL,
//! buffers of the network) can never undo them.

use super::raw::{Login, Watched};
use super::statistics::{ClientKind, Statistics};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use schemas::limits::{DEAD_LETTER_BYTES, RECORD_BYTES};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How often a client says what it measures, in milliseconds: as often as metrics are looked at, at most.
pub(super) const STATISTICS_MS: &str = "10000";
/// Room for headers and framing around a record's key and value, in bytes.
pub(super) const FRAME_BYTES: usize = 64 * 1024;
/// Bytes fetched ahead for each partition, in KiB, until no more is asked for. A process reads each of its partitions three times over
/// (events, and the changelog by lane and projector), so this and the next two make most of an aggregator's memory.
const FETCHED_KIB: u32 = 4 * 1024;
/// Records fetched ahead for each partition until no more is asked for: each costs librdkafka 450 bytes beside its own. A lane takes
/// 1,000 at a time, and what is asked for next comes within milliseconds.
const FETCHED_RECORDS: u32 = 10_000;
/// Most bytes of one partition in one answer, as they lie on the log: decompressed they are several times that, and all of them stay
/// until the last record is taken. A larger batch comes alone.
const ANSWER_BYTES: u32 = 512 * 1024;

/// Where Kafka is, and how this process uses it.
#[derive(Clone)]
pub struct Settings {
    /// Bootstrap servers, `host:port` with commas between.
    pub brokers: String,
    /// Group of the lanes.
    pub group: String,
    /// Topic of events.
    pub events: String,
    /// Topic of commit records.
    pub changelog: String,
    /// Topic of copies of dead letters.
    pub dead_letters: String,
    /// Topic of the generation record.
    pub generations: String,
    /// Transactional id of a lane: stable for its slot, so that a restart ends what the former one left open.
    pub transactional_id: String,
    /// Instance id of a lane's membership: with one, a restart within the session has its partitions back at once.
    pub instance_id: Option<String>,
    /// After this silence a member is out of its group, in milliseconds.
    pub session_timeout_ms: u32,
    /// After this time the broker aborts an open transaction, in milliseconds; short, since it holds up readers.
    pub transaction_timeout_ms: u32,
    /// How long an appended record may wait for company, in milliseconds.
    pub linger_ms: u32,
    /// An append that is not acknowledged by then has failed, in milliseconds.
    pub produce_deadline_ms: u32,
    /// A question or read that is not answered by then has failed, in milliseconds.
    pub read_deadline_ms: u32,
    /// Most bytes that appends may hold before others wait.
    pub buffer_bytes: usize,
    /// Further properties of librdkafka's, as of TLS; may hold secrets.
    pub properties: BTreeMap<String, String>,
    /// Who we are to the brokers, where they ask by SASL.
    pub login: Option<Arc<Login>>,
    /// Where the clients of lanes and of the appender say what they measure.
    pub statistics: Option<Arc<Statistics>>,
}

impl Settings {
    /// The usual settings for these brokers; topics, group and transactional id as of this generation.
    pub fn new(brokers: impl Into<String>, generation: u32) -> Self {
        Self {
            brokers: brokers.into(),
            group: format!("tidemark.g{generation}"),
            events: "events".to_owned(),
            changelog: format!("changelog.g{generation}"),
            dead_letters: format!("dead-letters.g{generation}"),
            generations: "generations".to_owned(),
            transactional_id: format!("tidemark.g{generation}.lane-0"),
            instance_id: None,
            session_timeout_ms: 45_000,
            transaction_timeout_ms: 10_000,
            linger_ms: 5,
            produce_deadline_ms: 10_000,
            read_deadline_ms: 10_000,
            buffer_bytes: 64 * 1024 * 1024,
            properties: BTreeMap::new(),
            login: None,
            statistics: None,
        }
    }

    /// Who looks after a client; `kind` only for one that is polled all the time.
    pub(super) fn watched(&self, kind: Option<ClientKind>) -> Watched {
        Watched {
            login: self.login.clone(),
            statistics: self.statistics.clone().zip(kind),
        }
    }

    pub(super) fn read_deadline(&self) -> Duration {
        Duration::from_millis(self.read_deadline_ms.into())
    }

    pub(super) fn produce_deadline(&self) -> Duration {
        Duration::from_millis(self.produce_deadline_ms.into())
    }

    pub(super) fn transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.transaction_timeout_ms.into())
    }

    /// What every client is told.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.extend([("client.id".to_owned(), "tidemark".to_owned())]);
        config.extend(self.properties.clone());
        if let Some(login) = &self.login {
            config.set("sasl.username", login.username());
            config.set("sasl.password", login.password());
        }
        config.set("bootstrap.servers", &self.brokers);
        // Brokers come back within seconds; the default of 10 s would be added to every outage.
        config.set("reconnect.backoff.max.ms", "1000");
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// A lane's membership, which reads nothing.
    pub(super) fn member(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", &self.group);
        // KIP-848 keeps a killed static member's partitions for the whole session (COSTS.md, E0 e).
        config.set("group.protocol", "classic");
        if let Some(instance) = &self.instance_id {
            config.set("group.instance.id", instance);
        }
        config.set("session.timeout.ms", self.session_timeout_ms.to_string());
        // Also how long the others take to notice that a lane has left.
        config.set(
            "heartbeat.interval.ms",
            (self.session_timeout_ms / 3).min(1_000).to_string(),
        );
        // Cooperative: a lane keeps its state of the partitions that stay, and goes on with them during a rebalance.
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("queued.max.messages.kbytes", "64");
        if self.statistics.is_some() {
            config.set("statistics.interval.ms", STATISTICS_MS);
        }
        config
    }

    /// Reads partitions from explicit offsets.
    pub(super) fn reader(&self, ends: bool) -> ClientConfig {
        let mut config = self.client();
        // Also for `events`: we never write it in transactions, but a foreign producer may, and what it aborts must not
        // be counted. The price: its open transaction holds us up, at most for its own timeout.
        config.set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", ends.to_string());
        config.set("check.crcs", "true");
        // A partition that joins waits until the fetch under way has returned.
        config.set("fetch.wait.max.ms", "100");
        // The default of 1 s stops a reader whose queue was full for that long (COSTS.md, E1).
        config.set("fetch.queue.backoff.ms", "10");
        config.set("fetch.error.backoff.ms", "100");
        config.set("queued.min.messages", FETCHED_RECORDS.to_string());
        config.set("fetch.message.max.bytes", ANSWER_BYTES.to_string());
        config.set("queued.max.messages.kbytes", FETCHED_KIB.to_string());
        config
    }

    /// Appends to `events`.
    pub(super) fn appender(&self) -> ClientConfig {
        let mut config = self.producer(RECORD_BYTES + FRAME_BYTES);
        config.set("linger.ms", self.linger_ms.to_string());
        config.set("batch.size", "1000000");
        config.set("batch.num.messages", "100000");
        config.set("message.timeout.ms", self.produce_deadline_ms.max(1).to_string());
        config
    }

    /// A lane's transactional producer.
    pub(super) fn committer(&self) -> ClientConfig {
        let mut config = self.producer(DEAD_LETTER_BYTES + FRAME_BYTES);
        config.set("transactional.id", &self.transactional_id);
        config.set("transaction.timeout.ms", self.transaction_timeout_ms.to_string());
        // Commit flushes, which ends any linger; this only lets the records of one transaction share requests.
        config.set("linger.ms", "1");
        // Right after a commit the coordinator answers CONCURRENT_TRANSACTIONS until its markers are written, a few
        // milliseconds; at the default of 100 ms each commit that follows another closely would take that long. It grows
        // with each try, to a second.
        config.set("retry.backoff.ms", "5");
        config
    }

    fn producer(&self, record_bytes: usize) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("compression.type", "lz4");
        config.set("message.max.bytes", record_bytes.to_string());
        // Appends have a budget of bytes of their own; librdkafka's limits must never be met before it.
        config.set("queue.buffering.max.kbytes", "2147483647");
        config.set("queue.buffering.max.messages", "0");
        config
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.keys().collect();
        f.debug_struct("Settings")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("events", &self.events)
            .field("changelog", &self.changelog)
            .field("transactional_id", &self.transactional_id)
            .field("instance_id", &self.instance_id)
            .field("properties", &names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn properties_never_undo_what_exactness_rests_on_and_never_show() {
        let mut settings = Settings::new("somewhere:9092", 1);
        settings.properties.insert("acks".to_owned(), "1".to_owned());
        settings
            .properties
            .insert("isolation.level".to_owned(), "read_uncommitted".to_owned());
        settings
            .properties
            .insert("sasl.password".to_owned(), "hidden".to_owned());
        assert_eq!(settings.appender().get("acks"), Some("all"));
        assert_eq!(
            settings.reader(true).get("isolation.level"),
            Some("read_committed")
        );
        assert_eq!(settings.reader(true).get("sasl.password"), Some("hidden"));
        assert!(!format!("{settings:?}").contains("hidden"));
    }

    #[test]
    fn librdkafka_takes_every_kind_of_settings() {
        let settings = Settings::new("somewhere:9092", 1);
        for config in [
            settings.member(),
            settings.reader(true),
            settings.appender(),
            settings.committer(),
        ] {
            config.create_native_config().unwrap();
        }
    }
}
