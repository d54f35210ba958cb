//! Access as a client meets it: over HTTP, with a file that changes meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;

use super::file::Error;
use super::*;
use crate::config;
use crate::http::Problem;
use crate::http::testing::{PATIENCE, exchange, listener};
use crate::shutdown::Shutdown;

/// A server and its file of keys.
struct Server {
    address: SocketAddr,
    registry: Registry,
    access: Access,
    shutdown: Shutdown,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn wanted(tenant: &str, scopes: &[Scope]) -> Wanted {
    Wanted {
        tenant: tenant.to_owned(),
        scopes: scopes.iter().copied().collect::<BTreeSet<_>>(),
        name: String::new(),
        rate: None,
        quota: None,
    }
}

fn add(path: &Path, wanted: Wanted) -> (Key, String) {
    let (key, text) = Key::make(wanted, 1).unwrap();
    file::change(path, |keys| {
        keys.push(key.clone());
        Ok::<_, Error>(())
    })
    .unwrap();
    (key, text.reveal().to_owned())
}

fn revoke(path: &Path, id: &str) {
    file::change(path, |keys| {
        let key = keys.iter_mut().find(|key| key.id == id).unwrap();
        key.revoked_s = Some(2);
        Ok::<_, Error>(())
    })
    .unwrap();
}

impl Server {
    async fn start(origins: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::with(folder, origins).await
    }

    async fn with(folder: tempfile::TempDir, origins: &[&str]) -> Self {
        let (registry, shutdown) = (Registry::new().unwrap(), Shutdown::new());
        let path = folder.path().join("keys.jsonl");
        let access = Access::open(&path, false, &["/health", "/own"], &registry).unwrap();
        let who = |caller: Caller| async move { caller.tenant().to_string() };
        let asked = Router::new().route("/asked", get(who));
        let sent = Router::new().route(
            "/sent",
            post(|caller: Caller, body: axum::body::Bytes| async move {
                caller.check_quota(86_400 * 20_000 + 86_000)?;
                caller.spend(body.len() as u64, 86_400 * 20_000 + 86_000);
                Ok::<_, Problem>(format!("{} {}", caller.tenant(), body.len()))
            }),
        );
        let long = |caller: Caller| async move {
            caller.ended().await;
            "ended"
        };
        let router = needs(asked, &[Scope::Query])
            .merge(needs(sent, &[Scope::Ingest]))
            .route("/long", get(long))
            .route("/health", get(async || "well"))
            .route(
                "/own",
                get(|caller: Option<Caller>| async move { format!("{:?}", caller.map(|c| c.has_key())) }),
            );
        let limits = config::Http {
            cors_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            ..config::Http::default()
        };
        let (listener, address) = listener().await;
        let metrics = crate::http::Metrics::new(&registry).unwrap();
        let (kept, stop) = (access.clone(), shutdown.clone());
        tokio::spawn(async move {
            crate::http::serve(listener, router, &limits, metrics, kept, stop)
                .await
                .unwrap();
        });
        Self {
            address,
            registry,
            access,
            shutdown,
            folder,
        }
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys.jsonl")
    }

