//! Dead letters that are put back on the log: chosen ones and all that match, after a dry run; one that is mended; and what is said where
//! it is refused. Most of it is held against answers as README.md describes them, by a stub, since states such as a quarantine are
//! hard to come by; the last test walks it on the server itself.

use super::shots::shoot;
use super::stub::{Asked, Stub, as_of, everything};
use super::window::{DESK, PHONE, Window};
use super::{empty, with_sample};
use serde_json::{Value, json};
use std::cell::RefCell;

fn letter(id: &str, reason: &str, state: &str, tries: usize) -> Value {
    let offset: u64 = id.split('-').nth(1).unwrap().parse().unwrap();
    json!({
        "id": id, "reason": reason, "accepted_at": "2026-11-27T10:00:00.000Z", "partition": 0, "offset": offset,
        "user_id": (reason != "undecodable").then_some("user-1"), "detail": format!("why {id} was refused"),
        "state": state, "tries": tries, "upload_id": null, "row": null, "last_redrive": null,
    })
}

fn letters() -> [Value; 4] {
    [
        letter("0-3", "key_conflict", "open", 0),
        letter("0-17", "invalid", "quarantined", 5),
        letter("0-30", "undecodable", "open", 0),
        letter("0-41", "reversal_unmatched", "redriven", 1),
    ]
}

/// One of them with all that is known of it.
fn whole(id: &str) -> Value {
    let mut whole = letters().into_iter().find(|letter| letter["id"] == id).unwrap();
    let tries = whole["tries"].as_u64().unwrap();
    let outcome = if whole["state"] == "redriven" {
        "counted"
    } else {
        "dead_lettered"
    };
    let one = json!({"at": "2026-11-27T12:00:00.000Z", "by": "00112233445566aa", "edited": false, "outcome": outcome,
        "reason": (outcome == "dead_lettered").then_some("invalid"), "detail": "amount is too fine", "partition": 0, "offset": 90});
    let event = json!({"user_id": "user-1", "event_type": "purchase", "occurred_at": "2025-11-04T12:00:00Z",
        "amount": "12.5000001", "idempotency_key": "order-3", "metadata": {"page": "home", "n": 3}});
    let text = "{\"user_id\":\"user-1\",\"event_type\":7}";
    let is_read = whole["reason"] != "undecodable";
    let more = json!({
        "key": "order-3", "value_utf8": text, "value_hex": "7b7d", "value_bytes": text.len(), "value_truncated": false,
        "event": is_read.then_some(event), "undecoded": (!is_read).then_some("eventType must be a text"),
        "redrives": vec![one; usize::try_from(tries).unwrap()], "kept_until": "2027-01-01T00:00:00Z", "retention": "bounded",
    });
    whole
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    whole
}

/// What a call did.
fn did(asked: &Asked, redriven: u64, quarantined: u64, next_cursor: Option<&str>) -> (u16, Value) {
    let is_dry = asked.body["dry_run"] == true;
    (
        200,
        json!({
            "dry_run": is_dry, "matched": redriven + quarantined, "redriven": redriven,
            "by_reason": {"key_conflict": redriven}, "receipt": (!is_dry).then_some("r"), "next_cursor": next_cursor,
            "skipped": {"redriven": 0, "quarantined": quarantined, "not_found": 0, "bytes_gone": 0, "held": 0, "too_large": 0},
        }),
    )
}

/// What is the same for all of these tests.
fn common(asked: &Asked) -> Option<(u16, Value)> {
    if let Some(id) = asked.what.strip_prefix("GET /v1/dead-letters/") {
        return Some((200, whole(id)));
    }
    if asked.what.starts_with("GET /v1/dead-letters") {
        let answer = json!({"dead_letters": letters(), "next_cursor": null, "as_of": as_of()});
        return Some((200, answer));
    }
    if asked.what.starts_with("GET /v1/receipts/") {
        return Some((200, json!({"counted": true, "as_of": as_of()})));
    }
    everything(asked)
}

/// Presses a button of the dialog that is open.
fn press_in_dialog(window: &Window, text: &str) {
    window.eval(&format!(
        "[...document.querySelectorAll('dialog[open] button')].find((node) => node.textContent.trim() === {}).click()",
        json!(text)
    ));
}

