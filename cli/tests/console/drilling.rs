//! From a number to what is behind it: from a day to the users who did most, from a user to the events, page after page.

use super::shots::shoot;
use super::stub::{Stub, as_of, everything};
use super::window::{DESK, PHONE};
use super::{grouped, with_sample};
use serde_json::{Value, json};
use std::cell::RefCell;

#[test]
fn a_day_leads_to_its_users_and_a_user_to_that_day() {
    let Some((rig, window)) = with_sample("#/days?from=2025-11-01&to=2025-11-30", DESK) else {
        return;
    };
    window.until_shown("Events by type");
    window.press("Tue, 4 Nov 2025");
    window.until_shown("with the most events");
    let users = rig.get("/v1/days/2025-11-04/users?limit=50");
    let rows: Vec<Vec<String>> = users["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| {
            let sum = user["sum"].as_str().unwrap();
            vec![
                user["user_id"].as_str().unwrap().to_owned(),
                grouped(&user["count"].to_string()),
                grouped(sum),
            ]
        })
        .collect();
    assert_eq!(window.table("The ")[1..], rows);
    let day = rig.get("/v1/days/2025-11-04");
    let events: u64 = day["days"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["count"].as_u64().unwrap())
        .sum();
    assert_eq!(
        window.text("document.querySelector('.figures dd').textContent"),
        grouped(&events.to_string())
    );
    shoot(&window, "day");
    window.look(DESK);
    window.press(&rows[0][0]);
    window.until_shown("Events by type");
    assert!(
        window
            .text("location.hash")
            .ends_with("?from=2025-11-04&to=2025-11-04&tz=UTC")
    );
    assert_eq!(window.table("Events by type")[1].last().unwrap(), &rows[0][1]);
    // Another zone's day is asked for in that zone; a type that is chosen stays chosen.
    window.go("#/days?from=2025-11-01&to=2025-11-30&tz=Asia/Kolkata&type=click");
    window.until_shown("Events by type");
    window.press("Tue, 4 Nov 2025");
    window.until_shown("A day of the zone Asia/Kolkata; types: click.");
    let there = rig.get("/v1/days/2025-11-04?tz=Asia/Kolkata&type=click");
    window.until_shown("with the most events");
    assert_eq!(
        window.text("document.querySelector('.figures dd').textContent"),
        grouped(&there["days"][0]["count"].to_string())
    );
    window.press("Day after");
    window.until_shown("Wed, 5 Nov 2025");
    window.allow("status of 400");
    window.go("#/days/nonsense");
    window.until_shown("Try again");
}

fn event(number: u64) -> Value {
    json!({
        "occurred_at": format!("2025-11-04T12:{:02}:00Z", 59 - number % 60), "accepted_at": "2025-11-04T13:00:00.000Z",
        "event_type": if number.is_multiple_of(3) { "purchase" } else { "click" }, "amount": number.is_multiple_of(3).then_some("12.50"),
        "idempotency_key": format!("k{number}"), "metadata": if number.is_multiple_of(2) { json!({"page": "home", "n": number}) } else { json!({}) },
        "partition": number % 4, "offset": 1000 - number, "reverse": number == 7,
        "upload_id": number.is_multiple_of(5).then_some("0192f0c1-0000-7000-8000-000000000000"), "row": number.is_multiple_of(5).then_some(number),
    })
}

