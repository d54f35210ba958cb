//! Pages that show what was counted, held against the API's own answers.

use super::window::{DESK, PHONE};
use super::{grouped, with_sample};
use serde_json::Value;
use std::collections::BTreeMap;

/// The table of days that an answer should make: of each bucket, each type's text.
fn expected(lines: &Value, id: &str, of: &str) -> BTreeMap<(String, String), String> {
    let lines = lines.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    lines
        .map(|line| {
            (
                (text(&line[id]), text(&line["event_type"])),
                grouped(&text(&line[of])),
            )
        })
        .collect()
}

/// The same of a table on the page, without its totals.
fn found(table: &[Vec<String>]) -> BTreeMap<(String, String), String> {
    let mut cells = BTreeMap::new();
    for row in table.iter().skip(1).filter(|row| row[0] != "All") {
        for (name, cell) in table[0].iter().zip(row).skip(1) {
            if name != "All" && cell != "\u{2013}" {
                cells.insert((row[0].clone(), name.clone()), cell.clone());
            }
        }
    }
    cells
}

#[test]
fn days_are_a_chart_and_a_table_with_the_numbers_of_the_api() {
    let Some((rig, window)) = with_sample("#/days", DESK) else {
        return;
    };
    // Nothing is of the last days: it shows the newest month that has something, and says so.
    window.until_shown("the newest month that has some");
    let answer = rig.get("/v1/days?from=2025-11-01&to=2025-11-30");
    let table = window.table("Events by type");
    assert_eq!(found(&table), expected(&answer["days"], "day", "count"));
    let lines = answer["days"].as_array().unwrap();
    let all: u64 = lines.iter().map(|line| line["count"].as_u64().unwrap()).sum();
    let last = table.last().unwrap();
    assert_eq!(
        (last[0].as_str(), last.last().unwrap().as_str()),
        ("All", grouped(&all.to_string()).as_str())
    );
    // Something is drawn, and pointing at a day tells its numbers.
    window.until(
        "the chart is drawn",
        "document.querySelector('.chart canvas')?.width > 300",
    );
    let place = window.eval("(() => { const box = document.querySelector('.chart .u-over').getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; })()");
    let number = |index: usize| place[index].as_f64().unwrap();
    // The fourth of thirty days.
    let (x, y) = (number(0) + number(2) * 3.5 / 30.0, number(1) + number(3) / 2.0);
    window.call(
        "Input.dispatchMouseEvent",
        serde_json::json!({"type": "mouseMoved", "x": x, "y": y}),
    );
    window.until(
        "the day is told",
        "document.querySelector('.tip') && !document.querySelector('.tip').hidden",
    );
    let told = window.text("document.querySelector('.tip').innerText");
    let of_day = lines.iter().filter(|line| line["day"] == "2025-11-04");
    assert!(told.contains("Tue, 4 Nov 2025"), "{told}");
    for line in of_day {
        assert!(
            told.contains(line["event_type"].as_str().unwrap()) && told.contains(&line["count"].to_string()),
            "{told}"
        );
    }
    assert!(
        window
            .text("document.querySelector('.asof').innerText")
            .contains("Nothing waits to be counted")
    );
}

#[test]
fn days_of_another_zone_by_hour_with_exact_sums_and_some_types() {
    let Some((rig, window)) = with_sample("#/days?from=2025-11-04&to=2025-11-05", DESK) else {
        return;
    };
    window.until_shown("Events by type");
    window.choose("By", "1h");
    window.until_shown("Begins");
    window.choose("Zone", "Asia/Kolkata");
    window.choose("Show", "sum");
    window.until(
        "the address says so",
        "location.hash.includes('Kolkata') && location.hash.includes('sum')",
    );
    window.until_shown("Sums of amounts by type");
    let query = "from=2025-11-04&to=2025-11-05&bucket=1h&tz=Asia/Kolkata";
    let answer = rig.get(&format!("/v1/days?{query}"));
    window.until(
        "it is the other zone",
        "document.querySelector('tbody time')?.dateTime.endsWith('+05:30')",
    );
    assert_eq!(
        found(&window.table("Sums of amounts")),
        expected(&answer["buckets"], "start", "sum")
    );
    // One type, then back by the browser's own button.
    window.press("purchase");
    window.until(
        "one type is left",
        "document.querySelector('table').tHead.rows[0].cells.length === 2",
    );
    let one = rig.get(&format!("/v1/days?{query}&type=purchase"));
    assert_eq!(
        found(&window.table("Sums of amounts")),
        expected(&one["buckets"], "start", "sum")
    );
    let csv =
        window.text("fetch(document.querySelector('a[download]').href).then((answer) => answer.text())");
    assert!(
        csv.starts_with("start,day,event_type,count,sum") && !csv.contains("click"),
        "{csv}"
    );
    window.eval("history.back()");
    window.until(
        "all types are back",
        "document.querySelector('table').tHead.rows[0].cells.length > 3",
    );
    assert_eq!(window.text("[...document.querySelectorAll('label')].map((label) => label.control).find((input) => input?.list)?.value"), "Asia/Kolkata");
    // A zone that does not exist is not asked for.
    window.choose("Zone", "Mars/Olympus");
    assert_eq!(
        window.eval("document.querySelector('input[list]').validity.customError"),
        true
    );
    assert!(window.text("location.hash").contains("Kolkata"));
}

