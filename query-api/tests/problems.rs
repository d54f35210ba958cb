//! Questions that cannot be answered, and why.

use crate::fixture::{Fixture, receipt};
use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt;

#[tokio::test]
async fn unknown_parameters_are_named() {
    let fixture = Fixture::new().await;
    for (path, unknown) in [
        ("/v1/days?form=2025-11-01&tx=UTC&to=2025-11-02", "form, tx"),
        ("/v1/days/2025-11-01?from=2025-11-01", "from"),
        ("/v1/days?buckets=1h", "buckets"),
        ("/v1/users/u1?tz=UTC", "tz"),
        ("/v1/users/u1/days?bucket=1h", "bucket"),
        ("/v1/receipts/x?after=y", "after"),
        ("/v1/ledger?partition=0", "partition"),
        ("/v1/dead-letters?Reason=invalid", "Reason"),
        ("/v1/dead-letters/0-0?a", "a"),
    ] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.problem(), (400, "unknown_parameter"), "{path}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("unknown: {unknown};")), "{detail}");
    }
}

#[tokio::test]
async fn a_value_that_makes_no_sense_is_named_too() {
    let fixture = Fixture::new().await;
    let after = receipt(&[]);
    for (path, code) in [
        ("/v1/days?from=2025-11-1".to_owned(), "parameter_invalid"),
        ("/v1/days?from=".to_owned(), "parameter_invalid"),
        (
            "/v1/days?from=2025-11-01&from=2025-11-02".to_owned(),
            "parameter_invalid",
        ),
        (
            "/v1/days?from=1969-12-30&to=1970-01-01".to_owned(),
            "parameter_invalid",
        ),
        ("/v1/days?from=2201-01-02".to_owned(), "parameter_invalid"),
        (
            "/v1/days?from=2025-11-02&to=2025-11-01".to_owned(),
            "range_invalid",
        ),
        (
            "/v1/days?from=2000-01-01&to=2025-11-01".to_owned(),
            "range_too_long",
        ),
        (
            "/v1/users/u1/days?from=2000-01-01&to=2025-11-01".to_owned(),
            "range_too_long",
        ),
        ("/v1/days/today".to_owned(), "parameter_invalid"),
        (
            format!("/v1/days?{}", "type=x&".repeat(99)) + &many_types(),
            "parameter_invalid",
        ),
        (format!("/v1/days?after={after}&wait=soon"), "parameter_invalid"),
        ("/v1/days?wait=5s".to_owned(), "parameter_invalid"),
        ("/v1/dead-letters?reason=bad".to_owned(), "parameter_invalid"),
        ("/v1/dead-letters?limit=0".to_owned(), "parameter_invalid"),
        ("/v1/dead-letters?limit=1001".to_owned(), "parameter_invalid"),
        ("/v1/dead-letters?from=yesterday".to_owned(), "parameter_invalid"),
        (
            "/v1/dead-letters?from=2025-11-02&to=2025-11-01".to_owned(),
            "range_invalid",
        ),
        ("/v1/dead-letters?from=1999-11-02".to_owned(), "range_too_long"),
        ("/v1/dead-letters?cursor=AAAA".to_owned(), "cursor_invalid"),
        ("/v1/dead-letters?cursor=".to_owned(), "cursor_invalid"),
        ("/v1/dead-letters/0-01".to_owned(), "parameter_invalid"),
        ("/v1/dead-letters/0".to_owned(), "parameter_invalid"),
        (
            "/v1/dead-letters/0-18446744073709551615".to_owned(),
            "parameter_invalid",
        ),
        ("/v1/dead-letters/-1-0".to_owned(), "parameter_invalid"),
    ] {
        assert_eq!(fixture.get(&path).await.problem(), (400, code), "{path}");
    }
}

