//! Every link encrypted, each role with a user of its own that has the rights of that role alone, on the real engines with their
//! authorisers on (`make prove` starts such ones): what is counted is the same, and whoever is refused is told what to mend.
//!
//! The store's and the registry's certificates that nobody may believe are shown by a front of the tests (`e2e/src/tls.rs`), Kafka's by
//! ports of the broker itself.

use crate::memory::{confirm_totals, load_rows};
use crate::rig::{Chance, RATE, SETTLE, turn};
use crate::services::{Services, audit};
use e2e::client;
use e2e::model::Ledger;
use e2e::paced::{Sender, Settings};
use e2e::process::{Role, last_lines};
use e2e::tls::Port;
use e2e::world::{Cluster, PATIENCE, SESSION_MS, Service};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

const ROWS: u64 = 1_000_000;
const KILLS: u64 = 10;
/// Until a refusal stands in the log.
const REFUSAL: Duration = Duration::from_secs(30);

/// Ports of a secure broker behind its first one (`deploy/engines/kafka`).
#[derive(Clone, Copy)]
enum Door {
    /// Asks for a certificate, and for no password.
    Mutual = 5,
    Expired = 6,
    Elsewhere = 7,
}

impl Door {
    fn address(self, world: &Cluster) -> SocketAddr {
        let mut address: SocketAddr = world.broker.parse().unwrap();
        address.set_port(address.port() + self as u16);
        address
    }
}

/// A role that comes by a certificate of its own, and with no password.
fn by_certificate(world: &Cluster, role: Role) -> Role {
    let file = |name: &str| world.certificates().unwrap().join(name).display().to_string();
    let mut role = role
        .with("TIDEMARK_KAFKA__BROKERS", Door::Mutual.address(world))
        .with("TIDEMARK_KAFKA__TLS__CERTIFICATE_FILE", file("client.pem"))
        .with("TIDEMARK_KAFKA__TLS__KEY_FILE", file("client.key"));
    role.env
        .retain(|(name, _)| !name.starts_with("TIDEMARK_KAFKA__SASL__"));
    role
}

#[test]
#[ignore = "needs secure engines, which `make prove` starts"]
fn a_million_rows_and_kills_over_encrypted_links_are_counted_once() {
    let _turn = turn();
    let mut chance = Chance::new();
    let world = Cluster::secured("secure").unwrap();
    let mutual = by_certificate(&world, world.aggregate("aggregate-2", true).unwrap());
    let mut services = Services::with(&world, [world.aggregate("aggregate-1", true).unwrap(), mutual]);
    let expectation = std::thread::scope(|scope| {
        let loading = scope.spawn(|| load_rows(world.ingest_address, ROWS));
        for kill in 0..KILLS - 3 {
            sleep(chance.ms(200, 1500));
            let victim = &mut services.aggregators[kill as usize % 2];
            victim.process.kill().unwrap();
            sleep(match kill {
                0 => Duration::from_millis(SESSION_MS) + chance.ms(500, 1000),
                _ => chance.ms(0, 500),
            });
            victim.restart().unwrap();
        }
        loading.join().unwrap()
    });
    let sender = Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE,
        keys: "s".to_owned(),
    });
    for _ in 0..3 {
        sender.wait_for(2, PATIENCE).unwrap();
        sleep(chance.ms(50, 500));
        services.ingest.process.kill().unwrap();
        services.ingest.restart().unwrap();
    }
    let sent = sender.finish().unwrap();
    let ledger = Ledger::settled(world.query_address, SETTLE).unwrap();
    println!("{KILLS} kills, {} requests broke off: {ledger:?}", sent.broken);
    assert_eq!(
        ledger.counted,
        expectation.totals.counted + sent.keys,
        "{ledger:?}"
    );
    assert!(ledger.balanced, "{ledger:?}");
    confirm_totals(&world, &expectation, Some(&sent.counts));
    services.stop();
    audit(&world);
}

/// Waits until a role that cannot start says all of these in its log, whether it ends then or goes on trying.
fn refused(role: Role, words: &[&str]) {
    let process = role.spawn().unwrap();
    let deadline = Instant::now() + REFUSAL;
    let said = loop {
        let log = std::fs::read_to_string(&role.log).unwrap_or_default();
        if words.iter().all(|words| log.contains(words)) {
            break true;
        }
        if Instant::now() > deadline {
            break false;
        }
        sleep(Duration::from_millis(50));
    };
    // One that goes on trying is killed.
    drop(process);
    assert!(
        said,
        "{words:?} not said by {}:\n{}",
        role.name,
        last_lines(&role.log)
    );
    let log = std::fs::read_to_string(&role.log).unwrap();
    assert!(
        !log.contains("-password\""),
        "a password stands in the log of {}",
        role.name
    );
}