#[test]
fn chosen_ones_are_counted_first_and_put_back_when_that_is_confirmed() {
    let Some((_rig, window)) = empty("#/send", DESK) else {
        return;
    };
    let calls = RefCell::new(Vec::new());
    let looks = RefCell::new(Vec::new());
    let mut stub = Stub::new(&window, |asked| {
        if asked.what == "POST /v1/dead-letters/redrive" {
            calls.borrow_mut().push(asked.body.clone());
            let forced = asked.body["force"] == true;
            return Some(did(asked, if forced { 2 } else { 1 }, u64::from(!forced), None));
        }
        if asked.what.starts_with("GET /v1/dead-letters?") {
            looks.borrow_mut().push(asked.what.clone());
        }
        common(asked)
    });
    window.load(
        "#/dead-letters?reason=key_conflict&state=open&from=2026-11-01&to=2026-11-30&user=user-1&upload=u-1",
    );
    stub.until_shown("4 dead letters on this page");
    let first = looks.borrow()[0].clone();
    for part in [
        "reason=key_conflict",
        "state=open",
        "from=2026-11-01",
        "to=2026-11-30",
        "user=user-1",
        "upload=u-1",
    ] {
        assert!(first.contains(part), "{part} is not in {first}");
    }
    let table = window.table("4 dead letters");
    assert_eq!(
        (table[2][3].as_str(), table[4][3].as_str()),
        ("quarantined 5 tries", "redriven 1 try")
    );
    shoot(&window, "dead-letters-states");
    window.look(DESK);
    // Nothing is chosen, so there is nothing to press.
    let chosen =
        "[...document.querySelectorAll('button')].find((node) => node.textContent.includes('chosen'))";
    assert_eq!(window.eval(&format!("{chosen}.disabled")), true);
    for id in ["0-3", "0-17"] {
        window.eval(&format!(
            "document.querySelector('[aria-label=\"Choose {id}\"]').click()"
        ));
    }
    assert_eq!(
        window.text(&format!("{chosen}.textContent")),
        "Redrive 2 chosen ones"
    );
    window.press("Redrive 2 chosen ones");
    stub.until_shown("It would put 1 dead letter back on the log");
    assert_eq!(
        *calls.borrow(),
        [json!({"ids": ["0-3", "0-17"], "dry_run": true})]
    );
    let said = window.text("document.querySelector('dialog').innerText");
    assert!(
        said.contains("key conflict") && said.contains("quarantined: tried too often"),
        "{said}"
    );
    shoot(&window, "redrive-dry");
    window.look(DESK);
    // Quarantined ones only where that is said, and then it is counted again.
    window.click("#redrive-force");
    stub.until_shown("It would put 2 dead letters back on the log");
    press_in_dialog(&window, "Redrive 2 dead letters");
    stub.until_shown("All outcomes show");
    assert_eq!(
        calls.borrow()[1..],
        [
            json!({"ids": ["0-3", "0-17"], "force": true, "dry_run": true}),
            json!({"ids": ["0-3", "0-17"], "force": true})
        ]
    );
    shoot(&window, "redrive-done");
    window.look(DESK);
    let before = looks.borrow().len();
    press_in_dialog(&window, "Close");
    stub.until(
        "the list is looked at again",
        "document.querySelector('dialog') === null && document.querySelector('[aria-busy]') === null",
    );
    assert!(looks.borrow().len() > before);
    // A second thought, by the keyboard, writes nothing.
    window.eval("document.querySelector('[aria-label=\"Choose all of this page\"]').click()");
    window.press("Redrive 4 chosen ones");
    stub.until_shown("Nothing was written yet");
    window.key("Escape");
    stub.until("it is closed", "document.querySelector('dialog') === null");
    assert_eq!(calls.borrow().last().unwrap()["dry_run"], true);
}

