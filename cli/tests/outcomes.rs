//! `POST /v1/events?wait=counted` through the whole program, on the embedded log and store: the answer says what became of each event, and
//! whatever is asked next reflects it.

use crate::rig::Rig;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const JSON: &str = "application/json";

fn event(key: &str, amount: u32, rest: &str) -> String {
    format!(
        r#"{{"user_id":"u1","event_type":"sale","occurred_at":"2025-11-04T12:00:00Z","amount":"{amount}","idempotency_key":"{key}"{rest}}}"#
    )
}

fn send(rig: &Rig, body: impl AsRef<[u8]>) -> (u16, Value) {
    rig.post("/v1/events?wait=counted&timeout=30s", JSON, body)
}

fn sum_of_u1(rig: &Rig) -> Value {
    rig.get("/v1/users/u1")["total"]["sum"].clone()
}

#[test]
fn each_event_has_its_outcome_in_the_answer_and_the_views_reflect_it() {
    let mut rig = Rig::new();
    let (status, one) = send(&rig, event("k1", 5, ""));
    assert_eq!((status, &one["counted"]), (200, &json!(true)), "{one}");
    assert_eq!(one["outcomes"]["counted"], 1, "{one}");
    // No waiting: it is there.
    assert_eq!(sum_of_u1(&rig), "5.00");

    let (_, again) = send(&rig, event("k1", 5, ""));
    assert_eq!(again["results"], json!([{"row": 1, "outcome": "duplicate"}]));
    let batch = [
        event("k2", 7, ""),
        event("k1", 6, ""),
        event("k1", 5, r#","reverse":true"#),
        event("k9", 1, r#","reverse":true"#),
        event("k2", 7, ""),
        event("k3", 1, "").replace("u1", ""),
        event("k4", 1, ""),
    ];
    let (status, batch) = send(&rig, format!("[{}]", batch.join(",")));
    assert_eq!(
        (status, &batch["accepted"], &batch["invalid"]),
        (200, &json!(6), &json!(1))
    );
    let sums = json!({"counted": 2, "duplicate": 1, "reversed": 1, "dead_lettered": 2});
    assert_eq!(
        (&batch["counted"], &batch["outcomes"]),
        (&json!(true), &sums),
        "{batch}"
    );
    let told: Vec<(u64, &str, Option<&str>)> = batch["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["row"].as_u64().unwrap(),
                row["outcome"].as_str().unwrap(),
                row["code"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, "dead_lettered", Some("key_conflict")),
            (3, "reversed", None),
            (4, "dead_lettered", Some("reversal_unmatched")),
            (5, "duplicate", None),
            (6, "invalid", Some("missing")),
        ]
    );
    assert_eq!(sum_of_u1(&rig), "8.00");
    let letter = batch["results"][0]["dead_letter"].as_str().unwrap();
    let letter = rig.get(&format!("/v1/dead-letters/{letter}"));
    assert_eq!(letter["reason"], "key_conflict", "{letter}");
    rig.audit();
}

#[test]
fn ten_thousand_rows_have_an_outcome_each_while_others_send_the_same_keys() {
    let mut rig = Rig::new();
    let rows = |user: &str| {
        let mut text = "user_id,event_type,timestamp,idempotency_key\n".to_owned();
        (0..10_000).for_each(|key| text.push_str(&format!("{user},view,2025-11-04T12:00:00Z,k{key}\n")));
        text
    };
    let (ours, theirs) = (rows("u1"), rows("u2"));
    let path = "/v1/events?wait=counted&timeout=60s";
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let rig = &rig;
        let senders = [&ours, &theirs, &ours];
        let senders = senders.map(|body| scope.spawn(move || rig.post(path, "text/csv", body).1));
        senders.map(|sender| sender.join().unwrap()).into()
    });
    let sum = |name: &str| -> u64 {
        let sums = answers
            .iter()
            .map(|answer| answer["outcomes"][name].as_u64().unwrap());
        sums.sum()
    };
    for answer in &answers {
        assert_eq!(answer["counted"], true, "{:?}", answer["outcomes"]);
    }
    // Of three events of one key one is counted; the others repeat it or say something else.
    assert_eq!(sum("counted"), 10_000);
    assert_eq!(sum("duplicate") + sum("dead_lettered"), 20_000);
    for (place, user) in ["u1", "u2", "u1"].iter().enumerate() {
        let counted = answers[place]["outcomes"]["counted"].as_u64().unwrap();
        assert!(
            rig.get("/v1/ledger")["counted"].as_u64().unwrap() >= counted,
            "{user}"
        );
    }
    assert_eq!(
        (rig.ledger("counted"), rig.ledger("duplicate")),
        (10_000, sum("duplicate"))
    );
    assert_eq!(rig.ledger("dead_lettered"), sum("dead_lettered"));
    rig.audit();
}

#[test]
fn while_lanes_stand_still_the_time_is_over_and_nothing_is_lost() {
    let mut rig = Rig::idle();
    // They commit once a minute.
    rig.start_with(&[
        "--set",
        "aggregator.commit_interval_ms=60000",
        "--set",
        "aggregator.bulk_commit_interval_ms=60000",
    ]);
    let began = Instant::now();
    let (status, answer) = rig.post("/v1/events?wait=counted&timeout=700ms", JSON, event("k1", 5, ""));
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(700) && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert_eq!(
        (status, &answer["counted"], &answer["outcomes"]["unknown"]),
        (202, &json!(false), &json!(1))
    );
    assert_eq!(
        (&answer["accepted"], answer["receipt"].is_string()),
        (&json!(1), true)
    );
    // The drain commits it; what was said to be durable is counted.
    rig.audit();
    rig.start();
    let (_, again) = send(&rig, event("k1", 5, ""));
    assert_eq!(again["outcomes"]["duplicate"], 1, "{again}");
    rig.audit();
}
