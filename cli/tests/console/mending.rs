//! A file of one's own with other names of columns, from an empty start to its chart; and rows that were refused, mended where they are
//! listed, sent and counted, whatever the format. What the page cuts out of a file is what the server takes for the row.

use super::empty;
use super::shots::shoot;
use super::window::{DESK, PHONE, Window};
use crate::rig::Rig;
use serde_json::{Value, json};
use std::time::Duration;

/// Presses a button of the dialog that is open.
fn press_in_dialog(window: &Window, text: &str) {
    window.eval(&format!(
        "[...document.querySelectorAll('dialog[open] button')].find((node) => node.textContent.trim() === {}).click()",
        json!(text)
    ));
}

/// Opens the form of a refused row.
fn mend(window: &Window, row: &str) {
    window.eval(&format!(
        "document.querySelector('[aria-label=\"Mend row {row}\"]').click()"
    ));
    window.until(
        "its form is open",
        "document.querySelector('dialog[open] form') !== null",
    );
}

/// How many files say that all of them is counted.
fn until_counted(window: &Window, files: usize) {
    window.until(
        "they are counted",
        &format!("document.querySelectorAll('[data-state=counted]').length === {files}"),
    );
}

/// Waits until the file that was sent last, whose name is so, is counted.
fn until_newest_counted(window: &Window, name: &str) {
    let newest = "document.querySelector('.deliveries > :first-child')";
    let is_it = format!("{newest}?.getAttribute('aria-label') === {}", json!(name));
    window.until(
        name,
        &format!("{is_it} && {newest}.querySelector('[data-state=counted]') !== null"),
    );
}

/// The path of somebody who sees this for the first time.
#[test]
fn a_file_of_ones_own_is_sent_its_chart_looked_at_and_its_refused_row_mended_and_counted() {
    let Some((rig, window)) = empty("#/days", DESK) else {
        return;
    };
    window.until_shown("Nothing has been counted yet");
    window.press("Send a file");
    window.until_shown("Drop files here");
    let rows = "order,customer,what,when,eur\n1,ann,buy,2025-11-04T09:00:00Z,9.50\n2,bob,buy,2025-11-05T10:00:00Z,\"12,00\"\n3,ann,return,2025-11-06T11:00:00Z,-9.50\n";
    window.take_files(&[rig.write("shop.csv", rows)]);
    window.until_shown("have names of their own");
    let chosen = "[...document.querySelectorAll('.columns select')].map((select) => select.value)";
    assert_eq!(
        window.eval(chosen),
        json!(["customer", "what", "when", "", "order"])
    );
    window.choose("Amount", "eur");
    window.press("Send with these columns");
    until_counted(&window, 1);
    assert_eq!(window.table("1 refused row")[1][..2], ["3", "amount"]);
    shoot(&window, "mend-refused");
    window.look(DESK);
    // The form has the row as it was sent, and the fault stands at the cell.
    mend(&window, "3");
    assert_eq!(
        window.eval("[...document.querySelectorAll('dialog input')].map((input) => [input.labels[0].textContent, input.value])"),
        json!([["idempotency_key", "2"], ["user_id", "bob"], ["event_type", "buy"], ["occurred_at", "2025-11-05T10:00:00Z"], ["amount", "12,00"]])
    );
    assert_eq!(window.text("document.activeElement.value"), "12,00");
    assert!(!window.text("document.getElementById(document.activeElement.getAttribute('aria-errormessage')).textContent").is_empty());
    shoot(&window, "mend-row");
    window.look(DESK);
    window.write("12.00");
    window.key("Enter");
    until_counted(&window, 2);
    assert!(
        window.page().contains("shop, row 3 mended.csv"),
        "{}",
        window.page()
    );
    // It is counted, and nothing else was sent again.
    assert_eq!(
        rig.get("/v1/users/bob")["total"],
        json!({"count": 1, "sum": "12.00"})
    );
    assert_eq!(rig.ledger("counted"), 3);
    assert_eq!(rig.ledger("duplicate"), 0);
    shoot(&window, "mend-done");
    window.look(DESK);
    // The chart has all three, and the day leads to the user.
    window.press("Look at the days");
    window.until(
        "the chart is drawn",
        "document.querySelector('.chart canvas')?.width > 300",
    );
    assert_eq!(
        window.table("Events by type").last().unwrap(),
        &["All", "2", "1", "3"]
    );
    window.press("Wed, 5 Nov 2025");
    window.until_shown("with the most events");
    assert_eq!(window.table("The 1 user")[1], ["bob", "1", "12.00"]);
    // The same file, mended by hand and sent whole, counts nothing twice: the row has the key that it had.
    let mended = rows.replace("\"12,00\"", "12.00");
    let body = mended.replacen(
        "order,customer,what,when,eur",
        "idempotency_key,user_id,event_type,timestamp,amount",
        1,
    );
    rig.post_events("text/csv", body.as_bytes());
    assert_eq!((rig.ledger("counted"), rig.ledger("duplicate")), (3, 3));
}

