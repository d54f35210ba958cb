//! Tears of the old transaction protocol on the real broker, under load: an EndTxn of transaction N that the broker takes for a later
//! one's, commits whose answer is lost, and an owner that wakes and commits what others have concluded. The lanes talk to the broker
//! through a proxy that knows Kafka's frames.
//!
//! `make prove` runs these tests also with the chain rule and with the read-back rule left out. They must fail there: else
//! they would not show what the rules are for.

use crate::rig::{RATE, SETTLE, each_key_counted_once, turn, wait_until};
use crate::services::audit;
use e2e::model::Ledger;
use e2e::paced::{Sender, Settings, event_json};
use e2e::proxy::{Action, Api, EndTxn, Event, Facts, NO_GENERATION, Proxy, Request, RuleId, What};
use e2e::world::{Cluster, PATIENCE, SESSION_MS, Service};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long N+1's own EndTxn is held up, so that the late one comes behind N+1's records and before its end.
const GAP: Duration = Duration::from_millis(600);
const TEARS: usize = 5;
/// Tears that nobody is told of, of each kind: each costs the lane the seconds after which it doubts.
const SILENT: usize = 3;
/// A generation that no group of a test has: the broker refuses it as it refuses an old one.
const STALE: i32 = 1_000_000;
const BROKERS: &str = "TIDEMARK_KAFKA__BROKERS";
const TRANSACTION_MS: &str = "TIDEMARK_KAFKA__TRANSACTION_TIMEOUT_MS";
/// Between two looks at the proxy's events.
const LOOK: Duration = Duration::from_millis(20);

#[test]
fn late_ends_of_transactions_and_lost_answers_change_no_count() {
    let _turn = turn();
    let world = Cluster::new("tears").unwrap();
    let proxy = Proxy::start(world.broker.parse().unwrap()).unwrap();
    let generations = generations(&proxy);
    let role = world.aggregate("aggregate-1", true).unwrap();
    let aggregator = Service::start(role.with(BROKERS, proxy.address())).unwrap();
    let ingest = Service::start(world.ingest().unwrap()).unwrap();
    let query = Service::start(world.query().unwrap()).unwrap();
    let sender = send(&world, RATE, "t");

    put_and_abort(&world);
    let torn = (0..TEARS).filter(|_| tear(&proxy, false)).count();
    let early = (0..TEARS).filter(|_| tear(&proxy, true)).count();
    let published = tear_silently(&proxy, true, SILENT);
    (0..TEARS).for_each(|_| lose_an_answer(&proxy));
    // Last, and each by itself: whatever a lane is told of makes it read the chain again, and then it finds what it was not told of as
    // well. Now and then it is told of something behind such a tear, and then that one shows nothing.
    let mut sent = sender.finish().unwrap();
    let (mut gone, mut untold) = (0, 0);
    for number in 0..4 * SILENT {
        let sender = send(&world, RATE, &format!("t{number}"));
        gone += tear_silently(&proxy, false, 1);
        let mark = proxy.mark();
        sent.merge(sender.finish().unwrap());
        wait_settled(&world);
        untold += usize::from(!was_told(&proxy, mark));
        if untold == SILENT {
            break;
        }
    }
    assert!(
        untold > 0,
        "behind each tear the lane was told of something: this shows nothing"
    );
    println!(
        "the broker took {torn} late aborts and {early} late commits; of {untold} of {gone} late aborts and {SILENT} of {published} late \
         commits nobody was told; {TEARS} answers of commit were lost"
    );
    assert!(torn > 0 && early > 0, "some of each: else this shows nothing");
    each_key_counted_once(world.query_address, &sent);
    never_without_a_generation(&generations, 1);
    for service in [ingest, aggregator, query] {
        service.process.stop(PATIENCE).unwrap();
    }
    audit(&world);
}

