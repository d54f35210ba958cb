//! Whose events they are: the key says it, and nothing in a request does.

use crate::rig::{FakeLog, Mode, Server};
use service::access::file::{Error, change};
use service::access::{Key, Scope, TENANT_BYTES, Wanted};
use service::config::{Http, Secret};
use std::path::PathBuf;
use tempfile::TempDir;

struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("keys.jsonl")
    }

    /// The header with a new key.
    fn add(&self, tenant: &str, scope: Scope, quota: Option<u64>) -> String {
        let wanted = Wanted {
            tenant: tenant.to_owned(),
            scopes: [scope].into(),
            name: String::new(),
            rate: None,
            quota,
        };
        let (key, text) = Key::make(wanted, 0).unwrap();
        change(&self.path(), |keys| {
            keys.push(key);
            Ok::<_, Error>(())
        })
        .unwrap();
        format!("authorization: Bearer {}\r\n", text.reveal())
    }

    async fn server(&self, http: Http) -> Server {
        Server::with_keys(FakeLog::new(Mode::Record), http, &self.path(), |_| {}).await
    }
}

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn events_are_of_the_keys_tenant_whatever_they_say() {
    let keys = Keys::new();
    let headers = ["acme", "other"].map(|tenant| keys.add(tenant, Scope::Ingest, None));
    let reader = keys.add("acme", Scope::Query, None);
    let server = keys.server(Http::default()).await;
    for headers in &headers {
        let body = r#"{"user_id":"u","event_type":"e","idempotency_key":"same","tenant":"third"}"#;
        let answer = server
            .post_with("/v1/events", &format!("{JSON}{headers}"), body)
            .await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    let events = server.log.events();
    let tenants: Vec<_> = events.iter().map(|event| event.tenant.as_ref()).collect();
    assert_eq!(tenants, ["acme", "other"]);
    assert!(events.iter().all(|event| event.idempotency_key == "same"));
    for (headers, expected) in [
        (JSON.to_owned(), (401, "key_missing")),
        (format!("{JSON}{reader}"), (403, "scope_missing")),
    ] {
        let answer = server.post_with("/v1/events", &headers, "{}").await;
        assert_eq!((answer.status, answer.problem()), expected);
    }
    assert_eq!(server.log.len(), 2);
}

#[tokio::test]
async fn keys_made_of_content_differ_between_tenants_only_by_the_tenant() {
    let keys = Keys::new();
    let headers = ["acme", "other"].map(|tenant| keys.add(tenant, Scope::Ingest, None));
    let server = keys.server(Http::default()).await;
    for headers in headers {
        let csv = "user_id,event_type,timestamp\nu,e,1762257600\n";
        let headers = format!("content-type: text/csv\r\n{headers}");
        assert_eq!(server.post_with("/v1/events", &headers, csv).await.status, 200);
    }
    let events = server.log.events();
    assert_eq!(events.len(), 2);
    assert!(events[0].tenant != events[1].tenant && events[0].idempotency_key != events[1].idempotency_key);
}

#[tokio::test]
async fn a_secret_that_everybody_knows_is_none_where_keys_are_needed() {
    let keys = Keys::new();
    let (sender, reader) = (
        keys.add("acme", Scope::Ingest, None),
        keys.add("acme", Scope::Query, None),
    );
    let post = async |server: &Server, headers: &str| {
        let body = r#"{"userId":"u","name":"add_revenue","value":1}"#;
        let answer = server
            .post_with("/liveEvent", &format!("{JSON}{headers}"), body)
            .await;
        (answer.status, answer.text)
    };
    let server = keys.server(Http::default()).await;
    for headers in [
        "authorization: secret\r\n",
        "",
        &reader,
        "authorization: tmk_wrong\r\n",
    ] {
        assert_eq!(
            post(&server, headers).await,
            (403, "Forbidden".to_owned()),
            "{headers}"
        );
    }
    assert_eq!(post(&server, &sender).await, (200, "Event saved".to_owned()));
    // As an older client sends it, in the place of its secret.
    assert_eq!(post(&server, &sender.replace("Bearer ", "")).await.0, 200);
    let http = Http {
        live_event_secret: Secret::new("of ours"),
        live_event_tenant: "older".to_owned(),
        ..Http::default()
    };
    let own = keys.server(http).await;
    assert_eq!(post(&own, "authorization: of ours\r\n").await.0, 200);
    assert_eq!(post(&own, "authorization: secret\r\n").await.0, 403);
    let tenants = |server: &Server| {
        let events = server.log.events();
        events
            .iter()
            .map(|event| event.tenant.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(tenants(&server), ["acme", "acme"]);
    assert_eq!(tenants(&own), ["older"]);
}

#[tokio::test]
async fn a_quota_stops_a_request_between_pieces_and_says_what_is_durable() {
    let keys = Keys::new();
    let headers = keys.add("acme", Scope::Ingest, Some(3));
    let server = keys.server(Http::default()).await;
    let headers = format!("content-type: application/x-ndjson\r\n{headers}");
    let rows = |from: u32, to: u32| -> String {
        (from..to)
            .map(|row| format!("{{\"user_id\":\"u\",\"event_type\":\"e\",\"idempotency_key\":\"k{row}\"}}\n"))
            .collect()
    };
    // Checking costs nothing.
    let checked = server
        .post_with("/v1/events?validate=true", &headers, rows(0, 9))
        .await;
    assert_eq!(checked.status, 200, "{}", checked.text);
    assert_eq!(
        server.post_with("/v1/events", &headers, rows(0, 2)).await.status,
        200
    );
    // What is under way when the quota ends is still taken.
    assert_eq!(
        server.post_with("/v1/events", &headers, rows(2, 5)).await.status,
        200
    );
    let answer = server.post_with("/v1/events", &headers, rows(5, 6)).await;
    assert_eq!(
        (answer.status, answer.problem()),
        (429, "quota_exceeded"),
        "{}",
        answer.text
    );
    assert_eq!(answer.body["resets_at"], "2026-11-23T00:00:00Z");
    assert!(answer.head.contains("retry-after: 86400"), "{}", answer.head);
    assert_eq!(answer.body["accepted"], 0, "{}", answer.text);
    assert_eq!(server.log.len(), 5);
    // A long body is stopped in its middle.
    let keys = Keys::new();
    let headers = keys.add("acme", Scope::Ingest, Some(1_000));
    let server = keys.server(Http::default()).await;
    let headers = format!("content-type: application/x-ndjson\r\n{headers}");
    let answer = server.post_with("/v1/events", &headers, rows(0, 200_000)).await;
    assert_eq!(
        (answer.status, answer.problem()),
        (429, "quota_exceeded"),
        "{}",
        answer.text
    );
    let accepted = answer.body["accepted"].as_u64().unwrap();
    assert!((1_000..200_000).contains(&accepted), "{accepted}");
    assert_eq!(server.log.len(), accepted);
}

#[test]
fn a_key_names_a_tenant_that_an_event_can_have() {
    assert_eq!(TENANT_BYTES, schemas::limits::TENANT_BYTES);
}
