//! Uploads through the whole program: what is counted of them, when, and how often.

use crate::rig::{Rig, until};
use serde_json::Value;

/// Rows with keys; those of `bad` lack the user.
fn csv(keys: std::ops::Range<u32>, bad: &[u32]) -> String {
    let mut text = "user_id,event_type,timestamp,idempotency_key,amount\n".to_owned();
    for key in keys {
        let user = if bad.contains(&key) { "" } else { "u1" };
        text.push_str(&format!("{user},sale,2025-11-04T10:00:00Z,k{key},2\n"));
    }
    text
}

fn send(rig: &Rig, query: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
    rig.post(&format!("/v1/uploads{query}"), "text/csv", body)
}

fn id(answer: &Value) -> String {
    answer["upload"].as_str().unwrap().to_owned()
}

/// The upload, once it stands so.
fn shown(rig: &Rig, id: &str, status: &str) -> Value {
    until(status, || {
        let (code, text) = rig.text(&format!("/v1/uploads/{id}"));
        // Before the first events of all are counted there is no view.
        if code == 503 {
            return None;
        }
        let upload: Value = serde_json::from_str(&text).unwrap();
        (upload["status"] == status).then_some(upload)
    })
}

fn count_of_u1(rig: &Rig) -> u64 {
    rig.get("/v1/users/u1")["total"]["count"].as_u64().unwrap()
}

