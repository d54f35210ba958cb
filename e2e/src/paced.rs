//! A sender as clients are told to be: it sends batches of events under keys of its own, and where it gets no complete answer it sends
//! the same bytes again until it does. So at its end each key was acknowledged, and must be counted exactly once.
//!
//! An event is a pure function of its number, so what must be counted needs no memory. Each batch also repeats older events, changes
//! the amount of one under its old key (a key conflict, which must never be counted), and has rows that are no events.

use crate::client::{self, Answer};
use crate::model::Counts;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// New events of a batch.
const FRESH: u64 = 100;
/// Rows of a batch that repeat an event of it or of an earlier one.
const REPEATS: u64 = 10;
/// Rows of a batch with the key of its first event and another amount.
const CONFLICTS: u64 = 1;
/// Rows of a batch that are refused at the door.
const BAD: [&str; 2] = [
    r#"{"event_type":"click","timestamp":"2025-11-04T00:00:00Z","idempotency_key":"nobody"}"#,
    r#"{"user_id":"u","event_type":"click","timestamp":"yesterday","#,
];
/// Users that come again and again; their rows change all the time.
const USERS: u64 = 60;
/// Every so many events is one of a user that never comes again: nothing would mend its row.
const ONCE: u64 = 100;
const TYPES: [&str; 3] = ["click", "view", "purchase"];
const DAYS: [&str; 4] = ["2025-11-01", "2025-11-02", "2025-11-03", "2025-11-04"];
/// The first of them in seconds since 1970.
const FIRST_DAY_S: u64 = 1_761_955_200;
/// Senders at one time; each has one request open.
const WORKERS: u64 = 4;
/// For one answer. Shorter than the server's own deadlines, so that some requests are given up while they are worked on.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(50);
/// For one batch from first try to acknowledgement, restarts included.
const BATCH_PATIENCE: Duration = Duration::from_secs(120);

/// How a sender works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it sends to.
    pub server: SocketAddr,
    /// New events a second, in all.
    pub rate: u64,
    /// What its keys start with.
    pub keys: String,
}

/// A sender at work.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    stop: AtomicBool,
    /// Number of the next batch.
    next: AtomicU64,
    /// Batches acknowledged.
    acknowledged: AtomicU64,
    /// Requests sent and not answered now.
    open: AtomicU64,
    /// When each request began that broke off after it had connected.
    broken: Mutex<Vec<Instant>>,
}

/// What was sent, and acknowledged all of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What must be counted.
    pub counts: Counts,
    /// Keys, each of which must be counted once.
    pub keys: u64,
    /// Batches, each acknowledged in one request.
    pub batches: u64,
    /// Requests that broke off.
    pub broken: u64,
}

impl Sent {
    /// Adds events with these numbers that were sent under other keys.
    pub fn also(&mut self, numbers: std::ops::Range<u64>) {
        self.keys += numbers.end - numbers.start;
        self.counts.merge(counts_of(numbers));
    }

    /// Adds what another sender sent, under other keys.
    pub fn merge(&mut self, other: Self) {
        self.counts.merge(other.counts);
        self.keys += other.keys;
        self.batches += other.batches;
        self.broken += other.broken;
    }

    /// Records that were acknowledged: at least these are on the log.
    pub fn records(&self) -> u64 {
        self.batches * (FRESH + REPEATS + CONFLICTS)
    }

    /// Repeats that were acknowledged: at least these must be duplicates.
    pub fn repeats(&self) -> u64 {
        self.batches * REPEATS
    }

    /// Changed events that were acknowledged: at least these must be dead letters.
    pub fn conflicts(&self) -> u64 {
        self.batches * CONFLICTS
    }
}

