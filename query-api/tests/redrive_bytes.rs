//! Redrives of long records: some at a time, whatever their sizes, so that memory is bounded.

use crate::fixture::{Fixture, NOW_MS};
use schemas::row::View;
use schemas::{Reason, limits};
use serde_json::json;

/// Letters, almost as long as a record may be: twice what may be in memory.
const LETTERS: usize = 36;

#[tokio::test]
async fn long_letters_are_redriven_some_at_a_time_and_each_once() {
    let fixture = Fixture::new().await;
    for partition in 0..2 {
        fixture
            .reflect(View::DeadLetters, partition, 1_000_000, None)
            .await;
    }
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
    let answer = fixture.post("/v1/dead-letters/redrive", body.to_string()).await;
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