#[test]
fn rows_of_every_format_are_mended_one_by_one_or_together() {
    let Some((rig, window)) = empty("#/send", PHONE) else {
        return;
    };
    // Neither key nor time: each mended row gets a key, so that sending it twice would count it once.
    window.take_files(&[rig.write(
        "a.csv",
        "user_id,event_type,note\nu1,,\"x\ny\"\n\nu2,t,\nu3,,{\"a\":1,\"b\":\"c,d\"}\n",
    )]);
    until_counted(&window, 1);
    mend(&window, "2");
    window.choose("event_type", "mended");
    press_in_dialog(&window, "Keep it, and mend others first");
    window.until_shown("Send 1 mended row");
    mend(&window, "4");
    assert_eq!(
        window.eval("[...document.querySelectorAll('dialog input')].map((input) => input.value)"),
        json!(["u3", "", "{\"a\":1,\"b\":\"c,d\"}"])
    );
    window.choose("event_type", "mended");
    press_in_dialog(&window, "Send it and 1 other");
    until_counted(&window, 2);
    assert_eq!(rig.get("/v1/users/u1")["by_type"][0]["event_type"], "mended");
    assert_eq!(rig.get("/v1/users/u3")["by_type"][0]["event_type"], "mended");
    // A row whose mending is wrong as well is listed again, and can be mended again.
    window.take_files(&[rig.write(
        "b.ndjson",
        "{\"user_id\":\"u4\",\"event_type\":\"t\",\"amount\":\"x\"}\n\n{\"user_id\":\"u5\"}\n",
    )]);
    window.until(
        "both are refused",
        "document.querySelectorAll('[aria-label^=\"Mend row\"]').length === 4",
    );
    mend(&window, "3");
    window.choose(
        "The row as JSON",
        "{\"user_id\":\"u5\",\n \"event_type\":\"t\", \"amount\":\"y\"}",
    );
    press_in_dialog(&window, "Send this row");
    window.until_shown("b, row 3 mended.ndjson");
    window.until(
        "it is refused again",
        "document.querySelector('.deliveries > :first-child [aria-label=\"Mend row 1\"]') !== null",
    );
    window.eval("document.querySelector('.deliveries > :first-child [aria-label=\"Mend row 1\"]').click()");
    window.until(
        "its form is open",
        "document.querySelector('dialog[open] form') !== null",
    );
    window.choose(
        "The row as JSON",
        "{\"user_id\":\"u5\",\"event_type\":\"t\",\"amount\":\"0.5\"}",
    );
    press_in_dialog(&window, "Send this row");
    until_newest_counted(&window, "b, row 1 mended.ndjson");
    assert_eq!(
        rig.get("/v1/users/u5")["total"],
        json!({"count": 1, "sum": "0.50"})
    );
    // An array, whose other fields are left as they are written; and a cancelled one.
    window.take_files(&[rig.write(
        "c.json",
        "[{\"user_id\":\"u6\",\"event_type\":\"t\"}, {\"user_id\":\"u7\",\"n\":1.50}]",
    )]);
    window.until_shown("c.json");
    window.until(
        "it is refused",
        "document.querySelector('.deliveries > :first-child [aria-label=\"Mend row 2\"]') !== null",
    );
    mend(&window, "2");
    window.key("Escape");
    window.until("it is closed", "document.querySelector('dialog') === null");
    mend(&window, "2");
    assert_eq!(
        window.text("document.querySelector('dialog textarea').value"),
        "{\"user_id\":\"u7\",\"n\":1.50}"
    );
    window.choose(
        "The row as JSON",
        "{\"user_id\":\"u7\",\"n\":1.50,\"event_type\":\"t\"}",
    );
    press_in_dialog(&window, "Send this row");
    until_newest_counted(&window, "c, row 2 mended.json");
    assert_eq!(rig.get("/v1/users/u7")["total"]["count"], 1);
    assert_eq!(rig.get("/v1/ledger")["balanced"], true);
}