#[test]
fn the_events_behind_a_number_come_page_after_page_and_say_where_they_end() {
    let Some((_rig, window)) = with_sample("#/send", DESK) else {
        return;
    };
    let asked_for = RefCell::new(Vec::new());
    let mut stub = Stub::new(&window, |asked| {
        if !asked.what.starts_with("GET /v1/users/user-1/events") {
            return everything(asked);
        }
        asked_for.borrow_mut().push(asked.what.clone());
        let is_second = asked.what.contains("cursor=more");
        let events: Vec<Value> = if is_second { 50..62 } else { 0..50 }.map(event).collect();
        let next = (!is_second).then_some("more");
        Some((
            200,
            json!({"user_id": "user-1", "as_of": as_of(), "events": events, "complete": !is_second, "next_cursor": next}),
        ))
    });
    window.load("#/users/user-1?from=2025-11-01&to=2025-11-30");
    stub.until_shown("50 events, newest first; there are more");
    let first = asked_for.borrow()[0].clone();
    assert!(first.contains("from=2025-11-01&to=2025-11-30"), "{first}");
    let table = window.table("50 events");
    assert_eq!(
        table[1][1..],
        ["purchase", "12.50", "n 0page home", "upload, row 0"]
    );
    assert_eq!(table[8][1], "clicktakes one back");
    window.press("More events");
    stub.until_shown("62 events, newest first");
    assert!(
        window.page().contains("further back than is remembered"),
        "{}",
        window.page()
    );
    // Whoever reads on does so where the new ones begin.
    assert_eq!(window.eval("document.activeElement.rowIndex"), json!(51));
    assert!(!window.page().contains("More events"));
    shoot(&window, "user-events");
    window.look(PHONE);
    stub.until("it fits", "document.documentElement.scrollWidth <= 390");
}

#[test]
fn distinct_users_stand_beside_the_counts_with_their_bounds() {
    let Some((_rig, window)) = with_sample("#/send", DESK) else {
        return;
    };
    let mut stub = Stub::new(&window, |asked| {
        if !asked.what.starts_with("GET /v1/distinct-users") {
            return everything(asked);
        }
        let days =
            json!([{"day": "2025-11-04", "event_type": "click", "users": 1234, "low": 1200, "high": 1270}]);
        let total = json!({"users": 2345, "low": 2300, "high": 2400});
        Some((
            200,
            json!({"tz": "UTC", "as_of": as_of(), "error_percent": 2.0, "days": days, "total": total}),
        ))
    });
    window.load("#/days?from=2025-11-01&to=2025-11-30");
    stub.until_shown("estimated: 2,300 to 2,400");
    window.eval("document.querySelector('main details summary').click()");
    assert_eq!(
        window.table("Different users")[1],
        ["2025-11-04", "click", "1,234", "1,200 to 1,270"]
    );
    shoot(&window, "days-users");
    window.look(DESK);
    // They are of UTC days: of another zone none are shown, and none are asked for.
    window.choose("Zone", "Asia/Kolkata");
    stub.until(
        "it is the other zone",
        "location.hash.includes('Kolkata') && document.querySelector('[aria-busy]') === null",
    );
    assert!(!window.page().contains("estimated"));
}

/// On the server itself. A user with fewer events than the page shows at most.
#[test]
fn the_events_of_the_sample_are_those_that_the_number_says() {
    let Some((rig, window)) = with_sample("#/users/user-20?from=2025-11-01&to=2025-11-30", DESK) else {
        return;
    };
    let total = rig.get("/v1/users/user-20")["total"]["count"].as_u64().unwrap();
    window.until_shown("newest first");
    while window.page().contains("More events") {
        let shown = "document.querySelectorAll('main section:last-of-type tbody tr').length";
        let before = window.eval(shown);
        window.press("More events");
        window.until(
            "there are more",
            &format!(
                "{shown} > {before} || !document.querySelector('main').innerText.includes('More events')"
            ),
        );
    }
    assert_eq!(
        window
            .table(&format!("{} events", grouped(&total.to_string())))
            .len() as u64,
        total + 1
    );
    window.go("#/days?from=2025-11-01&to=2025-11-30");
    window.until_shown("Users by day and type");
    let users = rig.get("/v1/distinct-users?from=2025-11-01&to=2025-11-30");
    assert!(
        window
            .page()
            .contains(&grouped(&users["total"]["users"].to_string()))
    );
}