#[test]
fn all_that_match_are_put_back_call_by_call_and_it_can_be_stopped() {
    let Some((_rig, window)) = empty("#/send", PHONE) else {
        return;
    };
    let calls = RefCell::new(Vec::new());
    let is_fast = RefCell::new(true);
    let mut stub = Stub::new(&window, |asked| {
        if asked.what != "POST /v1/dead-letters/redrive" {
            return common(asked);
        }
        calls.borrow_mut().push(asked.body.clone());
        let next = match (asked.body["cursor"].as_str(), *is_fast.borrow()) {
            (None, _) => Some("c1"),
            (Some("c1"), true) => Some("c2"),
            (Some(_), true) => None,
            (Some(_), false) => Some("on"),
        };
        Some(did(asked, 1000, 0, next))
    });
    window.load("#/dead-letters?reason=key_conflict&from=2026-11-01");
    stub.until_shown("4 dead letters on this page");
    window.press("Redrive all that match");
    stub.until_shown("It would put 3,000 dead letters back on the log");
    let filter = json!({"reason": ["key_conflict"], "from": "2026-11-01"});
    assert_eq!(
        calls.borrow()[2],
        json!({"filter": filter, "dry_run": true, "limit": 1000, "cursor": "c2"})
    );
    window.choose("Records a second", "500");
    press_in_dialog(&window, "Redrive 3,000 dead letters");
    stub.until_shown("3,000 dead letters are back on the log.");
    assert_eq!(
        calls.borrow()[5],
        json!({"filter": filter, "rate": 500, "limit": 1000, "cursor": "c2"})
    );
    stub.until_shown("All outcomes show");
    press_in_dialog(&window, "Close");
    stub.until("it is closed", "document.querySelector('dialog') === null");
    // One without an end: the dry run gives up counting, and the redrive ends where the reader says so.
    *is_fast.borrow_mut() = false;
    stub.until_shown("4 dead letters on this page");
    window.press("Redrive all that match");
    stub.until_shown("It would put more than 50,000 dead letters back on the log");
    press_in_dialog(&window, "Redrive more than 50,000 dead letters");
    stub.until(
        "some are put back",
        "document.querySelector('dialog progress')?.value > 2000",
    );
    press_in_dialog(&window, "Stop");
    stub.until_shown("it was stopped before the end");
}

#[test]
fn one_is_mended_in_a_form_and_what_is_wrong_stands_at_its_field() {
    let Some((_rig, window)) = empty("#/send", DESK) else {
        return;
    };
    window.allow("status of 400");
    let calls = RefCell::new(Vec::new());
    let mut stub = Stub::new(&window, |asked| {
        if asked.what != "POST /v1/dead-letters/redrive" {
            return common(asked);
        }
        calls.borrow_mut().push(asked.body.clone());
        let is_fine = asked.body["event"]["amount"] != "12.5000001";
        Some(match is_fine {
            true => did(asked, 1, 0, None),
            false => (
                400,
                json!({"type": "/problems/event_invalid", "title": "The event is not valid", "status": 400,
                "detail": "amount is not valid", "field": "amount",
                "results": [{"row": 1, "outcome": "invalid", "field": "amount", "code": "too_fine", "message": "has more than 6 digits behind the point"}]}),
            ),
        })
    });
    window.load("#/dead-letters/0-17");
    stub.until_shown("5 tries");
    assert_eq!(
        window.table("5 tries")[1][1..4],
        ["00112233445566aa", "it was", "dead lettered invalid"]
    );
    assert!(
        window
            .table("The event as it was read")
            .contains(&vec!["metadata.page".to_owned(), "home".to_owned()])
    );
    assert!(window.page().contains("until 1 Jan 2027"), "{}", window.page());
    shoot(&window, "dead-letter-quarantined");
    window.look(DESK);
    window.press("Edit and redrive");
    // The first field has the focus, so that one can write at once.
    assert_eq!(window.text("document.activeElement.value"), "user-1");
    window.press("Redrive the mended event");
    stub.until_shown("has more than 6 digits behind the point");
    assert_eq!(
        window.eval("[document.activeElement.labels[0].textContent, document.activeElement.getAttribute('aria-invalid'), document.getElementById(document.activeElement.getAttribute('aria-errormessage')).textContent]"),
        json!(["Amount", "true", "has more than 6 digits behind the point"])
    );
    shoot(&window, "dead-letter-mend");
    window.look(DESK);
    // Other fields must be an object; nothing is asked of the server before they are.
    let asked = calls.borrow().len();
    window.choose("All other fields, as JSON", "[1]");
    window.press("Redrive the mended event");
    stub.until_shown("This must be a JSON object");
    assert_eq!(calls.borrow().len(), asked);
    window.choose("All other fields, as JSON", "{\"page\": \"home\", \"n\": 4}");
    window.choose("Amount", "12.50");
    window.press("Redrive the mended event");
    stub.until(
        "it is looked at again",
        "document.querySelector('form.mend') === null && document.querySelector('.mending') !== null",
    );
    let sent = calls.borrow().last().unwrap().clone();
    assert_eq!(
        sent,
        json!({"ids": ["0-17"], "force": true, "event": {"user_id": "user-1", "event_type": "purchase",
            "occurred_at": "2025-11-04T12:00:00Z", "amount": "12.50", "page": "home", "n": 4}})
    );
    // What could not be read has its bytes, the guess of its text, and a tenant to be said.
    window.eval("location.hash = '#/dead-letters/0-30'");
    stub.until_shown("No event could be read");
    window.press("Edit and redrive");
    window.choose("Type of event", "view");
    window.choose("Tenant", "shop");
    window.press("Redrive the mended event");
    stub.until(
        "it is sent",
        "document.querySelector('form.mend') === null && document.querySelector('.mending') !== null",
    );
    let sent = calls.borrow().last().unwrap().clone();
    assert_eq!(
        sent,
        json!({"ids": ["0-30"], "tenant": "shop", "event": {"user_id": "user-1", "event_type": "view"}})
    );
}

