//! Reading ranges of `events` at chosen places.

use crate::kafka_foreign::Foreign;
use crate::kafka_support::*;
use log::kafka::KafkaReader;
use log::{LogError, LogReader, RecordBatch};
use schemas::{Offset, Partition};
use std::time::Instant;

fn places(batch: &RecordBatch) -> Vec<u64> {
    batch.iter().map(|record| record.offset.0).collect()
}

#[test]
fn a_range_with_gaps_is_read_whole_and_ends_even_when_its_tail_is_gaps() {
    let settings = with_topics("gaps", 1);
    let foreign = Foreign::transactional(&settings, &format!("{}-foreign", settings.transactional_id));
    foreign.begin();
    foreign.send(&settings.events, 0, &["a", "b"]); // 0, 1, marker 2
    foreign.commit();
    foreign.begin();
    foreign.send(&settings.events, 0, &["x", "y"]); // 3, 4, marker 5
    foreign.abort();
    foreign.begin();
    foreign.send(&settings.events, 0, &["c"]); // 6, marker 7
    foreign.commit();
    foreign.begin();
    foreign.send(&settings.events, 0, &["z"]); // 8, marker 9
    foreign.abort();
    let mut reader = KafkaReader::new(&settings).unwrap();
    let p = Partition(0);
    let (first, end) = reader.range(p).unwrap();
    assert_eq!((first, end), (Offset(0), Offset(10)));
    let mut seen = Vec::new();
    let mut next = first;
    loop {
        let batch = reader.read(p, next, end, 1).unwrap();
        let Some(last) = batch.iter().last() else { break };
        assert_eq!(batch.len(), 1, "about as many bytes as asked for");
        next = last.offset.next();
        seen.extend(places(&batch));
    }
    assert_eq!(seen, [0, 1, 6]);
    assert_eq!(places(&reader.read(p, Offset(1), end, 1_000).unwrap()), [1, 6]);
    assert_eq!(places(&reader.read(p, Offset(0), Offset(1), 1_000).unwrap()), [0]);
    assert_eq!(
        places(&reader.read(p, Offset(2), Offset(6), 1_000).unwrap()),
        [0_u64; 0],
        "only gaps"
    );
    assert_eq!(
        places(&reader.read(p, Offset(6), Offset(7), 1_000).unwrap()),
        [6],
        "back and forth"
    );
    assert_eq!(
        places(&reader.read(p, Offset(7), end, 1_000).unwrap()),
        [0_u64; 0],
        "only gaps at the end"
    );
    assert!(reader.read(p, end, end, 1_000).unwrap().is_empty());
}

#[test]
fn an_end_that_does_not_come_is_away_at_the_deadline() {
    let mut settings = with_topics("no-end", 1);
    settings.read_deadline_ms = 1_500;
    Foreign::plain(&settings).send(&settings.events, 0, &["a"]);
    let mut reader = KafkaReader::new(&settings).unwrap();
    assert_eq!(
        places(&reader.read(Partition(0), Offset(0), Offset(5), 1_000).unwrap()),
        [0]
    );
    let began = Instant::now();
    let error = reader
        .read(Partition(0), Offset(1), Offset(5), 1_000)
        .unwrap_err();
    assert!(matches!(error, LogError::Away(_)), "{error}");
    assert!(began.elapsed().as_millis() < 4_000);
    Foreign::plain(&settings).send(&settings.events, 0, &["b"]);
    assert_eq!(
        places(&reader.read(Partition(0), Offset(1), Offset(2), 1_000).unwrap()),
        [1]
    );
}
