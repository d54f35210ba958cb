//! What is wrong with rows of uploads, and the calls that decide what is held.

use crate::fixture::{Answer, Fixture, NOW_MS, PARTITIONS, eventually, row};
use crate::uploads::{begun, counted, held, id, old, totals};
use schemas::input::RowError;
use schemas::row::{DeadLetter, RowKey};
use schemas::upload::{Fact, What, home};
use schemas::{Offset, Outcome, Reason, Timestamp};
use serde_json::json;

fn error(row: u64) -> RowError {
    RowError {
        row,
        code: "missing".into(),
        field: "user_id".into(),
        message: "is missing".into(),
    }
}

#[tokio::test]
async fn errors_are_those_of_the_door_and_of_the_fold_in_the_order_of_rows() {
    let fixture = Fixture::new().await;
    let errors = What::Errors {
        rows: vec![error(2), error(9)],
    };
    fixture
        .facts("default", old(), &[begun(), errors, What::Sent(totals(4, 2))])
        .await;
    let mut ledger = counted(3);
    ledger.add_outcome(Outcome::DeadLettered(Reason::KeyConflict));
    fixture.outcomes(old(), 1, 1, ledger).await;
    for (offset, upload) in [(70, Some((old(), 5))), (71, Some((id(NOW_MS, 9), 6))), (72, None)] {
        let letter = DeadLetter {
            reason: Reason::KeyConflict,
            user: "u".into(),
            detail: "other content, \"here\"".into(),
            upload,
        };
        let key = RowKey::DeadLetter {
            tenant: "default".to_owned(),
            day: Timestamp::from_millis(NOW_MS).quarter().day(),
            accepted_ms: NOW_MS,
            offset: Offset(offset),
        };
        fixture
            .store
            .upsert(vec![row(key, 1, offset + 1, letter.encode())])
            .await
            .unwrap();
    }
    fixture.catch_up().await;
    let path = format!("/v1/uploads/{}/errors", old());
    let (status, headers, text) = fixture.text(&format!("{path}?format=csv"), &[]).await;
    let expected = "row,code,field,message,dead_letter\r\n2,missing,user_id,is missing,\r\n\
        5,key_conflict,,\"other content, \"\"here\"\"\",1-70\r\n9,missing,user_id,is missing,\r\n";
    assert_eq!((status.as_u16(), text.as_str()), (200, expected));
    assert_eq!(headers["x-tidemark-complete"], "true");
    let (_, headers, text) = fixture.text(&path, &[("accept", "application/x-ndjson")]).await;
    assert_eq!(
        (headers["content-type"].as_bytes(), text.lines().count()),
        (&b"application/x-ndjson"[..], 3)
    );
    assert_eq!(fixture.ok(&path).await["complete"], true);
}

#[tokio::test]
async fn errors_that_are_gone_or_not_listed_are_said_to_be_missing() {
    let fixture = Fixture::new().await;
    // A fact of which only the view knows.
    let gone = Fact::new("default", old(), NOW_MS, What::Errors { rows: vec![error(2)] });
    fixture
        .facts("default", old(), &[begun(), What::Sent(totals(0, 3))])
        .await;
    fixture.project(home(old(), PARTITIONS).0, 500, &gone).await;
    fixture.catch_up().await;
    let body = fixture.ok(&format!("/v1/uploads/{}/errors", old())).await;
    assert_eq!((&body["complete"], &body["errors"]), (&false.into(), &json!([])));
}

/// Does what a lane and a projector do with the fact that a call appends.
async fn answered(fixture: &Fixture, method: &str, path: &str, before: &[What]) -> Answer {
    let partition = home(old(), PARTITIONS).0;
    let end = fixture.log.end(partition);
    for what in before {
        let fact = Fact::new("default", old(), NOW_MS, what.clone());
        fixture
            .log
            .append(partition, NOW_MS, Some(b"k"), Some(&fact.encode()));
    }
    let projecting = async {
        eventually(async || fixture.log.end(partition) > end + before.len() as u64).await;
        for offset in end..fixture.log.end(partition) {
            let fact = Fact::decode(&fixture.log.values(partition)[offset as usize]).unwrap();
            fixture.project(partition, offset, &fact).await;
        }
        fixture.catch_up().await;
    };
    let (answer, ()) = tokio::join!(fixture.call(method, path), projecting);
    answer
}

#[tokio::test]
async fn of_a_release_and_a_discard_the_first_on_the_log_holds() {
    let path = format!("/v1/uploads/{}", old());
    let process = format!("{path}/process");
    for (method, path, before, expected) in [
        ("POST", &process, vec![], (202, json!("processing"))),
        ("POST", &process, vec![What::Discarded], (409, json!("discarded"))),
        ("POST", &process, vec![What::Released], (202, json!("processing"))),
        ("DELETE", &path, vec![], (200, json!("discarded"))),
        ("DELETE", &path, vec![What::Released], (409, json!("processing"))),
    ] {
        let fixture = Fixture::new().await;
        fixture.facts("default", old(), &[begun(), held(1)]).await;
        fixture.catch_up().await;
        let answer = answered(&fixture, method, path, &before).await;
        let found = (answer.status.as_u16(), answer.body["status"].clone());
        match expected.0 {
            409 => {
                assert_eq!(answer.problem(), (409, "upload_not_held"), "{method} {before:?}");
                assert_eq!(answer.body["upload_status"], expected.1);
            }
            _ => assert_eq!(found, expected, "{method} {before:?}"),
        }
        // Again: nothing more is appended, and what holds is said.
        let end = fixture.log.end(home(old(), PARTITIONS).0);
        let again = fixture.call(method, path).await;
        let again_status = if expected.0 == 409 { 409 } else { 200 };
        assert_eq!(again.status.as_u16(), again_status, "{method} {before:?}");
        assert_eq!(fixture.log.end(home(old(), PARTITIONS).0), end);
    }
}

#[tokio::test]
async fn what_is_not_held_cannot_be_decided_and_a_fact_that_does_not_show_is_said_to_wait() {
    let fixture = Fixture::new().await;
    fixture
        .facts("default", old(), &[begun(), What::Sent(totals(1, 0))])
        .await;
    fixture.catch_up().await;
    let path = format!("/v1/uploads/{}", old());
    assert_eq!(fixture.call("POST", &format!("{path}/process")).await.status, 200);
    assert_eq!(
        fixture.call("DELETE", &path).await.problem(),
        (409, "upload_not_held")
    );
    assert_eq!(
        fixture.call("DELETE", &format!("{path}?x=1")).await.problem(),
        (400, "unknown_parameter")
    );

    let fixture = Fixture::new().await;
    fixture.facts("default", old(), &[begun(), held(1)]).await;
    fixture.catch_up().await;
    let answer = fixture.call("POST", &format!("{path}/process")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["status"]),
        (202, &"held".into())
    );
    fixture.log.set_away(true);
    let answer = fixture.call("DELETE", &path).await;
    assert_eq!(answer.problem(), (503, "log_away"));
    assert!(
        !answer.body.to_string().contains("10.0.0.8"),
        "an inner cause is for the log"
    );
}
