//! The services on Kafka and the view store with nothing broken: a file.

use crate::rig::{SETTLE, turn, turn_with_others, wait_until};
use crate::services::{Services, audit};
use bench::generate;
use e2e::client;
use e2e::model::{Counts, Ledger};
use e2e::paced::event_json;
use e2e::world::{Cluster, PATIENCE, Service};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

#[test]
fn a_file_through_kafka_equals_its_expectation() {
    let _turn = turn();
    let world = Cluster::new("file").unwrap();
    let lanes = |name| {
        let role = world.aggregate(name, true).unwrap();
        role.with("TIDEMARK_AGGREGATOR__LANES", 2)
    };
    let services = Services::with(&world, [lanes("aggregate-1"), lanes("aggregate-2")]);
    let settings = generate::Settings {
        rows: 20_000,
        users: 300,
        repeats: 0.1,
        invalid: 0.01,
        ..Default::default()
    };
    let mut file = Vec::new();
    let expectation = generate::write(&settings, &mut file).unwrap();
    let answer = client::post(world.ingest_address, "/v1/events", "text/csv", &file, PATIENCE).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json().unwrap();
    let totals = &expectation.totals;
    assert_eq!(said["accepted"], totals.accepted);
    assert_eq!(said["invalid"], totals.invalid.iter().sum::<u64>());

    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    assert_eq!(
        (ledger.accepted, ledger.counted),
        (totals.accepted, totals.counted),
        "{ledger:?}"
    );
    assert_eq!(ledger.duplicate, totals.duplicate, "{ledger:?}");
    assert_eq!(
        ledger.reasons.get("key_conflict").copied().unwrap_or_default(),
        totals.key_conflict,
        "{ledger:?}"
    );
    assert!(ledger.balanced, "{ledger:?}");
    let mut expected = Counts::default();
    for (day, event_type, tally) in expectation.days() {
        expected.add_day(&day.to_string(), event_type, (tally.count, tally.sum.into()));
    }
    for (user, event_type, _, tally) in expectation.users() {
        expected.add_user(&user, event_type, (tally.count, tally.sum.into()));
    }
    expected.confirm(world.query_address).unwrap();
    services.stop();
    audit(&world);
}

#[test]
fn the_answer_that_waits_says_of_each_event_what_became_of_it() {
    let _turn = turn_with_others();
    let world = Cluster::new("outcomes").unwrap();
    let services = Services::start(&world, true);
    let path = "/v1/events?wait=counted&timeout=60s";
    let rows = |from: u32, to: u32, amount: u32| {
        let mut text = "user_id,event_type,timestamp,idempotency_key,amount\n".to_owned();
        (from..to).for_each(|key| text.push_str(&format!("u1,sale,2025-11-04T12:00:00Z,k{key},{amount}\n")));
        text.into_bytes()
    };
    let send = |body: Vec<u8>| {
        let answer = client::post(world.ingest_address, path, "text/csv", &body, PATIENCE).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json().unwrap();
        assert_eq!(answer["counted"], true, "{answer}");
        answer
    };
    let first = send(rows(0, 3_000, 1));
    assert_eq!(first["outcomes"]["counted"], 3_000, "{}", first["outcomes"]);
    // No waiting: what was answered is in the views.
    let user = client::get_json(world.query_address, "/v1/users/u1", PATIENCE).unwrap();
    assert_eq!(user["total"]["count"], 3_000);
    // Some at one time, so that records of several requests lie among each other: the outcomes of all are those of the ledger.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let send = &send;
        let bodies = [
            rows(2_000, 4_000, 1),
            rows(2_000, 4_000, 2),
            rows(3_000, 5_000, 1),
        ];
        let senders = bodies.map(|body| scope.spawn(move || send(body)));
        senders.map(|sender| sender.join().unwrap()).into()
    });
    let sum = |name: &str| -> u64 {
        let of = |answer: &serde_json::Value| answer["outcomes"][name].as_u64().unwrap();
        answers.iter().map(of).sum()
    };
    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    assert_eq!(ledger.counted, 3_000 + sum("counted"), "{ledger:?}");
    assert_eq!(ledger.duplicate, sum("duplicate"), "{ledger:?}");
    assert_eq!(ledger.dead_lettered, sum("dead_lettered"), "{ledger:?}");
    assert_eq!(sum("counted") + sum("duplicate") + sum("dead_lettered"), 6_000);
    for answer in &answers {
        let letters = answer["results"].as_array().unwrap();
        let letters = letters.iter().filter_map(|row| row["dead_letter"].as_str());
        for letter in letters.take(3) {
            let path = format!("/v1/dead-letters/{letter}");
            let letter = client::get_json(world.query_address, &path, PATIENCE).unwrap();
            assert_eq!(letter["reason"], "key_conflict", "{letter}");
        }
    }
    services.stop();
    audit(&world);
}

/// Under the secret of another generation each key that is sent again would count a second time.
#[test]
fn a_changelog_whose_generation_is_gone_is_not_given_another_one() {
    let _turn = turn_with_others();
    let world = Cluster::new("no-generation").unwrap();
    let services = Services::start(&world, true);
    let answer = client::post(
        world.ingest_address,
        "/v1/events",
        "application/json",
        event_json("k", 1, 0).as_bytes(),
        PATIENCE,
    );
    assert_eq!(answer.unwrap().status, 202);
    Ledger::settled(world.query_address, SETTLE).unwrap();
    services.stop();
    let topic = world.events_topic.replace(".events", ".generations");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &world.broker)
        .create()
        .unwrap();
    futures::executor::block_on(admin.delete_topics(&[&topic], &AdminOptions::new())).unwrap();
    wait_until(|| {
        let topics = admin.inner().fetch_metadata(None, PATIENCE).unwrap();
        topics.topics().iter().all(|there| there.name() != topic)
    });
    for _ in 0..2 {
        let refused = world.migrate(&[]).unwrap_err().to_string();
        assert!(refused.contains("ended with 70"), "{refused}");
        assert!(refused.contains("has no generation"), "{refused}");
    }
}

#[test]
fn a_data_centre_in_which_no_node_is_is_refused_and_the_right_one_is_talked_to() {
    let _turn = turn_with_others();
    let mut world = Cluster::new("datacenter").unwrap();
    world.set("TIDEMARK_STORE__DATACENTER", "elsewhere");
    let refused = world.migrate(&[]).unwrap_err().to_string();
    assert!(
        refused.contains(r#"no node is in store.datacenter "elsewhere""#),
        "{refused}"
    );
    world.set("TIDEMARK_STORE__DATACENTER", "datacenter1");
    world.migrate(&[]).unwrap();
    let query = Service::start(world.query().unwrap()).unwrap();
    let days = client::get_json(world.query_address, "/v1/days", PATIENCE);
    query.process.stop(PATIENCE).unwrap();
    assert!(days.is_ok() || days.unwrap_err().to_string().contains("view_not_ready"));
}