impl Sender {
    /// Starts to send.
    pub fn start(settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            settings,
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            open: AtomicU64::new(0),
            broken: Mutex::default(),
        });
        let work = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work())
        };
        Self {
            workers: (0..WORKERS).map(work).collect(),
            shared,
        }
    }

    /// Requests sent and not answered now.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until a request is open, at most `patience`: most of the time there is none, and a kill then shows little.
    pub fn wait_open(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.open() == 0 && Instant::now() < deadline {
            sleep(Duration::from_micros(100));
        }
    }

    /// How many requests that were open at `moment` broke off.
    pub fn broken_at(&self, moment: Instant) -> usize {
        let broken = self.shared.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.iter().filter(|begun| **begun <= moment).count()
    }

    /// Forgets which requests broke off.
    pub fn forget_broken(&self) -> u64 {
        let mut broken = self.shared.broken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *broken).len() as u64
    }

    /// Batches acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until `more` further batches were acknowledged: it goes on.
    ///
    /// # Errors
    /// If not within `patience`.
    pub fn wait_for(&self, more: u64, patience: Duration) -> anyhow::Result<()> {
        let (goal, deadline) = (self.acknowledged() + more, Instant::now() + patience);
        while self.acknowledged() < goal {
            ensure!(
                Instant::now() < deadline,
                "{more} batches were not acknowledged in {patience:?}"
            );
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Begins no batch more, brings those under way to their acknowledgement, and says what must be counted.
    ///
    /// # Errors
    /// If a batch was not acknowledged within its time, or an answer said something false.
    pub fn finish(mut self) -> anyhow::Result<Sent> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        let batches = self.shared.next.load(Ordering::SeqCst);
        ensure!(
            batches == self.acknowledged(),
            "{batches} batches begun, {} acknowledged",
            self.acknowledged()
        );
        Ok(Sent {
            counts: counts_of(0..batches * FRESH),
            keys: batches * FRESH,
            batches,
            broken: self.forget_broken(),
        })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // A test that failed must not be sent to any more.
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn work(&self) -> anyhow::Result<()> {
        let period = Duration::from_micros(1_000_000 * FRESH * WORKERS / self.settings.rate.max(1));
        while !self.stop.load(Ordering::SeqCst) {
            let begun = Instant::now();
            let batch = self.next.fetch_add(1, Ordering::SeqCst);
            self.bring(batch).with_context(|| format!("batch {batch}"))?;
            sleep(period.saturating_sub(begun.elapsed()));
        }
        Ok(())
    }

    /// Sends a batch until it is acknowledged.
    fn bring(&self, batch: u64) -> anyhow::Result<()> {
        let (body, deadline) = (self.body(batch), Instant::now() + BATCH_PATIENCE);
        loop {
            match self.send(&body) {
                Ok(answer) if answer.status == 200 => {
                    check(&answer)?;
                    self.acknowledged.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                // What cannot be true of these bytes would never become true by sending them again.
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    anyhow::bail!("{} {}", answer.status, answer.text());
                }
                tried => ensure!(
                    Instant::now() < deadline,
                    "not acknowledged in {BATCH_PATIENCE:?}: {tried:?}"
                ),
            }
            sleep(RETRY);
        }
    }

    fn send(&self, body: &[u8]) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        self.open.fetch_add(1, Ordering::SeqCst);
        let answer = client::post(
            self.settings.server,
            "/v1/events",
            "application/x-ndjson",
            body,
            ANSWER_PATIENCE,
        );
        self.open.fetch_sub(1, Ordering::SeqCst);
        if let Err(error) = &answer {
            let refused = error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
            if !refused {
                self.broken
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(begun);
            }
        }
        answer
    }

    fn body(&self, batch: u64) -> Vec<u8> {
        let first = batch * FRESH;
        let mut lines: Vec<String> = (first..first + FRESH)
            .map(|number| self.line(number, 0))
            .collect();
        // Any event before the end of this batch: it may be under way in another batch, even later on the log than its repeat.
        lines.extend((0..REPEATS).map(|repeat| self.line(mix(first + repeat) % (first + FRESH), 0)));
        lines.extend((0..CONFLICTS).map(|_| self.line(first, 1)));
        lines.extend(BAD.map(str::to_owned));
        (lines.join("\n") + "\n").into_bytes()
    }

    fn line(&self, number: u64, more_cents: u64) -> String {
        event_json(&self.settings.keys, number, more_cents)
    }
}

