//! The services on Kafka and the view store with nothing broken: a file.

use crate::rig::{SETTLE, turn};
use crate::services::{Services, audit};
use bench::generate;
use e2e::client;
use e2e::model::{Counts, Ledger};
use e2e::world::{Cluster, PATIENCE};

#[test]
fn a_file_through_kafka_equals_its_expectation() {
    let _turn = turn();
    let world = Cluster::new("file").unwrap();
    let services = Services::start(&world, true);
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