/// Offsets that come with no generation and no member are taken unchecked, as from clients before KIP-447, even while the group has
/// members; the lanes never send them so, but this is the hole in the fence, and it must not matter. So here one owner stands still with
/// a batch in hand, is long out of its group when it wakes, and commits that batch all the same: after another has concluded its offsets.
#[test]
fn a_zombie_that_nothing_fences_counts_nothing_twice() {
    let _turn = turn();
    let world = Cluster::new("zombie").unwrap();
    let proxy = Proxy::start(world.broker.parse().unwrap()).unwrap();
    let generations = generations(&proxy);
    let start = |name| {
        let role = world
            .aggregate(name, true)
            .unwrap()
            .with(BROKERS, proxy.address());
        // Transactions outlive a session here, so that not their time-out but the rule decides.
        Service::start(role.with(TRANSACTION_MS, PATIENCE.as_millis())).unwrap()
    };
    let mut aggregators = [start("aggregate-1"), start("aggregate-2")];
    let ingest = Service::start(world.ingest().unwrap()).unwrap();
    let query = Service::start(world.query().unwrap()).unwrap();
    let sender = send(&world, RATE / 2, "t");
    sleep(Duration::from_secs(1));

    // Before its transaction has begun at the broker: an open one would hold up the other's restore until it ended.
    let zombie = |request: &Request| {
        let id = request.transactional_id();
        id.is_some_and(|id| id.contains(".aggregate-1-"))
    };
    let mark = proxy.mark();
    let begun = hold_a_beginning(&proxy, zombie);
    let (begins, _) = held(&proxy, mark, Api::AddPartitionsToTxn);
    let (adds, _) = held(&proxy, mark, Api::AddOffsetsToTxn);
    proxy.forget(begun);
    aggregators[0].process.freeze().unwrap();
    sleep(Duration::from_millis(SESSION_MS));
    others_conclude(&world);
    let mark = proxy.mark();
    let unfenced = proxy.rule(move |request| {
        (request.api == Api::TxnOffsetCommit && zombie(request)).then_some(Action::Generation(NO_GENERATION))
    });
    aggregators[0].process.wake().unwrap();
    proxy.release(begins).unwrap();
    proxy.release(adds).unwrap();
    let taken = |api| {
        let answered = |event: &Event| {
            event.sequence > mark
                && event
                    .response()
                    .is_some_and(|(request, _)| request.api == api && zombie(request))
        };
        let event = proxy.wait_for(answered, PATIENCE).unwrap();
        event.response().unwrap().1.error_code
    };
    assert_eq!(
        taken(Api::TxnOffsetCommit),
        Some(0),
        "the broker checks no generation"
    );
    assert_eq!(taken(Api::EndTxn), Some(0), "the zombie's commit succeeded");
    proxy.forget(unfenced);
    println!("the zombie has committed what others concluded");

    // Both have partitions again, and commit.
    wait_until(|| different(&generations) >= 3);
    let sent = sender.finish().unwrap();
    wait_settled(&world);
    each_key_counted_once(world.query_address, &sent);
    never_without_a_generation(&generations, 3);
    assert!(aggregators[0].process.is_alive().unwrap(), "the zombie ended");
    for service in aggregators.into_iter().chain([ingest, query]) {
        service.process.stop(PATIENCE).unwrap();
    }
    audit(&world);
}

/// Another team's producer puts events on the topic in a transaction and aborts it: nobody may ever count one. (What lanes abort is the
/// changelog's; the tears make plenty of that.)
fn put_and_abort(world: &Cluster) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.broker)
        .set("transactional.id", format!("{}.other", world.events_topic))
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for number in 0..1000 {
        let (key, value) = (format!("aborted-{number}"), event_json("aborted", number, 0));
        let record = BaseRecord::to(&world.events_topic).key(&key).payload(&value);
        producer.send(record).unwrap();
    }
    // On the log, all of them, before the abort.
    producer.flush(PATIENCE).unwrap();
    producer.abort_transaction(PATIENCE).unwrap();
}

/// Sends an EndTxn of its own inside the lane's open transaction, just before its end; whether the broker took it.
fn tear(proxy: &Proxy, committed: bool) -> bool {
    let mark = proxy.mark();
    proxy.once(
        |request| matches!(&request.facts, Facts::EndTxn(end) if end.committed),
        Action::Delay(GAP),
    );
    let ends = |event: &Event| event.sequence > mark && event.request().is_some_and(|it| is_end(it, true));
    let seen = proxy.wait_for(ends, PATIENCE).unwrap();
    let Facts::EndTxn(own) = &seen.request().unwrap().facts else {
        panic!("waited for its facts")
    };
    let end = EndTxn {
        committed,
        ..own.clone()
    };
    proxy.forge_end_txn(&end, 1).unwrap() == 0
}

/// Tears silently until nobody was told of so many tears, the last one among them; how many it took.
fn tear_silently(proxy: &Proxy, committed: bool, enough: usize) -> usize {
    let mut silent = 0;
    for tears in 1..=4 * SILENT {
        silent += usize::from(try_silently(proxy, committed));
        if silent == enough {
            return tears;
        }
    }
    panic!("of {silent} tears nobody was told: too few to show anything")
}

