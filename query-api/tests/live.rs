//! Totals as they change.

use crate::fixture::{AHEAD_MS, Fixture, PARTITIONS, day, eventually, receipt, row};
use crate::live_reader::{PATIENCE, Reader};
use schemas::partial::{Cell, DayPartial};
use schemas::row::{Progress, RowKey, View};
use schemas::{Offset, Partition, amount::Sum};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RANGE: &str = "/v1/live?from=2025-11-04&to=2025-11-05";

fn total(day: &str, event_type: &str, count: u64, sum: &str) -> Value {
    json!({"day": day, "event_type": event_type, "count": count, "sum": sum})
}

#[tokio::test]
async fn all_totals_come_first_and_then_those_that_change() {
    let fixture = Fixture::new().await;
    let (tuesday, wednesday) = (day("2025-11-04"), day("2025-11-05"));
    fixture.write(0, 1, "click", tuesday, &[(3, 2)]).await;
    fixture.write(1, 1, "click", tuesday, &[(3, 1)]).await;
    fixture.write(0, 1, "sale", wednesday, &[(95, 4)]).await;
    fixture.write(0, 1, "click", day("2025-11-03"), &[(95, 4)]).await;
    fixture.reflect_all(5, Fixture::days()).await;
    // Without a range it is yesterday and today.
    let mut reader = Reader::connect(&fixture, "/v1/live", &[]).await;
    let range = reader.event().await.unwrap();
    assert_eq!(range.name, "range");
    assert_eq!(
        range.data,
        json!({"tz": "UTC", "from": "2025-11-04", "to": "2025-11-05"})
    );
    let (totals, as_of) = reader.totals().await;
    let expected = [
        total("2025-11-04", "click", 3, "1.50"),
        total("2025-11-05", "sale", 4, "2.00"),
    ];
    assert_eq!(totals, expected);
    assert_eq!(as_of.data["offsets"], json!({"0": 5, "1": 5}));
    assert_eq!(as_of.id, Some(receipt(&[(0, 5), (1, 5)]).to_string()));

    fixture.write(1, 6, "click", tuesday, &[(3, 1), (4, 5)]).await;
    fixture.write(1, 6, "new", wednesday, &[(0, 1)]).await;
    fixture.log.set_end(1, 6);
    fixture.reflect(View::Days, 1, 6, Fixture::days()).await;
    let (totals, as_of) = reader.changes().await;
    let expected = [
        total("2025-11-04", "click", 8, "4.00"),
        total("2025-11-05", "new", 1, "0.50"),
    ];
    assert_eq!(totals, expected);
    assert_eq!(as_of.id, Some(receipt(&[(0, 5), (1, 6)]).to_string()));
    // One that is nothing again is said so.
    fixture.write(1, 7, "new", wednesday, &[]).await;
    fixture.reflect(View::Days, 1, 7, Fixture::days()).await;
    assert_eq!(reader.changes().await.0, [total("2025-11-05", "new", 0, "0")]);
}

#[tokio::test]
async fn days_of_a_zone_are_put_together_from_the_utc_days_that_have_part_in_them() {
    let fixture = Fixture::new().await;
    let (tuesday, wednesday) = (day("2025-11-04"), day("2025-11-05"));
    // Kathmandu's 5 November begins at 18:15 UTC of the 4th.
    fixture.write(0, 1, "click", tuesday, &[(72, 1), (73, 2)]).await;
    fixture.write(0, 1, "click", wednesday, &[(0, 4), (73, 8)]).await;
    fixture.write(0, 1, "sale", wednesday, &[(0, 1)]).await;
    fixture.reflect_all(5, Fixture::days()).await;
    let path = "/v1/live?from=2025-11-05&to=2025-11-05&tz=Asia/Kathmandu&type=click";
    let mut reader = Reader::connect(&fixture, path, &[]).await;
    assert_eq!(reader.totals().await.0, [total("2025-11-05", "click", 6, "3.00")]);
    fixture.write(0, 6, "click", tuesday, &[(72, 9), (73, 3)]).await;
    fixture.reflect(View::Days, 0, 6, Fixture::days()).await;
    assert_eq!(
        reader.changes().await.0,
        [total("2025-11-05", "click", 7, "3.50")]
    );
}

