//! Bodies that break off, are slow, or are huge.

use crate::rig::{Answer, FakeLog, Mode, Server, http_chunk};
use service::config::Http;
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt;

const LINE: &[u8] = b"{\"userId\":\"user\",\"type\":\"type\",\"timestamp\":\"2026-11-20\"}\n";

#[tokio::test]
async fn a_body_that_breaks_off_leaves_what_was_appended() {
    let server = Server::with(FakeLog::new(Mode::Record), Http::default(), |limits| {
        limits.chunk_bytes = 1000
    })
    .await;
    let mut stream = server.begin("content-type: application/x-ndjson\r\n").await;
    stream.write_all(&http_chunk(&LINE.repeat(5000))).await.unwrap();
    stream.write_all(b"zz\r\n").await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.problem()), (400, "body_incomplete"));
    let accepted = answer.body["accepted"].as_u64().unwrap();
    assert!(accepted > 0 && accepted == server.log.len(), "{accepted}");
    assert!(!answer.receipt().next.is_empty());
    assert_eq!(
        server.metric("tidemark_ingest_broken_requests_total{reason=\"incomplete\"}"),
        1.0
    );
}

#[tokio::test]
async fn a_small_body_that_breaks_off_stores_nothing() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let mut stream = server.begin("content-type: application/x-ndjson\r\n").await;
    stream.write_all(&http_chunk(&LINE.repeat(5))).await.unwrap();
    stream.write_all(b"zz\r\n").await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!(
        (answer.problem(), &answer.body["accepted"]),
        ("body_incomplete", &0.into())
    );
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_a_408() {
    let http = Http {
        body_idle_timeout_ms: 100,
        ..Http::default()
    };
    let server = Server::with(FakeLog::new(Mode::Record), http, |_| {}).await;
    let mut stream = server.begin("content-type: application/x-ndjson\r\n").await;
    stream.write_all(&http_chunk(LINE)).await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.problem()), (408, "body_too_slow"));
    assert_eq!(answer.body["accepted"], 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_announced_or_not() {
    let http = Http {
        body_limit_bytes: 100_000,
        ..Http::default()
    };
    let server = Server::with(FakeLog::new(Mode::Record), http, |_| {}).await;
    let body = LINE.repeat(10_000);
    let answer = server.post("application/x-ndjson", &body).await;
    assert_eq!((answer.status, answer.problem()), (413, "body_too_large"));
    let mut stream = server.begin("content-type: application/x-ndjson\r\n").await;
    let _ = stream.write_all(&http_chunk(&body)).await;
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.problem()), (413, "body_too_large"));
}

/// Set in the process that has memory of its own.
const ALONE: &str = "TIDEMARK_TEST_INGEST_ALONE";

#[test]
fn a_huge_body_takes_no_more_memory_than_a_small_one() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    if std::env::var_os(ALONE).is_some() {
        return runtime().block_on(huge_body());
    }
    // The tests beside this one take memory too, so this one runs again in a process where it is alone.
    let name = "bodies::a_huge_body_takes_no_more_memory_than_a_small_one";
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn huge_body() {
    const BYTES: usize = 200 * 1024 * 1024;
    let server = Server::start(FakeLog::new(Mode::Count)).await;
    let mut stream = server.begin("content-type: text/csv\r\n").await;
    stream
        .write_all(&http_chunk(b"userId,eventType,timestamp,amount,page,note\n"))
        .await
        .unwrap();
    let row = |n| {
        format!("user-{n:04},click,2026-11-20T10:00:00Z,12.50,{{\"page\":\"home\"}},some more text here\n")
    };
    let piece = http_chunk((0..1000).map(row).collect::<String>().as_bytes());
    let pieces = BYTES / piece.len();
    let memory = || server.metric("tidemark_process_resident_memory_bytes");
    let (mut early, mut most) = (0.0_f64, 0.0_f64);
    for at in 0..pieces {
        stream.write_all(&piece).await.unwrap();
        if at % 100 == 0 && at >= pieces / 4 {
            most = most.max(memory());
            early = if early == 0.0 { most } else { early };
        }
    }
    stream.write_all(&http_chunk(b"u,,")).await.unwrap();
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!(
        (answer.status, answer.body["accepted"].as_u64()),
        (200, Some(pieces as u64 * 1000))
    );
    assert_eq!(answer.body["invalid"], 1);
    let mib = 1024.0 * 1024.0;
    assert!(
        most < 100.0 * mib && most - early < 24.0 * mib,
        "{} MiB, then {} MiB",
        early / mib,
        most / mib
    );
    let largest = server.log.largest_chunk.load(Ordering::SeqCst);
    assert!(
        (1_000_000..1_500_000).contains(&largest),
        "bulk makes large chunks: {largest}"
    );
}
