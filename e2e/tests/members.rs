//! Who counts changes under load: an aggregator is added, one is removed as an operator does it, and one stands still in the midst of a
//! transaction and wakes when its partitions are others' for long.

use crate::moments::{Fate, Moment};
use crate::rig::{RATE, each_key_counted_once, produce, turn, wait_until};
use crate::services::{Services, audit};
use e2e::model::Ledger;
use e2e::paced::{Sender, Settings};
use e2e::proxy::{Api, Facts, Proxy, What};
use e2e::world::{Cluster, PATIENCE, SESSION_MS, Service};
use std::thread::sleep;
use std::time::Duration;

/// Milliseconds after which the broker ends a transaction that nobody ends; shorter than a session, so that both are over when a
/// frozen one wakes.
const TRANSACTION_MS: u64 = 5000;

fn load(world: &Cluster) -> Sender {
    Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE,
        keys: "k".to_owned(),
    })
}

/// 0 while a partition has no progress at all, which is an error and no answer.
fn counted(world: &Cluster) -> u64 {
    Ledger::ask(world.query_address, PATIENCE).map_or(0, |ledger| ledger.counted)
}

/// Waits until so many more are counted: all partitions have an owner that goes on.
fn goes_on(world: &Cluster, more: u64) {
    let before = counted(world);
    wait_until(|| counted(world) > before + more);
}

/// Dynamic members, which tell the group that they leave.
#[test]
fn aggregators_come_and_go_under_load() {
    let _turn = turn();
    let world = Cluster::new("members").unwrap();
    let Services {
        ingest,
        query,
        aggregators: [first, second],
    } = Services::start(&world, false);
    let sender = load(&world);
    goes_on(&world, RATE);
    let works = |service: &Service| service.metric("tidemark_lane_read_back_batches_total").unwrap() > 0;
    // Of two lanes, between which partitions come and go within one process.
    let third = world.aggregate("aggregate-3", false).unwrap();
    let third = Service::start(third.with("TIDEMARK_AGGREGATOR__LANES", 2)).unwrap();
    wait_until(|| works(&third));
    goes_on(&world, RATE);
    assert!(works(&first), "it had partitions to give up");
    first.process.stop(PATIENCE).unwrap();
    goes_on(&world, 2 * RATE);
    let fourth = Service::start(world.aggregate("aggregate-4", true).unwrap()).unwrap();
    wait_until(|| works(&fourth));
    second.process.stop(PATIENCE).unwrap();
    goes_on(&world, 2 * RATE);
    let sent = sender.finish().unwrap();
    each_key_counted_once(world.query_address, &sent);
    for service in [ingest, third, fourth, query] {
        service.process.stop(PATIENCE).unwrap();
    }
    audit(&world);
}

/// Its session is over and its transaction was ended by the broker when it wakes, with a batch in hand that others concluded: once before
/// it could ask for the end, once after, and then its request arrives late as well.
#[test]
fn a_frozen_aggregator_that_wakes_changes_nothing() {
    let _turn = turn();
    let world = Cluster::new("frozen").unwrap();
    let proxy = Proxy::start(world.broker.parse().unwrap()).unwrap();
    let role = |name| {
        let role = world.aggregate(name, true).unwrap();
        role.with("TIDEMARK_KAFKA__TRANSACTION_TIMEOUT_MS", TRANSACTION_MS)
    };
    let behind = role("aggregate-1").with("TIDEMARK_KAFKA__BROKERS", proxy.address());
    let mut services = Services::with(&world, [behind, role("aggregate-2")]);
    let sender = load(&world);
    for (api, fate) in [(Api::TxnOffsetCommit, Fate::Unheard), (Api::EndTxn, Fate::Late)] {
        goes_on(&world, RATE);
        let moment = Moment { api, fate };
        let held = moment.reach(&proxy).expect("it has partitions");
        let records = wait_for_records(&proxy);
        services.aggregators[0].process.freeze().unwrap();
        println!("frozen: {}, {records} commit records written", moment.name());
        sleep(Duration::from_millis(SESSION_MS + 1000));
        // Its partitions would hold far more by now: the other one has them.
        wait_until(|| Ledger::ask(world.query_address, PATIENCE).unwrap().in_flight < RATE);
        services.aggregators[0].process.wake().unwrap();
        if let Some(id) = held {
            let answer = proxy.release(id).unwrap();
            println!("its late end is answered with {:?}", answer.error_code);
        }
        goes_on(&world, RATE);
    }
    let sent = sender.finish().unwrap();
    each_key_counted_once(world.query_address, &sent);
    // It is of use again: alone it must conclude what comes now.
    services.aggregators[1].process.kill().unwrap();
    assert!(
        services.aggregators[0].process.is_alive().unwrap(),
        "the frozen aggregator ended"
    );
    produce(&world, "alone", 0..1000);
    wait_until(|| counted(&world) == sent.keys + 1000);
    services.aggregators[1].restart().unwrap();
    services.stop();
    audit(&world);
}

/// Waits until the broker has taken records of the transaction that is open, and says how many.
fn wait_for_records(proxy: &Proxy) -> i32 {
    let opens = |what: &What| match what {
        What::RequestSeen(request) => request.api == Api::AddPartitionsToTxn,
        _ => false,
    };
    let events = proxy.events();
    let opened = events.iter().rev().find(|event| opens(&event.what)).unwrap();
    let written = |what: &What| match what {
        What::ResponseSeen { request, answer, .. } if answer.error_code == Some(0) => match &request.facts {
            Facts::Produce {
                transactional_id: Some(_),
                partitions,
                ..
            } => Some(partitions.iter().map(|(_, _, records)| records).sum()),
            _ => None,
        },
        _ => None,
    };
    let is_later = |sequence| sequence > opened.sequence;
    let event = proxy
        .wait_for(
            |event| is_later(event.sequence) && written(&event.what).is_some(),
            PATIENCE,
        )
        .unwrap();
    written(&event.what).unwrap()
}
