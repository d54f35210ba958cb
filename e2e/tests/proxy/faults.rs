//! Faults of the network as librdkafka lives through them: lost, late and doubled EndTxn, a slow peer, a peer
//! that is away.

use std::time::{Duration, Instant};

use e2e::proxy::{Action, Api, EndTxn, Event, Facts, Proxy, Request, What};
use rdkafka::error::RDKafkaErrorCode::OperationTimedOut;
use rdkafka::producer::Producer;

use super::rig::{DEADLINE, End, Rig};

/// A predicate for the EndTxn of this rig's producer.
fn end_of(rig: &Rig) -> impl FnMut(&Request) -> bool + Send + use<> {
    let id = rig.id.clone();
    move |request| request.ends(&id)
}

fn end_txns(proxy: &Proxy) -> usize {
    proxy
        .events()
        .iter()
        .filter(|e| e.request().is_some_and(|r| r.api == Api::EndTxn))
        .count()
}

fn held(proxy: &Proxy) -> (u64, u64) {
    let event = proxy.wait_for(|event| event.held().is_some(), DEADLINE).unwrap();
    let (id, request) = event.held().unwrap();
    (id, request.connection)
}

#[test]
fn a_commit_whose_answer_is_lost_is_asked_again_and_succeeds() {
    let rig = Rig::new("answer-lost", 1);
    let writer = rig.producer();
    rig.proxy.once(end_of(&rig), Action::DropResponse);
    assert_eq!(writer.transact("a"), End::Done);
    let undelivered = |event: &Event| matches!(event.what, What::ResponseSeen { delivered: false, .. });
    rig.proxy.wait_for(undelivered, DEADLINE).unwrap();
    assert_eq!(end_txns(&rig.proxy), 2);
    assert_eq!(writer.transact("b"), End::Done);
    assert_eq!(rig.committed(), ["a", "b"]);
}

#[test]
fn a_commit_that_never_arrived_is_asked_again_and_succeeds() {
    let rig = Rig::new("request-lost", 1);
    let writer = rig.producer();
    rig.proxy.once(end_of(&rig), Action::CloseBeforeForward);
    assert_eq!(writer.transact("a"), End::Done);
    assert_eq!(end_txns(&rig.proxy), 2);
    assert_eq!(rig.committed(), ["a"]);
}

#[test]
fn a_commit_that_timed_out_may_have_happened_and_can_be_asked_again() {
    let rig = Rig::new("timed-out", 1);
    let writer = rig.producer();
    rig.proxy.once(end_of(&rig), Action::DropResponse);
    writer.begin();
    writer.write(0, "a").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let undelivered =
                |event: &Event| matches!(event.what, What::ResponseSeen { delivered: false, .. });
            rig.proxy.wait_for(undelivered, DEADLINE).unwrap();
            rig.proxy.cut();
        });
        let timed_out = writer
            .producer
            .commit_transaction(Duration::from_secs(2))
            .unwrap_err();
        assert_eq!(timed_out.rdkafka_error_code(), Some(OperationTimedOut));
    });
    assert_eq!(
        rig.committed(),
        ["a"],
        "it is committed although nobody told the client"
    );
    rig.proxy.heal();
    assert_eq!(writer.commit(), End::Done);
    assert_eq!(writer.transact("b"), End::Done);
    assert_eq!(rig.committed(), ["a", "b"]);
}

#[test]
fn a_commit_whose_answer_is_withheld_is_done_and_leaves_the_client_waiting() {
    let rig = Rig::new("withheld", 1);
    let writer = rig.producer();
    rig.proxy.once(end_of(&rig), Action::Withhold);
    writer.begin();
    writer.write(0, "a").unwrap();
    let mark = rig.proxy.mark();
    let timed_out = writer
        .producer
        .commit_transaction(Duration::from_secs(1))
        .unwrap_err();
    assert_eq!(timed_out.rdkafka_error_code(), Some(OperationTimedOut));
    let closed = |event: &Event| event.sequence > mark && matches!(event.what, What::Closed { .. });
    assert!(
        !rig.proxy.events().iter().any(closed),
        "the connections were kept"
    );
    assert_eq!(rig.committed(), ["a"]);
}

#[test]
fn a_doubled_commit_commits_half_of_the_next_transaction() {
    let rig = Rig::new("doubled", 2);
    let writer = rig.producer();
    rig.proxy.once(end_of(&rig), Action::Duplicate);
    assert_eq!(writer.transact("before"), End::Done);
    let (copy, _) = held(&rig.proxy);
    rig.wait_for_end(2);
    writer.begin();
    writer.write(0, "early").unwrap();
    assert_eq!(rig.proxy.release(copy).unwrap().error_code, Some(0));
    rig.wait_for_end(4);
    writer.write(1, "late").unwrap();
    assert_eq!(writer.abort(), End::Done);
    assert_eq!(rig.committed(), ["before", "early"]);
    assert!(rig.proxy.release(copy).is_err(), "a copy is sent once");
}

