//! Answers that a client has already.

use crate::fixture::{Fixture, day, row};
use axum::http::HeaderMap;
use schemas::Day;
use schemas::row::{RowKey, View};

const PATHS: [&str; 7] = [
    "/v1/days?from=2025-11-01&to=2025-11-05",
    "/v1/days/2025-11-04?bucket=1h",
    "/v1/days?format=csv",
    "/v1/users/u1",
    "/v1/users/u1/days",
    "/v1/users/u1/days?format=ndjson",
    "/v1/ledger",
];

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    fixture.count(0, "click", &[(tuesday, 3, 2, "1")]).await;
    fixture
        .count_user(0, "u1", tuesday, &[("click", 3, Some("1"))])
        .await;
    fixture.reflect_all(5, Some((tuesday, tuesday))).await;
    fixture
}

async fn tag(fixture: &Fixture, path: &str) -> String {
    let (status, headers, _) = fixture.text(path, &[]).await;
    assert_eq!(status, 200, "{path}");
    headers["etag"].to_str().unwrap().to_owned()
}

/// Status and head of the answer to a client that has the one of `tag`.
async fn poll(fixture: &Fixture, path: &str, tag: &str) -> (u16, HeaderMap) {
    let (status, headers, text) = fixture.text(path, &[("if-none-match", tag)]).await;
    assert_eq!(status == 304, text.is_empty(), "{path}");
    (status.as_u16(), headers)
}

/// Rows that cannot be read: whoever reads one answers 500.
async fn break_rows(fixture: &Fixture, day: Day) {
    let tenant = "default".to_owned();
    let keys = [
        RowKey::Day {
            tenant: tenant.clone(),
            day,
            event_type: "click".to_owned(),
        },
        RowKey::User {
            tenant,
            user: "u1".to_owned(),
            day,
        },
    ];
    let rows = keys.map(|key| row(key, 0, 9, b"broken".to_vec()));
    fixture.store.upsert(rows.to_vec()).await.unwrap();
}

#[tokio::test]
async fn a_poll_at_rest_is_answered_without_reading_a_row() {
    let fixture = filled().await;
    let mut tags = Vec::new();
    for path in PATHS {
        tags.push(tag(&fixture, path).await);
    }
    break_rows(&fixture, day("2025-11-04")).await;
    for (path, tag) in PATHS.iter().zip(&tags) {
        let (status, headers) = poll(&fixture, path, tag).await;
        assert_eq!(status, 304, "{path}");
        assert_eq!(headers["etag"], tag.as_str());
        assert_eq!(headers["cache-control"], "private, no-cache");
        let vary = if path.starts_with("/v1/ledger") || *path == "/v1/users/u1" {
            "authorization"
        } else {
            "accept, authorization"
        };
        assert_eq!(headers["vary"], vary, "{path}");
        assert!(headers.contains_key("x-tidemark-as-of"), "{path}");
        assert!(tag.starts_with("W/\""), "rows are read behind progress: {tag}");
    }
    // Whoever asks without a tag is answered from the rows.
    assert_eq!(fixture.get(PATHS[0]).await.problem(), (500, "internal"));
    assert_eq!(fixture.get(PATHS[3]).await.problem(), (500, "internal"));
}

#[tokio::test]
async fn a_tag_is_of_one_question_and_of_what_was_reflected() {
    let fixture = filled().await;
    let base = tag(&fixture, "/v1/days").await;
    assert_eq!(
        tag(
            &fixture,
            "/v1/days?from=2025-10-30&to=2025-11-05&bucket=1d&tz=UTC&format=json"
        )
        .await,
        base
    );
    let mut tags = vec![base.clone()];
    for path in [
        "/v1/days?from=2025-10-31",
        "/v1/days?to=2025-11-04&from=2025-10-30",
        "/v1/days?tz=Europe/Berlin",
        "/v1/days?bucket=1h",
        "/v1/days?type=a",
        "/v1/days?type=a&type=b",
        "/v1/days?type=a%5C,b",
        "/v1/days?format=csv",
        "/v1/users/u1",
        "/v1/users/u2",
        "/v1/users/u1/days",
        "/v1/users/u2/days",
        "/v1/ledger",
    ] {
        tags.push(tag(&fixture, path).await);
    }
    let different: std::collections::BTreeSet<_> = tags.iter().collect();
    assert_eq!(different.len(), tags.len(), "{tags:?}");

    // The log grew, and nothing of it is reflected: the lag is another.
    fixture.log.set_end(0, 6);
    crate::fixture::eventually(async || poll(&fixture, "/v1/days", &base).await.0 == 200).await;
    let lagging = tag(&fixture, "/v1/days").await;
    // It is reflected in this view.
    fixture.reflect(View::Days, 0, 6, None).await;
    assert_eq!(poll(&fixture, "/v1/days", &lagging).await.0, 200);
    let newest = tag(&fixture, "/v1/days").await;
    assert_eq!(poll(&fixture, "/v1/days", &newest).await.0, 304);
    assert_ne!(newest, base);
}

#[tokio::test]
async fn tags_come_in_lists_and_strong_ones_are_as_good() {
    let fixture = filled().await;
    let path = "/v1/users/u1";
    let weak = tag(&fixture, path).await;
    let strong = weak.trim_start_matches("W/");
    for (known, status) in [
        (weak.clone(), 304),
        (strong.to_owned(), 304),
        (format!("\"x\", {weak}"), 304),
        (format!("W/\"x\",{strong}, \"y\""), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
        (strong.trim_matches('"').to_owned(), 200),
        (String::new(), 200),
    ] {
        assert_eq!(poll(&fixture, path, &known).await.0, status, "{known}");
    }
}

#[tokio::test]
async fn a_view_that_was_lost_is_no_answer_that_the_client_has() {
    let fixture = Fixture::new().await;
    fixture.log.set_end(0, 3);
    for path in PATHS {
        let (status, headers, _) = fixture.text(path, &[("if-none-match", "*")]).await;
        assert_eq!(status, 503, "{path}");
        assert!(!headers.contains_key("etag"), "{path}");
    }
}
