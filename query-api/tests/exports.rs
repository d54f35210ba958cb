//! The same answers as CSV and NDJSON, of any length.

use crate::fixture::{Fixture, NOW_MS, day, row};
use http_body_util::BodyExt;
use schemas::partial::{Cell, DayPartial};
use schemas::row::{Progress, RowKey, View};
use schemas::{Day, Offset, Partition, Reason, amount::Sum};
use serde_json::{Value, json};

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let (monday, tuesday) = (day("2025-11-03"), day("2025-11-04"));
    for (event_type, amount) in [
        ("click", "0"),
        ("a,b", "0.10"),
        ("say \"hi\"", "-3"),
        ("=1+1", "2"),
    ] {
        let events = [(monday, 95, 1, amount), (tuesday, 40, 2, amount)];
        fixture.count(0, event_type, &events).await;
        fixture.count(1, event_type, &[(tuesday, 41, 1, amount)]).await;
    }
    fixture
        .count_user(
            0,
            "u,1",
            monday,
            &[("click", 95, None), ("ü; x", 0, Some("1.50"))],
        )
        .await;
    fixture
        .count_user(1, "u,1", tuesday, &[("click", 4, Some("98"))])
        .await;
    fixture.reflect_all(9, Some((monday, tuesday))).await;
    fixture
}

#[tokio::test]
async fn csv_has_a_header_and_quotes_what_needs_it() {
    let fixture = filled().await;
    let path = "/v1/days?from=2025-11-03&to=2025-11-04&format=csv";
    let (status, headers, text) = fixture.text(path, &[]).await;
    assert_eq!(status, 200);
    let expected = "day,event_type,count,sum\r\n\
                    2025-11-03,=1+1,1,2.00\r\n\
                    2025-11-03,\"a,b\",1,0.10\r\n\
                    2025-11-03,click,1,0\r\n\
                    2025-11-03,\"say \"\"hi\"\"\",1,-3.00\r\n\
                    2025-11-04,=1+1,3,6.00\r\n\
                    2025-11-04,\"a,b\",3,0.30\r\n\
                    2025-11-04,click,3,0\r\n\
                    2025-11-04,\"say \"\"hi\"\"\",3,-9.00\r\n";
    assert_eq!(text, expected);
    assert_eq!(headers["content-type"], "text/csv; charset=utf-8; header=present");
    let name = "attachment; filename=\"days-2025-11-03-2025-11-04.csv\"";
    assert_eq!(headers["content-disposition"], name);
    let as_of: Value = serde_json::from_str(headers["x-tidemark-as-of"].to_str().unwrap()).unwrap();
    let json = fixture.ok("/v1/days?from=2025-11-03&to=2025-11-04").await;
    assert_eq!(as_of, json["as_of"]);
    // The header asks for the same.
    let accept = [("accept", "text/csv, */*;q=0.1")];
    let by_header = fixture
        .text("/v1/days?from=2025-11-03&to=2025-11-04", &accept)
        .await;
    assert_eq!(by_header.2, expected);
    assert_eq!(by_header.1["vary"], "accept, authorization");
}

#[tokio::test]
async fn each_line_of_ndjson_is_a_line_of_the_json_answer() {
    let fixture = filled().await;
    let range = "from=2025-11-03&to=2025-11-04&tz=Europe/Berlin";
    for (path, list) in [
        (format!("/v1/days?{range}"), "days"),
        (format!("/v1/days?{range}&bucket=1h&type=click"), "buckets"),
        (format!("/v1/days?{range}&bucket=15m"), "buckets"),
        (format!("/v1/days?{range}&bucket=1mo"), "buckets"),
        ("/v1/days/2025-11-04?tz=Asia/Kathmandu".to_owned(), "days"),
        (format!("/v1/users/u,1/days?{range}"), "days"),
    ] {
        let json = fixture.ok(&path).await;
        let (status, headers, text) = fixture.text(&path, &[("accept", "application/x-ndjson")]).await;
        assert_eq!(
            (status.as_u16(), &headers["content-type"]),
            (200, &"application/x-ndjson".parse().unwrap())
        );
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines.len() >= 2, "{path}");
        assert_eq!(json[list], json!(lines), "{path}");
        // And of CSV, in the same order.
        let (_, _, table) = fixture
            .text(
                &format!("{path}{}format=csv", if path.contains('?') { "&" } else { "?" }),
                &[],
            )
            .await;
        let names: Vec<&str> = table.lines().next().unwrap().split(',').collect();
        assert_eq!(table.lines().count(), lines.len() + 1, "{path}");
        assert!(names.iter().all(|name| lines[0].get(name).is_some()), "{names:?}");
        assert_eq!(
            names.len(),
            lines[0].as_object().unwrap().len(),
            "{path}: {names:?}"
        );
    }
}

