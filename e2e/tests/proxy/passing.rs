//! Without a rule a transaction commits through the proxy as it would without it, and nothing goes around it.

use e2e::proxy::{Api, Facts};

use super::rig::{DEADLINE, End, Rig};

#[test]
fn a_transaction_commits_through_the_proxy_and_nothing_goes_around_it() {
    let rig = Rig::new("passing", 2);
    let writer = rig.producer();
    writer.begin();
    writer.write(0, "a").unwrap();
    writer.write(1, "b").unwrap();
    assert_eq!(writer.commit(), End::Done);

    assert_eq!(rig.read("read_committed", rig.proxy.address()), ["a", "b"]);

    // Produce, AddPartitionsToTxn and EndTxn go to addresses that the client only has from rewritten
    // responses.
    let saw = |api: Api| {
        let event = rig
            .proxy
            .wait_for(|event| event.request().is_some_and(|r| r.api == api), DEADLINE)
            .unwrap();
        event.request().unwrap().clone()
    };
    let produced = saw(Api::Produce);
    let Facts::Produce {
        transactional_id,
        partitions,
        ..
    } = produced.facts
    else {
        panic!("{produced:?}")
    };
    assert_eq!(transactional_id.as_deref(), Some(rig.id.as_str()));
    assert_eq!(partitions, [(rig.topic.clone(), 0, 1)]);
    let added = saw(Api::AddPartitionsToTxn);
    let Facts::AddPartitionsToTxn { producer, .. } = added.facts else {
        panic!("{added:?}")
    };
    assert_eq!(Some(producer), rig.proxy.producer(&rig.id));
    let ended = saw(Api::EndTxn);
    let Facts::EndTxn(end) = &ended.facts else {
        panic!("{ended:?}")
    };
    assert!(end.committed && ended.ends(&rig.id) && end.producer == producer);
    saw(Api::Metadata);
    saw(Api::FindCoordinator);
    saw(Api::Fetch);
}
