//! Files that are sent from the page: progress, what was accepted, every refused row, and when all of it is counted.

use super::window::{DESK, PHONE, Window};
use super::{empty, grouped, sample};
use crate::rig::{Rig, until};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

const COUNTED: &str = "All of it is counted";

/// What the API itself says of the sample, without recording it.
fn checked(rig: &Rig) -> Value {
    let body = std::fs::read(sample()).unwrap();
    let answer = e2e::client::post(
        rig.address(),
        "/v1/events?validate=true",
        "text/csv",
        &body,
        Duration::from_secs(30),
    );
    answer.unwrap().json().unwrap()
}

fn figure(window: &Window, name: &str) -> String {
    let find = format!(
        "[...document.querySelectorAll('.delivery .figures dt')].find((node) => node.textContent === {})",
        json!(name)
    );
    window.text(&format!("{find}?.nextElementSibling.textContent"))
}

/// Lets no more than so many bytes a second out of the browser.
fn throttle(window: &Window, bytes_per_s: i64) {
    let limits =
        json!({"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s});
    window.call("Network.emulateNetworkConditions", limits);
}

#[test]
fn a_file_with_bad_rows_is_sent_and_every_refused_row_is_listed() {
    let Some((rig, window)) = empty("#/send", DESK) else {
        return;
    };
    let expected = checked(&rig);
    window.eval("globalThis.seen = []; new MutationObserver(() => { const bar = document.querySelector('progress'); if (bar) seen.push(bar.value); }).observe(document.body, { childList: true, subtree: true, characterData: true })");
    throttle(&window, 600_000);
    window.take_files(&[sample()]);
    window.until(
        "half of it is sent",
        "seen.some((value) => value > 0.2 && value < 0.9)",
    );
    throttle(&window, -1);
    window.until_shown(COUNTED);
    assert_eq!(
        figure(&window, "Accepted"),
        grouped(&expected["accepted"].to_string())
    );
    assert_eq!(
        figure(&window, "Refused rows"),
        grouped(&expected["invalid"].to_string())
    );
    let results = expected["results"].as_array().unwrap();
    let rows = results.iter().map(|row| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        vec![
            grouped(&row["row"].to_string()),
            text("field"),
            text("message"),
            "Mend".to_owned(),
        ]
    });
    assert_eq!(
        window.table(&format!("{} refused rows", results.len()))[1..],
        rows.collect::<Vec<_>>()
    );
    // Counted means that the pages show it.
    assert_eq!(rig.get("/v1/ledger")["accepted"], expected["accepted"]);
    window.press("Look at the days");
    window.until_shown("Events by type");
}

#[test]
fn a_file_with_columns_of_its_own_is_sent_with_the_columns_that_are_chosen() {
    let Some((rig, window)) = empty("#/send", PHONE) else {
        return;
    };
    let rows = "\u{feff}\"customer, no.\",what,when,eur,shop\r\nc1,buy,2025-11-04T12:00:00Z,9.50,\"a\nb\"\r\nc2,buy,yesterday,1,x\r\n";
    let file = rig.write("shop.csv", rows);
    window.take_files(std::slice::from_ref(&file));
    window.until_shown("have names of their own");
    // What is likely is chosen already; a column cannot be two things.
    let chosen = "[...document.querySelectorAll('.columns select')].map((select) => select.value)";
    assert_eq!(
        window.eval(chosen),
        json!(["customer, no.", "what", "when", "", ""])
    );
    window.choose("Amount", "when");
    window.press("Send with these columns");
    assert_eq!(
        window.eval("document.querySelector('.columns :invalid') !== null"),
        true
    );
    window.choose("Amount", "eur");
    window.press("Send with these columns");
    window.until_shown(COUNTED);
    // The second row has no time that can be read; the header is row 1.
    assert_eq!(window.table("1 refused row")[1][..2], ["3", "timestamp"]);
    let user = rig.get("/v1/users/c1");
    assert_eq!(
        user["by_type"],
        json!([{"event_type": "buy", "count": 1, "sum": "9.50"}])
    );
    window.take_files(&[file]);
    window.until("it asks again", "document.querySelector('.columns') !== null");
    window.press("Do not send");
    window.until_shown("Not sent.");
    assert_eq!(rig.ledger("accepted"), 1);
}

#[test]
fn a_held_upload_counts_when_it_is_released_and_never_when_it_is_discarded() {
    let Some((rig, window)) = empty("#/send", DESK) else {
        return;
    };
    let rows = |user: &str| {
        format!(
            "user_id,event_type,timestamp\n{user},t,2025-11-04T12:00:00Z\n{user},t,2025-11-05T12:00:00Z\n{user},,0\n"
        )
    };
    window.choose("Rows count", "hold");
    for user in ["kept", "gone"] {
        window.take_files(&[rig.write(&format!("{user}.csv"), rows(user))]);
        window.until("it is held", &format!("document.querySelector('.delivery')?.innerText.includes('{user}.csv') && document.querySelector('.delivery').innerText.includes('nothing of it counts until')"));
    }
    assert_eq!(rig.get("/v1/users/kept")["total"]["count"], 0);
    // The list is as of what is counted: the second one may show a moment later.
    until("both are listed", || {
        let listed = rig.get("/v1/uploads");
        let held = |upload: &Value| upload["status"] == "held";
        (listed["uploads"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|upload| held(upload))
            .count()
            == 2)
            .then_some(())
    });
    // One is released: it counts, and its rows add up.
    window.eval("location.hash = '#/uploads'");
    window.until_shown("2 uploads on this page");
    assert_eq!(
        window
            .table("2 uploads")
            .iter()
            .map(|row| row[0].as_str())
            .collect::<Vec<_>>(),
        ["Name", "gone.csv", "kept.csv"]
    );
    window.press("kept.csv");
    window.until_shown("Nothing of it counts until it is released");
    window.press("Count it");
    window.until_shown("2 accepted rows = 2 counted.");
    assert_eq!(rig.get("/v1/users/kept")["total"]["count"], 2);
    window.until_shown("1 row not counted");
    assert_eq!(window.table("1 row not counted")[1][..2], ["4", "event_type"]);
    // The other is discarded, which is asked twice.
    window.press("Uploads");
    window.until_shown("gone.csv");
    window.press("gone.csv");
    window.until_shown("Nothing of it counts until it is released");
    window.press("Discard");
    window.until_shown("Discard 2 held rows for good?");
    window.press("Keep it");
    window.press("Discard");
    window.press("Discard for good");
    window.until_shown("shall never count");
    assert_eq!(rig.get("/v1/users/gone")["total"]["count"], 0);
    assert_eq!(rig.get("/v1/ledger")["balanced"], true);
    window.allow("status of 4");
    window.go("#/uploads/nonsense");
    window.until_shown("Try again");
}

#[test]
fn a_file_of_which_all_rows_must_be_valid_is_refused_as_a_whole() {
    let Some((rig, window)) = empty("#/send", PHONE) else {
        return;
    };
    window.allow("status of 422");
    window.choose("Rows count", "atomic");
    window.take_files(&[rig.write("all.csv", "user_id,event_type\nu,t\nu,\n")]);
    window.until_shown("Some rows are not valid, and all had to be");
    assert_eq!(window.table("1 refused row")[1][..2], ["3", "event_type"]);
    assert_eq!(rig.get("/v1/users/u")["total"]["count"], 0);
    window.choose("Rows count", "atomic");
    window.take_files(&[rig.write("good.csv", "user_id,event_type\nu,t\n")]);
    window.until_shown(COUNTED);
    assert_eq!(rig.get("/v1/users/u")["total"]["count"], 1);
}

#[test]
fn what_is_only_checked_is_not_recorded() {
    let Some((rig, window)) = empty("#/send", PHONE) else {
        return;
    };
    let expected = checked(&rig);
    window.click("#check");
    window.take_files(&[sample()]);
    window.until_shown("nothing was recorded");
    assert_eq!(
        figure(&window, "Valid"),
        grouped(&expected["accepted"].to_string())
    );
    assert_eq!(rig.ledger("records"), 0);
}

#[test]
fn packed_files_other_formats_and_dropped_ones_are_told_by_their_names() {
    let Some((rig, window)) = empty("#/send", DESK) else {
        return;
    };
    let event = |id: u8| {
        format!("{{\"user_id\":\"u{id}\",\"event_type\":\"t\",\"occurred_at\":\"2025-11-04T12:00:00Z\"}}\n")
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(event(1).as_bytes()).unwrap();
    let files = [
        rig.write("one.ndjson.gz", gzip.finish().unwrap()),
        rig.write("two.jsonl.zst", zstd::encode_all(event(2).as_bytes(), 3).unwrap()),
        rig.write("three.json", event(3)),
        rig.write("four.csv", "user_id,event_type,timestamp\nu4,t,1762257600\n"),
    ];
    window.take_files(&files);
    window.until(
        "all four are counted",
        "document.querySelectorAll('[data-state=counted]').length === 4",
    );
    window.eval(&format!(
        "(() => {{ const files = new DataTransfer(); files.items.add(new File([{}], 'five.ndjson'));
         document.querySelector('.drop').dispatchEvent(new DragEvent('drop', {{ dataTransfer: files, bubbles: true, cancelable: true }})); }})()",
        json!(event(5))
    ));
    window.until(
        "the fifth is counted",
        "document.querySelectorAll('[data-state=counted]').length === 5",
    );
    assert_eq!(rig.ledger("counted"), 5);
    window.take_files(&[rig.write("notes.txt", "hello")]);
    window.until_shown("The name does not say which format it has");
}

