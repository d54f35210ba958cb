//! Bad questions at each endpoint: days and zones that do not exist, ranges that are too long, cursors and receipts that are made up,
//! parameters that nobody knows, bytes that are no text. Each is a problem, before the store is asked.

use crate::fixture::Fixture;
use schemas::row::View;

/// Where a range of days is asked for: what stands before and behind it.
const RANGES: [&str; 3] = ["/v1/days?", "/v1/users/u1/days?", "/v1/live?"];
/// Where a zone may be named.
const ZONES: [&str; 5] = [
    "/v1/days?tz=",
    "/v1/days/2025-11-04?tz=",
    "/v1/days/2025-11-04/users?tz=",
    "/v1/users/u1/days?tz=",
    "/v1/live?tz=",
];
/// Where a cursor goes on.
const CURSORS: [&str; 3] = [
    "/v1/dead-letters?cursor=",
    "/v1/users/u1/days?cursor=",
    "/v1/uploads?cursor=",
];
/// Where a receipt is waited for.
const RECEIPTS: [&str; 8] = [
    "/v1/days?after=",
    "/v1/days/2025-11-04?after=",
    "/v1/days/2025-11-04/users?after=",
    "/v1/users/u1?after=",
    "/v1/users/u1/days?after=",
    "/v1/ledger?after=",
    "/v1/uploads?after=",
    "/v1/receipts/",
];
/// All that know their parameters, by method.
const KNOWING: [(&str, &str); 14] = [
    ("GET", "/v1/days"),
    ("GET", "/v1/days/2025-11-04"),
    ("GET", "/v1/days/2025-11-04/users"),
    ("GET", "/v1/users/u1"),
    ("GET", "/v1/users/u1/days"),
    ("GET", "/v1/live"),
    ("GET", "/v1/ledger"),
    ("GET", "/v1/dead-letters"),
    ("GET", "/v1/dead-letters/0-0"),
    ("GET", "/v1/uploads"),
    ("GET", "/v1/uploads/0192f000-0000-7000-8000-000000000001"),
    ("GET", "/v1/uploads/0192f000-0000-7000-8000-000000000001/errors"),
    ("POST", "/v1/uploads/0192f000-0000-7000-8000-000000000001/process"),
    ("DELETE", "/v1/uploads/0192f000-0000-7000-8000-000000000001"),
];

/// The store holds nothing that could be read: whoever asks it would fail.
async fn expect(fixture: &Fixture, path: &str, codes: &[&str]) {
    let answer = fixture.get(path).await;
    let (status, code) = answer.problem();
    assert!(status == 400 && codes.contains(&code), "{path}: {status} {code}");
    assert!(
        answer.body["detail"].is_string() || code == "receipt_invalid",
        "{path}"
    );
}

#[tokio::test]
async fn days_that_do_not_exist_are_named() {
    let fixture = Fixture::new().await;
    let dates = [
        "2025-02-29",
        "2025-13-01",
        "2025-00-10",
        "2025-11-31",
        "20251104",
        "2025-11-4",
        "now",
        "-1",
        "2025-11-04T00:00:00Z",
        "%00",
        "%ff",
    ];
    for date in dates {
        for range in RANGES {
            expect(
                &fixture,
                &format!("{range}from={date}&to=2025-11-04"),
                &["parameter_invalid"],
            )
            .await;
            expect(&fixture, &format!("{range}to={date}"), &["parameter_invalid"]).await;
        }
        let codes = ["parameter_invalid", "path_invalid"];
        expect(&fixture, &format!("/v1/days/{date}"), &codes).await;
        expect(&fixture, &format!("/v1/days/{date}/users"), &codes).await;
        expect(&fixture, &format!("/v1/days/2025-11-04/users?to={date}"), &codes).await;
        expect(&fixture, &format!("/v1/uploads?from={date}"), &codes).await;
        expect(&fixture, &format!("/api/metrics?date={date}"), &codes).await;
    }
}

#[tokio::test]
async fn zones_that_do_not_exist_are_named() {
    let fixture = Fixture::new().await;
    let long = "x".repeat(10_000);
    for zone in [
        "",
        "Mars/Phobos",
        "europe/berlin%00",
        "UTC+1",
        "%2B01:00",
        "../etc/passwd",
        "%ff",
        &long,
    ] {
        for path in ZONES {
            expect(&fixture, &format!("{path}{zone}"), &["zone_unknown"]).await;
        }
    }
}

