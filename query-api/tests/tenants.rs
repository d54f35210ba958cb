//! Two tenants with the same users, types and days: neither sees anything of the other, on any endpoint, and no endpoint answers without the
//! scope that it needs.

use crate::fixture::{Answer, Fixture, NOW_MS, day, row};
use crate::live_reader::Reader;
use axum::body::Body;
use axum::http::Request;
use schemas::commit::Link;
use schemas::distinct::Distinct;
use schemas::partial::{DayPartial, UserPartial};
use schemas::row::RowKey;
use schemas::{Day, Offset, Reason};
use serde_json::Value;
use service::access::{Caller, Key, Scope, Wanted};
use tower::ServiceExt;

const ALL: [&str; 14] = [
    "/v1/days?from=2025-11-01&to=2025-11-05",
    "/v1/days/2025-11-04",
    "/v1/users/u1",
    "/v1/users/u1/days?from=2025-11-01&to=2025-11-05",
    "/userEvents/u1",
    "/v1/live?from=2025-11-01&to=2025-11-05",
    "/v1/receipts/x",
    "/v1/ledger",
    "/v1/dead-letters",
    "/v1/dead-letters/0-0",
    "/v1/dead-letters?format=csv",
    "/v1/days/2025-11-04/users",
    "/v1/users/u1/events",
    "/v1/distinct-users?from=2025-11-01&to=2025-11-05",
];

fn caller(tenant: &str, scopes: &[Scope]) -> Caller {
    let wanted = Wanted {
        tenant: tenant.to_owned(),
        scopes: scopes.iter().copied().collect(),
        name: String::new(),
        rate: None,
        quota: None,
    };
    Caller::bearer(Key::make(wanted, 0).unwrap().0)
}

/// An answer to a caller.
async fn ask(fixture: &Fixture, who: &Caller, path: &str, tag: Option<&str>) -> (Answer, String) {
    let mut request = Request::get(path);
    if let Some(tag) = tag {
        request = request.header("if-none-match", tag);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = fixture.router_of(who.clone()).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    let answer = Answer {
        status: head.status,
        headers: head.headers,
        body,
    };
    (answer, text)
}

/// Two days of the user `u1` in a tenant, so many events on each, and two dead letters.
async fn fill(fixture: &Fixture, tenant: &str, count: u64) {
    let mut rows = Vec::new();
    for date in ["2025-11-03", "2025-11-04"] {
        let (mut of_day, mut of_user) = (DayPartial::default(), UserPartial::default());
        for _ in 0..count {
            of_day.add(3, Some("1".parse().unwrap()));
            of_user.add("click", 3, Some("1".parse().unwrap()));
        }
        let (tenant, day) = (tenant.to_owned(), day(date));
        let key = RowKey::Day {
            tenant: tenant.clone(),
            day,
            event_type: "click".to_owned(),
        };
        rows.push(row(key, 0, 1, of_day.encode()));
        let user = "u1".to_owned();
        rows.push(row(RowKey::User { tenant, user, day }, 0, 1, of_user.encode()));
    }
    fixture.store.upsert(rows).await.unwrap();
    for _ in 0..2 {
        fixture
            .refuse(tenant, NOW_MS - 3_600_000, 0, Reason::Invalid)
            .await;
    }
}

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    fill(&fixture, "acme", 2).await;
    fill(&fixture, "other", 5).await;
    fixture
        .refuse("", NOW_MS - 3_600_000, 0, Reason::Undecodable)
        .await;
    let days: Option<(Day, Day)> = Some((day("2025-11-01"), day("2025-11-05")));
    fixture.reflect_all(10, days).await;
    fixture
}

#[tokio::test]
async fn no_tenant_sees_numbers_or_users_of_another() {
    let fixture = filled().await;
    for (tenant, count) in [("acme", 2), ("other", 5), ("nobody", 0)] {
        let who = caller(tenant, &[Scope::Query]);
        let body = async |path: &str| ask(&fixture, &who, path, None).await.0.body;
        let days = body(ALL[0]).await["days"].clone();
        let counts: Vec<_> = days
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["count"].as_u64())
            .collect();
        let expected = if count == 0 { vec![] } else { vec![Some(count); 2] };
        assert_eq!(counts, expected, "{tenant}");
        assert_eq!(
            body(ALL[1]).await["days"][0]["count"].as_u64().unwrap_or(0),
            count
        );
        assert_eq!(body(ALL[2]).await["total"]["count"].as_u64(), Some(2 * count));
        assert_eq!(
            body(ALL[3]).await["days"][0]["count"].as_u64().unwrap_or(0),
            count
        );
        let (revenue, _) = ask(&fixture, &who, ALL[4], None).await;
        match count {
            0 => assert_eq!(revenue.status, 404),
            _ => assert_eq!(revenue.body[0]["revenue"].as_u64(), Some(2 * count)),
        }
        for path in [ALL[0], ALL[3]] {
            let (_, csv) = ask(&fixture, &who, &format!("{path}&format=csv"), None).await;
            let lines: Vec<_> = csv.lines().skip(1).collect();
            assert_eq!(lines.len(), expected.len(), "{csv}");
            assert!(
                lines.iter().all(|line| line.contains(&format!(",{count},"))),
                "{csv}"
            );
        }
    }
}