#[tokio::test]
async fn a_users_days_are_exported_in_the_same_form() {
    let fixture = filled().await;
    let path = "/v1/users/u,1/days?from=2025-11-03&to=2025-11-04&format=csv";
    let (_, headers, text) = fixture.text(path, &[]).await;
    let expected = "day,event_type,count,sum\r\n\
                    2025-11-03,click,1,0\r\n\
                    2025-11-03,ü; x,1,1.50\r\n\
                    2025-11-04,click,1,98.00\r\n";
    assert_eq!(text, expected);
    assert!(headers.contains_key("x-tidemark-as-of"));
}

#[tokio::test]
async fn all_dead_letters_of_a_range_are_exported_over_the_pages_of_json() {
    let fixture = Fixture::new().await;
    for n in 0..2_500_i64 {
        fixture
            .refuse(
                ["default", ""][(n % 2) as usize],
                NOW_MS - n * 60_000,
                (n % 2) as u32,
                Reason::Invalid,
            )
            .await;
    }
    fixture.reflect_all(2_500, None).await;
    let (_, headers, text) = fixture.text("/v1/dead-letters?format=csv", &[]).await;
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("id,reason,accepted_at,partition,offset,user_id,detail,state,tries,upload_id,row,last_redrive")
    );
    assert_eq!(
        lines.next(),
        Some("1-1249,invalid,2025-11-03T18:21:00Z,1,1249,,what is wrong,open,0,,,")
    );
    assert_eq!(lines.clone().count(), 2_499);
    let ids: std::collections::BTreeSet<&str> = lines.filter_map(|line| line.split(',').next()).collect();
    assert_eq!(ids.len(), 2_499);
    assert!(headers.contains_key("x-tidemark-as-of"));
    let (_, _, text) = fixture
        .text("/v1/dead-letters?format=ndjson&reason=key_conflict", &[])
        .await;
    assert_eq!(text, "");
}

/// More lines than one document may have.
#[tokio::test]
async fn what_is_too_large_for_a_document_is_exported() {
    let fixture = Fixture::new().await;
    let (first, last) = (day("2025-01-01"), day("2025-04-20"));
    let mut rows = Vec::new();
    for n in first.0..=last.0 {
        for event_type in 0..11 {
            let mut partial = DayPartial::default();
            for of_day in 0..96 {
                partial.add_cell(Cell {
                    of_day,
                    count: 1,
                    sum: Sum(0),
                });
            }
            let event_type = format!("type-{event_type}");
            let key = RowKey::Day {
                tenant: "default".into(),
                day: Day(n),
                event_type,
            };
            rows.push(row(key, 0, 1, partial.encode()));
        }
    }
    fixture.store.upsert(rows).await.unwrap();
    fixture.reflect_all(9, Some((first, last))).await;
    let path = "/v1/days?from=2025-01-01&bucket=15m&to=2025-04-";
    assert_eq!(
        fixture.get(&format!("{path}14")).await.problem(),
        (400, "answer_too_large")
    );
    assert_eq!(
        fixture.get(&format!("{path}15")).await.problem(),
        (400, "too_many_buckets")
    );
    let (status, _, text) = fixture.text(&format!("{path}15&format=csv"), &[]).await;
    assert_eq!((status.as_u16(), text.lines().count()), (200, 105 * 96 * 11 + 1));
}

#[tokio::test]
async fn an_export_that_fails_half_way_is_cut_and_never_looks_whole() {
    let fixture = Fixture::new().await;
    let (first, last) = (day("2025-10-01"), day("2025-11-04"));
    let noons: Vec<_> = (first.0..last.0).map(|n| (Day(n), 48, 1, "0")).collect();
    fixture.count(0, "click", &noons).await;
    let key = RowKey::Day {
        tenant: "default".into(),
        day: last,
        event_type: "click".into(),
    };
    fixture
        .store
        .upsert(vec![row(key, 0, 1, b"broken".to_vec())])
        .await
        .unwrap();
    fixture.reflect_all(9, Some((first, last))).await;
    let path = "/v1/days?from=2025-10-01&to=2025-11-04&format=csv";
    let mut response = fixture.ask(path, &[]).await;
    assert_eq!(response.status(), 200);
    // Lines come before all rows were read.
    let mut text = String::new();
    let end = loop {
        match response.body_mut().frame().await {
            Some(Ok(frame)) => text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap(),
            end => break end,
        }
    };
    assert!(
        text.contains("2025-10-01,click,1,0\r\n2025-10-02,click,1,0\r\n"),
        "{text}"
    );
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    // So is one whose view was lost meanwhile: what came before may lack rows.
    let mut response = fixture
        .ask("/v1/days?from=2025-10-01&to=2025-10-09&format=csv", &[])
        .await;
    assert!(response.body_mut().frame().await.unwrap().is_ok());
    let lost = Progress {
        next: Offset(9),
        changelog: Offset(10),
        ..Progress::default()
    };
    fixture
        .store
        .write_progress(View::Days, Partition(0), &lost)
        .await
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_form_that_there_is_not_is_said_so() {
    let fixture = filled().await;
    for path in [
        "/v1/days",
        "/v1/days/2025-11-04",
        "/v1/users/u1/days",
        "/v1/dead-letters",
    ] {
        let response = fixture.ask(path, &[("accept", "image/png")]).await;
        assert_eq!(response.status(), 406, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
