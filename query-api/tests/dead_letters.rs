//! What was refused, in pages and one by one.

use crate::fixture::{Fixture, NOW_MS};
use log::batch::Origin;
use schemas::row::View;
use schemas::{Offset, Partition, Reason};
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

async fn reflected() -> Fixture {
    let fixture = Fixture::new().await;
    for partition in 0..2 {
        fixture
            .reflect(View::DeadLetters, partition, 1_000_000, None)
            .await;
    }
    fixture
}

fn ids(body: &Value) -> Vec<String> {
    let letters = body["dead_letters"].as_array().unwrap().iter();
    letters
        .map(|letter| letter["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Follows the cursors to the end.
async fn pages(fixture: &Fixture, query: &str) -> (usize, Vec<String>) {
    let (mut count, mut all) = (0, Vec::new());
    let mut cursor = String::new();
    loop {
        let body = fixture.ok(&format!("/v1/dead-letters?{query}{cursor}")).await;
        count += 1;
        all.extend(ids(&body));
        match body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (count, all),
        }
    }
}

#[tokio::test]
async fn dead_letters_are_listed_oldest_first_over_tenants_and_days() {
    let fixture = reflected().await;
    fixture
        .refuse("default", NOW_MS - 8 * DAY_MS, 0, Reason::Invalid)
        .await;
    fixture
        .refuse("default", NOW_MS - 2 * DAY_MS, 0, Reason::Invalid)
        .await;
    fixture
        .refuse("", NOW_MS - 3 * DAY_MS, 1, Reason::Undecodable)
        .await;
    fixture
        .refuse("default", NOW_MS - HOUR_MS, 1, Reason::KeyConflict)
        .await;
    fixture
        .refuse("another", NOW_MS - HOUR_MS, 1, Reason::KeyConflict)
        .await;
    let body = fixture.ok("/v1/dead-letters").await;
    assert_eq!(ids(&body), ["1-0", "0-1", "1-1"]);
    assert_eq!(body["next_cursor"], json!(null));
    assert_eq!(body["as_of"]["offsets"]["0"], 1_000_000);
    let first = json!({
        "id": "1-0", "reason": "undecodable", "accepted_at": "2025-11-02T12:00:00Z", "partition": 1, "offset": 0,
        "user_id": null, "detail": "what is wrong", "state": "open", "tries": 0, "upload_id": null, "row": null,
        "last_redrive": null,
    });
    assert_eq!(body["dead_letters"][0], first);
    assert_eq!(body["dead_letters"][1]["user_id"], "u1");

    let of = async |query: &str| ids(&fixture.ok(&format!("/v1/dead-letters?{query}")).await);
    assert_eq!(of("from=2025-10-01").await, ["0-0", "1-0", "0-1", "1-1"]);
    assert_eq!(of("reason=key_conflict").await, ["1-1"]);
    assert_eq!(of("reason=key_conflict&reason=invalid").await, ["0-1", "1-1"]);
    // A date includes its day; a time at the end is not included.
    assert_eq!(of("from=2025-11-02&to=2025-11-03").await, ["1-0", "0-1"]);
    assert_eq!(
        of("from=2025-11-02T12:00:00Z&to=2025-11-03T12:00:00Z").await,
        ["1-0"]
    );
    assert_eq!(
        of("from=2025-11-02T13:00:00.000001%2B01:00&to=2025-11-03T12:00:00.001Z").await,
        ["0-1"]
    );
}

#[tokio::test]
async fn pages_hold_each_dead_letter_once() {
    let fixture = reflected().await;
    // Many in one moment, of both tenants and partitions, and more than one call of the store brings.
    let mut expected = Vec::new();
    for n in 0..1_300_i64 {
        let (tenant, partition) = (["default", ""][(n % 3 / 2) as usize], (n % 2) as u32);
        let reason = if n % 100 == 0 {
            Reason::NullValue
        } else {
            Reason::NullKey
        };
        let accepted_ms = NOW_MS - DAY_MS - HOUR_MS * 14 + n / 10 * 60_000;
        let offset = fixture.refuse(tenant, accepted_ms, partition, reason).await;
        expected.push((accepted_ms, partition, offset, reason));
    }
    expected.sort_by_key(|letter| (letter.0, letter.1, letter.2));
    let of = |keep: &dyn Fn(Reason) -> bool| -> Vec<String> {
        let kept = expected.iter().filter(|letter| keep(letter.3));
        kept.map(|letter| format!("{}-{}", letter.1, letter.2)).collect()
    };
    let (count, all) = pages(&fixture, "limit=7").await;
    assert_eq!((count, all), (186, of(&|_| true)));
    let (_, all) = pages(&fixture, "limit=1000").await;
    assert_eq!(all, of(&|_| true));
    let (count, rare) = pages(&fixture, "limit=13&reason=null_value").await;
    assert_eq!((count, rare), (1, of(&|reason| reason == Reason::NullValue)));
}

#[tokio::test]
async fn a_long_range_is_looked_at_in_parts() {
    let fixture = reflected().await;
    fixture
        .refuse("default", NOW_MS - 1_000 * DAY_MS, 0, Reason::Invalid)
        .await;
    fixture.refuse("default", NOW_MS, 0, Reason::Invalid).await;
    let (count, all) = pages(&fixture, "from=2022-01-01").await;
    assert_eq!(all, ["0-0", "0-1"]);
    assert!(count > 2, "{count}");
}

#[tokio::test]
async fn a_dead_letter_has_the_bytes_that_were_sent() {
    let fixture = reflected().await;
    let at = NOW_MS - HOUR_MS;
    let accepted = fixture.log.append(0, at, Some(b"key"), Some(b"{\"good\":1}"));
    let refused = fixture.refuse("default", at, 0, Reason::Invalid).await;
    let body = fixture.ok(&format!("/v1/dead-letters/0-{refused}")).await;
    let expected = json!({
        "id": "0-1", "reason": "invalid", "accepted_at": "2025-11-05T11:00:00Z", "partition": 0, "offset": 1,
        "user_id": "u1", "detail": "what is wrong", "key": "key", "value_utf8": "{\"no\":",
        "value_hex": "7b226e6f223a", "value_bytes": 6, "value_truncated": false,
        "state": "open", "tries": 0, "upload_id": null, "row": null, "last_redrive": null, "redrives": [],
        "event": null, "undecoded": "event: is not valid JSON at line 1 column 6",
        "kept_until": "2025-11-08T11:00:00Z", "retention": "bounded",
    });
    assert_eq!(body, expected);
    // Bytes of what was not refused are never shown, nor of another tenant.
    fixture.refuse("another", at, 0, Reason::Invalid).await;
    for id in [
        format!("0-{accepted}"),
        "0-2".into(),
        "0-3".into(),
        "1-0".into(),
        "2-0".into(),
        "4294967295-0".into(),
    ] {
        let answer = fixture.get(&format!("/v1/dead-letters/{id}")).await;
        assert_eq!(answer.problem(), (404, "not_found"), "{id}");
    }
}

#[tokio::test]
async fn a_dead_letter_without_text_or_with_too_much_of_it_is_shown_as_far_as_it_goes() {
    let fixture = reflected().await;
    let long = format!("x{}", "ü".repeat(50_000));
    let first = fixture.log.append(0, NOW_MS, Some(b"\xff\x00"), Some(b"\xfe"));
    let second = fixture.log.append(0, NOW_MS, None, None);
    let third = fixture.log.append(1, NOW_MS, Some(b"k"), Some(long.as_bytes()));
    fixture
        .letter_row("", NOW_MS, 0, first, Reason::Undecodable)
        .await;
    fixture.letter_row("", NOW_MS, 0, second, Reason::NullValue).await;
    fixture.letter_row("", NOW_MS, 1, third, Reason::Oversized).await;
    let body = fixture.ok("/v1/dead-letters/0-0").await;
    assert_eq!((&body["key"], &body["key_hex"]), (&json!(null), &json!("ff00")));
    assert_eq!((&body["value_hex"], body.get("value_utf8")), (&json!("fe"), None));
    let body = fixture.ok("/v1/dead-letters/0-1").await;
    assert_eq!(
        (&body["key"], &body["value_hex"], &body["value_bytes"]),
        (&json!(null), &json!(null), &json!(null))
    );
    let body = fixture.ok("/v1/dead-letters/1-0").await;
    assert_eq!(
        (&body["value_bytes"], &body["value_truncated"]),
        (&json!(100_001), &json!(true))
    );
    assert_eq!(body["value_utf8"].as_str().unwrap().len(), 65_535);
    assert_eq!(body["value_hex"].as_str().unwrap().len(), 2 * 65_536);
}

#[tokio::test]
async fn a_copy_lies_on_the_day_on_which_the_original_was_accepted() {
    let fixture = reflected().await;
    let accepted_ms = NOW_MS - 3 * DAY_MS;
    let origin = Origin {
        partition: Partition(1),
        offset: Offset(7),
        append_ms: accepted_ms,
        held: false,
    };
    let offset = fixture
        .log
        .append_copy(0, NOW_MS, Some(b"k"), Some(b"v"), Some(origin));
    fixture
        .letter_row("default", accepted_ms, 0, offset, Reason::KeyConflict)
        .await;
    let body = fixture.ok("/v1/dead-letters/0-0").await;
    assert_eq!(
        (&body["value_utf8"], &body["accepted_at"]),
        (&json!("v"), &json!("2025-11-02T12:00:00Z"))
    );
}

#[tokio::test]
async fn a_log_that_is_away_is_said_and_is_no_404() {
    let fixture = reflected().await;
    fixture.refuse("default", NOW_MS, 0, Reason::Invalid).await;
    fixture.log.set_away(true);
    assert_eq!(
        fixture.get("/v1/dead-letters/0-0").await.problem(),
        (503, "log_away")
    );
    assert_eq!(ids(&fixture.ok("/v1/dead-letters").await), ["0-0"]);
}