#[tokio::test]
async fn a_bucket_type_or_form_that_there_is_not_is_named_too() {
    let fixture = Fixture::new().await;
    for (path, code) in [
        ("/v1/days?bucket=2h".to_owned(), "parameter_invalid"),
        ("/v1/days?bucket=".to_owned(), "parameter_invalid"),
        ("/v1/days?bucket=1h&bucket=1d".to_owned(), "parameter_invalid"),
        ("/v1/days?type=".to_owned(), "parameter_invalid"),
        ("/v1/days?format=xml".to_owned(), "parameter_invalid"),
        ("/v1/days/2025-11-04?format=".to_owned(), "parameter_invalid"),
        ("/v1/users/u1/days?format=xml".to_owned(), "parameter_invalid"),
        ("/v1/dead-letters?format=xml".to_owned(), "parameter_invalid"),
        (
            "/v1/dead-letters?format=csv&limit=5".to_owned(),
            "parameter_invalid",
        ),
        (
            "/v1/dead-letters?format=ndjson&cursor=x".to_owned(),
            "cursor_invalid",
        ),
        ("/v1/days?type=a,,b".to_owned(), "parameter_invalid"),
        (
            "/v1/days?from=2005-10-30&to=2005-10-30&bucket=1h&tz=America/St_Johns".to_owned(),
            "zone_not_supported",
        ),
    ] {
        let answer = fixture.get(&path).await;
        assert_eq!(answer.problem(), (400, code), "{path}");
        let told = &answer.body["parameter"];
        assert!(
            told.is_string() || code == "zone_not_supported",
            "{path}: {}",
            answer.body
        );
    }
}

fn many_types() -> String {
    (0..101)
        .map(|n| format!("type=t{n}&"))
        .collect::<String>()
        .trim_end_matches('&')
        .to_owned()
}

#[tokio::test]
async fn a_cursor_of_another_page_is_taken_and_a_changed_one_is_not() {
    let fixture = Fixture::new().await;
    for partition in 0..2 {
        fixture
            .reflect(schemas::row::View::DeadLetters, partition, 9, None)
            .await;
    }
    for _ in 0..2 {
        fixture
            .refuse("default", crate::fixture::NOW_MS, 0, schemas::Reason::Invalid)
            .await;
    }
    let body = fixture.ok("/v1/dead-letters?limit=1").await;
    let cursor = body["next_cursor"].as_str().unwrap();
    fixture.ok(&format!("/v1/dead-letters?cursor={cursor}")).await;
    // One letter is another, and the checksum knows it.
    let changed = format!(
        "{}{}{}",
        &cursor[..2],
        if &cursor[2..3] == "B" { "C" } else { "B" },
        &cursor[3..]
    );
    for made_up in [changed.as_str(), &cursor[1..], &format!("{cursor}=")] {
        let answer = fixture.get(&format!("/v1/dead-letters?cursor={made_up}")).await;
        assert_eq!(answer.problem(), (400, "cursor_invalid"), "{made_up}");
    }
    // Which dead letters there are must stay as it was.
    for query in ["reason=invalid", "from=2025-11-01", "to=2025-11-05"] {
        let answer = fixture
            .get(&format!("/v1/dead-letters?{query}&cursor={cursor}"))
            .await;
        assert_eq!(answer.problem(), (400, "cursor_of_another_query"), "{query}");
        assert_eq!(answer.body["parameter"], "cursor");
    }
    let answer = fixture
        .get(&format!("/v1/users/u1/days?limit=1&cursor={cursor}"))
        .await;
    assert_eq!(answer.problem(), (400, "cursor_of_another_query"));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_our_fault_and_no_number() {
    let fixture = Fixture::new().await;
    let day = crate::fixture::day("2025-11-04");
    fixture.reflect_all(3, Some((day, day))).await;
    let key = schemas::row::RowKey::Day {
        tenant: "default".into(),
        day,
        event_type: "click".into(),
    };
    let rows = vec![crate::fixture::row(key, 0, 1, b"broken".to_vec())];
    fixture.store.upsert(rows).await.unwrap();
    assert_eq!(fixture.get("/v1/days").await.problem(), (500, "internal"));
}

#[tokio::test]
async fn health_is_a_router_of_its_own() {
    let request = Request::get("/health").body(Body::empty()).unwrap();
    let response = query_api::health_api()
        .into_parts()
        .0
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let fixture = Fixture::new().await;
    assert_eq!(fixture.get("/health").await.status, 404);
}