/// On the server itself.
#[test]
fn a_conflict_is_put_back_refused_again_and_then_mended_and_counted() {
    let Some((rig, window)) = with_sample("#/dead-letters", DESK) else {
        return;
    };
    window.until_shown("oldest first");
    let first = rig.get("/v1/dead-letters?limit=1&reason=key_conflict")["dead_letters"][0]["id"].clone();
    let id = first.as_str().unwrap();
    let counted = rig.ledger("counted");
    window.eval(&format!(
        "document.querySelector('[aria-label=\"Choose {id}\"]').click()"
    ));
    window.press("Redrive 1 chosen one");
    window.until(
        "it is counted first",
        "document.querySelector('dialog')?.innerText.includes('It would put 1 dead letter back')",
    );
    assert_eq!(rig.get(&format!("/v1/dead-letters/{id}"))["tries"], 0);
    press_in_dialog(&window, "Redrive 1 dead letter");
    window.until(
        "its outcome shows",
        "document.querySelector('dialog .counting')?.dataset.state === 'counted'",
    );
    press_in_dialog(&window, "Close");
    // It has the key that it had, so it is a conflict still, and nothing was counted.
    window.go(&format!("#/dead-letters/{id}"));
    window.until_shown("1 try");
    assert_eq!(
        window.table("1 try")[1][2..4],
        ["it was", "dead lettered key conflict"]
    );
    assert_eq!(rig.ledger("counted"), counted);
    window.press("Edit and redrive");
    window.choose("Amount", "1.25");
    window.press("Redrive the mended event");
    window.until_shown("2 tries");
    assert_eq!(window.table("2 tries")[2][2..4], ["mended", "counted"]);
    assert_eq!(rig.ledger("counted"), counted + 1);
    // All that match: as many as the server says, and none of them is put back that was.
    let dry = rig.post(
        "/v1/dead-letters/redrive",
        "application/json",
        json!({"filter": {"reason": ["key_conflict"]}, "dry_run": true, "limit": 10_000}).to_string(),
    );
    window.go("#/dead-letters?reason=key_conflict");
    window.until_shown("oldest first");
    window.press("Redrive all that match");
    let sentence = format!(
        "It would put {} dead letters back",
        super::grouped(&dry.1["redriven"].to_string())
    );
    window.until(
        "all are counted first",
        &format!(
            "document.querySelector('dialog')?.innerText.includes({})",
            json!(sentence)
        ),
    );
    press_in_dialog(&window, "Cancel");
    assert_eq!(rig.get("/v1/ledger")["balanced"], true);
}