#[tokio::test]
async fn events_and_distinct_users_are_those_of_the_callers_tenant() {
    let fixture = filled().await;
    for (tenant, count) in [("acme", 2), ("other", 5)] {
        let (mut of_user, mut sketch) = (UserPartial::default(), Distinct::default());
        for n in 0..count {
            let json = format!(
                r#"{{"tenant":"{tenant}","user_id":"u1","event_type":"click","time":"2025-11-04T00:00:0{n}Z","idempotency_key":"{n}"}}"#
            );
            let offset = fixture
                .log
                .append(1, NOW_MS, Some(n.to_string().as_bytes()), Some(json.as_bytes()));
            of_user.remember(Offset(offset), false, Link::default());
            sketch.add(&format!("u{n}"));
        }
        let (tenant, day) = (tenant.to_owned(), day("2025-11-04"));
        let key = RowKey::Distinct {
            tenant: tenant.clone(),
            day,
            event_type: "click".to_owned(),
        };
        let user = "u1".to_owned();
        let rows = vec![
            row(key, 1, 20, sketch.encode()),
            row(RowKey::User { tenant, user, day }, 1, 20, of_user.encode()),
        ];
        fixture.store.upsert(rows).await.unwrap();
    }
    fixture
        .reflect_all(20, Some((day("2025-11-01"), day("2025-11-05"))))
        .await;
    for (tenant, count) in [("acme", 2), ("other", 5), ("nobody", 0)] {
        let who = caller(tenant, &[Scope::Query]);
        let (events, text) = ask(&fixture, &who, ALL[12], None).await;
        assert_eq!(events.body["events"].as_array().unwrap().len(), count, "{text}");
        assert!(!text.contains("undecoded"), "{text}");
        let (users, text) = ask(&fixture, &who, ALL[13], None).await;
        assert_eq!(
            users.body["total"]["users"].as_u64(),
            Some(count as u64),
            "{text}"
        );
        assert_eq!(
            users.body["days"].as_array().unwrap().len(),
            usize::from(count > 0)
        );
    }
    // A cursor opens nothing of another, and a tag neither.
    let [acme, other] = ["acme", "other"].map(|tenant| caller(tenant, &[Scope::Query]));
    let (page, _) = ask(&fixture, &acme, &format!("{}?limit=1", ALL[12]), None).await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let further = format!("{}?limit=1&cursor={cursor}", ALL[12]);
    assert_eq!(ask(&fixture, &acme, &further, None).await.0.status, 200);
    let (refused, _) = ask(&fixture, &other, &further, None).await;
    assert_eq!(refused.problem(), (400, "cursor_of_another_query"));
    let (answer, _) = ask(&fixture, &acme, ALL[13], None).await;
    let tag = answer.headers["etag"].to_str().unwrap();
    assert_eq!(ask(&fixture, &acme, ALL[13], Some(tag)).await.0.status, 304);
    assert_eq!(ask(&fixture, &other, ALL[13], Some(tag)).await.0.status, 200);
}

#[tokio::test]
async fn live_totals_are_those_of_the_callers_tenant() {
    let fixture = filled().await;
    for (tenant, count) in [("acme", 2), ("other", 5)] {
        let who = caller(tenant, &[Scope::Query]);
        let request = Request::get(ALL[5]).body(Body::empty()).unwrap();
        let response = fixture.router_of(who).oneshot(request).await.unwrap();
        let mut reader = Reader {
            body: response.into_body(),
            text: String::new(),
        };
        let (totals, as_of) = reader.totals().await;
        let counts: Vec<_> = totals
            .iter()
            .map(|total| total["count"].as_u64().unwrap())
            .collect();
        assert_eq!(counts, [count, count]);
        // The id of an event names positions and no tenant: with it the other one sees its own again, and no more.
        let id = as_of.id.unwrap();
        let other = caller(if tenant == "acme" { "other" } else { "acme" }, &[Scope::Query]);
        let request = Request::get(ALL[5])
            .header("last-event-id", id)
            .body(Body::empty())
            .unwrap();
        let response = fixture.router_of(other).oneshot(request).await.unwrap();
        let mut resumed = Reader {
            body: response.into_body(),
            text: String::new(),
        };
        assert_eq!(resumed.totals().await.0[0]["count"].as_u64(), Some(7 - count));
    }
}

