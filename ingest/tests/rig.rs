//! A server on port 0, a client that says exactly what it is told to, and a log in memory.

use futures::future::BoxFuture;
use ingest::{Ingest, Limits, Metrics, Outcomes, Target, router};
use log::batch::Kind;
use log::{AppendError, Appended, Appender, Chunk};
use schemas::upload::{Fact, What};
use schemas::{Event, Offset, Timestamp, avro};
use serde_json::Value;
use service::access::Access;
use service::config;
use service::metrics::Registry;
use service::shutdown::Shutdown;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use uuid::Uuid;

pub const PARTITIONS: u32 = 4;
pub const SCHEMA_ID: u32 = 77;
pub const TOPIC: Uuid = Uuid::from_u128(7);
/// 2026-11-22.
pub const NOW: Timestamp = Timestamp(1_795_305_600_000_000);
/// Longest that a test waits for anything; only a broken test ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the log does with a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Keeps its records.
    Record,
    /// Counts its records and forgets them.
    Count,
    /// Keeps the first chunks, and does not acknowledge the others.
    FailAfter(usize),
    /// Never takes it.
    Refuse,
}

/// A log in memory.
pub struct FakeLog {
    pub mode: Mutex<Mode>,
    /// Partition, key, value.
    pub records: Mutex<Vec<(u32, String, Vec<u8>)>>,
    /// Facts of uploads, each with its partition.
    pub facts: Mutex<Vec<(u32, Fact)>>,
    /// Records that wait to be released.
    pub held: AtomicUsize,
    pub ends: Mutex<HashMap<u32, u64>>,
    pub chunks: AtomicUsize,
    pub most_in_flight: AtomicUsize,
    in_flight: AtomicUsize,
    pub largest_chunk: AtomicUsize,
    /// A chunk is done with when it gets one of these.
    pub gate: Semaphore,
}

impl FakeLog {
    pub fn new(mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            mode: Mutex::new(mode),
            records: Mutex::default(),
            facts: Mutex::default(),
            held: AtomicUsize::new(0),
            ends: Mutex::default(),
            chunks: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            largest_chunk: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// A log that does nothing until its gate gets permits.
    pub fn held() -> Arc<Self> {
        let log = Self::new(Mode::Record);
        log.gate.forget_permits(Semaphore::MAX_PERMITS);
        log
    }

    /// All events, in the order of their keys.
    pub fn events(&self) -> Vec<Event<'static>> {
        let mut events = Vec::new();
        for (partition, key, value) in self.records.lock().unwrap().iter() {
            let (id, body) = avro::frame(value).unwrap();
            let event = avro::decode(body).unwrap().into_owned();
            assert_eq!((id, key.as_str()), (SCHEMA_ID, event.idempotency_key.as_ref()));
            assert_eq!(schemas::key::partition(key.as_bytes(), PARTITIONS).0, *partition);
            events.push(event);
        }
        events.sort_by(|a, b| a.idempotency_key.cmp(&b.idempotency_key));
        events
    }

    /// What became of the one upload there is.
    pub fn life(&self) -> Vec<What> {
        let facts = self.facts.lock().unwrap();
        facts.iter().map(|(_, fact)| fact.what.clone()).collect()
    }

    pub fn len(&self) -> u64 {
        self.ends.lock().unwrap().values().sum()
    }

    fn take(&self, number: usize, chunk: &Chunk) -> Result<Appended, AppendError> {
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Refuse => return Err(AppendError::Refused("too large".into())),
            Mode::FailAfter(good) if number >= good => {
                return Err(AppendError::Unavailable("secret broker".into()));
            }
            Mode::Count if chunk.kind() != Kind::Fact => {}
            _ if chunk.kind() == Kind::Fact => {
                let facts = chunk.iter().map(|(key, value)| {
                    let fact = Fact::decode(value).unwrap();
                    assert_eq!(fact.key().as_bytes(), key);
                    assert_eq!(schemas::upload::home(fact.upload, PARTITIONS), chunk.partition);
                    (chunk.partition.0, fact)
                });
                self.facts.lock().unwrap().extend(facts);
            }
            _ => self
                .records
                .lock()
                .unwrap()
                .extend(chunk.iter().map(|(key, value)| {
                    (
                        chunk.partition.0,
                        String::from_utf8(key.to_vec()).unwrap(),
                        value.to_vec(),
                    )
                })),
        }
        if chunk.kind() == Kind::Held {
            self.held.fetch_add(chunk.len(), Ordering::SeqCst);
        }
        let mut ends = self.ends.lock().unwrap();
        let end = ends.entry(chunk.partition.0).or_default();
        let first = Offset(*end);
        *end += chunk.len() as u64;
        Ok(Appended {
            first,
            next: Offset(*end),
        })
    }
}

/// The log as ingest sees it.
pub struct Port(pub Arc<FakeLog>);

