//! A producer that is not ours, as of another team, with transactions of its own.

use log::kafka::Settings;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

pub struct Foreign(BaseProducer);

impl Foreign {
    pub fn plain(settings: &Settings) -> Self {
        Self(config(settings).create().unwrap())
    }

    pub fn transactional(settings: &Settings, id: &str) -> Self {
        let mut config = config(settings);
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", "60000");
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(LONG).unwrap();
        Self(producer)
    }

    pub fn begin(&self) {
        self.0.begin_transaction().unwrap();
    }

    /// On the log, though not committed.
    pub fn send(&self, topic: &str, partition: i32, values: &[&str]) {
        for value in values {
            self.0
                .send(
                    BaseRecord::to(topic)
                        .partition(partition)
                        .key("key")
                        .payload(*value),
                )
                .unwrap();
        }
        self.0.flush(LONG).unwrap();
    }

    pub fn commit(&self) {
        self.0.commit_transaction(LONG).unwrap();
    }

    pub fn abort(&self) {
        self.0.abort_transaction(LONG).unwrap();
    }
}

fn config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0");
    config.set_log_level(RDKafkaLogLevel::Error);
    config
}
