//! Topics, the generation record, and the refusal to start on another log.

use crate::kafka_support::*;
use log::LogError;
use log::kafka::{Admin, Plan, Settings};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use schemas::generation::{FOLD_VERSION, Generation, PARTITIONER};
use schemas::key::Secret;

fn generation(settings: &Settings, admin: &Admin) -> Generation {
    let id = |name: &str| admin.describe(name).unwrap().unwrap().id;
    Generation {
        layout: 1,
        number: 1,
        partitions: 2,
        events_id: id(&settings.events),
        changelog_id: id(&settings.changelog),
        partitioner: PARTITIONER.to_owned(),
        secret: Secret([7; 32]),
        user_buckets: 4,
        fold_version: FOLD_VERSION,
        schema_id: Some(1),
        schema_digest: "00".to_owned(),
    }
}

fn raw(settings: &Settings) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .create()
        .unwrap()
}

fn wrong(admin: &Admin, generation: &Generation, what: &str) {
    match admin.check(generation) {
        Err(LogError::Wrong(why)) => assert!(why.contains(what), "{why}"),
        other => panic!("{other:?} instead of a refusal: {what}"),
    }
}

#[test]
fn creating_twice_is_harmless_and_a_topic_that_differs_is_refused() {
    let settings = settings("create");
    let admin = Admin::new(&settings).unwrap();
    let plans = Plan::all(&settings, 2);
    let first = admin.create(&plans, Some(1)).unwrap();
    let second = admin.create(&plans, None).unwrap();
    assert_eq!(first, second);
    assert_eq!(
        first.iter().map(|found| found.partitions).collect::<Vec<_>>(),
        [1, 2, 2, 1]
    );
    assert!(first.iter().all(|found| !found.id.is_nil()));
    match admin.create(&Plan::all(&settings, 3), None) {
        Err(LogError::Wrong(why)) => assert!(why.contains("2 partitions instead of 3"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(admin.describe("no-such-topic").unwrap().is_none());
}

#[tokio::test]
async fn the_newest_generation_record_is_read_back_and_checked() {
    let settings = settings("generation");
    let admin = Admin::new(&settings).unwrap();
    admin.create(&Plan::all(&settings, 2), None).unwrap();
    assert_eq!(admin.generation().unwrap(), None);
    let mut generation = generation(&settings, &admin);
    admin.write_generation(&generation).unwrap();
    generation.number = 2;
    admin.write_generation(&generation).unwrap();
    assert_eq!(admin.generation().unwrap(), Some(generation.clone()));
    admin.check(&generation).unwrap();

    wrong(
        &admin,
        &Generation {
            fold_version: FOLD_VERSION + 1,
            ..generation.clone()
        },
        "fold",
    );
    wrong(
        &admin,
        &Generation {
            partitions: 3,
            ..generation.clone()
        },
        "2 partitions",
    );
    wrong(
        &admin,
        &Generation {
            changelog_id: uuid::Uuid::from_u128(1),
            ..generation.clone()
        },
        "re-created",
    );

    let compact =
        AlterConfig::new(ResourceSpecifier::Topic(&settings.events)).set("cleanup.policy", "compact");
    raw(&settings)
        .alter_configs(&[compact], &AdminOptions::new())
        .await
        .unwrap();
    until("compaction", || admin.check(&generation).err());
    wrong(&admin, &generation, "cleanup.policy=compact");

    raw(&settings)
        .delete_topics(&[&settings.events], &AdminOptions::new())
        .await
        .unwrap();
    until("the topic's end", || {
        admin.describe(&settings.events).unwrap().is_none().then_some(())
    });
    wrong(&admin, &generation, "is not there");
    until("a new topic", || {
        admin.create(&[Plan::events(&settings, 2)], None).ok()
    });
    wrong(&admin, &generation, "re-created");
}
