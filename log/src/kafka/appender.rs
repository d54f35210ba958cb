//! Appends chunks to `events`: idempotent, acknowledged by all in-sync copies, never in transactions.
//!
//! A chunk has one future, not one per record. A budget of bytes bounds what all chunks hold together: a chunk waits for
//! its share before anything of it is handed over, and gives the share back when its last record's fate is known. A failed
//! chunk may be on the log in part; keys make its repetition harmless.
//!
//! An idempotent producer that meets certain errors is dead for good. A new one takes its place then, without being asked:
//! what the dead one held has failed, what comes later goes to the new one.

use super::failure::append_error;
use super::raw::{Failure, Handle, Report, Ticket, Topic};
use super::settings::Settings;
use super::statistics::ClientKind;
use crate::batch::Chunk;
use crate::ports::{AppendError, Appended, Appender, LogError, Placed};
use futures::channel::oneshot;
use futures::future::BoxFuture;
use schemas::limits::RECORD_BYTES;
use schemas::redrive::HEADER_BYTES;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What librdkafka holds beside a record's bytes, roughly; so that tiny records are bounded too.
const RECORD_OVERHEAD: usize = 256;
/// Framing of a batch of one record (61 bytes), of the record (varints), and some room.
const FRAME: usize = 128;
/// How long one wait for reports lasts; also how soon a dead producer is noticed while nothing comes.
const LOOK: Duration = Duration::from_millis(100);

/// Appends to `events`.
pub struct KafkaAppender {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    topic: Mutex<Arc<Topic>>,
    budget: Arc<Semaphore>,
    budget_bytes: u32,
    closing: AtomicBool,
}

impl KafkaAppender {
    /// An appender with a thread of its own for the acknowledgements. Asks nothing of the brokers yet; the first append
    /// takes about half a second longer than later ones.
    pub fn open(settings: &Settings) -> Result<Self, LogError> {
        let topic =
            producer(settings).map_err(|failure| LogError::Wrong(format!("settings of Kafka: {failure}")))?;
        // Permits are counted in u32; 4 GiB of waiting appends are beyond any use.
        let budget_bytes = u32::try_from(settings.buffer_bytes).unwrap_or(u32::MAX).max(1);
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            topic: Mutex::new(Arc::new(topic)),
            budget: Arc::new(Semaphore::new(budget_bytes as usize)),
            budget_bytes,
            closing: AtomicBool::new(false),
        });
        let served = shared.clone();
        Builder::new()
            .name("kafka-appender".to_owned())
            .spawn(move || served.serve())
            .map_err(|error| LogError::Fatal(format!("a thread for acknowledgements: {error}")))?;
        Ok(Self { shared })
    }

    /// Bytes that appends hold now, with an estimate of librdkafka's overhead.
    pub fn held_bytes(&self) -> usize {
        (self.shared.budget_bytes as usize).saturating_sub(self.shared.budget.available_permits())
    }
}

impl Appender for KafkaAppender {
    /// Must be awaited on a tokio runtime with its timer.
    fn append(&self, chunk: Chunk) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.in_time(chunk, false).await.map(|placed| placed.appended) })
    }

    fn append_placed(&self, chunk: Chunk) -> BoxFuture<'static, Result<Placed, AppendError>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.in_time(chunk, true).await })
    }
}

impl Drop for KafkaAppender {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
    }
}

impl Shared {
    async fn in_time(&self, chunk: Chunk, with_offsets: bool) -> Result<Placed, AppendError> {
        fit(&chunk)?;
        let deadline = self.settings.produce_deadline();
        let late =
            || AppendError::Unavailable(format!("no acknowledgement within {} ms", deadline.as_millis()));
        tokio::time::timeout(deadline, self.append(chunk, with_offsets))
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn append(&self, chunk: Chunk, with_offsets: bool) -> Result<Placed, AppendError> {
        let share = self.share(&chunk).await?;
        if self.closing.load(Ordering::Acquire) {
            return Err(AppendError::Unavailable("the appender is closing".to_owned()));
        }
        let (done, fate) = oneshot::channel::<Report>();
        let mut ticket = Ticket::new(move |report| {
            drop(share);
            // Whoever waited may have gone at its deadline.
            drop(done.send(report));
        });
        if with_offsets {
            ticket.keep_offsets(chunk.len());
        }
        self.topic().produce(&chunk, ticket);
        drop(chunk); // librdkafka has its own copy.
        match fate.await {
            Ok(report) => report.map_err(|failure| append_error(&failure)),
            Err(_) => Err(AppendError::Unavailable("the appender was closed".to_owned())),
        }
    }

    /// Waits for the chunk's share of the budget; a chunk larger than all of it waits for all of it.
    async fn share(&self, chunk: &Chunk) -> Result<OwnedSemaphorePermit, AppendError> {
        let bytes = chunk.bytes() + chunk.len() * RECORD_OVERHEAD;
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.budget_bytes);
        let closed = |_| AppendError::Unavailable("the appender was closed".to_owned());
        self.budget
            .clone()
            .acquire_many_owned(share)
            .await
            .map_err(closed)
    }