#[test]
#[ignore = "needs secure engines, which `make prove` starts"]
fn whoever_kafka_refuses_is_told_what_to_mend() {
    let _turn = turn();
    let world = Cluster::secured("refused-kafka").unwrap();
    let certificates = world.certificates().unwrap().to_owned();
    let mut number = 0;
    let mut role = |changes: &[(&str, String)]| {
        number += 1;
        let mut role = world.ingest().unwrap();
        role.name = format!("ingest-{number}");
        role.log = world.path(&format!("ingest-{number}.log"));
        for (name, value) in changes {
            role = role.with(&format!("TIDEMARK_KAFKA__{name}"), value);
        }
        role
    };
    let another = certificates.join("another.pem").display().to_string();
    let wrong = world.password("wrong", "not-it").unwrap().display().to_string();
    let nobody = world
        .password("nobody", "nobody-password")
        .unwrap()
        .display()
        .to_string();

    let expired = Door::Expired.address(&world).to_string();
    refused(
        role(&[("BROKERS", expired)]),
        &["waiting for Kafka", "certificate has expired: renew it there"],
    );
    let elsewhere = Door::Elsewhere.address(&world).to_string();
    refused(
        role(&[("BROKERS", elsewhere)]),
        &[
            "waiting for Kafka",
            "certificate does not name the address of kafka.brokers",
        ],
    );
    refused(
        role(&[("TLS__CA_FILE", another)]),
        &[
            "waiting for Kafka",
            "kafka.tls.ca_file does not hold the authority",
        ],
    );
    refused(
        role(&[("SASL__PASSWORD_FILE", wrong)]),
        &[
            "waiting for Kafka",
            "its password is not the one in kafka.sasl.password_file",
        ],
    );
    refused(
        role(&[
            ("SASL__USERNAME", "nobody".to_owned()),
            ("SASL__PASSWORD_FILE", nobody),
        ]),
        &["lacks a right"],
    );
    let mut plain = role(&[]);
    plain
        .env
        .retain(|(name, _)| !name.starts_with("TIDEMARK_KAFKA__TLS__"));
    refused(plain, &["waiting for Kafka", "speaks TLS: set kafka.tls.enabled"]);
    let mutual = Door::Mutual.address(&world).to_string();
    let mut nameless = role(&[("BROKERS", mutual)]);
    nameless
        .env
        .retain(|(name, _)| !name.starts_with("TIDEMARK_KAFKA__SASL__"));
    refused(nameless, &["waiting for Kafka", "kafka.tls.certificate_file"]);
}

#[test]
#[ignore = "needs secure engines, which `make prove` starts"]
fn whoever_the_store_or_the_registry_refuses_is_told_what_to_mend() {
    let _turn = turn();
    let world = Cluster::secured("refused-store").unwrap();
    let certificates = world.certificates().unwrap().to_owned();
    let mut number = 0;
    let mut role = |command: &str, changes: &[(&str, String)]| {
        number += 1;
        let mut role = match command {
            "query" => world.query().unwrap(),
            command => world.role(command, command),
        };
        role.name = format!("{command}-{number}");
        role.log = world.path(&format!("{command}-{number}.log"));
        for (name, value) in changes {
            role = role.with(&format!("TIDEMARK_{name}"), value);
        }
        role
    };
    let another = certificates.join("another.pem").display().to_string();
    let wrong = world.password("wrong", "not-it").unwrap().display().to_string();
    let shown = |name: &str| Port::front(world.store, &certificates, name, None).unwrap();
    let at = |port: &Port| [("STORE__NODES", port.address.to_string())];

    let (expired, elsewhere, stranger) = (shown("expired"), shown("elsewhere"), shown("stranger"));
    refused(
        role("query", &at(&expired)),
        &["waiting for the view store", "certificate has expired"],
    );
    refused(
        role("query", &at(&elsewhere)),
        &[
            "waiting for the view store",
            "a node's certificate does not name its address",
        ],
    );
    refused(
        role("query", &at(&stranger)),
        &[
            "waiting for the view store",
            "store.tls.ca_file does not hold the authority",
        ],
    );
    refused(
        role("query", &[("STORE__PASSWORD_FILE", wrong.clone())]),
        &[
            "waiting for the view store",
            "its password is not the one in store.password_file",
        ],
    );
    let mut plain = role("query", &[]);
    plain.env.retain(|(name, _)| {
        !name.starts_with("TIDEMARK_STORE__TLS__") && !name.starts_with("TIDEMARK_STORE__US")
    });
    plain
        .env
        .retain(|(name, _)| name != "TIDEMARK_STORE__PASSWORD_FILE");
    refused(plain, &["waiting for the view store", "set store.tls.enabled"]);
    // Its role may read, and only `aggregate` may write.
    let query = world
        .password("query", "query-password")
        .unwrap()
        .display()
        .to_string();
    let mut weak = world.aggregate("aggregate-1", true).unwrap();
    weak = weak
        .with("TIDEMARK_STORE__USERNAME", "query")
        .with("TIDEMARK_STORE__PASSWORD_FILE", query);
    let _ingest = Service::start(world.ingest().unwrap()).unwrap();
    let answer = client::post(
        world.ingest_address,
        "/v1/events",
        "application/json",
        br#"{"user_id":"u","event_type":"click","idempotency_key":"k"}"#,
        PATIENCE,
    );
    assert_eq!(answer.unwrap().status, 202);
    refused(weak, &["lacks a right"]);

    let asked = |name: &str| {
        let registry = world.registry.clone();
        let (_, rest) = registry.split_once("://").unwrap();
        let to: SocketAddr = rest.split('/').next().unwrap().parse().unwrap();
        Port::front(to, &certificates, name, None).unwrap()
    };
    let url = |port: &Port| {
        [(
            "REGISTRY__URL",
            format!("https://{}/apis/ccompat/v7", port.address),
        )]
    };
    let (expired, elsewhere) = (asked("expired"), asked("elsewhere"));
    refused(
        role("migrate", &url(&expired)),
        &["the registry did not take", "certificate has expired"],
    );
    refused(
        role("migrate", &url(&elsewhere)),
        &[
            "the registry did not take",
            "does not name the host of registry.url",
        ],
    );
    refused(
        role("migrate", &[("REGISTRY__CA_FILE", another)]),
        &[
            "the registry did not take",
            "registry.ca_file does not hold the authority",
        ],
    );
    refused(
        role("migrate", &[("REGISTRY__PASSWORD_FILE", wrong)]),
        &[
            "the registry did not take",
            "its password is not the one in registry.password_file",
        ],
    );
}
