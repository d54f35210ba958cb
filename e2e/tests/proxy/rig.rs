//! Topics, producers and readers on the real broker, most of them behind a proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::proxy::Proxy;
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// Generous: a full test machine is slow, and nothing here waits this long when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The broker's address.
pub(crate) fn broker() -> SocketAddr {
    let address = std::env::var("TIDEMARK_TEST_KAFKA")
        .expect("TIDEMARK_TEST_KAFKA is not set: `make test` starts the engines and sets it");
    address
        .parse()
        .expect("TIDEMARK_TEST_KAFKA is host:port with a numeric host")
}

/// A proxy and a topic of its own, with names that no other run used.
pub(crate) struct Rig {
    pub(crate) proxy: Proxy,
    pub(crate) topic: String,
    /// Transactional id and group.
    pub(crate) id: String,
}

impl Rig {
    pub(crate) fn new(scenario: &str, partitions: i32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let topic = format!("proxy-{scenario}-{now}");
        create_topic(&topic, partitions);
        Self {
            proxy: Proxy::start(broker()).unwrap(),
            id: format!("{topic}-id"),
            topic,
        }
    }

    /// A configuration that goes through the proxy.
    pub(crate) fn config(&self) -> ClientConfig {
        config(self.proxy.address())
    }

    /// A transactional producer behind the proxy, with its id and epoch.
    pub(crate) fn producer(&self) -> Writer {
        let deliveries = Deliveries::default();
        let producer: BaseProducer<Deliveries> = self
            .config()
            .set("transactional.id", &self.id)
            .set("transaction.timeout.ms", "60000")
            .set("linger.ms", "0")
            .create_with_context(deliveries.clone())
            .unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        Writer {
            producer,
            deliveries,
            topic: self.topic.clone(),
        }
    }

    /// Metadata of a group that this test's consumer never joined: generation -1, which the broker accepts.
    pub(crate) fn group(&self) -> (BaseConsumer, ConsumerGroupMetadata) {
        let consumer: BaseConsumer = config(broker()).set("group.id", &self.id).create().unwrap();
        let metadata = consumer.group_metadata().unwrap();
        (consumer, metadata)
    }

    /// The group's committed next offset of partition 0.
    pub(crate) fn committed_offset(&self) -> Option<i64> {
        let consumer: BaseConsumer = config(broker()).set("group.id", &self.id).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic, 0);
        let known = consumer.committed_offsets(asked, DEADLINE).unwrap();
        match known.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// All that a read_committed reader sees, partition after partition.
    pub(crate) fn committed(&self) -> Vec<String> {
        self.read("read_committed", broker())
    }

    /// All records of the topic as a reader at `address` sees them.
    pub(crate) fn read(&self, isolation: &str, address: SocketAddr) -> Vec<String> {
        let consumer: BaseConsumer = config(address)
            .set("group.id", "reader")
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(&self.topic), DEADLINE).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
        let mut assigned = TopicPartitionList::new();
        for partition in 0..partitions {
            assigned
                .add_partition_offset(&self.topic, partition as i32, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&assigned).unwrap();
        let mut seen: Vec<(i32, String)> = Vec::new();
        let mut ended = 0;
        let begin = Instant::now();
        while ended < partitions {
            assert!(
                begin.elapsed() < DEADLINE,
                "the readers' end was not reached; seen: {seen:?}"
            );
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    let value = String::from_utf8(record.payload().unwrap().to_vec()).unwrap();
                    seen.push((record.partition(), value));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        seen.sort_by_key(|(partition, _)| *partition);
        seen.into_iter().map(|(_, value)| value).collect()
    }

    /// Waits until partition 0 ends at this offset, markers included.
    pub(crate) fn wait_for_end(&self, offset: i64) {
        let consumer: BaseConsumer = config(broker()).set("group.id", "reader").create().unwrap();
        let begin = Instant::now();
        loop {
            let (_, end) = consumer.fetch_watermarks(&self.topic, 0, DEADLINE).unwrap();
            if end == offset {
                return;
            }
            assert!(
                end < offset && begin.elapsed() < DEADLINE,
                "partition 0 ends at {end}, not at {offset}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn config(address: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string());
    config
}

fn create_topic(topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = config(broker()).create().unwrap();
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    for created in block_on(admin.create_topics([&new], &options)).unwrap() {
        created.unwrap();
    }
}

/// A transactional producer that writes to one topic and remembers what was not delivered.
pub(crate) struct Writer {
    pub(crate) producer: BaseProducer<Deliveries>,
    deliveries: Deliveries,
    topic: String,
}

impl Writer {
    pub(crate) fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    /// Produces one record and waits for its fate.
    pub(crate) fn write(&self, partition: i32, value: &str) -> Result<(), RDKafkaErrorCode> {
        let record = BaseRecord::<(), str>::to(&self.topic)
            .partition(partition)
            .payload(value);
        if let Err((error, _)) = self.producer.send(record) {
            return Err(error.rdkafka_error_code().unwrap());
        }
        self.producer.flush(DEADLINE).unwrap();
        self.deliveries
            .failed
            .lock()
            .unwrap()
            .drain(..)
            .next()
            .map_or(Ok(()), Err)
    }

    pub(crate) fn commit(&self) -> End {
        End::of(self.producer.commit_transaction(DEADLINE))
    }

    pub(crate) fn abort(&self) -> End {
        End::of(self.producer.abort_transaction(DEADLINE))
    }

    /// A whole transaction of one record in partition 0.
    pub(crate) fn transact(&self, value: &str) -> End {
        if let Err(error) = self.producer.begin_transaction() {
            return End::of(Err(error));
        }
        // Only the result of commit counts.
        let _ = self.write(0, value);
        self.commit()
    }
}

/// How a transactional call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// The transaction must be aborted; the producer goes on.
    Abort(RDKafkaErrorCode),
    /// The producer is dead.
    Fatal(RDKafkaErrorCode),
    Other(RDKafkaErrorCode),
}

impl End {
    fn of(result: KafkaResult<()>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(KafkaError::Transaction(error)) if error.is_fatal() => Self::Fatal(error.code()),
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => Self::Abort(error.code()),
            Err(error) => Self::Other(error.rdkafka_error_code().unwrap()),
        }
    }
}

/// Collects the errors of records that were not delivered.
#[derive(Clone, Default)]
pub(crate) struct Deliveries {
    failed: Arc<Mutex<Vec<RDKafkaErrorCode>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed
                .lock()
                .unwrap()
                .push(error.rdkafka_error_code().unwrap());
        }
    }
}