/// Holds the two requests with which the next transaction begins, in whatever order they come: the client waits for neither before it
/// sends the other, so with one alone held its offsets may be at the broker before anybody can freeze it.
fn hold_a_beginning(proxy: &Proxy, of: impl Fn(&Request) -> bool + Send + 'static) -> RuleId {
    let (mut has_ended, mut wanted) = (false, vec![Api::AddPartitionsToTxn, Api::AddOffsetsToTxn]);
    proxy.rule(move |request| {
        if !of(request) {
            return None;
        }
        has_ended |= request.api == Api::EndTxn;
        let at = wanted.iter().position(|api| has_ended && *api == request.api)?;
        wanted.remove(at);
        Some(Action::Hold)
    })
}

/// Delivers a second copy of N's own EndTxn inside a later transaction, in the one order of requests in which the client is told that
/// all is well: after the records are written and before the offsets are added. Whether it came to that.
///
/// It is an order that happens. Records go to the leaders of their partitions, and EndTxn and offsets to the coordinators, each
/// on a connection of its own: nothing but the client orders them. A request that a client gave up, or whose connection broke, is
/// repeated on a new connection while the first still waits in a socket or in the broker's queue; what then comes late falls
/// into whatever transaction is open, since all transactions of a producer have one epoch (KIP-890 tells of it). The broker ends the
/// open transaction; the offsets begin another under the same name, and the client's own EndTxn ends that one.
///
/// - A late abort takes the records away, and the client's commit succeeds. (N was aborted, since its offsets came with a generation that
///   no longer fits, as after a rebalance.)
/// - A late commit publishes them, and the client's abort succeeds.
fn try_silently(proxy: &Proxy, committed: bool) -> bool {
    let mark = proxy.mark();
    let refused = (!committed).then(|| refuse_offsets(proxy));
    proxy.once(move |request| is_end(request, committed), Action::Duplicate);
    let (late, since) = held(proxy, mark, Api::EndTxn);
    refused.into_iter().for_each(|rule| proxy.forget(rule));
    let mark = answered(proxy, since, committed).0;
    proxy.once(|request| request.api == Api::AddOffsetsToTxn, Action::Hold);
    let (offsets, since) = held(proxy, mark, Api::AddOffsetsToTxn);
    all_records_written(proxy, since);
    let taken = proxy.release(late).unwrap().error_code;
    let refused = committed.then(|| refuse_offsets(proxy));
    let mark = proxy.mark();
    proxy.release(offsets).unwrap();
    let own = answered(proxy, mark, !committed).1;
    refused.into_iter().for_each(|rule| proxy.forget(rule));
    (taken, own) == (Some(0), Some(0))
}

/// Whether a lane's producer was told behind `mark` that something is wrong, or began anew.
fn was_told(proxy: &Proxy, mark: u64) -> bool {
    let events = proxy.events();
    let mut answers = events
        .iter()
        .filter(|event| event.sequence > mark)
        .filter_map(Event::response);
    answers.any(|(request, answer)| match request.api {
        Api::InitProducerId => true,
        Api::Produce | Api::TxnOffsetCommit | Api::EndTxn => answer.error_code.is_some_and(|code| code != 0),
        _ => false,
    })
}

/// Lets offsets be refused, of one transaction after another until the rule is forgotten: now and then librdkafka sends no EndTxn for a
/// transaction whose offsets were refused, but waits out its time for a record, and the lane begins again with a new producer.
fn refuse_offsets(proxy: &Proxy) -> RuleId {
    proxy.rule(|request| (request.api == Api::TxnOffsetCommit).then_some(Action::Generation(STALE)))
}

/// Lets the next commit succeed without the client hearing of it.
fn lose_an_answer(proxy: &Proxy) {
    let mark = proxy.mark();
    proxy.once(|request| is_end(request, true), Action::DropResponse);
    let lost = |event: &Event| {
        let lost = matches!(&event.what, What::ResponseSeen { request, delivered: false, .. } if is_end(request, true));
        event.sequence > mark && lost
    };
    proxy.wait_for(lost, PATIENCE).unwrap();
}

fn is_end(request: &Request, committed: bool) -> bool {
    matches!(&request.facts, Facts::EndTxn(end) if end.committed == committed)
}

/// The first request of this API that was held behind `mark`: its id, and when.
fn held(proxy: &Proxy, mark: u64, api: Api) -> (u64, u64) {
    let is_held = |event: &Event| {
        let held = event.held().is_some_and(|(_, request)| request.api == api);
        event.sequence > mark && held
    };
    let event = proxy.wait_for(is_held, PATIENCE).unwrap();
    (event.held().unwrap().0, event.sequence)
}

