//! The public port over real TCP: what it refuses, what it cuts off, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::extract::rejection::BytesRejection;
use axum::routing::{get as on_get, post};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::testing::{PATIENCE, exchange, get, listener, read_to_end};
use super::*;
use crate::metrics::Registry;

/// A server of its own for each test.
struct Server {
    address: SocketAddr,
    registry: Registry,
    shutdown: Shutdown,
    /// A request to `/gate` was begun.
    entered: Arc<Notify>,
    /// Lets a request to `/gate` finish.
    gate: Arc<Notify>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(change: impl FnOnce(&mut config::Http)) -> Self {
        let mut limits = config::Http::default();
        change(&mut limits);
        let (entered, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (inside, opened) = (Arc::clone(&entered), Arc::clone(&gate));
        let at_the_gate = move || {
            let (inside, opened) = (Arc::clone(&inside), Arc::clone(&opened));
            async move {
                inside.notify_one();
                opened.notified().await;
                "through"
            }
        };
        let router = Router::new()
            .route(
                "/id",
                on_get(|Extension(id): Extension<RequestId>| async move { id.as_str().to_owned() }),
            )
            .route(
                "/peer",
                on_get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
            )
            .route(
                "/echo",
                post(|body: Result<Bytes, BytesRejection>| async move { body.map_err(Problem::from) }),
            )
            .route(
                "/panic",
                on_get(async || -> &'static str { panic!("on purpose") }),
            )
            .route("/large", on_get(async || vec![0_u8; 64 * 1024 * 1024]))
            .route("/gate", on_get(at_the_gate));
        let (listener, address) = listener().await;
        let (registry, shutdown) = (Registry::new().unwrap(), Shutdown::new());
        let (metrics, stop) = (Metrics::new(&registry).unwrap(), shutdown.clone());
        let access = Access::open("no such file".as_ref(), false, &[], &registry).unwrap();
        let task = tokio::spawn(async move { serve(listener, router, &limits, metrics, access, stop).await });
        Self {
            address,
            registry,
            shutdown,
            entered,
            gate,
            task,
        }
    }

    async fn stopped(self) {
        self.shutdown.begin();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the server stops")
            .unwrap()
            .unwrap();
    }
}

/// The document of a problem, after checking what all problems share.
fn problem(answer: &str, status: u16, code: &str) -> Value {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(
        answer.contains("content-type: application/problem+json\r\n"),
        "{answer}"
    );
    let document: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).expect(answer);
    assert_eq!(document["type"], format!("/problems/{code}"));
    assert_eq!(document["status"], status);
    let id = document["instance"].as_str().unwrap();
    assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{answer}");
    document
}

#[tokio::test]
async fn a_request_id_is_echoed_or_made() {
    let server = Server::start(|_| {}).await;
    let head = "GET /id HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let answer = exchange(server.address, &format!("{head}x-request-id: mine-1\r\n\r\n")).await;
    assert!(
        answer.contains("x-request-id: mine-1\r\n") && answer.ends_with("\r\n\r\nmine-1"),
        "{answer}"
    );
    let answer = exchange(server.address, &format!("{head}x-request-id: not mine\r\n\r\n")).await;
    let id = answer.rsplit("\r\n").next().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{answer}");
    assert!(get(server.address, "/peer").await.ends_with("127.0.0.1"));
}

#[tokio::test]
async fn no_route_and_no_method_are_problems() {
    let server = Server::start(|_| {}).await;
    problem(&get(server.address, "/nothing").await, 404, "not_found");
    let answer = get(server.address, "/echo").await;
    problem(&answer, 405, "method_not_allowed");
    assert!(answer.contains("allow: POST\r\n"), "{answer}");
    let head = "HEAD /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(exchange(server.address, head).await.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_server_lives() {
    let server = Server::start(|_| {}).await;
    let answer = get(server.address, "/panic").await;
    problem(&answer, 500, "internal");
    assert!(!answer.contains("on purpose"), "{answer}");
    assert!(get(server.address, "/id").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused() {
    let server = Server::start(|_| {}).await;
    let with = |headers: &str| format!("GET /id HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    let answer = exchange(server.address, &with("host: evil.example\r\n")).await;
    problem(&answer, 403, "host_not_allowed");
    let answer = exchange(server.address, &with("")).await;
    problem(&answer, 403, "host_not_allowed");
    let absolute = "GET http://evil.example/id HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    problem(&exchange(server.address, absolute).await, 403, "host_not_allowed");
    let answer = exchange(
        server.address,
        &with("host: localhost\r\norigin: http://evil.example\r\n"),
    )
    .await;
    problem(&answer, 403, "origin_not_allowed");
    let answer = exchange(
        server.address,
        &with("host: [::1]:1\r\norigin: http://127.0.0.1:3000\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn slow_and_large_heads_are_cut_off() {
    let server = Server::start(|limits| {
        limits.header_timeout_ms = 50;
        limits.header_limit_bytes = 8192;
    })
    .await;
    for start in ["", "GET / HT", "GET /id HTTP/1.1\r\nhost: localhost\r\n"] {
        let answer = exchange(server.address, start).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    let large = format!(
        "GET /id HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    let answer = exchange(server.address, &large).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = format!(
        "GET /id HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        "x: a\r\n".repeat(200)
    );
    let answer = exchange(server.address, &many).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answer() {
    let server = Server::start(|limits| limits.header_timeout_ms = 50).await;
    let answer = exchange(server.address, "GET /id HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn slow_and_large_bodies_are_problems() {
    let server = Server::start(|limits| {
        limits.body_idle_timeout_ms = 50;
        limits.body_limit_bytes = 10;
    })
    .await;
    let post = |rest: &str| format!("POST /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{rest}");
    let answer = exchange(server.address, &post("content-length: 10\r\n\r\n0123456789")).await;
    assert!(answer.ends_with("0123456789"), "{answer}");
    let answer = exchange(server.address, &post("content-length: 10\r\n\r\n012")).await;
    problem(&answer, 408, "body_too_slow");
    let answer = exchange(server.address, &post("content-length: 11\r\n\r\n")).await;
    assert_eq!(problem(&answer, 413, "body_too_large")["limit_bytes"], 10);
    let chunked = "transfer-encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n";
    problem(
        &exchange(server.address, &post(chunked)).await,
        413,
        "body_too_large",
    );
    let broken = "transfer-encoding: chunked\r\n\r\n6\r\n012345\r\nnonsense\r\n";
    problem(
        &exchange(server.address, &post(broken)).await,
        400,
        "body_incomplete",
    );
}

#[tokio::test]
async fn a_body_that_only_drips_is_cut_off_and_one_that_pauses_now_and_then_is_not() {
    let server = Server::start(|limits| {
        limits.body_idle_timeout_ms = 300;
        limits.body_least_bytes_per_s = 1000;
    })
    .await;
    let send = async |pieces: usize, piece: &str| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let length = pieces * piece.len();
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..pieces {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stream.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
        }
        read_to_end(&mut stream).await
    };
    // 20 bytes a second, and 2,000: neither ever pauses for 300 ms.
    let answer = send(20, "x").await;
    let said = problem(&answer, 408, "body_too_slow");
    assert!(
        said["detail"].as_str().unwrap().contains("1000 bytes a second"),
        "{answer}"
    );
    let answer = send(20, &"x".repeat(100)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back() {
    let server = Server::start(|limits| limits.request_queue = 1).await;
    let first = tokio::spawn(async move { get(server.address, "/gate").await });
    server.entered.notified().await;
    let answer = get(server.address, "/id").await;
    problem(&answer, 503, "too_busy");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    server.gate.notify_one();
    assert!(first.await.unwrap().ends_with("through"));
    assert!(get(server.address, "/id").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_one_to_close() {
    let server = Server::start(|limits| limits.connections = 1).await;
    let first = tokio::spawn(async move { get(server.address, "/gate").await });
    server.entered.notified().await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second
        .write_all(b"GET /id HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut byte)).await;
    assert!(
        early.is_err(),
        "the second connection was served beside the first"
    );
    server.gate.notify_one();
    assert!(first.await.unwrap().ends_with("through"));
    assert!(read_to_end(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection() {
    let server = Server::start(|limits| {
        limits.body_idle_timeout_ms = 50;
        limits.connections = 1;
    })
    .await;
    let mut deaf = TcpStream::connect(server.address).await.unwrap();
    deaf.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    // There is one place, so an answer to another connection means that the first was given up.
    assert!(get(server.address, "/id").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_drain_finishes_what_is_in_hand_and_takes_nothing_new() {
    // Neither of these may be what ends the idle connection.
    let server = Server::start(|limits| {
        limits.header_timeout_ms = 600_000;
        limits.drain_deadline_ms = 600_000;
    })
    .await;
    let address = server.address;
    let (entered, gate) = (Arc::clone(&server.entered), Arc::clone(&server.gate));
    let mut idle = TcpStream::connect(address).await.unwrap();
    let in_hand = tokio::spawn(async move { get(address, "/gate").await });
    entered.notified().await;
    let stopped = tokio::spawn(server.stopped());
    assert_eq!(read_to_end(&mut idle).await, "");
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopped.is_finished());
    gate.notify_one();
    assert!(in_hand.await.unwrap().ends_with("through"));
    stopped.await.unwrap();
}

#[tokio::test]
async fn the_drain_ends_at_its_deadline() {
    let server = Server::start(|limits| limits.drain_deadline_ms = 50).await;
    let address = server.address;
    let in_hand = tokio::spawn(async move { get(address, "/gate").await });
    server.entered.notified().await;
    let start = Instant::now();
    server.stopped().await;
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(in_hand.await.unwrap(), "");
}

#[tokio::test]
async fn requests_are_measured_by_route_and_never_by_path() {
    let server = Server::start(|_| {}).await;
    get(server.address, "/id").await;
    get(server.address, "/user-17").await;
    exchange(
        server.address,
        "BREW /id HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    let text = server.registry.render();
    for labels in [
        "method=\"GET\",route=\"/id\",status=\"2xx\"",
        "method=\"GET\",route=\"none\",status=\"4xx\"",
        "method=\"other\",route=\"/id\",status=\"4xx\"",
    ] {
        assert!(
            text.contains(&format!("tidemark_http_request_seconds_count{{{labels}}} 1\n")),
            "{text}"
        );
    }
    assert!(!text.contains("user-17"));
    server.stopped().await;
}