    fn topic(&self) -> Arc<Topic> {
        self.topic.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The acknowledgements' thread: serves reports, and puts a new producer in a dead one's place.
    fn serve(&self) {
        let mut retired: Vec<Arc<Topic>> = Vec::new();
        while !self.closing.load(Ordering::Acquire) {
            let topic = self.topic();
            topic.handle().poll(LOOK);
            if let Some(failure) = topic.handle().fatal() {
                self.replace(&failure, &mut retired);
            }
            retired.retain(|topic| {
                topic.handle().poll(Duration::ZERO);
                topic.handle().waiting() > 0
            });
        }
        retired.push(self.topic());
        self.finish(&retired);
    }

    fn replace(&self, failure: &Failure, retired: &mut Vec<Arc<Topic>>) {
        match producer(&self.settings) {
            Ok(topic) => {
                tracing::warn!(%failure, "the event producer broke; a new one takes its place");
                let mut place = self.topic.lock().unwrap_or_else(PoisonError::into_inner);
                let dead = std::mem::replace(&mut *place, Arc::new(topic));
                drop(place);
                dead.handle().purge();
                retired.push(dead);
            }
            Err(error) => {
                tracing::error!(%failure, %error, "the event producer broke and none could be made")
            }
        }
    }

    /// Sends what is left, at most for the deadline, and gives up the rest, so that every ticket ends.
    fn finish(&self, topics: &[Arc<Topic>]) {
        let began = Instant::now();
        for topic in topics {
            while topic.handle().waiting() > 0 && began.elapsed() < self.settings.produce_deadline() {
                topic.handle().poll(LOOK);
            }
            topic.handle().purge();
            while topic.handle().waiting() > 0 {
                topic.handle().poll(LOOK);
            }
        }
    }
}

fn producer(settings: &Settings) -> Result<Topic, Failure> {
    let handle = Arc::new(Handle::producer(
        &settings.appender(),
        settings.watched(Some(ClientKind::Appender)),
        true,
    )?);
    Topic::new(&handle, &settings.events)
}

/// Refuses what the broker would refuse: there it would stall every other record of the producer too (the gap in its
/// sequence makes librdkafka drain and take a new epoch).
fn fit(chunk: &Chunk) -> Result<(), AppendError> {
    if chunk.is_empty() {
        return Err(AppendError::Refused("a chunk without records".to_owned()));
    }
    // Origins differ by some digits, and redriven copies by more.
    let redrive = chunk.redrive(0).map_or(0, |_| HEADER_BYTES);
    let headers: usize = chunk
        .headers_of(0)
        .iter()
        .map(|(name, value)| name.len() + value.len() + 10)
        .sum();
    let largest = chunk
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .max()
        .unwrap_or(0);
    let bytes = largest + headers + redrive + FRAME;
    match bytes <= RECORD_BYTES {
        true => Ok(()),
        false => Err(AppendError::Refused(format!(
            "a record of {bytes} bytes; the log takes {RECORD_BYTES}"
        ))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::kafka::{Admin, Plan};
    use schemas::{Offset, Partition};

    fn chunk(key: &str) -> Chunk {
        let mut chunk = Chunk::new(Partition(0));
        chunk.push(key.as_bytes(), b"value");
        chunk
    }

    #[test]
    fn a_record_beyond_the_limit_is_refused_before_anything_is_sent() {
        let mut large = chunk("small");
        large.push(b"large", &vec![0; RECORD_BYTES]);
        assert!(matches!(fit(&large), Err(AppendError::Refused(_))));
        assert!(fit(&chunk("small")).is_ok());
        assert!(matches!(fit(&Chunk::default()), Err(AppendError::Refused(_))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broken_producer_is_replaced_and_appends_go_on() {
        let brokers =
            std::env::var("TIDEMARK_TEST_KAFKA").expect("TIDEMARK_TEST_KAFKA is not set: see `engines env`");
        let mut settings = Settings::new(brokers, 1);
        settings.events = format!("events-broken-{}", uuid::Uuid::new_v4().simple());
        Admin::new(&settings)
            .unwrap()
            .create(&[Plan::events(&settings, 1)], None)
            .unwrap();
        let appender = KafkaAppender::open(&settings).unwrap();
        assert_eq!(appender.append(chunk("before")).await.unwrap().next, Offset(1));
        appender.shared.topic().handle().break_for_test();
        let began = Instant::now();
        let next = loop {
            match appender.append(chunk("after")).await {
                Ok(appended) => break appended.next,
                Err(AppendError::Unavailable(_)) => assert!(began.elapsed() < Duration::from_secs(20)),
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(next, Offset(2));
        assert_eq!(appender.held_bytes(), 0);
    }
}
