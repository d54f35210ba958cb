//! A query API over a store and a log that a test fills.

use crate::fake_chain::{self, FakeChain, OWN_SCHEMA};
use crate::fake_log::FakeLog;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use query_api::{LogEnds, LogEvents, LogLetters, Metrics, ProgressWatch, QueryApi};
use schemas::generation::{FOLD_VERSION, Generation, PARTITIONER};
use schemas::key::Secret;
use schemas::partial::{DayPartial, UserPartial};
use schemas::receipt::Receipt;
use schemas::redrive::Try;
use schemas::row::{DeadLetter, Progress, Row, RowKey, View};
use schemas::{Amount, Day, Ledger, Offset, Outcome, Partition, Reason, Timestamp};
use serde_json::Value;
use service::access::Caller;
use service::metrics::Registry;
use service::shutdown::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;
use uuid::Uuid;
use views::Store;

pub const PARTITIONS: u32 = 2;
pub const EVENTS_ID: Uuid = Uuid::from_u128(0xe7e);
/// 2025-11-05T12:00:00Z, a Wednesday.
pub const NOW_MS: i64 = 1_762_344_000_000;

thread_local! {
    /// How far the clock went on. Of this thread: a test and all its tasks run on one.
    pub static AHEAD_MS: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

/// The UTC day of a date.
pub fn day(text: &str) -> Day {
    Day::from_date(text.parse().unwrap()).unwrap()
}

pub struct Fixture {
    pub store: Store,
    pub log: Arc<FakeLog>,
    pub chain: FakeChain,
    pub shutdown: Shutdown,
    pub registry: Registry,
    pub router: Router,
    /// Without a guard before it.
    bare: Router,
    _folder: tempfile::TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The last part of a problem's type, with its status.
    pub fn problem(&self) -> (u16, &str) {
        let kind = self.body["type"].as_str().unwrap_or("no problem document");
        (self.status.as_u16(), kind.trim_start_matches("/problems/"))
    }
}

impl Fixture {
    pub async fn new() -> Self {
        AHEAD_MS.set(0);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 1).await.unwrap();
        let log = Arc::new(FakeLog::default());
        let shutdown = Shutdown::new();
        let registry = Registry::new().unwrap();
        let metrics = Metrics::new(&registry).unwrap();
        let generation = Generation {
            layout: 1,
            number: 1,
            partitions: PARTITIONS,
            events_id: EVENTS_ID,
            changelog_id: Uuid::from_u128(2),
            partitioner: PARTITIONER.to_owned(),
            secret: Secret([7; 32]),
            user_buckets: 4,
            fold_version: FOLD_VERSION,
            schema_id: Some(OWN_SCHEMA),
            schema_digest: String::new(),
        };
        let chain = FakeChain::default();
        let router = query_api::router(QueryApi {
            store: store.clone(),
            generation: Arc::new(generation),
            ends: Arc::new(LogEnds::new(log.open(), PARTITIONS)),
            appender: log.clone(),
            letters: Arc::new(LogLetters::new(log.open(), log.retention())),
            events: Arc::new(LogEvents::new(log.open(), fake_chain::open(&chain))),
            limits: service::config::Query {
                wait_limit_ms: 2_000,
                live_readers: 5,
                live_heartbeat_ms: 300,
                live_patience_ms: 500,
                ..service::config::Query::default()
            },
            progress: ProgressWatch::start(store.clone(), metrics.clone(), shutdown.clone()),
            metrics,
            clock: || Timestamp::from_millis(NOW_MS + AHEAD_MS.get()),
        });
        // As the guard does it where no key is needed.
        let bare = router.clone();
        let router = router.layer(axum::Extension(Caller::local()));
        Self {
            store,
            log,
            chain,
            shutdown,
            registry,
            router,
            bare,
            _folder: folder,
        }
    }

    /// The same, asked by another.
    pub fn router_of(&self, caller: Caller) -> Router {
        self.bare.clone().layer(axum::Extension(caller))
    }

    /// The same, mounted where nothing says who asks.
    pub fn without_guard(&self) -> Router {
        self.bare.clone()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).await
    }

    /// A request of any method, without a body.
    pub async fn call(&self, method: &str, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// A POST of JSON by somebody.
    pub async fn post_as(&self, caller: Caller, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(body.into()).unwrap();
        let response = self.router_of(caller).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        }
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.post_as(Caller::local(), path, body).await
    }

    /// Writes the row of a try to redrive a letter.
    pub async fn try_row(
        &self,
        tenant: &str,
        accepted_ms: i64,
        letter: (u32, u64),
        copy: (u32, u64),
        outcome: Outcome,
    ) {
        let tried = Try {
            outcome,
            detail: "again".to_owned(),
            who: "k1".to_owned(),
            at_ms: NOW_MS + copy.1 as i64,
            edited: false,
        };
        let key = RowKey::Redrive {
            tenant: tenant.to_owned(),
            day: Timestamp::from_millis(accepted_ms).quarter().day(),
            accepted_ms,
            letter: Partition(letter.0),
            offset: Offset(letter.1),
            copy: Offset(copy.1),
        };
        let rows = vec![row(key, copy.0, copy.1 + 1, tried.encode())];
        self.store.upsert(rows).await.unwrap();
    }

    /// An answer whose body is yet to be read, to a request with some headers.
    pub async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Head and text of an answer that must be whole.
    pub async fn text(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let (head, body) = self.ask(path, headers).await.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (
            head.status,
            head.headers,
            String::from_utf8(bytes.to_vec()).unwrap(),
        )
    }

    /// The answer of a query that must have one.
    pub async fn ok(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body
    }

    /// A query in a task of its own.
    pub fn start(&self, path: String) -> tokio::task::JoinHandle<StatusCode> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { router.oneshot(request).await.unwrap().status() })
    }

    /// The value of a metric, with its labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.registry.render();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
    }

    /// Adds events of (UTC day, quarter-hour, how many, amount of each) to the partial of one row.
    pub async fn count(&self, partition: u32, event_type: &str, events: &[(Day, u8, u64, &str)]) {
        let mut rows = Vec::new();
        let mut days: Vec<Day> = events.iter().map(|event| event.0).collect();
        days.dedup();
        for day in days {
            let mut partial = DayPartial::default();
            for (_, of_day, count, amount) in events.iter().filter(|event| event.0 == day) {
                (0..*count).for_each(|_| partial.add(*of_day, Some(amount.parse().unwrap())));
            }
            let key = RowKey::Day {
                tenant: "default".to_owned(),
                day,
                event_type: event_type.to_owned(),
            };
            rows.push(row(key, partition, 1, partial.encode()));
        }
        self.store.upsert(rows).await.unwrap();
    }

    /// Writes one user's partial of a day.
    pub async fn count_user(
        &self,
        partition: u32,
        user: &str,
        day: Day,
        events: &[(&str, u8, Option<&str>)],
    ) {
        let mut partial = UserPartial::default();
        for (event_type, of_day, amount) in events {
            let amount: Option<Amount> = amount.map(|text| text.parse().unwrap());
            partial.add(event_type, *of_day, amount);
        }
        let key = RowKey::User {
            tenant: "default".to_owned(),
            user: user.to_owned(),
            day,
        };
        let rows = vec![row(key, partition, 1, partial.encode())];
        self.store.upsert(rows).await.unwrap();
    }

    /// Writes a dead letter's row, and the record itself to the log.
    pub async fn refuse(&self, tenant: &str, accepted_ms: i64, partition: u32, reason: Reason) -> u64 {
        let offset = self
            .log
            .append(partition, accepted_ms, Some(b"key"), Some(b"{\"no\":"));
        self.letter_row(tenant, accepted_ms, partition, offset, reason)
            .await;
        offset
    }

    pub async fn letter_row(
        &self,
        tenant: &str,
        accepted_ms: i64,
        partition: u32,
        offset: u64,
        reason: Reason,
    ) {
        let letter = DeadLetter {
            reason,
            user: if tenant.is_empty() {
                String::new()
            } else {
                "u1".to_owned()
            },
            detail: "what is wrong".to_owned(),
            upload: None,
        };
        let key = RowKey::DeadLetter {
            tenant: tenant.to_owned(),
            day: Timestamp::from_millis(accepted_ms).quarter().day(),
            accepted_ms,
            offset: Offset(offset),
        };
        let rows = vec![row(key, partition, offset + 1, letter.encode())];
        self.store.upsert(rows).await.unwrap();
    }

    /// Says in one view that it reflects a partition up to `next`.
    pub async fn reflect(&self, view: View, partition: u32, next: u64, days: Option<(Day, Day)>) {
        self.reflect_ledger(view, partition, next, days, Ledger::default())
            .await;
    }

    pub async fn reflect_ledger(
        &self,
        view: View,
        partition: u32,
        next: u64,
        days: Option<(Day, Day)>,
        ledger: Ledger,
    ) {
        let progress = Progress {
            next: Offset(next),
            changelog: Offset(next),
            max_append_ms: NOW_MS - 1_000 - i64::from(partition),
            birth: self
                .store
                .begin(view, Partition(partition), Uuid::nil())
                .await
                .unwrap(),
            days,
            ledger,
            ..Progress::default()
        };
        self.store
            .write_progress(view, Partition(partition), &progress)
            .await
            .unwrap();
    }

    /// Every view reflects both partitions up to `next`, and the log ends there.
    pub async fn reflect_all(&self, next: u64, days: Option<(Day, Day)>) {
        for partition in 0..PARTITIONS {
            self.log.set_end(partition, next);
            for view in View::ALL {
                self.reflect(view, partition, next, days).await;
            }
        }
    }
}

pub fn row(key: RowKey, partition: u32, version: u64, value: Vec<u8>) -> Row {
    Row {
        key,
        partition: Partition(partition),
        version: Offset(version),
        value,
    }
}

pub fn receipt(next: &[(u32, u64)]) -> Receipt {
    let mut receipt = Receipt::new(EVENTS_ID);
    for (partition, next) in next {
        receipt.extend(Partition(*partition), Offset(*next));
    }
    receipt
}

/// Polls until a condition holds.
pub async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came to hold");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