#[test]
fn a_file_that_the_server_refuses_is_told_in_its_words_and_can_be_sent_again() {
    let Some((rig, window)) = empty("#/send", DESK) else {
        return;
    };
    window.allow("status of 4");
    window.take_files(&[rig.write("broken.json", "{\"user_id\":")]);
    window.until(
        "it is refused",
        "document.querySelector('.delivery .problem') !== null",
    );
    // As a sentence, so the first letter may be another.
    let said = window.text("document.querySelector('.delivery .problem').innerText.toLowerCase()");
    let answer = e2e::client::post(
        rig.address(),
        "/v1/events",
        "application/json",
        b"{\"user_id\":",
        Duration::from_secs(30),
    );
    let problem = answer.unwrap().json().unwrap();
    for name in ["title", "detail"] {
        assert!(
            said.contains(&problem[name].as_str().unwrap().to_lowercase()),
            "{said} has no {name} of {problem}"
        );
    }
    assert!(said.contains("request") && said.contains("try again"), "{said}");
}

#[test]
fn a_file_that_is_stopped_half_way_and_sent_again_counts_each_row_once() {
    let Some((rig, window)) = empty("#/send", DESK) else {
        return;
    };
    window.allow("net::ERR_");
    throttle(&window, 300_000);
    window.take_files(&[sample()]);
    window.until(
        "some of it is sent",
        "document.querySelector('progress')?.value > 0.3",
    );
    window.press("Stop");
    window.until_shown("Stopped. Rows that had arrived by then may be counted");
    throttle(&window, -1);
    window.press("Send again");
    window.until_shown(COUNTED);
    assert_eq!(rig.ledger("counted"), 11_384);
    assert_eq!(rig.get("/v1/ledger")["balanced"], true);
}