#[test]
fn a_commit_that_was_retried_and_arrives_late_commits_half_of_the_next_transaction() {
    let rig = Rig::new("late", 2);
    let writer = rig.producer();
    rig.proxy.once(end_of(&rig), Action::Hold);
    let held = std::thread::scope(|scope| {
        let held = scope.spawn(|| {
            let (id, connection) = held(&rig.proxy);
            rig.proxy.close(connection);
            id
        });
        assert_eq!(writer.transact("before"), End::Done);
        held.join().unwrap()
    });
    rig.wait_for_end(2);
    writer.begin();
    writer.write(0, "early").unwrap();
    assert_eq!(rig.proxy.release(held).unwrap().error_code, Some(0));
    rig.wait_for_end(4);
    writer.write(1, "late").unwrap();
    assert_eq!(writer.abort(), End::Done);
    assert_eq!(rig.committed(), ["before", "early"]);
}

#[test]
fn a_held_commit_happens_when_it_is_released_and_the_client_is_answered() {
    let rig = Rig::new("held", 1);
    let writer = rig.producer();
    rig.proxy.once(end_of(&rig), Action::Hold);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (id, _) = held(&rig.proxy);
            assert!(rig.committed().is_empty());
            assert_eq!(rig.proxy.release(id).unwrap().error_code, Some(0));
        });
        assert_eq!(writer.transact("a"), End::Done);
    });
    assert_eq!(end_txns(&rig.proxy), 1);
    assert_eq!(rig.committed(), ["a"]);
}

#[test]
fn a_delayed_produce_arrives_after_its_delay() {
    let rig = Rig::new("delayed", 1);
    let writer = rig.producer();
    let delay = Duration::from_millis(300);
    let rule = rig
        .proxy
        .rule(move |request| (request.api == Api::Produce).then_some(Action::Delay(delay)));
    writer.begin();
    let begin = Instant::now();
    writer.write(0, "a").unwrap();
    assert!(begin.elapsed() >= delay);
    rig.proxy.forget(rule);
    assert_eq!(writer.commit(), End::Done);
    assert_eq!(rig.committed(), ["a"]);
}

#[test]
fn a_pause_holds_everything_back_and_loses_nothing() {
    let rig = Rig::new("paused", 1);
    let writer = rig.producer();
    assert_eq!(writer.transact("a"), End::Done);
    rig.proxy.pause();
    let mark = rig.proxy.mark();
    writer.begin();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| writer.write(0, "b"));
        let short = Duration::from_millis(300);
        assert!(
            rig.proxy.wait_for(|event| event.sequence > mark, short).is_err(),
            "nothing moves"
        );
        assert!(!writing.is_finished());
        rig.proxy.resume();
        writing.join().unwrap().unwrap();
    });
    assert_eq!(writer.commit(), End::Done);
    let closed = |event: &Event| event.sequence > mark && matches!(event.what, What::Closed { .. });
    assert!(
        !rig.proxy.events().iter().any(closed),
        "the connections were kept"
    );
    assert_eq!(rig.committed(), ["a", "b"]);
}

#[test]
fn a_cut_closes_everything_and_the_client_comes_back_when_it_is_healed() {
    let rig = Rig::new("cut", 1);
    let writer = rig.producer();
    assert_eq!(writer.transact("a"), End::Done);
    let mark = rig.proxy.mark();
    rig.proxy.cut();
    rig.proxy
        .wait_for(
            |e| e.sequence > mark && matches!(e.what, What::Closed { .. }),
            DEADLINE,
        )
        .unwrap();
    let mark = rig.proxy.mark();
    let connected = |event: &Event| event.sequence > mark && matches!(event.what, What::Connected { .. });
    writer.begin();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| writer.write(0, "b"));
        assert!(
            rig.proxy.wait_for(connected, Duration::from_millis(300)).is_err(),
            "nobody gets in"
        );
        assert!(!writing.is_finished(), "there is no way around the proxy");
        rig.proxy.heal();
        writing.join().unwrap().unwrap();
    });
    assert_eq!(writer.commit(), End::Done);
    assert_eq!(rig.committed(), ["a", "b"]);
}

#[tokio::test]
async fn the_async_calls_serve_a_single_threaded_test_and_the_proxy_may_be_dropped_there() {
    let rig = Rig::new("async", 1);
    let writer = rig.producer();
    writer.begin();
    writer.write(0, "a").unwrap();
    let added = |event: &Event| event.request().is_some_and(|r| r.api == Api::AddPartitionsToTxn);
    let event = rig.proxy.wait_for_async(added, DEADLINE).await.unwrap();
    let Facts::AddPartitionsToTxn { producer, .. } = event.request().unwrap().facts else {
        panic!("{event:?}")
    };
    let end = EndTxn {
        transactional_id: rig.id.clone(),
        producer,
        committed: true,
    };
    assert_eq!(rig.proxy.forge_end_txn_async(&end, 1).await.unwrap(), 0);
    assert!(
        rig.proxy.forge_end_txn_async(&end, 5).await.is_err(),
        "version 5 is protocol 2"
    );
    rig.wait_for_end(2);
    assert_eq!(rig.committed(), ["a"]);
}