/// What the server says of the rows of a body, which it does not record.
fn refused(rig: &Rig, media: &str, body: &str) -> Vec<u64> {
    let answer = e2e::client::post(
        rig.address(),
        "/v1/events?validate=true",
        media,
        body.as_bytes(),
        Duration::from_secs(30),
    );
    let answer = answer.unwrap().json().unwrap();
    answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["row"].as_u64().unwrap())
        .collect()
}

#[test]
fn the_page_cuts_rows_as_the_server_does() {
    let Some((rig, window)) = empty("#/send", DESK) else {
        return;
    };
    let bad = [
        "bad1,",
        "\"bad\n2\",",
        "bad3,,{\"a\":[1,2],\"b\":\"]}\"}",
        "\"bad \"\"4\"\"\",",
        "bad5,,{not json",
        "bad6,,\"\r\n\r\n\"",
        "bad7,,[\"x\ny",
    ];
    let csv = format!(
        "\u{feff}user_id,event_type,note\r\n{}",
        bad.map(|row| format!("{row}\r\n\r\nfine,t,\n")).concat()
    );
    let lines = "{\"user_id\":\"bad1\"}\n\n  \n{\"user_id\":\"u\",\"event_type\":\"t\"}\r\n{\"user_id\":\"bad2\"}\r\n{\"user_id\":\"bad3\",\"a\":\"\u{2028}\"}";
    let array = " [ {\"user_id\":\"bad1\",\"a\":\"]}\\\"\"} ,\n{\"user_id\":\"u\",\"event_type\":\"t\"},{\"user_id\":\"bad2\",\"b\":[[{}]]}, 7 ]";
    for (format, media, body, begins) in [
        ("csv", "text/csv", csv.as_str(), "bad"),
        ("ndjson", "application/x-ndjson", lines, "{\"user_id\":\"bad"),
        ("json", "application/json", array, "{\"user_id\":\"bad"),
    ] {
        let rows = refused(&rig, media, body);
        assert!(rows.len() >= 3, "{format}: {rows:?}");
        let cut = window.eval(&format!(
            "import('/console/pages/rows.js').then(async ({{ rowsOf }}) => [...(await rowsOf(new Blob([{}]), {{ format: '{format}', encoding: null }}, {})).found])",
            json!(body), json!(rows)
        ));
        let cut: Vec<(u64, String)> = serde_json::from_value(cut).unwrap();
        assert_eq!(
            cut.iter().map(|(row, _)| *row).collect::<Vec<_>>(),
            rows,
            "{format}: {cut:?}"
        );
        for (row, text) in &cut {
            let is_found =
                text.trim_start_matches('"').starts_with(begins) || text == "7" || text.starts_with("y");
            assert!(is_found, "{format} row {row}: {text:?}");
        }
    }
}

