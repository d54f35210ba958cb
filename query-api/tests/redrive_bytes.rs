//! Redrives, slice by slice: long records some at a time, so that memory is bounded, and a log that goes away between two slices. And what a
//! mended event has of the bytes of its letter.

use crate::fixture::{Fixture, NOW_MS};
use schemas::row::View;
use schemas::{Event, Reason, avro, limits};
use serde_json::json;

const PATH: &str = "/v1/dead-letters/redrive";
/// Letters, almost as long as a record may be: twice what may be in memory.
const LETTERS: usize = 36;

/// The view of dead letters reflects all that is on the log.
async fn reflected() -> Fixture {
    let fixture = Fixture::new().await;
    for partition in 0..2 {
        fixture
            .reflect(View::DeadLetters, partition, 1_000_000, None)
            .await;
    }
    fixture
}

#[tokio::test]
async fn long_letters_are_redriven_some_at_a_time_and_each_once() {
    let fixture = reflected().await;
    let value = vec![b'x'; limits::RECORD_BYTES - 8 * 1024];
    let mut places = Vec::new();
    for number in 0..LETTERS {
        let partition = u32::try_from(number % 2).unwrap();
        let offset = fixture.log.append(partition, NOW_MS, Some(b"k"), Some(&value));
        fixture
            .letter_row("default", NOW_MS, partition, offset, Reason::Oversized)
            .await;
        places.push((partition, offset));
    }
    let body = json!({"filter": {}, "rate": 10_000});
    let answer = fixture.post(PATH, body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let said = (&answer.body["matched"], &answer.body["redriven"]);
    assert_eq!(said, (&json!(LETTERS), &json!(LETTERS)));
    let copies = fixture.log.copies();
    let origins = copies.iter().map(|copy| copy.origin.unwrap());
    let mut origins: Vec<_> = origins
        .map(|origin| (origin.partition.0, origin.offset.0))
        .collect();
    origins.sort_unstable();
    places.sort_unstable();
    assert_eq!(origins, places);
    // 16 MiB, and what the last read brought beyond: 8 MiB and a record.
    let most = fixture.log.chunk_bytes().into_iter().max().unwrap();
    assert!(most <= 26 * 1024 * 1024, "{most}");
}

#[tokio::test]
async fn a_redrive_that_the_log_leaves_between_two_slices_says_how_much_is_durable() {
    let fixture = reflected().await;
    for _ in 0..20 {
        let offset = fixture.log.append(0, NOW_MS, Some(b"k"), Some(b"{}"));
        fixture
            .letter_row("default", NOW_MS, 0, offset, Reason::Invalid)
            .await;
    }
    // A slice is as many as a second may write.
    let body = json!({"filter": {}, "rate": 10}).to_string();
    let leaving = async {
        while fixture.log.copies().len() < 10 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        fixture.log.set_away(true);
    };
    let (answer, ()) = tokio::join!(fixture.post(PATH, body), leaving);
    assert_eq!(answer.problem(), (503, "log_away"));
    assert_eq!(
        (&answer.body["redriven"], &answer.body["unknown"]),
        (&json!(10), &json!(0)),
        "{}",
        answer.body
    );
    assert!(answer.body["receipt"].is_string());
}

#[tokio::test]
async fn a_mended_event_without_a_time_has_that_of_the_event_in_its_letter() {
    let fixture = reflected().await;
    let said = br#"{"user_id":"u9","event_type":"sale","occurred_at":"2025-10-01T10:00:00Z"}"#;
    let offset = fixture.log.append(1, NOW_MS, Some(b"k"), Some(said));
    fixture
        .letter_row("default", NOW_MS, 1, offset, Reason::KeyConflict)
        .await;
    let mended = json!({"user_id": "u9", "event_type": "sale", "amount": "12.50"});
    let body = json!({"ids": [format!("1-{offset}")], "event": mended});
    let answer = fixture.post(PATH, body.to_string()).await;
    assert_eq!(answer.body["redriven"], 1, "{}", answer.body);
    let value = fixture.log.copies()[0].value.clone().unwrap();
    let event: Event<'_> = avro::decode(avro::frame(&value).unwrap().1).unwrap();
    assert_eq!(
        (event.occurred_at.rfc3339(), event.occurred_at_assigned),
        ("2025-10-01T10:00:00Z".to_owned(), false)
    );
}