#[tokio::test]
async fn who_comes_again_gets_all_totals_and_none_older_than_what_it_saw() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    fixture.write(0, 1, "click", tuesday, &[(3, 2)]).await;
    fixture.reflect_all(5, Fixture::days()).await;
    fixture.log.set_end(0, 9);
    let id = receipt(&[(0, 9), (1, 5)]).to_string();
    eventually(async || fixture.ok("/v1/days").await["as_of"]["lag_records"] == 4).await;
    let mut reader = Reader::connect(&fixture, RANGE, &[("last-event-id", &id)]).await;
    assert_eq!(reader.event().await.unwrap().name, "range");
    // It saw offset 9 elsewhere, so it hears nothing but that the connection stands.
    for _ in 0..3 {
        assert_eq!(reader.block().await.unwrap(), ": nothing changed");
    }
    fixture.write(0, 9, "click", tuesday, &[(3, 6)]).await;
    fixture.reflect(View::Days, 0, 9, Fixture::days()).await;
    let (totals, as_of) = reader.totals().await;
    assert_eq!(totals, [total("2025-11-04", "click", 6, "3.00")]);
    assert_eq!(as_of.id.as_deref(), Some(id.as_str()));
    // Again with the newest id: all of it, at once.
    let mut reader = Reader::connect(&fixture, RANGE, &[("last-event-id", &id)]).await;
    assert_eq!(reader.totals().await.0, totals);
    // An id of another log says nothing here; its reader gets all the same.
    let mut other = receipt(&[(0, 1_000)]);
    other.topic_id = uuid::Uuid::from_u128(1);
    let mut reader = Reader::connect(&fixture, RANGE, &[("last-event-id", &other.to_string())]).await;
    assert_eq!(reader.totals().await.0, totals);
}

#[tokio::test]
async fn rows_are_read_once_for_all_readers() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    fixture.write(0, 1, "click", tuesday, &[(3, 2)]).await;
    fixture.reflect_all(5, Fixture::days()).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        let mut reader = Reader::connect(&fixture, RANGE, &[]).await;
        reader.totals().await;
        readers.push(reader);
    }
    assert_eq!(fixture.metric("tidemark_query_live_connections"), 5);
    assert_eq!(fixture.metric("tidemark_query_live_reads_total"), 2);
    fixture.write(0, 6, "click", tuesday, &[(3, 3)]).await;
    fixture.reflect(View::Days, 0, 6, Fixture::days()).await;
    for reader in &mut readers {
        assert_eq!(
            reader.changes().await.0,
            [total("2025-11-04", "click", 3, "1.50")]
        );
    }
    assert_eq!(fixture.metric("tidemark_query_live_reads_total"), 4);
    drop(readers);
    eventually(async || fixture.metric("tidemark_query_live_connections") == 0).await;
    assert_eq!(
        fixture.metric("tidemark_query_live_ends_total{reason=\"gone\"}"),
        5
    );
    // Nobody reads rows for nobody; who comes then gets the present.
    fixture.write(0, 7, "click", tuesday, &[(3, 4)]).await;
    fixture.reflect(View::Days, 0, 7, Fixture::days()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(fixture.metric("tidemark_query_live_reads_total"), 4);
    let mut reader = Reader::connect(&fixture, RANGE, &[]).await;
    assert_eq!(reader.totals().await.0, [total("2025-11-04", "click", 4, "2.00")]);
}

#[tokio::test]
async fn one_more_reader_than_there_may_be_is_told_to_come_back() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(5, None).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(Reader::connect(&fixture, "/v1/live", &[]).await);
    }
    let answer = fixture.get("/v1/live").await;
    assert_eq!(answer.problem(), (503, "too_many_readers"));
    assert_eq!(
        (&answer.headers["retry-after"], &answer.body["limit_readers"]),
        (&"5".parse().unwrap(), &json!(5))
    );
    readers.pop();
    eventually(async || fixture.ask("/v1/live", &[]).await.status() == 200).await;
}

