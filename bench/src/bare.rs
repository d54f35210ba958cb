//! librdkafka with nothing of ours around it: the batch calls, in a loop, for as fast as a client on this machine can be. What the
//! product reaches is told as a share of this, measured in the same run on the same records.
#![allow(
    unsafe_code,
    reason = "the batch calls of librdkafka have no safe interface; every block says why it is sound"
)]

use anyhow::{Context, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::types::RDKafkaType;
use std::ffi::{CString, c_char};
use std::ptr::{NonNull, null_mut};
use std::time::{Duration, Instant};

/// Messages of one batch call.
const CALL: usize = 1000;
/// For a whole run.
const PATIENCE: Duration = Duration::from_secs(120);

/// Records of one partition: key and value.
pub type Records = Vec<(Vec<u8>, Vec<u8>)>;

struct Client {
    client: NonNull<native::rd_kafka_t>,
    topic: NonNull<native::rd_kafka_topic_t>,
}

impl Client {
    fn new(config: &ClientConfig, kind: RDKafkaType, topic: &str) -> anyhow::Result<Self> {
        let settings = config.create_native_config()?;
        let mut why = [0 as c_char; 512];
        let name = CString::new(topic)?;
        // SAFETY: the settings are alive, and theirs is the client once it is made; `why` is as long as said.
        let client = unsafe { native::rd_kafka_new(kind, settings.ptr(), why.as_mut_ptr(), why.len()) };
        let client = NonNull::new(client).context("librdkafka refused its settings")?;
        std::mem::forget(settings);
        // SAFETY: client and name are alive; null settings mean the defaults.
        let topic = unsafe { native::rd_kafka_topic_new(client.as_ptr(), name.as_ptr(), null_mut()) };
        let topic = NonNull::new(topic).context("librdkafka refused the topic")?;
        Ok(Self { client, topic })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: both are alive and used by nobody else; the topic goes first, as librdkafka asks.
        unsafe {
            native::rd_kafka_topic_destroy(self.topic.as_ptr());
            native::rd_kafka_destroy(self.client.as_ptr());
        }
    }
}

/// Produces all records to `topic`, idempotent and acknowledged by all; how long that took from the first call to the last
/// acknowledgement.
///
/// # Errors
/// If the broker does not take all of them.
pub fn produce(brokers: &str, topic: &str, partitions: &[Records]) -> anyhow::Result<Duration> {
    let mut config = ClientConfig::new();
    // As the product's, so that both ask the same of the broker.
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.type", "lz4"),
        ("linger.ms", "5"),
        ("batch.size", "1000000"),
        ("batch.num.messages", "100000"),
        ("queue.buffering.max.messages", "0"),
        ("queue.buffering.max.kbytes", "2147483647"),
    ] {
        config.set(name, value);
    }
    let client = Client::new(&config, RDKafkaType::RD_KAFKA_PRODUCER, topic)?;
    let begun = Instant::now();
    let mut rest: Vec<_> = partitions.iter().map(|records| records.chunks(CALL)).collect();
    let mut sent = true;
    while sent {
        sent = false;
        for (partition, chunks) in rest.iter_mut().enumerate() {
            if let Some(chunk) = chunks.next() {
                send(&client, partition as i32, chunk)?;
                sent = true;
            }
        }
    }
    // SAFETY: the client is alive.
    let code = unsafe { native::rd_kafka_flush(client.client.as_ptr(), PATIENCE.as_millis() as i32) };
    ensure!(
        code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        "not all was acknowledged in {PATIENCE:?}"
    );
    Ok(begun.elapsed())
}

fn send(client: &Client, partition: i32, chunk: &[(Vec<u8>, Vec<u8>)]) -> anyhow::Result<()> {
    let mut messages: Vec<_> = chunk
        .iter()
        .map(|(key, value)| native::rd_kafka_message_t {
            err: native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: null_mut(),
            partition,
            payload: value.as_ptr().cast_mut().cast(),
            len: value.len(),
            key: key.as_ptr().cast_mut().cast(),
            key_len: key.len(),
            offset: 0,
            _private: null_mut(),
        })
        .collect();
    // SAFETY: as many messages as said, whose bytes `chunk` keeps alive; with F_COPY librdkafka copies them.
    let taken = unsafe {
        native::rd_kafka_produce_batch(
            client.topic.as_ptr(),
            partition,
            native::RD_KAFKA_MSG_F_COPY,
            messages.as_mut_ptr(),
            messages.len() as i32,
        )
    };
    ensure!(
        taken as usize == chunk.len(),
        "librdkafka took {taken} of {}",
        chunk.len()
    );
    Ok(())
}

/// Reads `count` records of `topic` from its beginning, giving each to `each`; how long that took from the first that came.
///
/// # Errors
/// If they do not come.
pub fn consume(
    brokers: &str,
    topic: &str,
    partitions: u32,
    count: u64,
    mut each: impl FnMut(usize, &[u8], &[u8]),
) -> anyhow::Result<Duration> {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("isolation.level", "read_committed"),
        ("check.crcs", "true"),
        ("fetch.queue.backoff.ms", "5"),
    ] {
        config.set(name, value);
    }
    let client = Client::new(&config, RDKafkaType::RD_KAFKA_CONSUMER, topic)?;
    // SAFETY: the client is alive.
    let queue =
        NonNull::new(unsafe { native::rd_kafka_queue_new(client.client.as_ptr()) }).context("no queue")?;
    let begun = Instant::now();
    for partition in 0..partitions {
        // SAFETY: topic and queue are alive.
        let failed = unsafe {
            native::rd_kafka_consume_start_queue(client.topic.as_ptr(), partition as i32, 0, queue.as_ptr())
        };
        ensure!(failed == 0, "partition {partition} cannot be read");
    }
    let (mut left, mut first) = (count, None);
    let mut taken = vec![null_mut(); CALL];
    let mut failed = None;
    while left > 0 && failed.is_none() && begun.elapsed() < PATIENCE {
        // SAFETY: the queue is alive and the array has room for as many as said.
        let got =
            unsafe { native::rd_kafka_consume_batch_queue(queue.as_ptr(), 100, taken.as_mut_ptr(), CALL) };
        for message in taken.iter().take(usize::try_from(got).unwrap_or(0)) {
            // SAFETY: the call filled what it counted with messages that are ours until destroyed, once, below.
            let found = unsafe { &**message };
            if found.err == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                first.get_or_insert_with(Instant::now);
                left -= u64::from(left > 0);
                // SAFETY: start and length of allocations of the message, which is alive.
                let (key, value) =
                    unsafe { (bytes(found.key, found.key_len), bytes(found.payload, found.len)) };
                each(found.partition as usize, key, value);
            } else {
                failed = Some(found.err);
            }
            // SAFETY: ours, and not used again.
            unsafe { native::rd_kafka_message_destroy(*message) };
        }
    }
    for partition in 0..partitions {
        // SAFETY: the topic is alive.
        unsafe { native::rd_kafka_consume_stop(client.topic.as_ptr(), partition as i32) };
    }
    // SAFETY: alive, and not used again.
    unsafe { native::rd_kafka_queue_destroy(queue.as_ptr()) };
    if let Some(code) = failed {
        bail!("reading failed: {code:?}");
    }
    ensure!(
        left == 0,
        "{left} of {count} records did not come in {PATIENCE:?}"
    );
    Ok(first.unwrap_or(begun).elapsed())
}

/// # Safety
/// `start` is null or has `len` bytes that live long enough.
unsafe fn bytes<'a>(start: *mut std::ffi::c_void, len: usize) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) }
}
