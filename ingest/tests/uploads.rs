//! Uploads: the facts of their lives, what is held, and what their rows become.

use crate::rig::{Answer, FakeLog, Mode, Server, http_chunk};
use schemas::upload::{Begun, Totals, What};
use schemas::{Offset, Partition, key};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

pub const CSV: &str = "content-type: text/csv\r\n";

/// Rows with a time and keys; those of `bad` lack the user.
pub fn csv(rows: usize, bad: &[usize]) -> String {
    let mut text = "user_id,event_type,timestamp,idempotency_key\n".to_owned();
    for row in 0..rows {
        let user = if bad.contains(&row) { "" } else { "u" };
        text.push_str(&format!("{user},click,2026-11-20,k{row}\n"));
    }
    text
}

pub fn id(answer: &Answer) -> Uuid {
    let id: Uuid = answer.body["upload"].as_str().unwrap().parse().unwrap();
    assert!(answer.head.contains(&format!("x-upload-id: {id}")), "{answer:?}");
    id
}

pub fn totals(accepted: u64, invalid: u64) -> Totals {
    Totals {
        accepted,
        invalid,
        ..Totals::default()
    }
}

#[tokio::test]
async fn the_facts_of_an_upload_stand_around_its_rows_in_order() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let answer = server
        .post_with("/v1/uploads?name=sales.csv", CSV, csv(50, &[3, 7]))
        .await;
    assert_eq!(
        (answer.status, &answer.body["status"]),
        (201, &"processing".into()),
        "{answer:?}"
    );
    let upload = id(&answer);
    assert!(
        answer.head.contains(&format!("location: /v1/uploads/{upload}")),
        "{answer:?}"
    );
    assert_eq!(
        (&answer.body["accepted"], &answer.body["invalid"]),
        (&48.into(), &2.into())
    );
    assert_eq!(answer.body["results"][1]["row"], 9);
    let life = server.log.life();
    let [What::Begun(begun), What::Errors { rows }, What::Sent(sent)] = &life[..] else {
        panic!("{life:?}");
    };
    assert_eq!(
        *begun,
        Begun {
            name: Some("sales.csv".into()),
            ..Begun::default()
        }
    );
    let errors: Vec<_> = rows
        .iter()
        .map(|row| (row.row, row.code.as_str(), row.field.as_str()))
        .collect();
    assert_eq!(errors, [(5, "missing", "user_id"), (9, "missing", "user_id")]);
    assert_eq!(*sent, totals(48, 2));
    let events = server.log.events();
    assert!(events.iter().all(|event| event.upload_id == Some(upload)));
    let row_of = |key: &str| {
        events
            .iter()
            .find(|event| event.idempotency_key == key)
            .unwrap()
            .row
    };
    assert_eq!((row_of("k0"), row_of("k49")), (Some(2), Some(51)));
    // The receipt is behind the last fact, so that who waits for it finds the end of the upload.
    let receipt = answer.receipt();
    for (partition, end) in server.log.ends.lock().unwrap().iter() {
        assert_eq!(receipt.next.get(&Partition(*partition)), Some(&Offset(*end)));
    }
}

#[tokio::test]
async fn held_rows_carry_their_kind_and_the_last_fact_says_where_they_lie() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    // Others were there before.
    server.post("text/csv", csv(40, &[])).await;
    let before = server.log.ends.lock().unwrap().clone();
    let answer = server
        .post_with("/v1/uploads?hold=true", CSV, csv(60, &[1]))
        .await;
    assert_eq!(
        (answer.status, &answer.body["status"]),
        (201, &"held".into()),
        "{answer:?}"
    );
    assert_eq!(server.log.held.load(Ordering::SeqCst), 59);
    let life = server.log.life();
    let Some(What::Held {
        totals: found,
        places,
        release: false,
    }) = life.last()
    else {
        panic!("{life:?}");
    };
    assert_eq!(*found, totals(59, 1));
    let home = schemas::upload::home(id(&answer), 4);
    let ends = server.log.ends.lock().unwrap().clone();
    assert_eq!(places.len(), 4);
    for (partition, first, next) in places {
        let before = before.get(&partition.0).copied().unwrap_or_default();
        // The facts at its beginning and its end are no rows.
        let (begun, ended) = if *partition == home { (1, 2) } else { (0, 0) };
        assert_eq!(
            (first.0, next.0),
            (before + begun, ends[&partition.0] - ended),
            "{partition}"
        );
    }
}