#[tokio::test]
async fn readers_of_too_many_days_in_all_are_refused() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(5, None).await;
    let mut readers = Vec::new();
    for month in ["01", "03", "05", "07"] {
        let path = format!("/v1/live?from=2025-{month}-01&to=2025-{month}-31");
        readers.push(Reader::connect(&fixture, &path, &[]).await);
    }
    let path = "/v1/live?from=2025-08-01&to=2025-08-31";
    let answer = fixture.get(path).await;
    assert_eq!(
        (answer.problem(), &answer.body["limit_days"]),
        ((503, "too_many_live_days"), &json!(128))
    );
    // The same days again cost nothing.
    readers.push(Reader::connect(&fixture, "/v1/live?from=2025-01-01&to=2025-01-31", &[]).await);
    readers.truncate(1);
    eventually(async || fixture.ask(path, &[]).await.status() == 200).await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut_off_with_a_last_word_and_holds_up_nobody() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    let mut rows = Vec::new();
    for n in 0..2_000 {
        let mut partial = DayPartial::default();
        partial.add_cell(Cell {
            of_day: 0,
            count: 1,
            sum: Sum(0),
        });
        let event_type = format!("{n:0>120}");
        let key = RowKey::Day {
            tenant: "default".into(),
            day: tuesday,
            event_type,
        };
        rows.push(row(key, 0, 1, partial.encode()));
    }
    fixture.store.upsert(rows).await.unwrap();
    fixture.write(0, 1, "click", tuesday, &[(0, 1)]).await;
    fixture.reflect_all(5, Fixture::days()).await;
    let mut slow = Reader::connect(&fixture, RANGE, &[]).await;
    let mut other = Reader::connect(&fixture, &format!("{RANGE}&type=click"), &[]).await;
    assert_eq!(other.totals().await.0.len(), 1);
    eventually(async || fixture.metric("tidemark_query_live_ends_total{reason=\"too_slow\"}") == 1).await;
    eventually(async || fixture.metric("tidemark_query_live_connections") == 1).await;
    fixture.write(0, 6, "click", tuesday, &[(0, 2)]).await;
    fixture.reflect(View::Days, 0, 6, Fixture::days()).await;
    assert_eq!(other.changes().await.0, [total("2025-11-04", "click", 2, "1.00")]);
    // What waited for it is there, then the last word, then the end.
    let (mut totals, mut last) = (0, None);
    while let Some(event) = slow.event().await {
        totals += usize::from(event.name == "total");
        last = Some(event);
    }
    assert!((100..2_000).contains(&totals), "{totals}");
    let last = last.unwrap();
    assert_eq!(
        (last.name.as_str(), &last.data),
        ("end", &json!({"reason": "too_slow"}))
    );
}

#[tokio::test]
async fn a_view_that_is_lost_shows_nothing_until_it_is_back() {
    let fixture = Fixture::new().await;
    let tuesday = day("2025-11-04");
    fixture.log.set_end(0, 5);
    assert_eq!(fixture.get("/v1/live").await.problem(), (503, "view_not_ready"));
    fixture.write(0, 1, "click", tuesday, &[(3, 2)]).await;
    fixture.reflect_all(5, Fixture::days()).await;
    let mut reader = Reader::connect(&fixture, RANGE, &[]).await;
    reader.totals().await;
    // Progress of another life: the table was emptied.
    let lost = Progress {
        next: Offset(5),
        changelog: Offset(6),
        ..Progress::default()
    };
    fixture
        .store
        .write_progress(View::Days, Partition(0), &lost)
        .await
        .unwrap();
    fixture.write(0, 6, "click", tuesday, &[]).await;
    for _ in 0..3 {
        assert_eq!(reader.block().await.unwrap(), ": nothing changed");
    }
    fixture.write(0, 7, "click", tuesday, &[(3, 3)]).await;
    fixture.reflect(View::Days, 0, 7, Fixture::days()).await;
    assert_eq!(
        reader.changes().await.0,
        [total("2025-11-04", "click", 3, "1.50")]
    );
}