    /// Status, head and body of an answer.
    async fn ask(&self, what: &str, headers: &[String]) -> (u16, String, String) {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{what} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        let answer = exchange(self.address, &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    /// Status and body, or the code of a problem, with a key.
    async fn with_key(&self, what: &str, key: &str) -> (u16, String) {
        let (status, _, body) = self.ask(what, &[format!("authorization: Bearer {key}")]).await;
        (status, code(&body))
    }

    fn metric(&self, line: &str) -> u64 {
        let text = self.registry.render();
        let found = text
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("{line} in {text}"))
            .parse()
            .unwrap()
    }
}

/// The code of a problem, or a body as it is.
fn code(body: &str) -> String {
    let json = body
        .find('{')
        .zip(body.rfind('}'))
        .map(|(start, end)| &body[start..=end]);
    let problem: Option<Value> = json.and_then(|json| serde_json::from_str(json).ok());
    problem.map_or(body.to_owned(), |problem| {
        let kind = problem["type"].as_str().unwrap();
        kind.trim_start_matches("/problems/").to_owned()
    })
}

fn is(expected: (u16, &str), found: &(u16, String)) {
    assert_eq!((found.0, found.1.as_str()), expected);
}

#[tokio::test]
async fn without_keys_this_machine_may_do_everything_and_no_key_is_taken() {
    let server = Server::start(&[]).await;
    let (status, _, body) = server.ask("GET /asked", &[]).await;
    assert_eq!((status, body.as_str()), (200, "default"));
    let (_, text) = Key::make(wanted("acme", &[Scope::Query]), 1).unwrap();
    is(
        (401, "key_unknown"),
        &server.with_key("GET /asked", text.reveal()).await,
    );
    let (status, _, _) = server
        .ask("GET /asked", &["origin: http://evil.example".to_owned()])
        .await;
    assert_eq!(status, 403);
    assert!(server.ask("GET /own", &[]).await.2.contains("Some(false)"));
}

#[tokio::test]
async fn with_keys_every_route_but_the_public_ones_needs_one_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.jsonl");
    let (key, text) = add(&path, wanted("acme", &[Scope::Query]));
    let (_, sender) = add(&path, wanted("other", &[Scope::Ingest]));
    let (gone, gone_text) = add(&path, wanted("acme", &[Scope::Query]));
    revoke(&path, &gone.id);
    let server = Server::with(folder, &[]).await;
    for path in ["GET /asked", "POST /sent", "GET /long", "GET /nothing"] {
        let (status, head, body) = server.ask(path, &[]).await;
        assert_eq!((status, code(&body).as_str()), (401, "key_missing"), "{path}");
        assert!(head.contains("www-authenticate: Bearer"), "{head}");
    }
    is((200, "acme"), &server.with_key("GET /asked", &text).await);
    is(
        (403, "scope_missing"),
        &server.with_key("POST /sent", &text).await,
    );
    is((200, "other 0"), &server.with_key("POST /sent", &sender).await);
    is(
        (401, "key_revoked"),
        &server.with_key("GET /asked", &gone_text).await,
    );
    let other_secret = format!("tmk_{}_{}", key.id, "0".repeat(64));
    let no_id = format!("tmk_{}_{}", "0".repeat(16), "0".repeat(64));
    for bad in [
        "x",
        "tmk_",
        &other_secret,
        &no_id,
        &format!("{text}0"),
        &text.to_uppercase(),
    ] {
        is((401, "key_unknown"), &server.with_key("GET /asked", bad).await);
    }
    for header in [
        format!("x-api-key: {text}"),
        format!("authorization: {text}"),
        format!("authorization: bEARER  {text}"),
    ] {
        assert_eq!(server.ask("GET /asked", &[header]).await.2, "acme");
    }
    // Of two keys nobody could say which one was meant; what is none of ours beside one is let be.
    let two = [
        format!("x-api-key: {text}"),
        format!("authorization: Bearer {sender}"),
    ];
    assert_eq!(server.ask("GET /asked", &two).await.0, 401);
    let basic = [
        format!("x-api-key: {text}"),
        "authorization: Basic eDp5".to_owned(),
    ];
    assert_eq!(server.ask("GET /asked", &basic).await.0, 200);
    assert_eq!(
        server
            .ask("GET /asked", &["authorization: Basic eDp5".to_owned()])
            .await
            .0,
        401
    );
    assert!(server.metric("tidemark_access_refused_requests_total{reason=\"key_unknown\"}") >= 7);
    assert_eq!(
        server.metric("tidemark_access_refused_requests_total{reason=\"scope_missing\"}"),
        1
    );
    assert_eq!(server.metric("tidemark_access_current_keys"), 2);
}

#[tokio::test]
async fn a_public_route_lets_a_key_do_no_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.jsonl");
    let (_, text) = add(&path, wanted("acme", &[Scope::Query]));
    let server = Server::with(folder, &[]).await;
    assert_eq!(server.ask("GET /health", &[]).await.2, "well");
    is((200, "well"), &server.with_key("GET /health", "tmk_wrong").await);
    is((200, "Some(true)"), &server.with_key("GET /own", &text).await);
    is((200, "None"), &server.with_key("GET /own", "tmk_wrong").await);
    // A page of elsewhere and another name for this machine are no danger: neither has a key.
    let headers = [
        format!("x-api-key: {text}"),
        "origin: http://else.example".to_owned(),
    ];
    assert_eq!(server.ask("GET /asked", &headers).await.0, 200);
}