#[test]
fn a_user_is_looked_up_in_all_and_by_day() {
    let Some((rig, window)) = with_sample("#/users", PHONE) else {
        return;
    };
    window.until_shown("No user is looked up");
    window.eval("document.querySelector('input[type=search]').focus()");
    window.write("user-7");
    window.key("Enter");
    window.until_shown("In all, by type");
    let answer = rig.get("/v1/users/user-7");
    for line in answer["by_type"].as_array().unwrap() {
        let row = [
            line["event_type"].as_str().unwrap().to_owned(),
            grouped(&line["count"].to_string()),
            grouped(line["sum"].as_str().unwrap()),
        ];
        assert!(window.table("In all").contains(&row.to_vec()), "{row:?}");
    }
    window.until_shown("Events by type");
    let days = rig.get("/v1/users/user-7/days?from=2025-11-01&to=2025-11-30");
    assert_eq!(
        found(&window.table("Events by type")),
        expected(&days["days"], "day", "count")
    );
    // Somebody who did nothing, whose id wants to be a path.
    window.go("#/users/no%2Fbody%3F");
    window.until_shown("Nothing is counted for this user");
    assert!(window.page().contains("no/body?"));
}

#[test]
fn dead_letters_come_in_pages_by_reason_and_show_their_bytes() {
    let Some((rig, window)) = with_sample("#/dead-letters", DESK) else {
        return;
    };
    window.until_shown("oldest first");
    let first = rig.get("/v1/dead-letters?limit=50");
    let ids = |answer: &Value| -> Vec<String> {
        let letters = answer["dead_letters"].as_array().unwrap().iter();
        letters
            .map(|letter| letter["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let shown = || -> Vec<String> {
        window
            .table("50 dead")
            .iter()
            .skip(1)
            .map(|row| row.last().unwrap().clone())
            .collect()
    };
    assert_eq!(shown(), ids(&first));
    window.press("Next page");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = rig.get(&format!("/v1/dead-letters?limit=50&cursor={cursor}"));
    window.until(
        "the next page is there",
        &format!(
            "[...document.querySelectorAll('td code')].some((node) => node.textContent === '{}')",
            ids(&second)[0]
        ),
    );
    assert_eq!(shown(), ids(&second));
    window.press("Back");
    window.until(
        "the first page is back",
        &format!(
            "[...document.querySelectorAll('td code')].some((node) => node.textContent === '{}')",
            ids(&first)[0]
        ),
    );
    window.choose("Reason", "null_key");
    window.until_shown("No dead letters match");
    window.choose("Reason", "key_conflict");
    window.until_shown("oldest first");
    // Looked inside: the bytes as they lie on the log.
    let id = &ids(&first)[0];
    window.eval(&format!(
        "document.querySelector('a[href=\"#/dead-letters/{id}\"]').click()"
    ));
    window.until_shown("What was sent");
    let letter = rig.get(&format!("/v1/dead-letters/{id}"));
    let hex = window.text("document.querySelector('pre.bytes').textContent");
    let bytes: String = hex
        .lines()
        .map(|line| line.get(6..54).unwrap().replace(' ', ""))
        .collect();
    assert_eq!(bytes, letter["value_hex"].as_str().unwrap());
    assert!(window.page().contains(letter["key"].as_str().unwrap()));
    window.allow("status of 404");
    window.go("#/dead-letters/0-0");
    window.until_shown("There is no dead letter at this place");
}

#[test]
fn the_ledger_adds_up_in_words_and_by_partition() {
    let Some((rig, window)) = with_sample("#/system", DESK) else {
        return;
    };
    window.until_shown("It adds up.");
    let ledger = rig.get("/v1/ledger");
    let text = |name: &str| grouped(&ledger[name].to_string());
    let sentence = format!(
        "{} records = {} counted + {} duplicates + {} dead letters + {} rerouted",
        text("records"),
        text("counted"),
        text("duplicate"),
        text("dead_lettered"),
        text("rerouted")
    );
    assert!(
        window.page().contains(&sentence),
        "{sentence} is not in {}",
        window.page()
    );
    let table = window.table("By partition");
    for partition in ledger["partitions"].as_array().unwrap() {
        let names = [
            "partition",
            "records",
            "counted",
            "duplicate",
            "dead_lettered",
            "rerouted",
            "in_flight",
            "next_offset",
            "end_offset",
        ];
        let mut row: Vec<String> = names
            .iter()
            .map(|name| grouped(&partition[*name].to_string()))
            .collect();
        row.push("yes".to_owned());
        assert!(table.contains(&row), "{row:?}");
    }
    assert_eq!(
        window.table("Dead letters by reason")[1],
        ["key conflict".to_owned(), text("dead_lettered")]
    );
    window.until(
        "its health is told",
        "[...document.querySelectorAll('.figures dd')].some((node) => node.textContent === 'OK')",
    );
    // The throughput of a look: what was concluded since the one before.
    rig.post_events(
        "text/csv",
        b"user_id,event_type,timestamp\na,b,2025-11-04T00:00:00Z\n",
    );
    window.until_shown(&format!(
        "{} records =",
        grouped(&(ledger["records"].as_u64().unwrap() + 1).to_string())
    ));
}
