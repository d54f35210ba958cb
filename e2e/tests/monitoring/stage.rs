//! What is scraped: the services, one of them behind ways to the engines that can be cut, so that faults are its own and no engine is
//! stopped; a second `query` behind the same way to the broker, which has a certificate, asks for keys and is impatient; and a single process
//! on a small disk.

use super::disk::SmallDisk;
use super::link::Link;
use super::prometheus::Prometheus;
use crate::services::Services;
use e2e::process::{Role, last_lines};
use e2e::proxy::Proxy;
use e2e::tls::Port;
use e2e::world::{Cluster, PATIENCE, Service};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509Builder, X509NameBuilder};
use rdkafka::producer::BaseProducer;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

/// Milliseconds between canaries of a partition.
const CANARY_MS: u64 = 500;
/// Milliseconds between those of query-2, which waits as long for each: where none arrives, two are soon lost. They are rarer, since they must
/// not hide the late ones of the other `query`: TidemarkCanaryLate wants one late in twenty.
const IMPATIENT_CANARY_MS: u64 = 2000;
/// Milliseconds that a transaction of aggregate-1 may take: longer than it stands still while another one has its partitions.
const TRANSACTION_MS: u64 = 30_000;
/// Days that the certificate is good for: longer than any rule wants.
const GOOD_DAYS: u32 = 90;
/// Files of the guarded service, in the folder of the test.
pub(crate) const CERTIFICATE: &str = "certificate";
pub(crate) const CERTIFICATE_KEY: &str = "certificate-key";
pub(crate) const KEYS_FILE: &str = "keys.jsonl";

/// All that runs.
pub(crate) struct Stage {
    /// Scrapes all the others.
    pub(crate) prometheus: Prometheus,
    /// Of the aggregators, aggregate-1 comes by the ways below to the engines.
    pub(crate) services: Services,
    /// A `query` by the name of query-2, with a certificate and keys. It comes by the way below to the broker.
    pub(crate) guarded: Service,
    /// A single process whose disk can be filled.
    pub(crate) disk: SmallDisk,
    /// Where plain requests to query-2 are taken.
    pub(crate) tunnel: Port,
    /// The way to the broker.
    pub(crate) kafka: Proxy,
    /// The way to the view store.
    pub(crate) store: Link,
    /// The way to the registry.
    pub(crate) registry: Link,
    /// Another team's producer, while it holds a transaction open.
    pub(crate) other: Option<BaseProducer>,
    /// Behind all others, since the last that is dropped is the folder.
    pub(crate) world: Cluster,
}

impl Stage {
    /// Starts all of it.
    pub(crate) fn open() -> Self {
        let mut world = Cluster::new("monitoring").unwrap();
        world.set("TIDEMARK_QUERY__CANARY_INTERVAL_MS", CANARY_MS);
        let kafka = Proxy::start(world.broker.parse().unwrap()).unwrap();
        let store = Link::to(world.store);
        let (address, path) = registry(&world);
        let registry = Link::to(address);
        let first = world.aggregate("aggregate-1", true).unwrap();
        let first = first
            .with("TIDEMARK_KAFKA__BROKERS", kafka.address())
            .with("TIDEMARK_KAFKA__TRANSACTION_TIMEOUT_MS", TRANSACTION_MS)
            .with("TIDEMARK_STORE__NODES", store.address)
            .with(
                "TIDEMARK_REGISTRY__URL",
                format!("http://{}/{path}", registry.address),
            );
        let second = world.aggregate("aggregate-2", true).unwrap();
        let services = Services::with(&world, [first, second]);

        write_certificate(&world, GOOD_DAYS).unwrap();
        make_key(&world);
        let listen = free_port();
        let guarded = Service::start(guarded(&world, listen, &kafka)).unwrap();
        let tunnel = Port::tunnel(listen, &world.path(CERTIFICATE)).unwrap();
        let disk = SmallDisk::start(&world);
        let prometheus = {
            let [first, second] = &services.aggregators;
            let jobs = [
                ("tidemark-ingest", vec![&services.ingest]),
                ("tidemark-aggregate", vec![first, second]),
                ("tidemark-query", vec![&services.query, &guarded]),
                ("tidemark-run", vec![&disk.service]),
            ];
            Prometheus::start(&world.path("prometheus"), &jobs).unwrap()
        };
        Self {
            prometheus,
            services,
            guarded,
            disk,
            tunnel,
            kafka,
            store,
            registry,
            other: None,
            world,
        }
    }