#[tokio::test]
async fn ranges_that_are_too_long_or_turned_round_are_refused() {
    let fixture = Fixture::new().await;
    for range in RANGES {
        expect(
            &fixture,
            &format!("{range}from=1970-01-02&to=2200-12-30"),
            &["range_too_long"],
        )
        .await;
        expect(
            &fixture,
            &format!("{range}from=2025-11-05&to=2025-11-04"),
            &["range_invalid"],
        )
        .await;
    }
    expect(
        &fixture,
        "/v1/days/1971-01-01/users?to=2200-01-01",
        &["range_too_long"],
    )
    .await;
    expect(
        &fixture,
        "/v1/days/2025-11-05/users?to=2025-11-04",
        &["range_invalid"],
    )
    .await;
    expect(
        &fixture,
        "/v1/dead-letters?from=1971-01-01&to=2200-01-01",
        &["range_too_long"],
    )
    .await;
    expect(
        &fixture,
        "/v1/days?from=2001-01-01&to=2010-01-01&bucket=15m",
        &["too_many_buckets"],
    )
    .await;
}

#[tokio::test]
async fn cursors_and_receipts_that_are_made_up_open_nothing() {
    let fixture = Fixture::new().await;
    for partition in 0..crate::fixture::PARTITIONS {
        for view in View::ALL {
            fixture.reflect(view, partition, 9, None).await;
        }
    }
    let long = "A".repeat(60_000);
    for text in [
        "",
        "AAAA",
        "====",
        "%00",
        "%ff",
        "1",
        "null",
        "0-0",
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
        &long,
    ] {
        for path in CURSORS {
            expect(&fixture, &format!("{path}{text}"), &["cursor_invalid"]).await;
        }
        for path in RECEIPTS {
            // Without a text that is another path.
            if !text.is_empty() || !path.ends_with('/') {
                expect(
                    &fixture,
                    &format!("{path}{text}"),
                    &["receipt_invalid", "path_invalid"],
                )
                .await;
            }
        }
    }
}

#[tokio::test]
async fn a_parameter_that_nobody_knows_or_that_stands_twice_is_refused_everywhere() {
    let fixture = Fixture::new().await;
    for (method, path) in KNOWING {
        for query in ["?what=1", "?From=2025-11-04", "?%ff=1", "?=1"] {
            let answer = fixture.call(method, &format!("{path}{query}")).await;
            assert_eq!(
                answer.problem(),
                (400, "unknown_parameter"),
                "{method} {path}{query}"
            );
        }
    }
    for path in [
        "/v1/days?from=2025-11-04",
        "/v1/days?tz=UTC",
        "/v1/users/u1/days?limit=1",
        "/v1/uploads?limit=1",
        "/v1/dead-letters?limit=1",
        "/v1/live?tz=UTC",
    ] {
        let (_, again) = path.split_once('?').unwrap();
        expect(&fixture, &format!("{path}&{again}"), &["parameter_invalid"]).await;
    }
    for path in [
        "/v1/days/2025-11-04/users?limit=",
        "/v1/users/u1/days?limit=",
        "/v1/uploads?limit=",
        "/v1/dead-letters?limit=",
    ] {
        for limit in ["", "0", "-1", "1.5", "1e3", "99999999999999999999", "%ff"] {
            expect(&fixture, &format!("{path}{limit}"), &["parameter_invalid"]).await;
        }
    }
}

#[tokio::test]
async fn names_and_ids_that_cannot_be_are_refused_or_nowhere() {
    let fixture = Fixture::new().await;
    for partition in 0..crate::fixture::PARTITIONS {
        for view in View::ALL {
            fixture.reflect(view, partition, 9, None).await;
        }
    }
    let long = "x".repeat(10_000);
    for user in ["%ff", "%00", "a%0Ab", &long] {
        for path in [
            format!("/v1/users/{user}"),
            format!("/v1/users/{user}/days"),
            format!("/userEvents/{user}"),
        ] {
            let answer = fixture.get(&path).await;
            let status = answer.status.as_u16();
            let has_nothing =
                answer.body["total"]["count"] == 0 || answer.body["days"] == serde_json::json!([]);
            let is_empty = status == 200 && has_nothing;
            assert!(
                status == 400 || status == 404 || is_empty,
                "{path:.60}: {status} {}",
                answer.body
            );
        }
    }
    for id in ["x", "%ff", "%00", "0192f000", &long] {
        for (method, path) in [
            ("GET", format!("/v1/uploads/{id}")),
            ("GET", format!("/v1/uploads/{id}/errors")),
            ("POST", format!("/v1/uploads/{id}/process")),
            ("DELETE", format!("/v1/uploads/{id}")),
            ("GET", format!("/api/batches/{id}")),
            ("POST", format!("/api/batches/{id}/process")),
            ("GET", format!("/v1/dead-letters/{id}")),
        ] {
            let answer = fixture.call(method, &path).await;
            let status = answer.status.as_u16();
            assert!(
                status == 400 || status == 404,
                "{method} {path:.60}: {status} {}",
                answer.body
            );
            assert!(answer.problem().1 != "no problem document", "{path:.60}");
        }
    }
    assert_eq!(
        (fixture.log.end(0), fixture.log.end(1)),
        (0, 0),
        "nothing was recorded"
    );
}
