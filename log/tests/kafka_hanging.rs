//! A transaction that hangs: its records are there, and no coordinator knows of it. A broker that dies at the wrong moment leaves such behind
//! (KAFKA-20734); here it is made by hand, with the requests that no client sends.

use crate::kafka_support::{chain, joined, transaction, until, with_topics};
use log::kafka::{KafkaChainReader, KafkaLane, Settings};
use log::{ChainEvent, ChainReader, Lane, Place};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use schemas::{Offset, Partition};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The one node of the test engine.
const BROKER: i32 = 1;
const VERIFICATION: &str = "transaction.partition.verification.enable";
const INIT_PRODUCER_ID: i16 = 22;
const PRODUCE: i16 = 0;
const INVALID_TXN_STATE: i16 = 48;

/// While it lives the broker takes records of transactions that its coordinator knows nothing of, as those do that do not verify them.
struct Unverified(AdminClient<DefaultClientContext>);

impl Unverified {
    fn new(settings: &Settings) -> Self {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", &settings.brokers);
        let this = Self(config.create().unwrap());
        this.alter(AlterConfig::new(ResourceSpecifier::Broker(BROKER)).set(VERIFICATION, "false"));
        this
    }

    fn alter(&self, config: AlterConfig<'_>) {
        let altered = self.0.alter_configs([&config], &AdminOptions::new());
        let altered = futures::executor::block_on(altered).unwrap();
        assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    }
}

impl Drop for Unverified {
    fn drop(&mut self) {
        self.alter(AlterConfig::new(ResourceSpecifier::Broker(BROKER)));
    }
}

/// Sends a request and gives the body of its answer.
fn ask(broker: &mut TcpStream, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(7_i32.to_be_bytes());
    put_text(&mut request, "by hand");
    request.extend(body);
    broker.write_all(&(request.len() as u32).to_be_bytes()).unwrap();
    broker.write_all(&request).unwrap();
    let mut length = [0; 4];
    broker.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    broker.read_exact(&mut answer).unwrap();
    answer.split_off(4)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as i16).to_be_bytes());
    out.extend(text.as_bytes());
}

/// Becomes the producer of a transactional id: its id and epoch.
fn become_producer(broker: &mut TcpStream, transactional_id: &str) -> (i64, i16) {
    let mut body = Vec::new();
    put_text(&mut body, transactional_id);
    body.extend(5_000_i32.to_be_bytes());
    let answer = ask(broker, INIT_PRODUCER_ID, 1, &body);
    let error = i16::from_be_bytes(answer[4..6].try_into().unwrap());
    assert_eq!(error, 0, "becoming a producer");
    (
        i64::from_be_bytes(answer[6..14].try_into().unwrap()),
        i16::from_be_bytes(answer[14..16].try_into().unwrap()),
    )
}

