//! Keys over HTTP as their users meet them: who sees and makes what, what is refused and why, and two who write at once.

use super::*;
use crate::access::key::id_of;
use crate::config;
use crate::http::testing::{exchange, listener};
use crate::metrics::Registry;
use crate::shutdown::Shutdown;
use std::net::SocketAddr;
use std::path::PathBuf;

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (registry, shutdown) = (Registry::new().unwrap(), Shutdown::new());
        let access = Access::open(&folder.path().join("keys.jsonl"), false, &[], &registry).unwrap();
        let (listener, address) = listener().await;
        let metrics = crate::http::Metrics::new(&registry).unwrap();
        let stop = shutdown.clone();
        // Nobody watches the file here: what holds at once does so by itself.
        tokio::spawn(async move {
            let limits = config::Http::default();
            let router = api(access.clone()).into_parts().0;
            crate::http::serve(listener, router, &limits, metrics, access, stop)
                .await
                .unwrap();
        });
        Self {
            address,
            shutdown,
            folder,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("keys.jsonl")
    }

    async fn say(&self, what: &str, key: &str, body: &str) -> Said {
        let key = match key {
            "" => String::new(),
            key => format!("authorization: Bearer {key}\r\n"),
        };
        let text = format!(
            "{what} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{key}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(self.address, &text).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Said {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }

    /// A key that is made; its text.
    async fn made(&self, by: &str, tenant: &str, scopes: &[&str]) -> String {
        let body = json!({"tenant": tenant, "scopes": scopes}).to_string();
        let said = self.say("POST /v1/keys", by, &body).await;
        assert_eq!(said.status, 201, "{}", said.body);
        said.body["key"].as_str().unwrap().to_owned()
    }

    /// The ids and tenants that a key sees.
    async fn listed(&self, by: &str) -> Vec<(String, String)> {
        let said = self.say("GET /v1/keys", by, "").await;
        assert_eq!(said.status, 200, "{}", said.body);
        let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
        let lines = said.body["keys"].as_array().unwrap().iter();
        lines
            .map(|line| (text(line, "id"), text(line, "tenant")))
            .collect()
    }
}

struct Said {
    status: u16,
    head: String,
    body: Value,
}

impl Said {
    #[track_caller]
    fn is(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.body["type"], format!("/problems/{code}"), "{}", self.body);
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

fn id(text: &str) -> String {
    id_of(text).unwrap().to_owned()
}

#[tokio::test]
async fn the_first_key_closes_the_port_at_once_and_is_shown_once() {
    let server = Server::start().await;
    assert!(server.listed("").await.is_empty());
    let weak = json!({"tenant": "default", "scopes": ["query"]}).to_string();
    server
        .say("POST /v1/keys", "", &weak)
        .await
        .is(409, "first_key_needs_operator");
    assert!(!server.file().exists());
    let body = json!({"scopes": ["operator", "admin"], "name": "mine", "rate": 50, "quota": 7}).to_string();
    let said = server.say("POST /v1/keys", "", &body).await;
    assert_eq!(said.status, 201, "{}", said.body);
    assert!(said.head.contains("cache-control: no-store"), "{}", said.head);
    let key = said.body["key"].as_str().unwrap().to_owned();
    // The tenant of those who need no key, since nothing else was said.
    assert_eq!(said.body["tenant"], "default");
    for what in ["GET /v1/keys", "POST /v1/keys"] {
        let refused = server.say(what, "", &body).await;
        assert!(
            refused.head.contains("www-authenticate: bearer"),
            "{}",
            refused.head
        );
        refused.is(401, "key_missing");
    }
    let list = server.say("GET /v1/keys", &key, "").await;
    assert!(list.head.contains("cache-control: no-store"), "{}", list.head);
    let line = &list.body["keys"][0];
    assert_eq!(
        (&line["name"], &line["rate"], &line["quota"], &line["scopes"]),
        (
            &json!("mine"),
            &json!(50),
            &json!(7),
            &json!(["admin", "operator"])
        )
    );
    // It was used just now, by this very request.
    assert!(
        line["last_used_at"].is_string() && line["revoked_at"].is_null(),
        "{line}"
    );
    assert_eq!(
        list.body["caller"],
        json!({"tenant": "default", "scopes": ["admin", "operator"], "id": id(&key)})
    );
    let secret = key.rsplit('_').next().unwrap();
    let file = std::fs::read_to_string(server.file()).unwrap();
    assert!(!list.body.to_string().contains(secret) && !file.contains(secret));
}

#[tokio::test]
async fn an_admin_sees_and_changes_keys_of_its_own_tenant_alone() {
    let server = Server::start().await;
    let root = server.made("", "ops", &["operator", "admin"]).await;
    let acme = server.made(&root, "acme", &["admin", "query"]).await;
    let other = server.made(&root, "other", &["admin", "ingest"]).await;
    let query = server.made(&acme, "acme", &["query"]).await;
    let ids = |listed: Vec<(String, String)>| listed.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(
        ids(server.listed(&root).await),
        [&root, &acme, &other, &query].map(|text| id(text))
    );
    assert_eq!(ids(server.listed(&acme).await), [id(&acme), id(&query)]);
    assert_eq!(ids(server.listed(&other).await), [id(&other)]);
    for what in [
        "GET /v1/keys",
        "POST /v1/keys",
        &format!("DELETE /v1/keys/{}", id(&query)),
    ] {
        server.say(what, &query, "{}").await.is(403, "scope_missing");
    }
    let ask = async |tenant: &str, scopes: &[&str]| {
        let body = json!({"tenant": tenant, "scopes": scopes}).to_string();
        server.say("POST /v1/keys", &acme, &body).await
    };
    ask("other", &["query"]).await.is(403, "tenant_not_yours");
    ask("acme", &["ingest"]).await.is(403, "scope_missing");
    ask("acme", &["operator"]).await.is(403, "scope_missing");
    let revoke = async |by: &str, key: &str| {
        let path = format!("DELETE /v1/keys/{}", id(key));
        server.say(&path, by, "").await
    };
    revoke(&acme, &other).await.is(404, "not_found");
    revoke(&acme, &root).await.is(404, "not_found");
    assert_eq!(revoke(&acme, &query).await.status, 204);
    server
        .say("GET /v1/keys", &query, "")
        .await
        .is(401, "key_revoked");
    assert_eq!(revoke(&acme, &query).await.status, 204);
    revoke(&root, &root).await.is(409, "last_operator_key");
    let forced = format!("DELETE /v1/keys/{}?force=true", id(&root));
    assert_eq!(server.say(&forced, &root, "").await.status, 204);
    server.say("GET /v1/keys", &root, "").await.is(401, "key_revoked");
    // What is left goes on.
    assert_eq!(revoke(&acme, &acme).await.status, 204);
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_named_and_makes_no_key() {
    let server = Server::start().await;
    let root = server.made("", "ops", &["operator", "admin"]).await;
    let before = std::fs::read(server.file()).unwrap();
    let long = "x".repeat(129);
    for (field, wrong) in [
        ("tenant", json!({"tenant": long, "scopes": ["query"]})),
        ("tenant", json!({"tenant": "", "scopes": ["query"]})),
        ("tenant", json!({"tenant": 7, "scopes": ["query"]})),
        ("tenant", json!({"tenant": "a\u{7}", "scopes": ["query"]})),
        ("name", json!({"name": long, "scopes": ["query"]})),
        ("scopes", json!({"tenant": "a"})),
        ("scopes", json!({"scopes": []})),
        ("scopes", json!({"scopes": ["root"]})),
        ("scopes", json!({"scopes": "query"})),
        ("rate", json!({"scopes": ["query"], "rate": 0})),
        ("rate", json!({"scopes": ["query"], "rate": 1_000_001})),
        ("rate", json!({"scopes": ["query"], "rate": 5_000_000_000_u64})),
        ("rate", json!({"scopes": ["query"], "rate": "7"})),
        ("quota", json!({"scopes": ["query"], "quota": 0})),
        ("quota", json!({"scopes": ["query"], "quota": -1})),
        ("quota", json!({"scopes": ["query"], "quota": 1.5})),
    ] {
        let said = server.say("POST /v1/keys", &root, &wrong.to_string()).await;
        said.is(400, "parameter_invalid");
        assert_eq!(said.body["parameter"], field, "{wrong}: {}", said.body);
    }
    for wrong in [
        "",
        "{",
        "[]",
        "null",
        "{\"scopes\":[\"query\"],\"scope\":\"admin\"}",
        "{\"tenant\":\"a\",\"tenant\":\"b\",\"scopes\":[\"query\"]}",
    ] {
        server
            .say("POST /v1/keys", &root, wrong)
            .await
            .is(400, "json_invalid");
    }
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(BODY_BYTES));
    server
        .say("POST /v1/keys", &root, &large)
        .await
        .is(413, "body_too_large");
    for path in [
        "GET /v1/keys?tenant=acme",
        "POST /v1/keys?x=1",
        "DELETE /v1/keys/0?x=1",
    ] {
        server.say(path, &root, "{}").await.is(400, "unknown_parameter");
    }
    for force in ["force=yes", "force", "force=true&force=true"] {
        let path = format!("DELETE /v1/keys/{}?{force}", id(&root));
        server.say(&path, &root, "").await.is(400, "parameter_invalid");
    }
    for unknown in ["0123456789abcdef", "x", "%2e%2e", root.as_str()] {
        let said = server.say(&format!("DELETE /v1/keys/{unknown}"), &root, "").await;
        said.is(404, "not_found");
        // Whoever takes the key for its id is not shown it again.
        assert!(!said.body.to_string().contains(&root));
    }
    assert_eq!(std::fs::read(server.file()).unwrap(), before);
}

#[tokio::test]
async fn keys_made_at_once_over_http_and_by_the_file_are_all_there() {
    let server = Server::start().await;
    let root = server.made("", "ops", &["operator", "admin"]).await;
    let path = server.file();
    let by_file = spawn_blocking(move || {
        for number in 0..20 {
            let wanted = Wanted {
                tenant: format!("file-{number}"),
                scopes: [Scope::Query].into(),
                name: String::new(),
                rate: None,
                quota: None,
            };
            let (key, _) = Key::make(wanted, 1).unwrap();
            file::change(&path, |keys| {
                keys.push(key);
                Ok::<_, Error>(())
            })
            .unwrap();
        }
    });
    let over_http = async |who: &str| {
        for number in 0..10 {
            server.made(&root, &format!("{who}-{number}"), &["query"]).await;
        }
    };
    tokio::join!(over_http("a"), over_http("b"), async { by_file.await.unwrap() });
    let listed = server.listed(&root).await;
    let tenants: BTreeSet<String> = listed.into_iter().map(|(_, tenant)| tenant).collect();
    assert_eq!(tenants.len(), 41, "{tenants:?}");
}

#[tokio::test]
async fn a_file_that_somebody_holds_or_that_is_damaged_is_said_and_nothing_is_made() {
    let server = Server::start().await;
    let root = server.made("", "ops", &["operator", "admin"]).await;
    let body = json!({"scopes": ["query"]}).to_string();
    let held = Lock::try_take(&server.file()).unwrap().unwrap();
    assert!(Lock::try_take(&server.file()).unwrap().is_none());
    let said = server.say("POST /v1/keys", &root, &body).await;
    assert!(said.head.contains("retry-after:"), "{}", said.head);
    said.is(503, "keys_unavailable");
    drop(held);
    std::fs::write(server.file(), "no key").unwrap();
    let said = server.say("POST /v1/keys", &root, &body).await;
    said.is(503, "keys_unavailable");
    assert!(!said.body.to_string().contains("no key"), "{}", said.body);
    server
        .say("GET /v1/keys", &root, "")
        .await
        .is(503, "keys_unavailable");
    assert_eq!(std::fs::read_to_string(server.file()).unwrap(), "no key");
}

/// As root nothing is read-only but a mount, so what the system says is said here.
#[test]
fn a_file_that_may_never_be_written_is_told_apart_from_one_that_cannot_be_now() {
    use std::io::ErrorKind;
    let of = |kind: ErrorKind| {
        let problem = unavailable(&Error::Io {
            path: "/secret/keys.jsonl".into(),
            cause: kind.into(),
        });
        assert!(!problem.text().contains("/secret"));
        (problem.status().as_u16(), problem.code())
    };
    assert_eq!(of(ErrorKind::ReadOnlyFilesystem), (409, "keys_read_only"));
    assert_eq!(of(ErrorKind::PermissionDenied), (409, "keys_read_only"));
    assert_eq!(of(ErrorKind::StorageFull), (503, "keys_unavailable"));
    let missing = unavailable(&Error::Missing("/secret/keys.jsonl".into()));
    assert_eq!(
        (missing.status().as_u16(), missing.code()),
        (503, "keys_unavailable")
    );
}