#[test]
fn a_mended_row_gets_a_key_only_where_it_has_neither_key_nor_time() {
    let Some((_rig, window)) = empty("#/send", DESK) else {
        return;
    };
    let made = |format: &str, rows: Value| {
        window.text(&format!(
            "import('/console/pages/refused.js').then(({{ fileOf }}) => fileOf({rows}, '{format}').text())"
        ))
    };
    let csv = |header: Value, texts: &[&str]| {
        let rows = texts.iter().map(|text| json!({"header": header, "text": text}));
        made("csv", rows.collect())
    };
    let names = json!(["user_id", "event_type"]);
    let file = csv(names, &["u,t", "v,t"]);
    let lines: Vec<&str> = file.lines().collect();
    assert_eq!(lines[0], "user_id,event_type,idempotency_key");
    assert!(lines[1].starts_with("u,t,mended-") && lines[2].starts_with("v,t,mended-"));
    assert_ne!(lines[1].split(',').next_back(), lines[2].split(',').next_back());
    // With a time it keeps the key of its content, and with a key that.
    let timed = csv(
        json!(["userId", "type", "Timestamp", "note"]),
        &["u,t,1762257600,\"a,b\"", "u,t,,c"],
    );
    let lines: Vec<&str> = timed.lines().collect();
    assert_eq!(lines[1], "u,t,1762257600,\"a,b\",");
    assert!(lines[2].starts_with("u,t,,c,mended-"), "{timed}");
    let keyed = csv(json!(["idempotencyKey", "user_id"]), &["k,u", ",v"]);
    let lines: Vec<&str> = keyed.lines().collect();
    assert_eq!(lines[1], "k,u");
    assert!(
        lines[2].starts_with("mended-") && lines[2].ends_with(",v"),
        "{keyed}"
    );
    let line = |text: &str| made("ndjson", json!([{"text": text}]));
    for kept in [
        "{\"time\":1,\"n\":1.50}\n",
        "{\"idempotency_key\":\"k\"}\n",
        "{not json\n",
    ] {
        assert_eq!(line(kept.trim_end()), kept);
    }
    let fresh = line("{\"user_id\":\"u\",\"n\":1.50}");
    assert!(fresh.starts_with("{\"idempotency_key\":\"mended-"), "{fresh}");
    assert!(fresh.ends_with("\",\"user_id\":\"u\",\"n\":1.50}\n"), "{fresh}");
}

#[test]
fn where_a_row_cannot_be_mended_by_itself_it_is_not_offered() {
    let Some((rig, window)) = empty("#/send", DESK) else {
        return;
    };
    window.allow("status of 422");
    let none = "document.querySelector('[aria-label^=\"Mend row\"]') === null";
    // Of a file that was refused as a whole, or only checked, nothing counts.
    window.choose("Rows count", "atomic");
    window.take_files(&[rig.write("all.csv", "user_id,event_type\nu,t\nu,\n")]);
    window.until_shown("1 refused row");
    assert_eq!(window.eval(none), Value::Bool(true));
    window.choose("Rows count", "now");
    window.click("#check");
    window.take_files(&[rig.write("checked.csv", "user_id,event_type\nu,t\nu,\nv,\n")]);
    window.until_shown("2 refused rows");
    assert_eq!(window.eval(none), Value::Bool(true));
    window.click("#check");
    // One that is packed so that the browser cannot read it has its list; one that it can read is read.
    let rows = "user_id,event_type\nu,\nv,\nw,\n";
    window.take_files(&[rig.write("packed.csv.zst", zstd::encode_all(rows.as_bytes(), 3).unwrap())]);
    window.until_shown("3 refused rows");
    assert_eq!(window.eval(none), Value::Bool(true));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, format!("{rows}x,\n").as_bytes()).unwrap();
    window.take_files(&[rig.write("packed.csv.gz", gzip.finish().unwrap())]);
    window.until_shown("4 refused rows");
    mend(&window, "5");
    window.choose("event_type", "t");
    press_in_dialog(&window, "Send this row");
    until_newest_counted(&window, "packed, row 5 mended.csv");
    assert_eq!(rig.get("/v1/users/x")["total"]["count"], 1);
}
