//! One trace leads from the client's request through the log to the commit record that counts its events: on Kafka, where three processes
//! take part, and in the single process. What a collector gets is looked through for names and ids; OTLP's own form is the library's.

use crate::rig::turn;
use crate::services::Services;
use e2e::client;
use e2e::collector::Collector;
use e2e::model::Ledger;
use e2e::world::{Cluster, Embedded, PATIENCE, Service};
use std::net::SocketAddr;

/// Of a request that its caller traces.
const TRACED: [u8; 16] = [
    0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c,
];
/// Of one that its caller does not trace.
const UNTRACED: [u8; 16] = [
    0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
];
const EVENTS: &[u8] = br#"[{"user_id":"u1","event_type":"view","idempotency_key":"k1"},
    {"user_id":"u2","event_type":"view","idempotency_key":"k2"}]"#;

/// Sends events in one of these traces, and waits until they are counted.
fn send(ingest: SocketAddr, query: SocketAddr, trace: [u8; 16], counted: u64) {
    let is_traced = trace == TRACED;
    let trace: String = trace.iter().map(|byte| format!("{byte:02x}")).collect();
    let traceparent = format!("00-{trace}-b7ad6b7169203331-0{}", u8::from(is_traced));
    let headers = [
        ("Content-Type", "application/json"),
        ("traceparent", traceparent.as_str()),
    ];
    let answer = client::call(ingest, "POST /v1/events", &headers, EVENTS, PATIENCE).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ledger = Ledger::settled(query, PATIENCE).unwrap();
    assert_eq!(ledger.counted, counted);
}

/// Waits for what a role sent of the trace, with these words in it.
fn came(collector: &Collector, role: &str, words: &[&str]) {
    let role = format!("tidemark-{role}");
    let mut parts: Vec<&[u8]> = vec![role.as_bytes(), &TRACED];
    parts.extend(words.iter().map(|word| word.as_bytes()));
    collector.wait_for(&parts, PATIENCE).unwrap();
}

#[test]
fn one_trace_leads_from_the_request_to_the_commit_record_over_three_processes() {
    let _turn = turn();
    let collector = Collector::start().unwrap();
    let mut world = Cluster::new("traces").unwrap();
    world.set("TIDEMARK_TRACES__ENDPOINT", collector.endpoint());
    world.set("TIDEMARK_TRACES__SHARE", 1);
    let services = Services::start(&world, true);
    send(world.ingest_address, world.query_address, UNTRACED, 2);
    send(world.ingest_address, world.query_address, TRACED, 2);
    came(&collector, "ingest", &["POST /v1/events", "append events"]);
    came(
        &collector,
        "aggregate",
        &["count events", "tidemark.commit_record"],
    );
    // Whoever stops sends the spans that it still has.
    services.stop();
    assert!(!collector.has(&[&UNTRACED]), "it was traced all the same");
}

#[test]
fn in_the_single_process_too_and_a_request_that_its_caller_does_not_trace_is_not_traced() {
    let collector = Collector::start().unwrap();
    let world = Embedded::new("traces").unwrap();
    let mut role = world.run();
    role.env
        .push(("TIDEMARK_TRACES__ENDPOINT".to_owned(), collector.endpoint()));
    role.env
        .push(("TIDEMARK_TRACES__SHARE".to_owned(), "1".to_owned()));
    let service = Service::start(role).unwrap();
    send(world.address, world.address, UNTRACED, 2);
    send(world.address, world.address, TRACED, 2);
    came(&collector, "run", &["POST /v1/events", "append events"]);
    came(&collector, "run", &["count events", "tidemark.commit_record"]);
    service.process.stop(PATIENCE).unwrap();
    assert!(!collector.has(&[&UNTRACED]), "it was traced all the same");
}
