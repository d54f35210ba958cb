//! The public and admin ports, and the limits of every request.
//!
//! Every limit has a default that bounds it: there is no way to say "unlimited", since one client could then take
//! the memory, the disk or the connections of all.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::links::read_password;
use super::redact::Secret;
use crate::access::TENANT_BYTES;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
/// Longest of any period here: an hour. Longer ones are mistakes of unit.
const HOUR_MS: i128 = 3_600_000;

/// The older service's secret.
const KNOWN_SECRET: &str = "secret";

/// Section `http`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address of the public port; loopback only while there are no keys.
    /// Default `127.0.0.1:8080`; `TIDEMARK_HTTP__LISTEN`; flag `--listen`.
    pub listen: SocketAddr,
    /// Address of the admin port; loopback only unless `http.admin_open`.
    /// Default `127.0.0.1:8081`; `TIDEMARK_HTTP__ADMIN_LISTEN`; flag `--admin-listen`.
    pub admin_listen: SocketAddr,
    /// Whether the admin port may have an address that others reach. It asks for no key: whoever reaches it sees metrics and readiness,
    /// which name no tenant, no user and no key.
    /// Default `false`; `TIDEMARK_HTTP__ADMIN_OPEN`.
    pub admin_open: bool,
    /// The certificate of the public port: with one it speaks HTTPS alone. The admin port stays plain.
    pub tls: Certificate,
    /// Origins whose pages may call, such as `https://console.example`. Without keys whoever opens such a page lets it do everything.
    /// Default none; `TIDEMARK_HTTP__CORS_ORIGINS`, separated by commas.
    pub cors_origins: Vec<String>,
    /// Largest request body as sent, in bytes.
    /// Default 5 GiB; `TIDEMARK_HTTP__BODY_LIMIT_BYTES`.
    pub body_limit_bytes: u64,
    /// Largest request body after decompression, in bytes.
    /// Default 20 GiB; `TIDEMARK_HTTP__DECOMPRESSED_LIMIT_BYTES`.
    pub decompressed_limit_bytes: u64,
    /// How many times larger a body may become by decompression.
    /// Default 200; `TIDEMARK_HTTP__DECOMPRESSION_RATIO_LIMIT`.
    pub decompression_ratio_limit: u32,
    /// Largest row or single JSON event, in bytes; larger ones are refused one by one.
    /// Default 1 MiB; `TIDEMARK_HTTP__ROW_LIMIT_BYTES`.
    pub row_limit_bytes: usize,
    /// Largest request head (request line and headers), in bytes, at least 8 KiB.
    /// Default 32 KiB; `TIDEMARK_HTTP__HEADER_LIMIT_BYTES`.
    pub header_limit_bytes: usize,
    /// Connections open at one time; further ones wait in the kernel's backlog.
    /// Default 1024; `TIDEMARK_HTTP__CONNECTIONS`.
    pub connections: usize,
    /// Milliseconds within which a request head must have arrived; also how long an idle connection is kept.
    /// Default 10,000; `TIDEMARK_HTTP__HEADER_TIMEOUT_MS`.
    pub header_timeout_ms: u64,
    /// Milliseconds that a body may pause between two bytes, in either direction.
    /// Default 30,000; `TIDEMARK_HTTP__BODY_IDLE_TIMEOUT_MS`.
    pub body_idle_timeout_ms: u64,
    /// Bytes a second that a body must bring on average, beyond the first `body_idle_timeout_ms`: one that only drips would hold its place
    /// for days.
    /// Default 512; `TIDEMARK_HTTP__BODY_LEAST_BYTES_PER_S`.
    pub body_least_bytes_per_s: u64,
    /// Requests worked on at one time; one more gets a 503 with `Retry-After`.
    /// Default 512; `TIDEMARK_HTTP__REQUEST_QUEUE`.
    pub request_queue: usize,
    /// Milliseconds from the signal to stop, at which `/ready` falls, to the moment at which the public port closes: as long as balancers
    /// need to look and to send elsewhere.
    /// Default 0; `TIDEMARK_HTTP__DRAIN_DELAY_MS`.
    pub drain_delay_ms: u64,
    /// Milliseconds that requests in hand have to finish once the drain began.
    /// Default 20,000; `TIDEMARK_HTTP__DRAIN_DEADLINE_MS`.
    pub drain_deadline_ms: u64,
    /// Rows listed in one answer; the number left out is said.
    /// Default 1000; `TIDEMARK_HTTP__RESULTS_LIMIT`.
    pub results_limit: usize,
    /// What clients of `POST /liveEvent` must send as `Authorization`. The default is the older service's own, known to everybody:
    /// it holds only while there are no keys.
    /// Default `secret`; `TIDEMARK_HTTP__LIVE_EVENT_SECRET`.
    pub live_event_secret: Secret,
    /// File that holds this secret in place of the setting. It is looked at every 10 s, so that one that was changed holds without a
    /// restart.
    /// Default none; `TIDEMARK_HTTP__LIVE_EVENT_SECRET_FILE`.
    pub live_event_secret_file: Option<PathBuf>,
    /// Whose events those are that come with that secret.
    /// Default `default`; `TIDEMARK_HTTP__LIVE_EVENT_TENANT`.
    pub live_event_tenant: String,
}

