//! Sends three events straight to Kafka, to the topic that is named: `TIDEMARK_TEST_KAFKA=127.0.0.1:29090 producing events`.

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts the records that are durable.
#[derive(Default)]
struct Durable(AtomicUsize);

impl ClientContext for Durable {}

impl ProducerContext for Durable {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(usize::from(result.is_ok()), Ordering::SeqCst);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let topic = std::env::args().nth(1).ok_or("the topic is missing")?;
    let producer: BaseProducer<Durable> = ClientConfig::new()
        .set("bootstrap.servers", std::env::var("TIDEMARK_TEST_KAFKA")?)
        // librdkafka's own default is another one.
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .create_with_context(Durable::default())?;

    let keys = ["rust-1", "rust-2", "rust-3"];
    for key in keys {
        let value = r#"{"user_id":"u-rust","event_type":"sale","occurred_at":"2025-11-04T12:00:00Z","amount":"12.50","till":"4"}"#;
        let record = BaseRecord::to(&topic).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30))?;
    match producer.context().0.load(Ordering::SeqCst) {
        durable if durable == keys.len() => Ok(()),
        durable => Err(format!("{durable} of {} are durable: send all of them again", keys.len()).into()),
    }
}