#[tokio::test]
async fn a_file_that_appears_demands_keys_and_one_that_changes_is_followed() {
    let server = Server::start(&[]).await;
    let path = server.keys();
    let watch = tokio::spawn(server.access.clone().watch(server.shutdown.clone()));
    let long = server.ask("GET /long", &[]);
    let made = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        add(&path, wanted("acme", &[Scope::Query]))
    };
    let ((status, _, body), (key, text)) = tokio::join!(long, made);
    assert_eq!((status, body.as_str()), (200, "ended"));
    is((401, "key_missing"), &{
        let (status, _, body) = server.ask("GET /asked", &[]).await;
        (status, code(&body))
    });
    is((200, "acme"), &server.with_key("GET /asked", &text).await);
    let long = server.with_key("GET /long", &text);
    let revoked = async { revoke(&path, &key.id) };
    let (ended, ()) = tokio::join!(long, revoked);
    is((200, "ended"), &ended);
    is((401, "key_revoked"), &server.with_key("GET /asked", &text).await);
    server.shutdown.begin();
    tokio::time::timeout(PATIENCE, watch).await.unwrap().unwrap();
    // It was used, and that was written at the end.
    let used = file::last_used(&path);
    assert!(used[&key.id] > 1_700_000_000, "{used:?}");
    assert!(
        !std::fs::read_to_string(path.with_file_name("keys.jsonl.used"))
            .unwrap()
            .contains(&text)
    );
}

#[tokio::test]
async fn a_damaged_file_keeps_the_keys_that_were_read_last_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.jsonl");
    let (_, text) = add(&path, wanted("acme", &[Scope::Query]));
    let good = std::fs::read(&path).unwrap();
    let server = Server::with(folder, &[]).await;
    for damage in [&b"{\"id\":"[..], b"\xff"] {
        std::fs::write(&path, damage).unwrap();
        assert!(server.access.look().is_err());
        // It is looked at again though it is the same file: what is wrong may be cured outside of it.
        assert!(server.access.look().is_err());
        assert_eq!(server.metric("tidemark_access_damaged_files"), 1);
        is((200, "acme"), &server.with_key("GET /asked", &text).await);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(server.access.look(), Err(Error::Missing(_))));
    is((200, "acme"), &server.with_key("GET /asked", &text).await);
    assert_eq!(server.ask("GET /asked", &[]).await.0, 401);
    std::fs::write(&path, good).unwrap();
    server.access.look().unwrap();
    assert_eq!(server.metric("tidemark_access_damaged_files"), 0);
    is((200, "acme"), &server.with_key("GET /asked", &text).await);
}

#[tokio::test]
async fn a_damaged_file_that_appears_lets_nobody_in_and_one_at_the_start_refuses_it() {
    let server = Server::start(&[]).await;
    std::fs::write(server.keys(), "no key").unwrap();
    assert!(server.access.look().is_err());
    assert_eq!(server.ask("GET /asked", &[]).await.0, 401);
    let open = |path: &Path, must_be| Access::open(path, must_be, &[], &Registry::new().unwrap());
    assert!(matches!(
        open(&server.keys(), false),
        Err(Error::Damaged { line: 1, .. })
    ));
    let none = server.folder.path().join("none");
    assert!(matches!(open(&none, true), Err(Error::Missing(_))));
    assert!(open(&none, false).unwrap().is_open());
}

#[tokio::test]
async fn a_rate_and_a_quota_are_429_with_the_time_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.jsonl");
    let limited = |rate, quota| Wanted {
        rate,
        quota,
        ..wanted("acme", &[Scope::Ingest])
    };
    let (_, rated) = add(&path, limited(Some(1), None));
    let (_, quota) = add(&path, limited(None, Some(5)));
    let (_, free) = add(&path, limited(None, None));
    let server = Server::with(folder, &[]).await;
    let mut refused = None;
    for _ in 0..100 {
        let (status, head, body) = server.ask("POST /sent", &[format!("x-api-key: {rated}")]).await;
        if status == 429 {
            refused = Some((head, body));
            break;
        }
    }
    let (head, body) = refused.expect("one a second is not a hundred at once");
    assert_eq!(code(&body), "rate_exceeded");
    assert!(head.contains("retry-after: 1"), "{head}");
    let send = |key: &str| {
        let head =
            format!("POST /sent HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-api-key: {key}\r\n");
        format!("{head}content-length: 5\r\n\r\n12345")
    };
    let answer = exchange(server.address, &send(&quota)).await;
    assert!(answer.ends_with("acme 5"), "{answer}");
    let answer = exchange(server.address, &send(&quota)).await;
    assert!(
        answer.starts_with("HTTP/1.1 429 ") && answer.contains("quota_exceeded"),
        "{answer}"
    );
    // The rest of that UTC day, and when the next one begins.
    assert!(
        answer.contains("retry-after: 400\r\n") && answer.contains("2024-10-05T00:00:00Z"),
        "{answer}"
    );
    assert!(exchange(server.address, &send(&free)).await.ends_with("acme 5"));
    // A file that is read again gives nobody their quota back.
    add(&path, wanted("acme", &[Scope::Query]));
    server.access.look().unwrap();
    assert!(
        exchange(server.address, &send(&quota))
            .await
            .contains("quota_exceeded")
    );
}