/// The first answer to an EndTxn behind `mark`: when, and its error code; none if a new producer came instead.
fn answered(proxy: &Proxy, mark: u64, committed: bool) -> (u64, Option<i16>) {
    let is_answer = |event: &Event| {
        let ends = event
            .response()
            .is_some_and(|(request, _)| is_end(request, committed) || request.api == Api::InitProducerId);
        event.sequence > mark && ends
    };
    let event = proxy.wait_for(is_answer, PATIENCE).unwrap();
    let (request, answer) = event.response().unwrap();
    let code = answer.error_code.filter(|_| request.api == Api::EndTxn);
    (event.sequence, code)
}

/// Waits until each partition of the transaction that is open at `at` has its records: else the late EndTxn would come before some of
/// them, and the broker would refuse those aloud.
fn all_records_written(proxy: &Proxy, at: u64) {
    let deadline = Instant::now() + PATIENCE;
    let mut quiet = false;
    loop {
        let (added, written) = open_transaction(&proxy.events(), at);
        let whole = !added.is_empty() && added == written;
        if whole && quiet {
            return;
        }
        quiet = whole;
        assert!(Instant::now() < deadline, "{added:?} added, {written:?} written");
        sleep(LOOK);
    }
}

/// Topics and partitions.
type Places = BTreeSet<(String, i32)>;

/// The partitions that were added to the transaction that is open at `at`, and those whose records were acknowledged.
fn open_transaction(events: &[Event], at: u64) -> (Places, Places) {
    let ended = |event: &&Event| {
        let end = event
            .response()
            .is_some_and(|(request, _)| request.api == Api::EndTxn);
        event.sequence < at && end
    };
    let begun = events
        .iter()
        .filter(ended)
        .map(|event| event.sequence)
        .max()
        .unwrap_or(0);
    let (mut added, mut written) = (Places::new(), Places::new());
    for (request, _) in events
        .iter()
        .filter(|event| event.sequence > begun)
        .filter_map(Event::response)
    {
        match &request.facts {
            Facts::AddPartitionsToTxn { partitions, .. } => added.extend(partitions.iter().cloned()),
            Facts::Produce { partitions, .. } => written.extend(
                partitions
                    .iter()
                    .map(|(topic, partition, _)| (topic.clone(), *partition)),
            ),
            _ => {}
        }
    }
    (added, written)
}

/// Every generation that comes with offsets, as the lanes send it.
fn generations(proxy: &Proxy) -> Arc<Mutex<Vec<i32>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    proxy.rule(move |request| {
        if let Facts::TxnOffsetCommit { generation, .. } = &request.facts {
            notes.lock().unwrap().push(*generation);
        }
        None
    });
    seen
}

fn different(generations: &Mutex<Vec<i32>>) -> usize {
    generations.lock().unwrap().iter().collect::<BTreeSet<_>>().len()
}

/// The broker would take offsets without a generation unchecked, so a lane must never send them: not when it joins, not in a rebalance,
/// not when it wakes outside its group.
fn never_without_a_generation(seen: &Mutex<Vec<i32>>, at_least: usize) {
    let seen = seen.lock().unwrap();
    let different: BTreeSet<i32> = seen.iter().copied().collect();
    println!("{} commits in the generations {different:?}", seen.len());
    assert!(
        different.len() >= at_least && seen.len() >= 10,
        "too few to show anything"
    );
    assert!(
        different.first() > Some(&NO_GENERATION),
        "a commit without a generation"
    );
}

/// Waits until what is in flight is little: after a session has passed only the other owner can have concluded it.
fn others_conclude(world: &Cluster) {
    // No answer while a partition that nobody had projected yet stands still with its owner.
    let ask = || Ledger::ask(world.query_address, PATIENCE).ok();
    let before = ask().map_or(0, |ledger| ledger.counted);
    let deadline = Instant::now() + SETTLE;
    loop {
        let ledger = ask();
        let is_little = |ledger: &Ledger| ledger.counted > before + 2 * RATE && ledger.in_flight < RATE;
        if ledger.as_ref().is_some_and(is_little) {
            return;
        }
        assert!(Instant::now() < deadline, "nobody took over: {ledger:?}");
        sleep(Duration::from_millis(200));
    }
}

fn send(world: &Cluster, rate: u64, keys: &str) -> Sender {
    let sender = Sender::start(Settings {
        server: world.ingest_address,
        rate,
        keys: keys.to_owned(),
    });
    sender.wait_for(1, PATIENCE).unwrap();
    sender
}

/// Waits until all is counted. How long that may take is `TIDEMARK_SETTLE_S`: a program without a rule may never come to it.
fn wait_settled(world: &Cluster) {
    let patience = match std::env::var("TIDEMARK_SETTLE_S") {
        Ok(seconds) => Duration::from_secs(seconds.parse().expect("TIDEMARK_SETTLE_S is a number")),
        Err(_) => SETTLE,
    };
    Ledger::settled(world.query_address, patience).unwrap();
}
