//! The events behind a user's number: in order, each once and all of them, whatever is counted between two pages.

use crate::fake_chain::Counting;
use crate::fixture::{Fixture, NOW_MS, day};
use log::batch::Origin;
use schemas::positions::REMEMBERED;
use schemas::{Amount, Day, Event, Partition, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const DAY_MS: i64 = 86_400_000;

/// An event of u1 so many milliseconds before midnight of 2025-11-05.
fn event(key: &str, before_ms: i64, kind: &'static str) -> Event<'static> {
    let midnight = NOW_MS - NOW_MS.rem_euclid(DAY_MS);
    Event {
        tenant: "default".into(),
        idempotency_key: key.to_owned().into(),
        user_id: "u1".into(),
        event_type: kind.into(),
        occurred_at: Timestamp::from_millis(midnight - before_ms),
        occurred_at_assigned: false,
        amount: Some(Amount::from_millionths(1_500_000).unwrap()),
        upload_id: None,
        row: None,
        reverse: false,
        metadata: vec![("page".into(), "home".into())],
    }
}

fn span() -> Option<(Day, Day)> {
    Some((day("2025-10-01"), day("2025-11-05")))
}

fn keys(body: &Value) -> Vec<String> {
    let events = body["events"].as_array().unwrap().iter();
    let key = |event: &Value| event["idempotency_key"].as_str().unwrap().to_owned();
    events.map(key).collect()
}

/// All pages from a path on; between two of them `meanwhile` happens.
async fn pages(fixture: &Fixture, path: &str, mut meanwhile: impl AsyncFnMut()) -> Vec<Value> {
    let (mut bodies, mut cursor) = (Vec::new(), String::new());
    for _ in 0..200 {
        let body = fixture.ok(&format!("{path}{cursor}")).await;
        let next = body["next_cursor"].as_str().map(|text| format!("&cursor={text}"));
        bodies.push(body);
        let Some(next) = next else { return bodies };
        cursor = next;
        meanwhile().await;
    }
    panic!("the pages never end");
}

#[tokio::test]
async fn events_are_shown_newest_first_with_all_that_was_sent() {
    let fixture = Fixture::new().await;
    let mut counting = [Counting::new(&fixture, 0), Counting::new(&fixture, 1)];
    // A later day, an earlier one, and out of order within a day.
    counting[0]
        .commit(&[
            (event("a", 5_000, "click"), true),
            (event("b", DAY_MS + 1, "sale"), true),
            (event("c", 1_000, "sale"), true),
        ])
        .await;
    let taken_back = Event {
        reverse: true,
        ..event("a", 5_000, "click")
    };
    counting[1]
        .commit(&[(event("d", 3_000, "click"), true), (taken_back, true)])
        .await;
    fixture.reflect_all(3, span()).await;
    let body = fixture.ok("/v1/users/u1/events").await;
    assert_eq!(keys(&body), ["c", "d", "a", "a", "b"]);
    assert_eq!(
        (&body["complete"], &body["next_cursor"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(body["as_of"]["offsets"], json!({"0": 3, "1": 3}));
    let expected = json!({
        "occurred_at": "2025-11-04T23:59:57Z", "accepted_at": "2025-11-04T23:59:58Z", "event_type": "click", "amount": "1.50",
        "idempotency_key": "d", "metadata": {"page": "home"}, "partition": 1, "offset": 0, "reverse": false,
        "upload_id": null, "row": null,
    });
    assert_eq!(body["events"][1], expected);
    // Both the event and what took it back; of one moment the later place first.
    assert_eq!(
        (&body["events"][2]["reverse"], &body["events"][2]["partition"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(
        (&body["events"][3]["reverse"], &body["events"][3]["partition"]),
        (&json!(false), &json!(0))
    );
    for (query, found) in [
        ("?type=sale", vec!["c", "b"]),
        ("?from=2025-11-04&type=click", vec!["d", "a", "a"]),
        ("?to=2025-11-03", vec!["b"]),
        ("?from=2025-11-05", vec![]),
        ("?limit=2", vec!["c", "d"]),
    ] {
        let body = fixture.ok(&format!("/v1/users/u1/events{query}")).await;
        assert_eq!(keys(&body), found, "{query}");
    }
    assert_eq!(
        keys(&fixture.ok("/v1/users/nobody/events").await),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn events_beyond_what_is_remembered_are_found_on_the_chain_and_no_duplicate_with_them() {
    let fixture = Fixture::new().await;
    let mut counting = [Counting::new(&fixture, 0), Counting::new(&fixture, 1)];
    let mut expected = BTreeSet::new();
    for batch in 0..12 {
        for (partition, counting) in counting.iter_mut().enumerate() {
            let mut events = Vec::new();
            for n in 0..11 {
                let key = format!("{partition}-{batch}-{n}");
                let is_counted = n % 3 != 2;
                if is_counted {
                    expected.insert(key.clone());
                }
                events.push((
                    event(&key, 1_000 + (n * 7919 + batch * 31) % 5_000, "click"),
                    is_counted,
                ));
                let other = event(&format!("other {key}"), 1_000, "click");
                events.push((
                    Event {
                        user_id: "u2".into(),
                        ..other
                    },
                    true,
                ));
            }
            counting.commit(&events).await;
        }
    }
    assert!(expected.len() > 4 * REMEMBERED);
    fixture.reflect_all(500, span()).await;
    for limit in [7, 100] {
        let path = format!("/v1/users/u1/events?limit={limit}");
        let bodies = pages(&fixture, &path, async || {}).await;
        let found: Vec<String> = bodies.iter().flat_map(keys).collect();
        assert_eq!(found.len(), expected.len(), "limit {limit}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        assert!(bodies.iter().all(|body| body["complete"] == json!(true)));
        assert!(bodies.iter().all(|body| keys(body).len() <= limit));
    }
}

#[tokio::test]
async fn pages_have_each_event_once_whatever_is_counted_between_them() {
    let fixture = Fixture::new().await;
    let mut counting = Counting::new(&fixture, 0);
    let mut expected = Vec::new();
    for n in 0..50 {
        let key = format!("early {n}");
        counting
            .commit(&[(event(&key, 10_000 - n * 100, "click"), true)])
            .await;
        expected.insert(0, key);
    }
    fixture.reflect_all(50, span()).await;
    let mut later = 0;
    let counting = tokio::sync::Mutex::new(counting);
    let bodies = pages(&fixture, "/v1/users/u1/events?limit=5", async || {
        // More than are remembered, of every time of the day.
        let mut counting = counting.lock().await;
        for n in 0..40 {
            later += 1;
            let key = format!("late {later}");
            counting.commit(&[(event(&key, n * 250, "click"), true)]).await;
        }
        drop(counting);
        fixture.reflect_all(50 + later as u64, span()).await;
    })
    .await;
    let found: Vec<String> = bodies.iter().flat_map(keys).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_page_for_which_too_much_of_the_chain_would_be_read_is_a_cursor_that_is_outdated() {
    let fixture = Fixture::new().await;
    let mut counting = Counting::new(&fixture, 0);
    counting.commit(&[(event("oldest", 10_000, "click"), true)]).await;
    let others: Vec<_> = (0..4_000)
        .map(|n| {
            let other = event(&format!("other {n}"), 1_000, "click");
            let user_id = "u".repeat(200).into();
            (Event { user_id, ..other }, true)
        })
        .collect();
    let on_chain = || {
        fixture
            .chain
            .lock()
            .unwrap()
            .values()
            .map(Vec::len)
            .sum::<usize>()
    };
    let mut all = 2;
    while on_chain() < 65 * 1024 * 1024 {
        counting.commit(&others).await;
        all += others.len() as u64;
    }
    counting.commit(&[(event("newest", 9_000, "click"), true)]).await;
    fixture.reflect_all(all, span()).await;
    let path = "/v1/users/u1/events?limit=1";
    let first = fixture.ok(path).await;
    assert_eq!(keys(&first), ["newest"]);
    let next = format!("{path}&cursor={}", first["next_cursor"].as_str().unwrap());
    assert_eq!(keys(&fixture.ok(&next).await), ["oldest"]);
    // Nothing of that page is remembered any more.
    for n in 0..REMEMBERED as i64 {
        let key = format!("late {n}");
        counting.commit(&[(event(&key, n, "click"), true)]).await;
    }
    assert_eq!(fixture.get(&next).await.problem(), (400, "cursor_outdated"));
    assert_eq!(keys(&fixture.ok(path).await), ["late 0"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_shown_by_its_place() {
    let fixture = Fixture::new().await;
    let mut counting = Counting::new(&fixture, 0);
    counting
        .commit(&[
            (event("a", 5_000, "click"), true),
            (event("b", 4_000, "click"), true),
            (event("c", 3_000, "click"), true),
        ])
        .await;
    let origin = Origin {
        partition: Partition(1),
        offset: schemas::Offset(0),
        append_ms: 77_000,
        held: false,
    };
    fixture.log.replace(0, 0, None);
    fixture
        .log
        .replace(0, 1, Some((b"\0\0\0\0\x09foreign".to_vec(), Some(origin))));
    // Whatever a row says, nobody sees what is another's.
    let other = Event {
        user_id: "u2".into(),
        ..event("c", 3_000, "click")
    };
    let mut value = Vec::new();
    schemas::avro::encode(&other, crate::fake_chain::OWN_SCHEMA, &mut value);
    fixture.log.replace(0, 2, Some((value, None)));
    fixture.reflect_all(3, span()).await;
    let body = fixture.ok("/v1/users/u1/events?type=sale").await;
    let events = body["events"].as_array().unwrap();
    let why: Vec<&str> = events
        .iter()
        .map(|event| event["undecoded"].as_str().unwrap())
        .collect();
    assert_eq!(
        why,
        [
            "it is not what was counted here",
            "it is in Avro in another writer's schema, 9",
            "the log does not have this record any more",
        ]
    );
    for event in events {
        assert_eq!(
            (&event["event_type"], &event["metadata"]),
            (&json!(null), &json!({}))
        );
    }
    assert_eq!(events[1]["accepted_at"], "1970-01-01T00:01:17Z");
    assert_eq!(events[2]["accepted_at"], json!(null));
}

#[tokio::test]
async fn a_bad_parameter_or_cursor_names_itself() {
    let fixture = Fixture::new().await;
    let mut counting = Counting::new(&fixture, 0);
    counting
        .commit(&[
            (event("a", 5_000, "click"), true),
            (event("b", 4_000, "click"), true),
        ])
        .await;
    fixture.reflect_all(2, span()).await;
    let cursor = fixture.ok("/v1/users/u1/events?limit=1").await["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap();
    assert_eq!(
        keys(
            &fixture
                .ok(&format!("/v1/users/u1/events?limit=100&cursor={cursor}"))
                .await
        ),
        ["a"]
    );
    for (path, code) in [
        ("/v1/users/u1/events?limit=0".to_owned(), "parameter_invalid"),
        ("/v1/users/u1/events?limit=101".to_owned(), "parameter_invalid"),
        (
            "/v1/users/u1/events?from=2025-11-31".to_owned(),
            "parameter_invalid",
        ),
        (
            "/v1/users/u1/events?from=1969-11-01".to_owned(),
            "parameter_invalid",
        ),
        (
            "/v1/users/u1/events?from=2025-11-05&to=2025-11-04".to_owned(),
            "range_invalid",
        ),
        ("/v1/users/u1/events?tz=UTC".to_owned(), "unknown_parameter"),
        ("/v1/users/u1/events?cursor=x".to_owned(), "cursor_invalid"),
        (
            format!("/v1/users/u2/events?cursor={cursor}"),
            "cursor_of_another_query",
        ),
        (
            format!("/v1/users/u1/events?type=x&cursor={cursor}"),
            "cursor_of_another_query",
        ),
        (
            format!("/v1/users/u1/events?from=2025-11-01&cursor={cursor}"),
            "cursor_of_another_query",
        ),
    ] {
        assert_eq!(fixture.get(&path).await.problem(), (400, code), "{path}");
    }
    fixture.log.set_away(true);
    assert_eq!(
        fixture.get("/v1/users/u1/events").await.problem(),
        (503, "log_away")
    );
}
