//! What lies behind the numbers, through the whole program: the events of a user, and how many users there were.

use crate::rig::{Rig, until};
use serde_json::Value;
use std::collections::BTreeMap;

/// More events of one user and day than four partitions remember together, and one of each of some others.
fn csv() -> String {
    let mut text = "user_id,event_type,timestamp,idempotency_key,amount,page\n".to_owned();
    for n in 0..300 {
        let kind = if n % 3 == 0 { "sale" } else { "click" };
        let time = format!("2025-11-04T{:02}:{:02}:00Z", n * 7 % 24, n % 60);
        text.push_str(&format!("u1,{kind},{time},k{n},2,p{n}\n"));
        text.push_str(&format!("other-{n},{kind},2025-11-04T10:00:00Z,o{n},2,\n"));
    }
    text.push_str("u1,sale,2025-11-03T10:00:00Z,early,2,\n");
    text
}

/// All events of u1 by their keys, from page to page.
fn events(rig: &Rig, query: &str) -> Vec<Value> {
    let (mut events, mut cursor) = (Vec::new(), String::new());
    for _ in 0..100 {
        let page = rig.get(&format!("/v1/users/u1/events?{query}{cursor}"));
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else {
            return events;
        };
        cursor = format!("&cursor={next}");
    }
    panic!("the pages never end");
}

#[test]
fn each_event_behind_a_users_number_is_shown_once_and_distinct_users_are_counted() {
    let mut rig = Rig::new();
    // Sent twice: the second time all of them are duplicates, which are no events of the user.
    for _ in 0..2 {
        rig.post("/v1/uploads", "text/csv", csv());
    }
    let back = r#"{"user_id":"u1","event_type":"sale","timestamp":"2025-11-04T00:00:00Z","idempotency_key":"k0","amount":"2","page":"p0","reverse":true}"#;
    rig.post_events("application/json", back.as_bytes());
    let all_in = |rig: &Rig| {
        until("all is counted", || {
            let (code, text) = rig.text("/v1/ledger");
            let ledger: Value = serde_json::from_str(&text).unwrap_or_default();
            let done = code == 200 && ledger["duplicate"] == 601 && ledger["reversed"] == 1;
            (done && ledger["in_flight"] == 0).then_some(())
        });
    };
    all_in(&rig);
    let look = |rig: &Rig| {
        let found = events(rig, "limit=50");
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for event in &found {
            *times
                .entry(event["idempotency_key"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        assert_eq!((found.len(), times.len()), (302, 301));
        assert_eq!((times["k0"], times["early"]), (2, 1));
        assert_eq!(
            found[301]["idempotency_key"], "early",
            "the earlier day comes last"
        );
        let back = found.iter().find(|event| event["reverse"] == true).unwrap();
        assert_eq!(
            (&back["idempotency_key"], &back["metadata"]["page"]),
            (&"k0".into(), &"p0".into())
        );
        assert_eq!(events(rig, "limit=100&type=sale").len(), 102);
        let users = rig.get("/v1/distinct-users?from=2025-11-01&to=2025-11-05");
        let total = &users["total"];
        assert!(
            total["low"].as_u64().unwrap() <= 301 && total["high"].as_u64().unwrap() >= 301,
            "{users}"
        );
        assert_eq!(
            (&users["days"][0]["day"], &users["days"][0]["users"]),
            (&"2025-11-03".into(), &1.into())
        );
    };
    look(&rig);
    rig.kill_server();
    rig.start();
    all_in(&rig);
    look(&rig);
    rig.audit();
}
