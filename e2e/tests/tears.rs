//! Tears of the old transaction protocol on the real broker, under load: an EndTxn of transaction N that the broker takes for N+1's,
//! and commits whose answer is lost. The lane talks to the broker through a proxy that knows Kafka's frames.
//!
//! A late abort inside N+1 takes away what N+1 had written; a late commit publishes it before its end. The lane must find out either
//! way. (Where the client is told that all is well, as `proxy::tears` shows for other orders of requests, only the read-back
//! does; that case is shown by the simulation in the crate `aggregator`, with its control.)

use crate::rig::{RATE, each_key_counted_once, turn};
use crate::services::audit;
use e2e::paced::{Sender, Settings};
use e2e::proxy::{Action, EndTxn, Facts, Proxy, What};
use e2e::world::{Cluster, PATIENCE, Service};
use std::time::Duration;

/// How long N+1's own EndTxn is held up, so that the late one comes behind N+1's records and before its end.
const GAP: Duration = Duration::from_millis(600);
const TEARS: usize = 5;

/// Sends an EndTxn of its own inside the lane's open transaction; whether the broker took it.
fn tear(proxy: &Proxy, committed: bool) -> bool {
    let mark = proxy.mark();
    proxy.once(
        |request| matches!(&request.facts, Facts::EndTxn(end) if end.committed),
        Action::Delay(GAP),
    );
    let ends = |what: &What| match what {
        What::RequestSeen(request) => matches!(&request.facts, Facts::EndTxn(end) if end.committed),
        _ => false,
    };
    let seen = proxy
        .wait_for(|event| event.sequence > mark && ends(&event.what), PATIENCE)
        .unwrap();
    let What::RequestSeen(request) = &seen.what else {
        panic!("waited for a request")
    };
    let Facts::EndTxn(own) = &request.facts else {
        panic!("waited for its facts")
    };
    let end = EndTxn {
        committed,
        ..own.clone()
    };
    proxy.forge_end_txn(&end, 1).unwrap() == 0
}

#[test]
fn late_ends_of_transactions_and_lost_answers_change_no_count() {
    let _turn = turn();
    let world = Cluster::new("tears").unwrap();
    let proxy = Proxy::start(world.broker.parse().unwrap()).unwrap();
    let role = world.aggregate("aggregate-1", true).unwrap();
    let aggregator = Service::start(role.with("TIDEMARK_KAFKA__BROKERS", proxy.address())).unwrap();
    let ingest = Service::start(world.ingest().unwrap()).unwrap();
    let query = Service::start(world.query().unwrap()).unwrap();
    let sender = Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE,
        keys: "t".to_owned(),
    });
    sender.wait_for(1, PATIENCE).unwrap();

    let torn = (0..TEARS).filter(|_| tear(&proxy, false)).count();
    let early = (0..TEARS).filter(|_| tear(&proxy, true)).count();
    for _ in 0..TEARS {
        let mark = proxy.mark();
        proxy.once(
            |request| matches!(&request.facts, Facts::EndTxn(end) if end.committed),
            Action::DropResponse,
        );
        let lost = |what: &What| match what {
            What::ResponseSeen {
                request, delivered, ..
            } => matches!(request.facts, Facts::EndTxn(_)) && !delivered,
            _ => false,
        };
        proxy
            .wait_for(|event| event.sequence > mark && lost(&event.what), PATIENCE)
            .unwrap();
    }
    println!(
        "{torn} late aborts and {early} late commits taken by the broker, {TEARS} answers of commit lost"
    );
    assert!(
        torn > 0 && early > 0,
        "the broker took some of each: else this shows nothing"
    );

    let sent = sender.finish().unwrap();
    each_key_counted_once(world.query_address, &sent);
    audit(&world);
    for service in [ingest, aggregator, query] {
        service.process.stop(PATIENCE).unwrap();
    }
}