#[tokio::test]
async fn a_tag_of_one_tenant_is_no_tag_of_another() {
    let fixture = filled().await;
    let callers = ["acme", "other"].map(|tenant| caller(tenant, &[Scope::Query]));
    for path in [ALL[0], ALL[1], ALL[2], ALL[3]] {
        let (answer, _) = ask(&fixture, &callers[0], path, None).await;
        let tag = answer.headers["etag"].to_str().unwrap();
        assert_eq!(
            ask(&fixture, &callers[0], path, Some(tag)).await.0.status,
            304,
            "{path}"
        );
        assert_eq!(
            ask(&fixture, &callers[1], path, Some(tag)).await.0.status,
            200,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_cursor_of_one_tenant_opens_nothing_of_another() {
    let fixture = filled().await;
    let callers = ["acme", "other"].map(|tenant| caller(tenant, &[Scope::Query, Scope::Admin]));
    let operator = caller("acme", &[Scope::Admin, Scope::Operator]);
    for path in [format!("{}&limit=1", ALL[3]), format!("{}?limit=1", ALL[8])] {
        let (answer, _) = ask(&fixture, &callers[0], &path, None).await;
        let cursor = answer.body["next_cursor"].as_str().unwrap();
        let further = format!("{path}&cursor={cursor}");
        assert_eq!(
            ask(&fixture, &callers[0], &further, None).await.0.status,
            200,
            "{path}"
        );
        let (refused, _) = ask(&fixture, &callers[1], &further, None).await;
        assert_eq!(refused.problem(), (400, "cursor_of_another_query"), "{path}");
    }
    // Nor does that of an operator, who sees more, fit the same tenant's admin.
    let path = format!("{}?limit=1", ALL[8]);
    let (answer, _) = ask(&fixture, &operator, &path, None).await;
    let further = format!("{path}&cursor={}", answer.body["next_cursor"].as_str().unwrap());
    assert_eq!(ask(&fixture, &callers[0], &further, None).await.0.status, 400);
}

#[tokio::test]
async fn dead_letters_are_the_tenants_own_and_those_of_none_the_operators() {
    let fixture = filled().await;
    let ids = async |who: &Caller| {
        let (answer, _) = ask(&fixture, who, ALL[8], None).await;
        let letters = answer.body["dead_letters"].as_array().unwrap().clone();
        let ids = letters
            .iter()
            .map(|letter| letter["id"].as_str().unwrap().to_owned());
        let ids: Vec<String> = ids.collect();
        let (_, csv) = ask(&fixture, who, ALL[10], None).await;
        let cells = csv
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap().to_owned());
        assert_eq!(cells.collect::<Vec<_>>(), ids);
        ids
    };
    let (acme, other) = (caller("acme", &[Scope::Admin]), caller("other", &[Scope::Admin]));
    let operator = caller("acme", &[Scope::Admin, Scope::Operator]);
    assert_eq!(ids(&acme).await, ["0-0", "0-1"]);
    assert_eq!(ids(&other).await, ["0-2", "0-3"]);
    assert_eq!(ids(&operator).await, ["0-0", "0-1", "0-4"]);
    for (who, seen) in [
        (&acme, [0, 1].as_slice()),
        (&other, &[2, 3]),
        (&operator, &[0, 1, 4]),
    ] {
        for offset in 0..5 {
            let (answer, text) = ask(&fixture, who, &format!("/v1/dead-letters/0-{offset}"), None).await;
            match seen.contains(&offset) {
                true => assert_eq!(answer.status, 200),
                // As where there is none.
                false => assert_eq!(answer.problem(), (404, "not_found"), "{text}"),
            }
        }
    }
}

#[tokio::test]
async fn each_endpoint_answers_only_with_the_scope_that_it_needs() {
    let fixture = filled().await;
    for path in ALL {
        let fits: &[Scope] = match path {
            "/v1/receipts/x" => &[Scope::Query, Scope::Ingest],
            "/v1/ledger" => &[Scope::Operator],
            path if path.starts_with("/v1/dead-letters") => &[Scope::Admin],
            _ => &[Scope::Query],
        };
        for scope in Scope::ALL {
            let who = caller("acme", &[scope]);
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = fixture.router_of(who.clone()).oneshot(request).await.unwrap();
            let is_refused = response.status() == 403;
            assert_eq!(is_refused, !fits.contains(&scope), "{path} with {scope}");
            if is_refused {
                let (answer, _) = ask(&fixture, &who, path, None).await;
                assert_eq!(answer.problem(), (403, "scope_missing"));
                assert_eq!(answer.body["scope"], fits[0].word());
            }
        }
        let request = Request::get(path).body(Body::empty()).unwrap();
        let unguarded = fixture.without_guard().oneshot(request).await.unwrap();
        assert_eq!(unguarded.status(), 500, "{path}");
    }
}
