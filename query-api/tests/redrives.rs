//! Redrives: which letters are put back, as what, and what is said of them.

use crate::fake_log::Copy;
use crate::fixture::{Fixture, NOW_MS};
use log::batch::{Kind, Origin};
use schemas::redrive::Redrive;
use schemas::row::View;
use schemas::{Event, Offset, Outcome, Partition, Reason, avro, key};
use serde_json::{Value, json};
use service::access::{Caller, Key, Scope, Wanted};

const HOUR_MS: i64 = 3_600_000;
const PATH: &str = "/v1/dead-letters/redrive";

async fn reflected() -> Fixture {
    let fixture = Fixture::new().await;
    for partition in 0..2 {
        fixture
            .reflect(View::DeadLetters, partition, 1_000_000, None)
            .await;
    }
    fixture
}

fn bearer(tenant: &str, scopes: &[Scope]) -> Caller {
    let wanted = Wanted {
        tenant: tenant.to_owned(),
        scopes: scopes.iter().copied().collect(),
        name: "test".to_owned(),
        rate: None,
        quota: None,
    };
    Caller::bearer(Key::make(wanted, 0).unwrap().0)
}

async fn redrive(fixture: &Fixture, body: Value) -> Value {
    let answer = fixture.post(PATH, body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn places(copies: &[Copy]) -> Vec<(u32, u64)> {
    let origins = copies.iter().filter_map(|copy| copy.origin);
    origins
        .map(|origin| (origin.partition.0, origin.offset.0))
        .collect()
}

#[tokio::test]
async fn a_filter_redrives_the_bytes_as_they_are_with_their_origin() {
    let fixture = reflected().await;
    let at = NOW_MS - HOUR_MS;
    let letter = fixture.refuse("default", at, 1, Reason::KeyConflict).await;
    fixture.refuse("default", at, 0, Reason::Invalid).await;
    fixture.refuse("another", at, 0, Reason::KeyConflict).await;
    let keyless = fixture.log.append(0, at, None, None);
    fixture.letter_row("", at, 0, keyless, Reason::NullKey).await;
    let body = redrive(
        &fixture,
        json!({"filter": {"reason": ["key_conflict", "null_key"]}}),
    )
    .await;
    assert_eq!(body["matched"], 2);
    assert_eq!(body["redriven"], 2);
    assert_eq!(body["by_reason"], json!({"key_conflict": 1, "null_key": 1}));
    assert_eq!(
        (&body["dry_run"], &body["next_cursor"]),
        (&json!(false), &json!(null))
    );
    assert!(body["receipt"].is_string());
    let copies = fixture.log.copies();
    let home = key::partition(b"key", 2).0;
    let copy = copies.iter().find(|copy| copy.key.is_some()).unwrap();
    assert_eq!((copy.partition, copy.key.as_deref()), (home, Some(&b"key"[..])));
    assert_eq!(copy.value.as_deref(), Some(&b"{\"no\":"[..]));
    let origin = Origin {
        partition: Partition(1),
        offset: Offset(letter),
        append_ms: at,
        held: false,
    };
    assert_eq!(copy.origin, Some(origin));
    let said = Redrive::decode(&copy.redrive).unwrap();
    let expected = Redrive {
        tenant: "default",
        who: "local",
        at_ms: NOW_MS,
        edited: false,
    };
    assert_eq!(said, expected);
    // Without a key it goes to where its letter lies, and stays without one.
    let copy = copies.iter().find(|copy| copy.key.is_none()).unwrap();
    assert_eq!((copy.partition, &copy.value), (0, &None));
    assert_eq!(Redrive::decode(&copy.redrive).unwrap().tenant, "");
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let fixture = reflected().await;
    for n in 0..5 {
        fixture
            .refuse("default", NOW_MS - n, 0, Reason::KeyConflict)
            .await;
    }
    let dry = redrive(&fixture, json!({"filter": {}, "dry_run": true})).await;
    assert_eq!((&dry["dry_run"], &dry["redriven"]), (&json!(true), &json!(5)));
    assert_eq!(
        (&dry["by_reason"], &dry["receipt"]),
        (&json!({"key_conflict": 5}), &json!(null))
    );
    assert_eq!((fixture.log.copies().len(), fixture.log.end(0)), (0, 5));
    let done = redrive(&fixture, json!({"filter": {}})).await;
    assert_eq!(done["redriven"], 5);
    assert_eq!(done["by_reason"], dry["by_reason"]);
}

#[tokio::test]
async fn what_is_redriven_quarantined_held_gone_or_too_large_is_skipped_and_said() {
    let fixture = reflected().await;
    let at = NOW_MS - HOUR_MS;
    let healed = fixture.refuse("default", at, 0, Reason::ReversalUnmatched).await;
    fixture
        .try_row("default", at, (0, healed), (0, 90), Outcome::Reversed)
        .await;
    let stuck = fixture.refuse("default", at, 0, Reason::KeyConflict).await;
    let failed = Outcome::DeadLettered(Reason::KeyConflict);
    for copy in 0..5 {
        fixture
            .try_row(
                "default",
                at,
                (0, stuck),
                (copy % 2, 91 + u64::from(copy)),
                failed,
            )
            .await;
    }
    for kind in [Kind::Held, Kind::Fact] {
        fixture.refuse("default", at, 0, Reason::Invalid).await;
        fixture.log.set_kind(kind);
    }
    let long = vec![b'x'; schemas::limits::RECORD_BYTES - 100];
    let large = fixture.log.append(0, at, Some(b"k"), Some(&long));
    fixture
        .letter_row("default", at, 0, large, Reason::Oversized)
        .await;
    fixture
        .letter_row("default", at, 1, 700, Reason::KeyConflict)
        .await;
    let open = fixture.refuse("default", at, 0, Reason::TooManyTypes).await;
    let all = json!({"filter": {}});
    let body = redrive(&fixture, all.clone()).await;
    let skipped = json!({
        "redriven": 1, "quarantined": 1, "not_found": 0, "bytes_gone": 1, "held": 2, "too_large": 1,
    });
    assert_eq!(
        (&body["matched"], &body["redriven"], &body["skipped"]),
        (&json!(7), &json!(1), &skipped)
    );
    assert_eq!(places(&fixture.log.copies()), [(0, open)]);
    let forced = redrive(&fixture, json!({"ids": [format!("0-{stuck}")], "force": true})).await;
    assert_eq!((&forced["matched"], &forced["redriven"]), (&json!(1), &json!(1)));
    assert_eq!(places(&fixture.log.copies())[1..], [(0, stuck)]);
    // The one with a success is not redriven, whatever is forced.
    let again = redrive(&fixture, json!({"ids": [format!("0-{healed}")], "force": true})).await;
    assert_eq!(
        (&again["redriven"], &again["skipped"]["redriven"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn a_letter_is_listed_with_its_state_and_its_tries() {
    let fixture = reflected().await;
    let at = NOW_MS - HOUR_MS;
    let failed = Outcome::DeadLettered(Reason::Invalid);
    let open = fixture.refuse("default", at, 0, Reason::Invalid).await;
    let once = fixture.refuse("default", at, 0, Reason::Invalid).await;
    fixture.try_row("default", at, (0, once), (1, 3), failed).await;
    let healed = fixture.refuse("default", at, 0, Reason::Invalid).await;
    fixture.try_row("default", at, (0, healed), (1, 4), failed).await;
    fixture
        .try_row("default", at, (0, healed), (0, 50), Outcome::Duplicate)
        .await;
    // More than one call of the store brings, before a letter of the same moment.
    let busy = fixture.refuse("default", at, 0, Reason::Invalid).await;
    for copy in 0..1_100 {
        fixture
            .try_row("default", at, (0, busy), (1, 1_000 + copy), failed)
            .await;
    }
    let last = fixture.refuse("default", at, 0, Reason::Invalid).await;
    // A try of a letter that is not there is of no letter.
    fixture.try_row("default", at, (1, 9), (1, 5), failed).await;
    let of = async |state: &str| {
        let body = fixture.ok(&format!("/v1/dead-letters?{state}")).await;
        let letters = body["dead_letters"].as_array().unwrap().clone();
        let offsets: Vec<u64> = letters
            .iter()
            .map(|letter| letter["offset"].as_u64().unwrap())
            .collect();
        (offsets, letters)
    };
    assert_eq!(of("").await.0, [open, once, healed, busy, last]);
    assert_eq!(of("state=open").await.0, [open, once, last]);
    assert_eq!(of("state=redriven").await.0, [healed]);
    let (quarantined, lines) = of("state=quarantined").await;
    assert_eq!((quarantined, &lines[0]["tries"]), (vec![busy], &json!(1_100)));
    let body = fixture.ok(&format!("/v1/dead-letters/0-{healed}")).await;
    let last = json!({
        "at": "2025-11-05T12:00:00.050Z", "by": "k1", "edited": false, "outcome": "duplicate", "reason": null,
        "detail": "again", "partition": 0, "offset": 50,
    });
    assert_eq!((&body["state"], &body["tries"]), (&json!("redriven"), &json!(2)));
    assert_eq!((&body["last_redrive"], &body["redrives"][1]), (&last, &last));
    assert_eq!(body["redrives"][0]["reason"], "invalid");
    let body = fixture.ok(&format!("/v1/dead-letters/0-{busy}")).await;
    assert_eq!(body["redrives"].as_array().unwrap().len(), 1_100);
    assert_eq!(
        fixture.get("/v1/dead-letters?state=mended").await.problem(),
        (400, "parameter_invalid")
    );
    assert_eq!(
        fixture.get("/v1/dead-letters?upload=7").await.problem(),
        (400, "parameter_invalid")
    );
    assert_eq!(of("user=u2").await.0, [0_u64; 0]);
}

#[tokio::test]
async fn pages_go_on_where_the_last_call_ended() {
    let fixture = reflected().await;
    for n in 0..25_u32 {
        let reason = if n % 5 == 0 {
            Reason::Invalid
        } else {
            Reason::KeyConflict
        };
        fixture
            .refuse("default", NOW_MS - HOUR_MS + i64::from(n / 3), n % 2, reason)
            .await;
    }
    let mut ask = json!({"filter": {"reason": ["key_conflict"], "user": "u1"}, "limit": 7, "rate": 10_000});
    let mut counts = Vec::new();
    loop {
        let body = redrive(&fixture, ask.clone()).await;
        counts.push(body["redriven"].as_u64().unwrap());
        match body["next_cursor"].as_str() {
            Some(next) => ask["cursor"] = json!(next),
            None => break,
        }
    }
    assert_eq!(counts, [7, 7, 6]);
    let mut places = places(&fixture.log.copies());
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 20);
    // A cursor is of one question.
    ask["filter"] = json!({"reason": ["invalid"]});
    let answer = fixture.post(PATH, ask.to_string()).await;
    assert_eq!(answer.problem(), (400, "cursor_of_another_query"));
}

#[tokio::test]
async fn a_mended_event_gets_the_letters_key_tenant_and_time() {
    let fixture = reflected().await;
    let at = NOW_MS - HOUR_MS;
    let letter = fixture.refuse("default", at, 1, Reason::Invalid).await;
    let event = json!({"user_id": "u9", "event_type": "sale", "amount": "12.50", "idempotency_key": "mine", "page": "x"});
    let body = json!({"ids": [format!("1-{letter}")], "event": event});
    assert_eq!(redrive(&fixture, body).await["redriven"], 1);
    let copies = fixture.log.copies();
    let copy = &copies[0];
    let expected = key::redrive_key((Partition(1), Offset(letter)), 2);
    assert_eq!(
        (copy.partition, copy.key.as_deref()),
        (1, Some(expected.as_bytes()))
    );
    assert!(Redrive::decode(&copy.redrive).unwrap().edited);
    let value = copy.value.clone().unwrap();
    let (schema, bytes) = avro::frame(&value).unwrap();
    let event: Event<'_> = avro::decode(bytes).unwrap();
    assert_eq!(schema, 7);
    assert_eq!(
        (&*event.tenant, &*event.user_id, &*event.idempotency_key),
        ("default", "u9", expected.as_str())
    );
    assert_eq!(
        (event.occurred_at.millis(), event.occurred_at_assigned),
        (at, true)
    );
    assert_eq!(event.metadata, [("page".into(), "x".into())]);
    for (event, field, code) in [
        (json!({"event_type": "sale"}), "user_id", "missing"),
        (
            json!({"user_id": "u", "event_type": "t", "occurred_at": "2030-01-01T00:00:00Z"}),
            "timestamp",
            "in_future",
        ),
        (json!([1]), "event", "not_an_object"),
    ] {
        let body = json!({"ids": [format!("1-{letter}")], "event": event});
        let answer = fixture.post(PATH, body.to_string()).await;
        assert_eq!(answer.problem(), (400, "event_invalid"), "{event}");
        assert_eq!(
            (&answer.body["field"], &answer.body["code"]),
            (&json!(field), &json!(code))
        );
    }
    assert_eq!(fixture.log.copies().len(), 1);
}

#[tokio::test]
async fn of_a_letter_without_a_tenant_the_operator_alone_says_whose_it_is() {
    let fixture = reflected().await;
    let letter = fixture.refuse("", NOW_MS, 0, Reason::Undecodable).await;
    let event = json!({"user_id": "u9", "event_type": "sale"});
    let id = format!("0-{letter}");
    let ask = |tenant: Option<&str>| {
        let mut body = json!({"ids": [id], "event": event});
        if let Some(tenant) = tenant {
            body["tenant"] = json!(tenant);
        }
        body.to_string()
    };
    let admin = || bearer("acme", &[Scope::Admin]);
    // It sees no such letter, and may name nobody.
    let answer = fixture.post_as(admin(), PATH, ask(None)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["skipped"]["not_found"]),
        (200, &json!(1))
    );
    let answer = fixture.post_as(admin(), PATH, ask(Some("acme"))).await;
    assert_eq!(answer.problem(), (403, "scope_missing"));
    let operator = || bearer("acme", &[Scope::Admin, Scope::Operator]);
    for (tenant, parameter) in [(None, "tenant"), (Some(""), "tenant"), (Some("a\u{1}"), "tenant")] {
        let answer = fixture.post_as(operator(), PATH, ask(tenant)).await;
        assert_eq!(answer.problem(), (400, "parameter_invalid"));
        assert_eq!(answer.body["parameter"], parameter);
    }
    let answer = fixture.post_as(operator(), PATH, ask(Some("shop"))).await;
    assert_eq!(answer.body["redriven"], 1, "{}", answer.body);
    let copies = fixture.log.copies();
    let value = copies[0].value.clone().unwrap();
    let (_, bytes) = avro::frame(&value).unwrap();
    assert_eq!(&*avro::decode(bytes).unwrap().tenant, "shop");
    // Listed it stays under no tenant.
    let said = Redrive::decode(&copies[0].redrive).unwrap();
    assert_eq!((said.tenant, said.who.len()), ("", operator().id().len()));
}

#[tokio::test]
async fn nobody_redrives_what_is_anothers() {
    let fixture = reflected().await;
    let theirs = fixture.refuse("acme", NOW_MS, 0, Reason::KeyConflict).await;
    fixture.refuse("", NOW_MS, 0, Reason::Undecodable).await;
    let other = || bearer("shop", &[Scope::Admin]);
    let by_id = json!({"ids": [format!("0-{theirs}")]}).to_string();
    let answer = fixture.post_as(other(), PATH, by_id).await;
    assert_eq!(
        (&answer.body["matched"], &answer.body["skipped"]["not_found"]),
        (&json!(1), &json!(1))
    );
    let answer = fixture
        .post_as(other(), PATH, json!({"filter": {}}).to_string())
        .await;
    assert_eq!(answer.body["matched"], 0);
    assert_eq!(fixture.log.copies().len(), 0);
    for scopes in [&[Scope::Query][..], &[Scope::Ingest], &[Scope::Operator]] {
        let answer = fixture
            .post_as(bearer("acme", scopes), PATH, json!({"filter": {}}).to_string())
            .await;
        assert_eq!(answer.problem(), (403, "scope_missing"));
    }
}

#[tokio::test]
async fn a_request_that_is_not_understood_is_refused_and_does_nothing() {
    let fixture = reflected().await;
    fixture.refuse("default", NOW_MS, 0, Reason::KeyConflict).await;
    let id = "0-0";
    let many: Vec<String> = (0..1_001).map(|n| format!("0-{n}")).collect();
    for (body, parameter) in [
        (json!({}), "ids"),
        (json!({"ids": [id], "filter": {}}), "ids"),
        (json!({"ids": []}), "ids"),
        (json!({"ids": many}), "ids"),
        (json!({"ids": ["0-00"]}), "ids"),
        (json!({"ids": ["x"]}), "ids"),
        (json!({"ids": ["0-99999999999999999999"]}), "ids"),
        (json!({"ids": [id], "cursor": "x"}), "cursor"),
        (json!({"filter": {}, "limit": 0}), "limit"),
        (json!({"filter": {}, "limit": 10_001}), "limit"),
        (json!({"filter": {}, "rate": 0}), "rate"),
        (json!({"filter": {}, "rate": 10_001}), "rate"),
        (json!({"ids": many[..30], "rate": 1}), "rate"),
        (json!({"filter": {"reason": ["bad"]}}), "reason"),
        (json!({"filter": {"upload": "x"}}), "upload"),
        (json!({"filter": {"from": "soon"}}), "from"),
        (json!({"filter": {}, "event": {}}), "event"),
        (json!({"ids": [id, "0-1"], "event": {}}), "event"),
        (json!({"ids": [id], "tenant": "t"}), "tenant"),
    ] {
        let answer = fixture.post(PATH, body.to_string()).await;
        assert_eq!(answer.problem(), (400, "parameter_invalid"), "{body}");
        assert_eq!(answer.body["parameter"], parameter, "{body}");
    }
    for body in [
        "",
        "[]",
        "{",
        r#"{"filter":{},"more":1}"#,
        r#"{"filter":{"state":"open"}}"#,
        r#"{"filter":{},"dry_run":1}"#,
        r#"{"ids":[7]}"#,
        r#"{"filter":{},"limit":-1}"#,
        r#"{"filter":{},"filter":{}}"#,
    ] {
        let answer = fixture.post(PATH, body).await;
        assert_eq!(answer.problem(), (400, "json_invalid"), "{body}");
    }
    let answer = fixture.post(PATH, r#"{"filter":{},"cursor":"AAAA"}"#).await;
    assert_eq!(answer.problem(), (400, "cursor_invalid"));
    let answer = fixture
        .post(PATH, r#"{"filter":{"from":"2025-11-05","to":"2025-11-01"}}"#)
        .await;
    assert_eq!(answer.problem(), (400, "range_invalid"));
    let answer = fixture.post(PATH, vec![b' '; 300 * 1024]).await;
    assert_eq!(answer.problem(), (413, "body_too_large"));
    let answer = fixture.call("POST", PATH).await;
    assert_eq!(answer.problem(), (415, "media_type_not_supported"));
    let answer = fixture
        .post(&format!("{PATH}?dry_run=true"), r#"{"filter":{}}"#)
        .await;
    assert_eq!(answer.problem(), (400, "unknown_parameter"));
    assert_eq!(fixture.log.copies().len(), 0);
}

#[tokio::test]
async fn a_redrive_that_the_log_takes_in_part_says_how_much_is_durable() {
    let fixture = reflected().await;
    // Keys of both partitions.
    for n in 0..40 {
        let text = format!("k{n}");
        let offset = fixture
            .log
            .append(n % 2, NOW_MS, Some(text.as_bytes()), Some(b"{}"));
        fixture
            .letter_row("default", NOW_MS, n % 2, offset, Reason::Invalid)
            .await;
    }
    fixture.log.refuse_appends(1);
    let answer = fixture.post(PATH, json!({"filter": {}}).to_string()).await;
    assert_eq!(answer.problem(), (503, "log_away"));
    let (redriven, unknown) = (&answer.body["redriven"], &answer.body["unknown"]);
    let copies = fixture.log.copies();
    assert_eq!(redriven, &json!(copies.len()));
    assert_eq!(
        redriven.as_u64().unwrap() + unknown.as_u64().unwrap(),
        40,
        "{}",
        answer.body
    );
    assert!(!copies.is_empty() && copies.iter().all(|copy| copy.partition == 0));
    assert!(answer.body["receipt"].is_string());
    fixture.log.set_away(true);
    let answer = fixture.post(PATH, json!({"filter": {}}).to_string()).await;
    assert_eq!(answer.problem(), (503, "log_away"));
}

#[tokio::test]
async fn a_readable_letter_is_shown_as_an_event_that_can_be_sent_again() {
    let fixture = reflected().await;
    let text = br#"{"userId":"u1","type":"sale","amount":12.50,"page":"x","reverse":true}"#;
    let json = fixture.log.append(0, NOW_MS, Some(b"k"), Some(text));
    fixture
        .letter_row("default", NOW_MS, 0, json, Reason::ReversalUnmatched)
        .await;
    let body = fixture.ok("/v1/dead-letters/0-0").await;
    let expected = json!({
        "user_id": "u1", "event_type": "sale", "amount": "12.50", "idempotency_key": "k", "reverse": true,
        "metadata": {"page": "x"},
    });
    assert_eq!((&body["event"], &body["undecoded"]), (&expected, &json!(null)));
    let mut foreign = vec![0, 0, 0, 0, 9];
    foreign.push(1);
    let other = fixture.log.append(0, NOW_MS, Some(b"k"), Some(&foreign));
    fixture
        .letter_row("", NOW_MS, 0, other, Reason::UnknownSchema)
        .await;
    let body = fixture.ok("/v1/dead-letters/0-1").await;
    let why = "it is in Avro in another writer's schema, 9";
    assert_eq!((&body["event"], &body["undecoded"]), (&json!(null), &json!(why)));
}