impl Appender for Port {
    fn append(&self, chunk: Chunk) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            let now = log.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            log.most_in_flight.fetch_max(now, Ordering::SeqCst);
            log.largest_chunk.fetch_max(chunk.bytes(), Ordering::SeqCst);
            let number = log.chunks.fetch_add(1, Ordering::SeqCst);
            log.gate.acquire().await.unwrap().forget();
            let result = log.take(number, &chunk);
            log.in_flight.fetch_sub(1, Ordering::SeqCst);
            result
        })
    }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub log: Arc<FakeLog>,
    pub registry: Registry,
    shutdown: Shutdown,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Server {
    pub async fn start(log: Arc<FakeLog>) -> Self {
        Self::with(log, config::Http::default(), |_| {}).await
    }

    pub async fn with(log: Arc<FakeLog>, http: config::Http, change: impl FnOnce(&mut Limits)) -> Self {
        Self::with_keys(log, http, "no such file".as_ref(), change).await
    }

    /// One that demands the keys of a file.
    pub async fn with_keys(
        log: Arc<FakeLog>,
        http: config::Http,
        keys: &Path,
        change: impl FnOnce(&mut Limits),
    ) -> Self {
        Self::build(log, http, keys, change, |ingest| ingest).await
    }

    /// One whose requests may wait for what becomes of their events, two seconds at most.
    pub async fn with_outcomes(log: Arc<FakeLog>, outcomes: Arc<dyn Outcomes>) -> Self {
        let http = config::Http::default();
        let limit = Duration::from_secs(2);
        let change = |limits: &mut Limits| limits.results = 5;
        Self::build(log, http, "no such file".as_ref(), change, move |ingest| {
            ingest.with_outcomes(outcomes, limit)
        })
        .await
    }

    async fn build(
        log: Arc<FakeLog>,
        http: config::Http,
        keys: &Path,
        change: impl FnOnce(&mut Limits),
        finish: impl FnOnce(Ingest) -> Ingest,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Registry::new().unwrap();
        let mut limits = Limits::from(&http);
        change(&mut limits);
        let target = Target {
            appender: Arc::new(Port(Arc::clone(&log))),
            partitions: PARTITIONS,
            topic_id: TOPIC,
            schema_id: SCHEMA_ID,
        };
        let older = ingest::OlderClients {
            secret: ingest::OlderSecret::new(
                http.live_event_secret.reveal(),
                http.live_event_secret_is_known(),
            ),
            tenant: &http.live_event_tenant,
        };
        let ingest = Ingest::new(target, limits, Metrics::new(&registry).unwrap(), || NOW, &older);
        let ingest = finish(ingest);
        let shutdown = Shutdown::new();
        let readiness = service::readiness::Readiness::new(&shutdown);
        let routes = router(ingest).merge(ingest::health(readiness).into_parts().0);
        let metrics = service::http::Metrics::new(&registry).unwrap();
        let stop = shutdown.clone();
        let public = &["/health", ingest::OLDER_ROUTE];
        let access = Access::open(keys, false, public, &registry).unwrap();
        tokio::spawn(
            async move { service::http::serve(listener, routes, &http, metrics, access, stop).await },
        );
        Self {
            address,
            log,
            registry,
            shutdown,
        }
    }

    /// Posts a body of a type, if one is given.
    pub async fn post(&self, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        let head = if content_type.is_empty() {
            String::new()
        } else {
            format!("content-type: {content_type}\r\n")
        };
        self.post_with("/v1/events", &head, body).await
    }

    pub async fn post_with(&self, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that answers early may refuse the rest.
        let _ = stream.write_all(body).await;
        Answer::read(&mut stream).await
    }

    /// Begins a chunked request; the rest is up to the caller.
    pub async fn begin(&self, headers: &str) -> TcpStream {
        self.begin_at("/v1/events", headers).await
    }

    pub async fn begin_at(&self, path: &str, headers: &str) -> TcpStream {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{headers}\r\n"
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    pub fn metric(&self, line: &str) -> f64 {
        let text = self.registry.render();
        let found = text
            .lines()
            .find_map(|found| found.strip_prefix(&format!("{line} ")));
        found
            .unwrap_or_else(|| panic!("no {line} in {text}"))
            .parse()
            .unwrap()
    }
}

/// One chunk of a chunked body.
pub fn http_chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    pub async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer is an end as well.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
            .await
            .expect("the server answers");
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer but {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // Problems have no length until they got their request id; then they come in one chunk.
        let json = body
            .find(['{', '['])
            .map_or("", |start| &body[start..=body.rfind(['}', ']']).unwrap()]);
        let plain = body;
        let body = serde_json::from_str(json).unwrap_or(Value::Null);
        Self {
            status,
            head: head.to_ascii_lowercase(),
            text: plain.to_owned(),
            body,
        }
    }

    /// The code of a problem, by its type.
    pub fn problem(&self) -> &str {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        self.body["type"]
            .as_str()
            .unwrap()
            .strip_prefix("/problems/")
            .unwrap()
    }

    pub fn receipt(&self) -> schemas::receipt::Receipt {
        self.body["receipt"].as_str().unwrap().parse().unwrap()
    }
}

/// Waits until it holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