#[tokio::test]
async fn a_refusal_reaches_who_is_still_sending() {
    let folder = tempfile::tempdir().unwrap();
    add(&folder.path().join("keys.jsonl"), wanted("acme", &[Scope::Query]));
    let server = Server::with(folder, &[]).await;
    let body = "x".repeat(4 * 1024 * 1024);
    let head =
        "POST /sent HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 4194304\r\n\r\n";
    for _ in 0..3 {
        let answer = exchange(server.address, &format!("{head}{body}")).await;
        assert!(answer.contains("key_missing"), "{answer}");
    }
}

#[tokio::test]
async fn pages_of_listed_origins_may_call_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.jsonl");
    let (_, text) = add(&path, wanted("acme", &[Scope::Query]));
    let server = Server::with(folder, &["https://good.example"]).await;
    let preflight = |origin: &str| {
        let headers = [
            "access-control-request-method: GET",
            "access-control-request-headers: authorization",
        ];
        let mut headers: Vec<String> = headers.map(str::to_owned).to_vec();
        headers.push(format!("origin: {origin}"));
        headers
    };
    let (status, head, _) = server
        .ask("OPTIONS /asked", &preflight("https://good.example"))
        .await;
    assert!(
        status == 200 && head.contains("access-control-allow-origin: https://good.example"),
        "{head}"
    );
    let (_, head, _) = server
        .ask("OPTIONS /asked", &preflight("https://evil.example"))
        .await;
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    let asked = [
        format!("x-api-key: {text}"),
        "origin: https://good.example".to_owned(),
    ];
    let (status, head, _) = server.ask("GET /asked", &asked).await;
    assert!(
        status == 200 && head.contains("access-control-allow-origin: https://good.example"),
        "{head}"
    );
    // Also what is refused can be read by the page.
    let (status, head, _) = server
        .ask("GET /asked", &["origin: https://good.example".to_owned()])
        .await;
    assert!(
        status == 401 && head.contains("access-control-allow-origin"),
        "{head}"
    );
    let open = Server::start(&["https://good.example"]).await;
    assert_eq!(
        open.ask("GET /asked", &["origin: https://good.example".to_owned()])
            .await
            .0,
        200
    );
    assert_eq!(
        open.ask("GET /asked", &["origin: https://evil.example".to_owned()])
            .await
            .0,
        403
    );
    let silent = Server::start(&[]).await;
    let (status, head, _) = silent
        .ask("OPTIONS /asked", &preflight("http://localhost:3000"))
        .await;
    assert!(status == 405 && !head.contains("access-control"), "{head}");
}

#[tokio::test]
async fn an_address_that_others_reach_is_not_served_without_keys() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new().unwrap();
    let access = Access::open(&folder.path().join("none"), false, &[], &registry).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let metrics = crate::http::Metrics::new(&registry).unwrap();
    let limits = config::Http::default();
    let served = crate::http::serve(listener, Router::new(), &limits, metrics, access, Shutdown::new()).await;
    assert!(served.is_err());
}

#[test]
fn nothing_of_a_caller_shows_a_secret() {
    let (key, text) = Key::make(wanted("acme", &[Scope::Query]), 1).unwrap();
    let secret = text.reveal().rsplit('_').next().unwrap().to_owned();
    let digest = serde_json::to_value(&key).unwrap()["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = format!("{:?}", Caller::bearer(key));
    assert!(!shown.contains(&secret) && !shown.contains(&digest), "{shown}");
}
