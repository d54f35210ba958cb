//! A gibibyte in one upload: the process that takes it keeps a constant amount of it. The rows are made while they are sent, and read from
//! no file; their keys repeat, so that what grows with keys (dedup, rows of the views) does not hide what an upload takes.
//!
//! Of the single process all of it is measured: ingest, log, lanes, projector and store. On Kafka it is `ingest` alone.

use crate::rig::{SETTLE, turn};
use e2e::client;
use e2e::process::Process;
use e2e::world::{Cluster, Embedded, PATIENCE, Service};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes that the process may have more resident than before.
const RISE: u64 = 64 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;
/// Events that are different; each comes again in every block.
const KEYS: u64 = 1_000;

/// Bytes of the upload: `TIDEMARK_UPLOAD_BYTES`, else one gibibyte.
fn upload_bytes() -> u64 {
    match std::env::var("TIDEMARK_UPLOAD_BYTES") {
        Ok(bytes) => bytes.parse().expect("TIDEMARK_UPLOAD_BYTES is a number"),
        Err(_) => 1024 * MIB,
    }
}

#[test]
#[ignore = "a gibibyte takes long: `make prove` runs it"]
fn a_gibibyte_in_one_upload_takes_the_single_process_no_more_memory() {
    let _turn = turn();
    let world = Embedded::new("gibibyte").unwrap();
    let service = Service::start(world.run()).unwrap();
    measure(
        "the single process",
        &service.process,
        world.address,
        world.address,
    );
    service.process.stop(PATIENCE).unwrap();
}

#[test]
#[ignore = "a gibibyte takes long: `make prove` runs it"]
fn a_gibibyte_in_one_upload_takes_ingest_on_kafka_no_more_memory() {
    let _turn = turn();
    let world = Cluster::new("gibibyte").unwrap();
    let aggregator = Service::start(world.aggregate("aggregate-1", true).unwrap()).unwrap();
    let ingest = Service::start(world.ingest().unwrap()).unwrap();
    let query = Service::start(world.query().unwrap()).unwrap();
    measure(
        "ingest on Kafka",
        &ingest.process,
        world.ingest_address,
        world.query_address,
    );
    for service in [ingest, aggregator, query] {
        service.process.stop(PATIENCE).unwrap();
    }
    crate::memory::forget(&world);
}

/// Sends it to `server` while the memory of `process` is watched, and waits until `query` says that all of it has outcomes.
fn measure(what: &str, process: &Process, server: SocketAddr, query: SocketAddr) {
    let block = block();
    let blocks = upload_bytes().div_ceil(block.len() as u64);
    // What comes with the first upload of a process, such as connections, is there before.
    settled(query, &upload(server, &block, 4));
    let before = process.memory().unwrap();
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let (most, upload, sent_in) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(process.memory().unwrap().resident);
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let upload = upload(server, &block, blocks);
        let sent_in = begun.elapsed();
        let upload = settled(query, &upload);
        over.store(true, Ordering::Relaxed);
        (watching.join().unwrap(), upload, sent_in)
    });
    let after = process.memory().unwrap();
    let rise = most.max(after.resident).saturating_sub(before.resident);
    println!(
        "{what}: an upload of {} MiB, {} rows, sent in {sent_in:.1?}, done after {:.1?}: {} MiB resident before, {} MiB at most, \
         {} MiB more (kernel's peak {} MiB)",
        blocks * block.len() as u64 / MIB,
        blocks * KEYS,
        begun.elapsed(),
        before.resident / MIB,
        most / MIB,
        rise / MIB,
        after.peak / MIB,
    );
    assert_eq!(upload["ledger"]["duplicate"], blocks * KEYS, "{upload}");
    assert!(rise < RISE, "{} MiB more", rise / MIB);
}

/// Rows of about a kilobyte, without the header: a mebibyte or so.
fn block() -> Vec<u8> {
    let mut block = Vec::new();
    let mut seed = 1_u64;
    for key in 0..KEYS {
        block.extend_from_slice(format!("user-{},view,2025-11-04T12:00:00Z,k{key},", key % 50).as_bytes());
        for _ in 0..125 {
            // Digits that no compression takes away.
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            block.extend_from_slice(format!("{:08x}", seed >> 32).as_bytes());
        }
        block.push(b'\n');
    }
    block
}

/// Sends the block so many times as one raw upload; the answer.
fn upload(server: SocketAddr, block: &[u8], blocks: u64) -> Value {
    let header = b"user_id,event_type,timestamp,idempotency_key,page\n";
    let length = header.len() as u64 + blocks * block.len() as u64;
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v1/uploads HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Type: text/csv\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(header).unwrap();
    for _ in 0..blocks {
        stream.write_all(block).unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 201"), "{text}");
    let answer: Value = serde_json::from_str(body).unwrap();
    assert_eq!(answer["accepted"], blocks * KEYS, "{answer}");
    answer
}

/// The upload, once each row has its outcome and the views show it.
fn settled(query: SocketAddr, answer: &Value) -> Value {
    let path = format!("/v1/uploads/{}", answer["upload"].as_str().unwrap());
    let deadline = Instant::now() + SETTLE;
    loop {
        let shown = client::get(query, &path, PATIENCE).unwrap();
        let upload = shown.json().unwrap();
        if upload["status"] == "completed" {
            return upload;
        }
        assert!(Instant::now() < deadline, "{upload}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