/// Event `number` as a JSON object, under a key that starts with `keys`.
pub fn event_json(keys: &str, number: u64, more_cents: u64) -> String {
    let Event {
        user,
        event_type,
        day,
        cents,
    } = Event::of(number);
    let cents = cents + more_cents;
    format!(
        r#"{{"idempotency_key":"{keys}-{number}","user_id":"{user}","event_type":"{event_type}","timestamp":"{day}T{:02}:{:02}:00Z","amount":"{}.{:02}"}}"#,
        number % 24,
        number / 24 % 60,
        cents / 100,
        cents % 100
    )
}

/// A schema of other writers that resolves to ours, in a namespace that makes it one of its own.
pub fn foreign_schema(namespace: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Event","namespace":"{namespace}","fields":[
            {{"name":"event_type","type":"string"}},
            {{"name":"user_id","type":"string"}},
            {{"name":"idempotency_key","type":"string"}},
            {{"name":"occurred_at","type":{{"type":"long","logicalType":"timestamp-millis"}}}},
            {{"name":"amount","type":{{"type":"bytes","logicalType":"decimal","precision":18,"scale":6}}}}]}}"#
    )
}

/// Event `number` as such a writer puts it onto the topic, with the schema's id in the registry.
pub fn event_foreign(id: u32, keys: &str, number: u64) -> Vec<u8> {
    let event = Event::of(number);
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    for text in [event.event_type, &event.user, &format!("{keys}-{number}")] {
        avro_long(&mut bytes, text.len() as u64);
        bytes.extend(text.as_bytes());
    }
    let day = DAYS.iter().position(|day| *day == event.day).unwrap_or_default() as u64;
    let minutes = day * 1440 + number % 24 * 60 + number / 24 % 60;
    avro_long(&mut bytes, (FIRST_DAY_S + minutes * 60) * 1000);
    avro_long(&mut bytes, 8);
    bytes.extend((event.cents * 10_000).to_be_bytes());
    bytes
}

/// A number that is not below zero: zigzag, seven bits a byte, the lowest first.
fn avro_long(bytes: &mut Vec<u8>, number: u64) {
    let mut rest = number << 1;
    while rest > 0x7f {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// What must be counted of the events with these numbers.
pub fn counts_of(numbers: std::ops::Range<u64>) -> Counts {
    let mut counts = Counts::default();
    for number in numbers {
        let Event {
            user,
            event_type,
            day,
            cents,
        } = Event::of(number);
        counts.add(&user, day, event_type, i128::from(cents) * 10_000);
    }
    counts
}

struct Event {
    user: String,
    event_type: &'static str,
    day: &'static str,
    cents: u64,
}

impl Event {
    fn of(number: u64) -> Self {
        let drawn = mix(number);
        let pick = |of: &[&'static str], by: u64| {
            of.get((by % of.len() as u64) as usize)
                .copied()
                .unwrap_or_default()
        };
        let user = match number % ONCE {
            1 => format!("once-{number}"),
            _ => format!("u{}", drawn % USERS),
        };
        Self {
            user,
            event_type: pick(&TYPES, drawn >> 16),
            day: pick(&DAYS, drawn >> 32),
            cents: (drawn >> 40) % 100_000,
        }
    }
}

/// The success of a batch must be that of all its events, and its bad rows must be named.
fn check(answer: &Answer) -> anyhow::Result<()> {
    let said = answer.json()?;
    let number = |name: &str| said.get(name).and_then(Value::as_u64);
    let (accepted, invalid) = (number("accepted"), number("invalid"));
    let expected = (Some(FRESH + REPEATS + CONFLICTS), Some(BAD.len() as u64));
    ensure!(
        (accepted, invalid) == expected,
        "accepted and invalid must be {expected:?}: {said}"
    );
    ensure!(
        said.get("receipt").is_some_and(Value::is_string),
        "no receipt: {said}"
    );
    Ok(())
}

/// The finalizer of splitmix64: chance out of a number.
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