#[test]
fn an_upload_is_completed_when_each_row_has_its_outcome() {
    let mut rig = Rig::new();
    let (status, first) = send(&rig, "?name=first.csv", csv(0..1_000, &[7, 11]));
    assert_eq!((status, &first["status"]), (201, &"processing".into()), "{first}");
    let (_, again) = send(&rig, "", csv(0..10, &[7]));
    let conflict = csv(0..3, &[]).replace(",2\n", ",3\n");
    let (_, other) = send(&rig, "", conflict);
    let upload = shown(&rig, &id(&first), "completed");
    assert_eq!(
        (
            &upload["name"],
            &upload["accepted"],
            &upload["invalid"],
            &upload["rows"]
        ),
        (&"first.csv".into(), &998.into(), &2.into(), &1_000.into())
    );
    assert_eq!(
        (&upload["ledger"]["counted"], &upload["ledger"]["in_flight"]),
        (&998.into(), &0.into())
    );
    assert_eq!(count_of_u1(&rig), 998);
    assert_eq!(shown(&rig, &id(&again), "completed")["ledger"]["duplicate"], 9);
    let upload = shown(&rig, &id(&other), "completed");
    assert_eq!(
        upload["ledger"]["dead_letters_by_reason"]["key_conflict"], 3,
        "{upload}"
    );

    let text = rig.raw(&format!("/v1/uploads/{}/errors?format=csv", id(&first)));
    let expected = "row,code,field,message,dead_letter\r\n9,missing,user_id,is missing,\r\n13,missing,user_id,is missing,\r\n";
    let lines: String = text
        .split_inclusive('\n')
        .filter(|line| line.contains(','))
        .skip_while(|line| !line.starts_with("row"))
        .collect();
    assert_eq!(lines, expected, "{text}");
    let errors = rig.get(&format!("/v1/uploads/{}/errors", id(&other)));
    assert_eq!(errors["complete"], true, "{errors}");
    let rows: Vec<_> = errors["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (&line["row"], &line["code"]))
        .collect();
    let conflict = Value::from("key_conflict");
    assert_eq!(
        rows,
        [
            (&2.into(), &conflict),
            (&3.into(), &conflict),
            (&4.into(), &conflict)
        ]
    );
    let letter = errors["errors"][0]["dead_letter"].as_str().unwrap();
    assert_eq!(
        rig.get(&format!("/v1/dead-letters/{letter}"))["reason"],
        "key_conflict"
    );

    let ids = |page: &Value| -> Vec<String> { page["uploads"].as_array().unwrap().iter().map(id).collect() };
    let all = rig.get("/v1/uploads");
    assert_eq!(ids(&all), [id(&other), id(&again), id(&first)]);
    assert_eq!(all["next_cursor"], Value::Null);
    let page = rig.get("/v1/uploads?limit=2");
    assert_eq!(ids(&page), [id(&other), id(&again)]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = rig.get(&format!("/v1/uploads?limit=2&cursor={cursor}"));
    assert_eq!(
        (ids(&page), &page["next_cursor"]),
        (vec![id(&first)], &Value::Null)
    );
    rig.audit();
}

#[test]
fn held_rows_count_when_they_are_released_and_once_however_often_that_is_asked() {
    let mut rig = Rig::new();
    let (status, held) = send(&rig, "?hold=true", csv(0..500, &[3]));
    assert_eq!((status, &held["status"]), (201, &"held".into()), "{held}");
    let upload = shown(&rig, &id(&held), "held");
    assert_eq!(
        (&upload["accepted"], &upload["ledger"]["counted"]),
        (&499.into(), &0.into())
    );
    assert_eq!(rig.ledger("counted"), 0);
    let process = format!("/v1/uploads/{}/process", id(&held));
    let (status, answer) = rig.post(&process, "text/plain", "");
    assert_eq!(
        (status, &answer["status"]),
        (202, &"processing".into()),
        "{answer}"
    );
    assert_eq!(rig.post(&process, "text/plain", "").0, 200);
    let upload = shown(&rig, &id(&held), "completed");
    assert_eq!(
        (&upload["ledger"]["counted"], &upload["ledger"]["held"]),
        (&499.into(), &499.into())
    );
    let (status, answer) = rig.delete(&format!("/v1/uploads/{}", id(&held)));
    assert_eq!(
        (status, &answer["type"]),
        (409, &"/problems/upload_not_held".into()),
        "{answer}"
    );
    assert_eq!(rig.post(&process, "text/plain", "").0, 200);
    assert_eq!((rig.ledger("counted"), count_of_u1(&rig)), (499, 499));
    rig.audit();
}

#[test]
fn what_is_discarded_or_not_valid_as_a_whole_never_counts() {
    let mut rig = Rig::new();
    let (_, held) = send(&rig, "?hold=true", csv(0..50, &[]));
    for _ in 0..2 {
        let (status, answer) = rig.delete(&format!("/v1/uploads/{}", id(&held)));
        assert_eq!(
            (status, &answer["status"]),
            (200, &"discarded".into()),
            "{answer}"
        );
    }
    let (status, answer) = rig.post(&format!("/v1/uploads/{}/process", id(&held)), "text/plain", "");
    assert_eq!(
        (status, &answer["upload_status"]),
        (409, &"discarded".into()),
        "{answer}"
    );

    let (status, bad) = send(&rig, "?atomic=true", csv(0..50, &[20]));
    assert_eq!(
        (status, &bad["type"]),
        (422, &"/problems/rows_invalid".into()),
        "{bad}"
    );
    let upload = shown(&rig, &id(&bad), "failed");
    assert_eq!(
        (&upload["failure"]["code"], &upload["ledger"]["counted"]),
        (&"rows_invalid".into(), &0.into())
    );
    assert_eq!(
        rig.post(&format!("/v1/uploads/{}/process", id(&bad)), "text/plain", "")
            .0,
        409
    );
    assert_eq!(rig.ledger("counted"), 0);

    let (status, good) = send(&rig, "?atomic=true", csv(0..50, &[]));
    assert_eq!((status, &good["status"]), (201, &"processing".into()), "{good}");
    assert_eq!(shown(&rig, &id(&good), "completed")["ledger"]["counted"], 50);
    assert_eq!(rig.ledger("counted"), 50);
    rig.audit();
}

#[test]
fn all_or_none_and_held_waits_for_its_release_too() {
    let mut rig = Rig::new();
    let (status, held) = send(&rig, "?atomic=true&hold=true", csv(0..50, &[]));
    assert_eq!((status, &held["status"]), (201, &"held".into()), "{held}");
    shown(&rig, &id(&held), "held");
    assert_eq!(rig.ledger("counted"), 0);
    rig.post(&format!("/v1/uploads/{}/process", id(&held)), "text/plain", "");
    assert_eq!(shown(&rig, &id(&held), "completed")["ledger"]["counted"], 50);
    rig.audit();
}

#[test]
fn ten_thousand_rows_that_are_not_valid_are_listed() {
    let mut rig = Rig::new();
    let bad: Vec<u32> = (0..10_050).collect();
    let (status, answer) = send(&rig, "", csv(0..10_060, &bad));
    assert_eq!((status, &answer["accepted"]), (201, &10.into()));
    let upload = shown(&rig, &id(&answer), "completed");
    assert_eq!(
        (&upload["invalid"], &upload["unlisted"]),
        (&10_050.into(), &50.into())
    );
    let errors = rig.get(&format!("/v1/uploads/{}/errors", id(&answer)));
    assert_eq!(errors["errors"].as_array().unwrap().len(), 10_000);
    assert_eq!(rig.ledger("dead_lettered"), 0);
    rig.audit();
}

#[test]
fn a_reversal_takes_back_what_was_counted_and_the_audit_agrees() {
    let mut rig = Rig::new();
    send(&rig, "", csv(0..10, &[]));
    let reversed = csv(0..4, &[])
        .replace(",amount", ",amount,reverse")
        .replace(",2\n", ",2,true\n");
    let (_, answer) = send(&rig, "", &reversed);
    let upload = shown(&rig, &id(&answer), "completed");
    assert_eq!(
        (&upload["ledger"]["reversed"], &upload["ledger"]["counted"]),
        (&4.into(), &0.into())
    );
    let (_, again) = send(&rig, "", &reversed);
    assert_eq!(shown(&rig, &id(&again), "completed")["ledger"]["duplicate"], 4);
    let user = rig.get("/v1/users/u1");
    assert_eq!(
        (&user["total"]["count"], &user["total"]["sum"]),
        (&6.into(), &"12.00".into()),
        "{user}"
    );
    assert_eq!((rig.ledger("reversed"), rig.ledger("counted")), (4, 10));
    rig.audit();
}

#[test]
fn an_upload_that_is_not_known_or_not_named_rightly_is_a_problem() {
    let rig = Rig::new();
    let unknown = "01920000-0000-7000-8000-000000000001";
    for path in ["", "/errors"] {
        assert_eq!(rig.text(&format!("/v1/uploads/{unknown}{path}")).0, 404, "{path}");
        assert_eq!(rig.text(&format!("/v1/uploads/x{path}")).0, 400, "{path}");
    }
    assert_eq!(
        rig.post(&format!("/v1/uploads/{unknown}/process"), "text/plain", "")
            .0,
        404
    );
    assert_eq!(rig.delete(&format!("/v1/uploads/{unknown}")).0, 404);
    for query in [
        "limit=0",
        "limit=501",
        "cursor=x",
        "from=yesterday",
        "from=1969-12-31",
        "unknown=1",
    ] {
        assert_eq!(rig.text(&format!("/v1/uploads?{query}")).0, 400, "{query}");
    }
}

#[test]
fn a_release_that_the_server_does_not_survive_is_gone_on_with_and_each_row_counts_once() {
    const ROWS: u32 = 30_000;
    let mut rig = Rig::new();
    let (status, held) = send(&rig, "?hold=true", csv(0..ROWS, &[]));
    assert_eq!(status, 201, "{held}");
    shown(&rig, &id(&held), "held");
    let process = format!("/v1/uploads/{}/process", id(&held));
    assert!((200..203).contains(&rig.post(&process, "text/plain", "").0));
    for pause_ms in [0, 30, 60] {
        std::thread::sleep(std::time::Duration::from_millis(pause_ms));
        rig.kill_server();
        rig.start();
        let (status, answer) = rig.post(&process, "text/plain", "");
        assert!(matches!(status, 200 | 202 | 503), "{answer}");
    }
    let upload = shown(&rig, &id(&held), "completed");
    assert_eq!(upload["ledger"]["counted"], ROWS, "{upload}");
    assert_eq!(
        (rig.ledger("counted"), count_of_u1(&rig)),
        (u64::from(ROWS), u64::from(ROWS))
    );
    rig.audit();
}