#[tokio::test]
async fn all_or_nothing_is_released_at_once_or_fails_whole() {
    for (bad, status, code) in [(&[][..], 201, None), (&[5][..], 422, Some("rows_invalid"))] {
        let server = Server::start(FakeLog::new(Mode::Record)).await;
        let answer = server
            .post_with("/v1/uploads?atomic=true", CSV, csv(20, bad))
            .await;
        assert_eq!(answer.status, status, "{answer:?}");
        id(&answer);
        assert_eq!(server.log.held.load(Ordering::SeqCst), 20 - bad.len());
        let life = server.log.life();
        match (life.last().unwrap(), code) {
            (What::Held { release, .. }, None) => {
                assert!(release);
                assert_eq!(answer.body["status"], "processing");
            }
            (
                What::Failed {
                    totals: found, code, ..
                },
                Some(expected),
            ) => {
                assert_eq!((code.as_str(), *found), (expected, totals(19, 1)));
                assert_eq!(
                    (answer.problem(), &answer.body["accepted"]),
                    (expected, &0.into())
                );
                assert_eq!(answer.body["results"][0]["row"], 7);
                assert!(matches!(life[1], What::Errors { .. }));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn columns_and_fields_may_have_other_names() {
    let path = r"/v1/uploads?map=customer:user_id,what\,why:event_type,when:timestamp";
    for (kind, body) in [
        (
            "text/csv",
            "customer, \"what,why\" ,when,page\nu1,sale,2026-11-20,home\n"
                .replace(", \"", ",\"")
                .replace("\" ,", "\","),
        ),
        (
            "application/json",
            r#"[{"customer":"u1","what,why":"sale","when":"2026-11-20","page":"home"}]"#.to_owned(),
        ),
        (
            "application/x-ndjson",
            r#"{"customer":"u1","what,why":"sale","when":"2026-11-20","page":"home"}"#.to_owned(),
        ),
    ] {
        let server = Server::start(FakeLog::new(Mode::Record)).await;
        let answer = server
            .post_with(
                &path.replace('\\', "%5C"),
                &format!("content-type: {kind}\r\n"),
                body,
            )
            .await;
        assert_eq!(
            (answer.status, &answer.body["accepted"]),
            (201, &1.into()),
            "{answer:?}"
        );
        let event = server.log.events().remove(0);
        assert_eq!(
            (event.user_id.as_ref(), event.event_type.as_ref()),
            ("u1", "sale")
        );
        assert_eq!(event.metadata, [("page".into(), "home".into())]);
    }
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let answer = server
        .post_with("/v1/uploads?map=client:user_id", CSV, csv(1, &[]))
        .await;
    assert_eq!((answer.status, answer.problem()), (400, "csv_invalid"));
    assert!(
        answer.body["detail"].as_str().unwrap().contains("`client`"),
        "{answer:?}"
    );
    let Some(What::Failed { code, .. }) = server.log.life().pop() else {
        panic!()
    };
    assert_eq!(code, "csv_invalid");
}

#[tokio::test]
async fn with_keys_by_row_two_rows_alike_are_two_events_and_the_same_file_again_is_the_same() {
    let body = "user_id,event_type,timestamp\nu,t,2026-11-20\nu,t,2026-11-20\n";
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    for _ in 0..2 {
        let answer = server
            .post_with("/v1/uploads?key=row&file=abc123", CSV, body)
            .await;
        assert_eq!(answer.body["accepted"], 2, "{answer:?}");
    }
    let mut keys: Vec<_> = server
        .log
        .events()
        .iter()
        .map(|event| event.idempotency_key.to_string())
        .collect();
    keys.dedup();
    let mut expected = vec![key::batch_key("abc123", 2), key::batch_key("abc123", 3)];
    expected.sort();
    assert_eq!(keys, expected);
    let answer = server.post_with("/v1/uploads?key=row", CSV, body).await;
    assert_eq!(
        (answer.status, answer.problem(), &answer.body["parameter"]),
        (400, "query_invalid", &"file".into())
    );
}

#[tokio::test]
async fn errors_are_listed_up_to_a_limit_in_facts_of_bounded_size_and_the_rest_is_counted() {
    let log = FakeLog::new(Mode::Record);
    let server = Server::start(log).await;
    let body = format!("user_id,event_type\n{}", ",t\n".repeat(12_000));
    let answer = server.post_with("/v1/uploads", CSV, body).await;
    assert_eq!(
        (answer.status, &answer.body["invalid"]),
        (201, &12_000.into()),
        "{}",
        answer.status
    );
    let (mut listed, mut pieces) = (0, 0);
    for (_, fact) in server.log.facts.lock().unwrap().iter() {
        if let What::Errors { rows } = &fact.what {
            assert!(fact.encode().len() < 256 * 1024, "{}", fact.encode().len());
            assert_eq!(rows[0].row, listed + 2, "in the order of the file");
            (listed, pieces) = (listed + rows.len() as u64, pieces + 1);
        }
    }
    assert_eq!(listed, 10_000);
    assert!(pieces > 2, "{pieces}");
    let Some(What::Sent(totals)) = server.log.life().pop() else {
        panic!()
    };
    assert_eq!((totals.invalid, totals.unlisted), (12_000, 2_000));
}

#[tokio::test]
async fn an_upload_that_takes_long_says_that_it_goes_on() {
    let change = |limits: &mut ingest::Limits| limits.going_interval = Duration::from_millis(20);
    let server = Server::with(
        FakeLog::new(Mode::Record),
        service::config::Http::default(),
        change,
    )
    .await;
    let mut stream = server.begin_at("/v1/uploads", CSV).await;
    stream
        .write_all(&http_chunk(csv(5, &[]).as_bytes()))
        .await
        .unwrap();
    let goes_on = || {
        server
            .log
            .life()
            .iter()
            .any(|what| matches!(what, What::Going { rows } if *rows >= 5))
    };
    for more in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        stream
            .write_all(&http_chunk(format!("u,t,,m{more}\n").as_bytes()))
            .await
            .unwrap();
        if goes_on() {
            break;
        }
    }
    assert!(goes_on());
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 201);
}