/// Writes a record of a transaction that was never begun.
fn write_unknown(
    broker: &mut TcpStream,
    settings: &Settings,
    partition: i32,
    (producer, epoch): (i64, i16),
) -> i16 {
    let records = batch(producer, epoch, b"hanging");
    let mut body = Vec::new();
    put_text(&mut body, &settings.transactional_id);
    body.extend((-1_i16).to_be_bytes());
    body.extend(5_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    put_text(&mut body, &settings.changelog);
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend((records.len() as i32).to_be_bytes());
    body.extend(&records);
    let answer = ask(broker, PRODUCE, 3, &body);
    // One topic by its name, one partition by its number, then the error.
    let error = 4 + 2 + settings.changelog.len() + 4 + 4;
    i16::from_be_bytes(answer[error..error + 2].try_into().unwrap())
}

/// A batch of one transactional record, in the format of Kafka's logs (version 2).
fn batch(producer: i64, epoch: i16, value: &[u8]) -> Vec<u8> {
    let zigzag = |number: i64| ((number << 1) ^ (number >> 63)) as u8;
    let mut record = vec![0, 0, 0, zigzag(-1), zigzag(value.len() as i64)];
    record.extend(value);
    record.push(0);
    let mut checked = Vec::new();
    checked.extend(0x10_i16.to_be_bytes());
    checked.extend(0_i32.to_be_bytes());
    checked.extend([1_i64.to_be_bytes(), 1_i64.to_be_bytes()].concat());
    checked.extend(producer.to_be_bytes());
    checked.extend(epoch.to_be_bytes());
    checked.extend([0_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat());
    checked.push(zigzag(record.len() as i64));
    checked.extend(record);
    let mut batch = Vec::new();
    batch.extend(0_i64.to_be_bytes());
    batch.extend((checked.len() as i32 + 9).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: i32| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// What a reader of committed records says within a while.
fn said(settings: &Settings, partition: u32) -> Vec<ChainEvent> {
    let mut reader = KafkaChainReader::new(settings).unwrap();
    let place = place(partition, 0);
    reader.assign(&[place]).unwrap();
    let mut said = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        said.extend(reader.poll(Duration::from_millis(100)).unwrap());
    }
    said
}

fn place(partition: u32, next: u64) -> Place {
    Place {
        partition: Partition(partition),
        next: Offset(next),
    }
}

/// A producer that the coordinator takes for idle has an open transaction on each of these partitions.
fn leave_hanging(settings: &Settings, broker: &mut TcpStream, producer: (i64, i16), partitions: &[i32]) {
    let unverified = Unverified::new(settings);
    for partition in partitions {
        until("the broker to take what it does not know", || {
            (write_unknown(broker, settings, *partition, producer) == 0).then_some(())
        });
    }
    drop(unverified);
    for partition in partitions {
        let stuck = said(settings, *partition as u32);
        let at_start =
            |event: &ChainEvent| matches!(event, ChainEvent::Reached(reached) if reached.next == Offset(0));
        assert!(stuck.iter().all(at_start), "it hangs: {stuck:?}");
    }
}

#[test]
fn a_transaction_that_hangs_is_ended_by_its_producer_and_by_none_else() {
    let settings = with_topics("hanging", 4);
    let mut lane = KafkaLane::open(&settings).unwrap();
    joined(&mut lane, 4);
    lane.commit(&transaction(0, 1, &[b"before"])).unwrap();
    drop(lane);

    let mut broker = TcpStream::connect(&settings.brokers).unwrap();
    let (producer, epoch) = become_producer(&mut broker, &settings.transactional_id);
    let refused = write_unknown(&mut broker, &settings, 1, (producer, epoch));
    assert_eq!(refused, INVALID_TXN_STATE, "a sound broker takes no such thing");
    leave_hanging(&settings, &mut broker, (producer, epoch), &[1, 2]);

    // Another lane's tries change nothing.
    let mut other = settings.clone();
    other.transactional_id.push_str("-other");
    other.group.push_str("-other");
    let mut other = KafkaLane::open(&other).unwrap();
    other.end_hanging().unwrap();
    other.end_hanging().unwrap();
    assert_eq!(
        said(&settings, 2).len(),
        1,
        "the start of the partition alone is reached"
    );

    // A lane ends what hangs when it starts.
    let mut lane = KafkaLane::open(&settings).unwrap();
    assert_eq!(chain(&settings, 0).0, [(Offset(0), b"before".to_vec())]);
    for partition in [1, 2] {
        let (parts, _) = chain(&settings, partition);
        assert!(parts.is_empty(), "what hung is given up: {parts:?}");
    }

    // And while it runs, by its second look, though the partition may be another's. It came one epoch behind the producer by hand.
    leave_hanging(&settings, &mut broker, (producer, epoch + 1), &[3]);
    lane.end_hanging().unwrap();
    lane.end_hanging().unwrap();
    let (parts, end) = chain(&settings, 3);
    assert!(parts.is_empty(), "what hung is given up: {parts:?}");
    joined(&mut lane, 4);
    lane.commit(&transaction(3, 1, &[b"after"])).unwrap();
    assert_eq!(chain(&settings, 3).0, [(end, b"after".to_vec())]);
}
