//! What a row costs from the bytes of a body to records in chunks, in microseconds of one core: the whole way of a
//! request but the socket and the log.
//!
//! `cargo run --release -p ingest --example rate`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use axum::body::{Body, Bytes};
use axum::http::Request;
use futures::future::BoxFuture;
use ingest::{Ingest, Limits, Metrics, OlderClients, Target, router};
use log::{AppendError, Appended, Appender, Chunk};
use schemas::{Offset, Timestamp};
use service::access::Caller;
use service::metrics::Registry;
use std::fmt::Write;
use std::sync::Arc;
use tower::ServiceExt;

/// Rows of one body.
const ROWS: usize = 1_000_000;
/// Bytes of one piece of it, as a socket gives them.
const PIECE: usize = 128 * 1024;

struct Nowhere;

impl Appender for Nowhere {
    fn append(&self, chunk: Chunk) -> BoxFuture<'static, Result<Appended, AppendError>> {
        Box::pin(async move {
            Ok(Appended {
                first: Offset(0),
                next: Offset(chunk.len() as u64),
            })
        })
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for (name, content_type, head, row, tail) in bodies() {
        let mut body = head.to_owned();
        for n in 0..ROWS {
            row(&mut body, n);
        }
        body += tail;
        let bytes = Bytes::from(body);
        let mut best = f64::MAX;
        for _ in 0..5 {
            best = best.min(runtime.block_on(once(content_type, bytes.clone())));
        }
        let each = bytes.len() / ROWS;
        println!(
            "{name}: {each} bytes a row, {best:.3} us a row, {:.2} million rows/s",
            1.0 / best
        );
    }
}

type Row = fn(&mut String, usize);

fn bodies() -> [(&'static str, &'static str, &'static str, Row, &'static str); 5] {
    let keyed: Row = |body, n| {
        let user = n * 7919 % 100_000;
        writeln!(
            body,
            "key-{n:012},user-{user:06},page_view,2026-11-20T10:{:02}:{:02}Z,12.50,home page,some note",
            n / 60 % 60,
            n % 60
        )
        .unwrap();
    };
    let unkeyed: Row = |body, n| {
        let user = n * 7919 % 100_000;
        writeln!(body, "user-{user:06},page_view,2026-11-20T10:{:02}:{:02}.{:06}Z,12.50,\"home, page\",{{\"page\":\"x\",\"n\":1}}", n / 60 % 60, n % 60, n).unwrap();
    };
    let lines: Row = |body, n| {
        let user = n * 7919 % 100_000;
        writeln!(body, "{{\"idempotencyKey\":\"key-{n:012}\",\"userId\":\"user-{user:06}\",\"eventType\":\"page_view\",\"timestamp\":\"2026-11-20T10:{:02}:{:02}Z\",\"page\":\"home\"}}", n / 60 % 60, n % 60).unwrap();
    };
    let elements: Row = |body, n| {
        let user = n * 7919 % 100_000;
        write!(body, "{{\"idempotencyKey\":\"key-{n:012}\",\"userId\":\"user-{user:06}\",\"eventType\":\"page_view\",\"timestamp\":\"2026-11-20T10:{:02}:{:02}Z\",\"page\":\"home\"}},", n / 60 % 60, n % 60).unwrap();
    };
    let two: Row = |body, n| {
        writeln!(
            body,
            "key-{n:012},user-{:06},page_view,1795305600",
            n * 7919 % 100_000
        )
        .unwrap()
    };
    [
        (
            "csv, own keys, two of metadata",
            "text/csv",
            "idempotencyKey,userId,eventType,timestamp,amount,page,note\n",
            keyed,
            "",
        ),
        (
            "csv, content keys, quoted and bare JSON",
            "text/csv",
            "userId,eventType,timestamp,amount,page,note\n",
            unkeyed,
            "",
        ),
        (
            "csv, own keys, nothing more",
            "text/csv",
            "idempotencyKey,userId,eventType,timestamp\n",
            two,
            "",
        ),
        ("ndjson, own keys", "application/x-ndjson", "", lines, ""),
        (
            "json array, own keys",
            "application/json",
            "[",
            elements,
            "{\"userId\":\"u\",\"type\":\"t\"}]",
        ),
    ]
}

/// Seconds that this thread ran on a core, so that a machine that is busy with more than this does not spoil it.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Microseconds a row.
async fn once(content_type: &str, body: Bytes) -> f64 {
    let registry = Registry::new().unwrap();
    let target = Target {
        appender: Arc::new(Nowhere),
        partitions: 4,
        topic_id: uuid::Uuid::nil(),
        schema_id: 1,
    };
    let clock = || Timestamp(1_795_305_600_000_000);
    let routes = router(Ingest::new(
        target,
        Limits::default(),
        Metrics::new(&registry).unwrap(),
        clock,
        &OlderClients {
            secret: ingest::OlderSecret::new("secret", true),
            tenant: "default",
        },
    ));
    let pieces: Vec<Bytes> = (0..body.len())
        .step_by(PIECE)
        .map(|at| body.slice(at..body.len().min(at + PIECE)))
        .collect();
    let stream = futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    let request = Request::post("/v1/events")
        .header("content-type", content_type)
        .extension(Caller::local())
        .body(Body::from_stream(stream))
        .unwrap();
    let start = cpu_seconds();
    let response = routes.oneshot(request).await.unwrap();
    let elapsed = cpu_seconds() - start;
    assert_eq!(response.status(), 200);
    let answer = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(answer.to_vec()).unwrap();
    assert!(text.contains("\"invalid\":0"), "{text}");
    elapsed * 1e6 / ROWS as f64
}
