//! Over real TCP and real TLS; certificates are made here.

use super::*;
use crate::access::Access;
use crate::config::Http;
use crate::http::testing::{PATIENCE, exchange, listener};
use axum::Router;
use axum::routing::get;
use openssl::asn1::Asn1Integer;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::Private;
use openssl::ssl::{SslConnector, SslVersion};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509Builder, X509NameBuilder};
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

const DAY_S: i64 = 86_400;

/// A certificate of 127.0.0.1 that is its own authority, and its key.
fn certificate(until_s: i64) -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "here").unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let number = BigNum::from_slice(uuid::Uuid::new_v4().as_bytes()).unwrap();
    let number = Asn1Integer::from_bn(&number).unwrap();
    builder.set_serial_number(&number).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
    builder
        .set_not_after(&Asn1Time::from_unix(until_s).unwrap())
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    let names = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

fn write(folder: &Path, certificate: &X509, key: &PKey<Private>) {
    std::fs::write(folder.join("certificate"), certificate.to_pem().unwrap()).unwrap();
    std::fs::write(folder.join("key"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
}

fn settings(folder: &Path) -> config::Certificate {
    config::Certificate {
        certificate_file: Some(folder.join("certificate")),
        key_file: Some(folder.join("key")),
    }
}

fn tomorrow_s() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_secs()).unwrap() + DAY_S
}

/// A server with a certificate in a folder of its own.
struct Server {
    address: SocketAddr,
    certificate: Certificate,
    folder: TempDir,
    stop: Shutdown,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(own: &X509, key: &PKey<Private>, header_timeout_ms: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), own, key);
        let registry = Registry::new().unwrap();
        let certificate = Certificate::open(&settings(folder.path()), &registry)
            .unwrap()
            .unwrap();
        let limits = Http {
            header_timeout_ms,
            ..Http::default()
        };
        let metrics = crate::http::Metrics::new(&registry).unwrap();
        let access = Access::open(&folder.path().join("keys"), false, &["/here"], &registry).unwrap();
        let (tcp, address) = listener().await;
        let stop = Shutdown::new();
        let (kept, stopped) = (certificate.clone(), stop.clone());
        let served = tokio::spawn(async move {
            let router = Router::new().route("/here", get(async || "here"));
            let listener = Listener::from(tcp).with(Some(kept));
            crate::http::serve(listener, router, &limits, metrics, access, stopped).await
        });
        Self {
            address,
            certificate,
            folder,
            stop,
            served,
        }
    }

    /// `GET /here` by a client that believes this certificate alone.
    async fn get(&self, believed: &X509, most: Option<SslVersion>) -> Result<String, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.cert_store_mut().add_cert(believed.clone()).unwrap();
        builder.set_max_proto_version(most).unwrap();
        let ssl = builder
            .build()
            .configure()
            .unwrap()
            .into_ssl("127.0.0.1")
            .unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut stream = SslStream::new(ssl, stream).unwrap();
        Pin::new(&mut stream)
            .connect()
            .await
            .map_err(|error| words(&error))?;
        let request = b"GET /here HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.map_err(|error| words(&error))?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .map_err(|error| words(&error))?;
        Ok(answer)
    }

    async fn stop(self) {
        self.stop.begin();
        self.served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_request_over_tls_is_answered_and_one_in_plain_is_told_why_not() {
    let (own, key) = certificate(tomorrow_s());
    let server = Server::start(&own, &key, 10_000).await;
    let answer = server.get(&own, None).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"),
        "{answer}"
    );
    let answer = server.get(&own, Some(SslVersion::TLS1_2)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.get(&own, Some(SslVersion::TLS1_1)).await.unwrap_err();
    let answer = exchange(server.address, "GET /here HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.ends_with("use https://\n"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn who_connects_and_does_not_greet_is_let_go() {
    let (own, key) = certificate(tomorrow_s());
    let server = Server::start(&own, &key, 100).await;
    // Nothing at all, the first byte of a handshake alone, and a whole head of a record without a body.
    for said in ["", "\u{16}", "\u{16}\u{3}\u{1}\u{0}\u{64}"] {
        let answer = tokio::time::timeout(PATIENCE, exchange(server.address, said))
            .await
            .unwrap();
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_was_replaced_holds_for_who_connects_next() {
    let (first, key) = certificate(tomorrow_s());
    let server = Server::start(&first, &key, 10_000).await;
    let ends = server.certificate.0.expiry.get();
    assert!((tomorrow_s() - 60..=tomorrow_s()).contains(&ends), "{ends}");
    let (second, other) = certificate(tomorrow_s() + DAY_S);
    write(server.folder.path(), &second, &other);
    assert!(server.certificate.0.look().unwrap());
    assert!(!server.certificate.0.look().unwrap(), "nothing changed since");
    server.get(&second, None).await.unwrap();
    server.get(&first, None).await.unwrap_err();

    // Half of it replaced, or no certificate at all: what held before stays.
    write(server.folder.path(), &first, &other);
    let error = server.certificate.0.look().unwrap_err().to_string();
    assert!(
        error.starts_with("http.tls.key_file") && error.contains("is not the key"),
        "{error}"
    );
    std::fs::write(server.folder.path().join("certificate"), "none").unwrap();
    let error = server.certificate.0.look().unwrap_err().to_string();
    assert!(error.starts_with("http.tls.certificate_file"), "{error}");
    server.get(&second, None).await.unwrap();
    server.stop().await;
}

#[test]
fn a_key_with_a_password_or_of_another_certificate_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (own, key) = certificate(tomorrow_s());
    let (_, other) = certificate(tomorrow_s());
    write(folder.path(), &own, &other);
    let open = || Certificate::open(&settings(folder.path()), &Registry::new().unwrap()).map(|_| ());
    let error = open().unwrap_err().to_string();
    assert!(error.contains("is not the key of the certificate"), "{error}");
    let cipher = openssl::symm::Cipher::aes_128_cbc();
    let locked = key
        .private_key_to_pem_pkcs8_passphrase(cipher, b"locked")
        .unwrap();
    std::fs::write(folder.path().join("key"), locked).unwrap();
    let error = open().unwrap_err().to_string();
    assert!(error.contains("without a password"), "{error}");
}