#[tokio::test]
async fn yesterday_and_today_move_on_at_midnight_of_the_zone() {
    let fixture = Fixture::new().await;
    for (name, count) in [("2025-11-04", 4), ("2025-11-05", 5), ("2025-11-06", 6)] {
        fixture.write(0, 1, "click", day(name), &[(60, count)]).await;
    }
    let days = Some((day("2025-11-01"), day("2025-11-06")));
    fixture.reflect_all(5, days).await;
    // It is noon in UTC, and one o'clock there.
    let mut reader = Reader::connect(&fixture, "/v1/live?tz=Europe/Berlin", &[]).await;
    assert_eq!(reader.totals().await.0.len(), 2);
    AHEAD_MS.set(10 * 3_600_000 + 59 * 60_000);
    assert_eq!(reader.block().await.unwrap(), ": nothing changed");
    AHEAD_MS.set(11 * 3_600_000);
    let range = reader.event().await.unwrap();
    let expected = json!({"tz": "Europe/Berlin", "from": "2025-11-05", "to": "2025-11-06"});
    assert_eq!((range.name.as_str(), range.data), ("range", expected));
    let totals = [
        total("2025-11-05", "click", 5, "2.50"),
        total("2025-11-06", "click", 6, "3.00"),
    ];
    assert_eq!(reader.totals().await.0, totals);
}

#[tokio::test]
async fn over_a_real_port_a_stop_ends_readers_within_the_drain() {
    let fixture = Fixture::new().await;
    fixture.write(0, 1, "click", day("2025-11-04"), &[(3, 2)]).await;
    fixture.reflect_all(5, Fixture::days()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = service::http::Metrics::new(&fixture.registry).unwrap();
    let (router, shutdown) = (fixture.router.clone(), fixture.shutdown.clone());
    let serving = tokio::spawn(async move {
        let limits = service::config::Http::default();
        let registry = service::metrics::Registry::new().unwrap();
        let access = service::access::Access::open("no such file".as_ref(), false, &[], &registry).unwrap();
        service::http::serve(listener, router, &limits, metrics, access, shutdown).await
    });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {RANGE} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("event: as_of") {
        let mut bytes = [0; 1024];
        let count = tokio::time::timeout(PATIENCE, stream.read(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert!(count > 0, "{text}");
        text += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    assert!(text.contains("\"count\":2"), "{text}");
    let stopped = tokio::time::Instant::now();
    fixture.shutdown.begin();
    let mut rest = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(
        rest.contains("event: end\ndata: {\"reason\":\"stopping\"}\n\n"),
        "{rest}"
    );
    // The body has its end too: no client takes this for a broken connection.
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    tokio::time::timeout(PATIENCE, serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        stopped.elapsed() < Duration::from_secs(5),
        "{:?}",
        stopped.elapsed()
    );
    assert_eq!(
        fixture.metric("tidemark_query_live_ends_total{reason=\"stopping\"}"),
        1
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_said_before_anything_is_shown() {
    let fixture = Fixture::new().await;
    fixture.reflect_all(5, None).await;
    for (path, code, parameter) in [
        ("/v1/live?bucket=1h", "unknown_parameter", Value::Null),
        ("/v1/live?from=2025-11-01", "parameter_invalid", json!("to")),
        ("/v1/live?to=2025-11-01", "parameter_invalid", json!("from")),
        (
            "/v1/live?from=2025-11-31&to=2025-12-01",
            "parameter_invalid",
            json!("from"),
        ),
        (
            "/v1/live?from=2025-11-02&to=2025-11-01",
            "range_invalid",
            Value::Null,
        ),
        (
            "/v1/live?from=2025-10-01&to=2025-11-01",
            "range_too_long",
            json!("from"),
        ),
        ("/v1/live?tz=Middle/Earth", "zone_unknown", Value::Null),
        ("/v1/live?type=", "parameter_invalid", json!("type")),
    ] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.problem(), (400, code), "{path}");
        assert_eq!(answer.body["parameter"], parameter, "{path}");
    }
    assert_eq!(
        fixture.get("/v1/live?from=2025-10-01&to=2025-11-01").await.body["limit_days"],
        31
    );
    let beyond = receipt(&[(0, 6)]).to_string();
    let no_partition = receipt(&[(PARTITIONS, 1)]).to_string();
    for (id, code) in [
        ("", "parameter_invalid"),
        ("17", "parameter_invalid"),
        (beyond.as_str(), "receipt_beyond_end"),
        (no_partition.as_str(), "receipt_beyond_end"),
    ] {
        let (status, _, text) = fixture.text("/v1/live", &[("last-event-id", id)]).await;
        assert_eq!(status, 400, "{id}");
        assert!(text.contains(code), "{id}: {text}");
    }
}