    /// Stops all of it.
    pub(crate) fn close(self) -> Cluster {
        drop(self.prometheus);
        self.guarded.process.stop(PATIENCE).unwrap();
        self.disk.stop();
        self.services.stop();
        self.world
    }

    /// Takes a file of the guarded service away.
    pub(crate) fn set_aside(&self, file: &str) {
        std::fs::rename(self.world.path(file), self.aside(file)).unwrap();
    }

    /// Puts it back, in place of whatever is there.
    pub(crate) fn put_back(&self, file: &str) {
        std::fs::rename(self.aside(file), self.world.path(file)).unwrap();
    }

    fn aside(&self, file: &str) -> PathBuf {
        self.world.path(&format!("{file}.aside"))
    }
}

/// Where the registry is, and the path of its URL.
pub(crate) fn registry(world: &Cluster) -> (SocketAddr, String) {
    let address = world.registry.strip_prefix("http://").unwrap();
    let (address, path) = address.split_once('/').unwrap();
    (address.parse().unwrap(), path.to_owned())
}

fn guarded(world: &Cluster, listen: SocketAddr, kafka: &Proxy) -> Role {
    let admin = free_port();
    let file = |name| world.path(name).display().to_string();
    let mut role = world
        .role("query-2", "query")
        .with("TIDEMARK_KAFKA__BROKERS", kafka.address())
        .with("TIDEMARK_HTTP__TLS__CERTIFICATE_FILE", file(CERTIFICATE))
        .with("TIDEMARK_HTTP__TLS__KEY_FILE", file(CERTIFICATE_KEY))
        .with("TIDEMARK_ACCESS__KEYS_FILE", file(KEYS_FILE))
        .with("TIDEMARK_QUERY__CANARY_INTERVAL_MS", IMPATIENT_CANARY_MS)
        .with("TIDEMARK_QUERY__CANARY_PATIENCE_MS", IMPATIENT_CANARY_MS);
    role.args.push(format!("--listen={listen}"));
    role.args.push(format!("--admin-listen={admin}"));
    role.admin = Some(admin);
    role
}

/// Makes a key, and with it the file of keys.
fn make_key(world: &Cluster) {
    let mut role = world.role("keys", "keys");
    role = role.with("TIDEMARK_ACCESS__KEYS_FILE", world.path(KEYS_FILE).display());
    role.args.insert(1, "create".to_owned());
    role.args
        .extend(["--tenant=acme", "--scope=query"].map(str::to_owned));
    assert_eq!(role.run(PATIENCE).unwrap(), 0, "{}", last_lines(&role.log));
}

/// Writes a certificate of 127.0.0.1 that is its own authority and ends in so many days, and its key.
pub(crate) fn write_certificate(world: &Cluster, days: u32) -> Result<(), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", "here")?;
    let name = name.build();
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    let number = BigNum::from_u32(days)?;
    let number = Asn1Integer::from_bn(&number)?;
    builder.set_serial_number(&number)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    let (begins, ends) = (Asn1Time::from_unix(0)?, Asn1Time::days_from_now(days)?);
    builder.set_not_before(&begins)?;
    builder.set_not_after(&ends)?;
    builder.set_pubkey(&key)?;
    let names = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(&key, MessageDigest::sha256())?;
    std::fs::write(world.path(CERTIFICATE), builder.build().to_pem()?).unwrap();
    std::fs::write(world.path(CERTIFICATE_KEY), key.private_key_to_pem_pkcs8()?).unwrap();
    Ok(())
}

/// A port that is free now.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