/// Section `http.tls`. The files are looked at every 5 s: a certificate that was replaced holds for new connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file of the certificate, with those between it and its authority behind it.
    /// Default none; `TIDEMARK_HTTP__TLS__CERTIFICATE_FILE`.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its private key, without a password.
    /// Default none; `TIDEMARK_HTTP__TLS__KEY_FILE`.
    pub key_file: Option<PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            admin_open: false,
            tls: Certificate::default(),
            cors_origins: Vec::new(),
            body_limit_bytes: 5 * GIB,
            decompressed_limit_bytes: 20 * GIB,
            decompression_ratio_limit: 200,
            row_limit_bytes: 1024 * 1024,
            header_limit_bytes: 32 * 1024,
            connections: 1024,
            header_timeout_ms: 10_000,
            body_idle_timeout_ms: 30_000,
            body_least_bytes_per_s: 512,
            request_queue: 512,
            drain_delay_ms: 0,
            drain_deadline_ms: 20_000,
            results_limit: 1000,
            live_event_secret: Secret::new(KNOWN_SECRET),
            live_event_secret_file: None,
            live_event_tenant: "default".to_owned(),
        }
    }
}

impl Http {
    /// Whether clients of `POST /liveEvent` send a secret that everybody knows.
    #[must_use]
    pub fn live_event_secret_is_known(&self) -> bool {
        is_known_secret(&self.live_event_secret)
    }

    /// [`Http::header_timeout_ms`] as a duration.
    #[must_use]
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// [`Http::body_idle_timeout_ms`] as a duration.
    #[must_use]
    pub fn body_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.body_idle_timeout_ms)
    }

    /// [`Http::drain_delay_ms`] as a duration.
    #[must_use]
    pub fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    /// [`Http::drain_deadline_ms`] as a duration.
    #[must_use]
    pub fn drain_deadline(&self) -> Duration {
        Duration::from_millis(self.drain_deadline_ms)
    }

    /// `has_keys`: there is a file of keys.
    pub(super) fn check(&self, has_keys: bool, checks: &mut Checks<'_>) {
        let is_own = has_keys || self.listen.ip().is_loopback();
        let reason = "must be a loopback address such as 127.0.0.1:8080: without API keys anyone who can reach \
                      another address could read and write everything; `tidemark keys create` makes keys";
        checks.that(is_own, "http.listen", self.listen, reason);
        let is_own = self.admin_open || self.admin_listen.ip().is_loopback();
        let reason = "must be a loopback address such as 127.0.0.1:8081, unless http.admin_open is set: the admin \
                      port asks for no key";
        checks.that(is_own, "http.admin_listen", self.admin_listen, reason);
        let both = self.tls.certificate_file.is_some() == self.tls.key_file.is_some();
        let reason = "a certificate and its key belong together: set http.tls.certificate_file and http.tls.key_file, or neither";
        checks.that(both, "http.tls", "", reason);
        for origin in &self.cors_origins {
            let reason = "must be origins such as https://console.example:8443, without a path";
            checks.that(is_origin(origin), "http.cors_origins", origin, reason);
        }
        checks.that(
            self.listen != self.admin_listen || self.listen.port() == 0,
            "http.admin_listen",
            self.admin_listen,
            "must differ from http.listen",
        );
        let tib = i128::from(1024 * GIB);
        checks.range("http.body_limit_bytes", self.body_limit_bytes, 1, tib);
        checks.range(
            "http.decompressed_limit_bytes",
            self.decompressed_limit_bytes,
            1,
            tib,
        );
        checks.range(
            "http.decompression_ratio_limit",
            self.decompression_ratio_limit,
            1,
            1_000_000,
        );
        checks.range(
            "http.row_limit_bytes",
            self.row_limit_bytes as u64,
            1024,
            i128::from(16 * MIB),
        );
        // 8 KiB is the smallest buffer that hyper takes.
        checks.range(
            "http.header_limit_bytes",
            self.header_limit_bytes as u64,
            8192,
            i128::from(MIB),
        );
        checks.range("http.connections", self.connections as u64, 1, 1_000_000);
        checks.range("http.header_timeout_ms", self.header_timeout_ms, 1, HOUR_MS);
        checks.range("http.body_idle_timeout_ms", self.body_idle_timeout_ms, 1, HOUR_MS);
        checks.range(
            "http.body_least_bytes_per_s",
            self.body_least_bytes_per_s,
            1,
            i128::from(MIB),
        );
        checks.range("http.request_queue", self.request_queue as u64, 1, 1_000_000);
        checks.range("http.drain_delay_ms", self.drain_delay_ms, 0, HOUR_MS);
        checks.range("http.drain_deadline_ms", self.drain_deadline_ms, 0, HOUR_MS);
        checks.range("http.results_limit", self.results_limit as u64, 1, 100_000);
        checks.text("http.live_event_secret", self.live_event_secret.reveal(), 1024);
        if let Some(file) = &self.live_event_secret_file {
            let (key, is_alone) = ("http.live_event_secret_file", self.live_event_secret_is_known());
            checks.that(
                is_alone,
                key,
                file.display(),
                "has no effect beside http.live_event_secret: set one of them",
            );
            if let Err(reason) = read_password(file) {
                checks.that(false, key, file.display(), &reason);
            }
        }
        checks.text("http.live_event_tenant", &self.live_event_tenant, TENANT_BYTES);
    }
}

/// Whether this is the older service's own secret.
#[must_use]
pub fn is_known_secret(secret: &Secret) -> bool {
    secret.reveal() == KNOWN_SECRET
}

/// `scheme://host` with or without a port, as browsers write it: RFC 6454, 6.2.
fn is_origin(text: &str) -> bool {
    let authority = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    authority.is_some_and(|authority| {
        let parsed: Option<hyper::http::uri::Authority> = authority.parse().ok();
        parsed.is_some_and(|parsed| !parsed.host().is_empty() && !authority.contains(['@', '*']))
            && !authority.bytes().any(|byte| byte.is_ascii_uppercase())
    })
}
