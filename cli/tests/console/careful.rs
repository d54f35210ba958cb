//! Keys, the keyboard, and texts of senders that want to be more than text.

use super::changing::Gate;
use super::window::{DESK, PHONE, View};
use super::{empty, with_sample};
use crate::access::create;
use crate::rig::until;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::time::Duration;

#[test]
fn a_server_that_wants_a_key_is_given_it_also_on_the_live_stream() {
    let Some((_rig, window)) = with_sample("#/send", DESK) else {
        return;
    };
    window.allow("status of 401");
    let mut gate = Gate::new(&window);
    window.eval("location.hash = '#/system'");
    gate.until("right", "document.querySelectorAll('dialog[open]').length === 1");
    // A wrong one is asked for again; Enter sends the form.
    window.write("wrong");
    window.key("Enter");
    gate.until(
        "right",
        "document.querySelector('dialog[open]')?.innerText.includes('was not accepted')",
    );
    window.write("right");
    window.key("Enter");
    gate.until(
        "right",
        "document.querySelector('main').innerText.includes('It adds up.')",
    );
    // One question, however many requests were refused; and no request without the key since then.
    assert_eq!(window.eval("document.querySelectorAll('dialog').length"), 0);
    window.eval("location.hash = '#/live'");
    gate.until(
        "right",
        "document.querySelector('.pulse')?.dataset.state === 'live'",
    );
    assert!(gate.let_in >= 2);
    // It is kept for the tab, and can be forgotten.
    assert_eq!(
        window.eval("[sessionStorage['tidemark.key'], JSON.stringify(localStorage).includes('right')]"),
        json!(["right", false])
    );
    window.press("Forget key");
    gate.until("right", "document.querySelector('dialog[open]') !== null");
    assert_eq!(window.eval("sessionStorage['tidemark.key'] ?? null"), json!(null));
    window.key("Escape");
    gate.until(
        "right",
        "document.querySelector('main').innerText.includes('status 401')",
    );
}

#[test]
fn a_key_of_the_server_opens_what_its_scopes_open() {
    let Some((rig, window)) = empty("#/live", DESK) else {
        return;
    };
    window.allow("status of 401");
    window.allow("status of 403");
    let (key, _) = create(&rig, "shop", &["query", "ingest"], &[]);
    // The server reads the file of keys within two seconds. The page itself needs none.
    until("a key is demanded", || {
        let answer = e2e::client::get(rig.address(), "/v1/days", Duration::from_secs(30)).unwrap();
        (answer.status == 401).then_some(())
    });
    window.go("#/live");
    window.until("it asks", "document.querySelector('dialog[open]') !== null");
    window.write(&key);
    window.key("Enter");
    window.until(
        "it is live",
        "document.querySelector('.pulse')?.dataset.state === 'live'",
    );
    window.eval("location.hash = '#/send'");
    window.until_shown("Drop files here");
    window.take_files(&[rig.write(
        "one.csv",
        "user_id,event_type,timestamp\nu,t,2025-11-04T00:00:00Z\n",
    )]);
    window.until_shown("All of it is counted");
    window.eval("location.hash = '#/days'");
    window.until_shown("Events by type");
    window.eval("globalThis.saved = []; URL.createObjectURL = (blob) => { saved.push(blob); return 'data:text/plain,'; }");
    window.press("Download as CSV");
    window.until("the file came", "saved.length === 1");
    assert!(window.text("saved[0].text()").contains("2025-11-04,t,1,0"));
    // What spans tenants is not this key's.
    window.eval("location.hash = '#/system'");
    window.until(
        "it is refused",
        "document.querySelector('main .problem') !== null",
    );
    assert!(!window.page().contains("It adds up"));
}

#[test]
fn where_no_events_are_taken_the_page_does_not_offer_to_send_them() {
    let Some((_rig, window)) = empty("#/live", DESK) else {
        return;
    };
    window.call(
        "Fetch.enable",
        json!({"patterns": [{"urlPattern": "*/console/about.json"}]}),
    );
    // The page asks what there is before it shows anything.
    window.load("#/send");
    let paused = window.until_told("Fetch.requestPaused");
    let body = STANDARD.encode("{\"takes_events\":false,\"version\":\"0\"}");
    window.call(
        "Fetch.fulfillRequest",
        json!({"requestId": paused["requestId"], "responseCode": 200, "body": body}),
    );
    window.until_shown("There is no such page");
    assert!(
        !window
            .text("document.querySelector('#nav').textContent")
            .contains("Send")
    );
    window.press("Days");
    window.until_shown("Events are sent to the ingest service");
}

#[test]
fn all_of_it_is_reached_by_keyboard_and_the_focus_is_seen() {
    let Some((_rig, window)) = with_sample("#/days?from=2025-11-01&to=2025-11-30", DESK) else {
        return;
    };
    window.until_shown("Events by type");
    let focused = "document.activeElement";
    window.key("Tab");
    assert_eq!(window.text(&format!("{focused}.textContent")), "Skip to the page");
    assert_eq!(
        window.eval(&format!("{focused}.getBoundingClientRect().top >= 0")),
        true
    );
    window.key("Enter");
    assert_eq!(window.text(&format!("{focused}.id")), "main");
    // On through the whole page: every control once, each with a ring around it.
    let mut stops = Vec::new();
    for _ in 0..60 {
        window.key("Tab");
        let stop = window.eval(&format!(
            "(() => {{ const node = {focused}; const ring = getComputedStyle(node); const box = node.getBoundingClientRect();
             return node === document.body ? null : [node.textContent.trim().slice(0, 30) || node.labels?.[0]?.textContent || node.id, ring.outlineStyle !== 'none' && parseFloat(ring.outlineWidth) >= 2 && box.width > 0]; }})()"
        ));
        if stop.is_null() {
            break;
        }
        assert_eq!(stop[1], true, "no ring around {stop}");
        stops.push(stop[0].as_str().unwrap().to_owned());
    }
    for wanted in ["From", "To", "Zone", "click", "purchase", "Download as CSV"] {
        assert!(
            stops.iter().any(|stop| stop.starts_with(wanted)),
            "{wanted} is not among {stops:?}"
        );
    }
    // A page is left by its link, and the heading of the next one has the focus; back leads back.
    window.eval(
        "[...document.querySelectorAll('#nav a')].find((link) => link.textContent === 'System').focus()",
    );
    window.key("Enter");
    window.until_shown("It adds up.");
    assert_eq!(
        window.text(&format!("{focused}.tagName + ' ' + {focused}.textContent")),
        "H1 System"
    );
    assert_eq!(
        window.text("document.querySelector('#nav [aria-current=page]').textContent"),
        "System"
    );
    assert_eq!(window.text("document.title"), "System · Tidemark");
    window.eval("history.back()");
    window.until_shown("Events by type");
    // The theme is a button that says what it is, and what is chosen stays.
    assert_eq!(
        window.text("document.querySelector('#theme').getAttribute('aria-pressed')"),
        "false"
    );
    let ground = window.text("getComputedStyle(document.body).backgroundColor");
    window.click("#theme");
    assert_eq!(
        window.text("document.querySelector('#theme').getAttribute('aria-pressed')"),
        "true"
    );
    assert_ne!(
        window.text("getComputedStyle(document.body).backgroundColor"),
        ground
    );
    window.go("#/days");
    assert_eq!(window.text("document.documentElement.dataset.theme"), "dark");
}

#[test]
fn every_control_has_a_name_and_every_table_its_headers() {
    let Some((_rig, window)) = with_sample("#/days?from=2025-11-01&to=2025-11-30", PHONE) else {
        return;
    };
    for (hash, text) in [
        ("#/days?from=2025-11-01&to=2025-11-30", "Events by type"),
        ("#/users/user-1", "In all, by type"),
        ("#/send", "What a file holds"),
        ("#/dead-letters", "oldest first"),
        ("#/days/2025-11-04", "with the most events"),
        ("#/keys", "There are no keys yet"),
        ("#/live", "Nothing today and yesterday"),
        ("#/system", "By partition"),
    ] {
        window.go(hash);
        window.until_shown(text);
        let nameless = window.text(
            "[...document.querySelectorAll('input, select, button, a, progress')].filter((node) => !(node.labels?.length || node.textContent.trim() || node.getAttribute('aria-label'))).map((node) => node.outerHTML).join()",
        );
        assert_eq!(nameless, "", "{hash}");
        let headless = window.eval(
            "[...document.querySelectorAll('table')].filter((table) => !table.caption?.textContent || [...table.tHead.rows[0].cells].some((cell) => cell.scope !== 'col')).length",
        );
        assert_eq!(headless, 0, "{hash}");
        assert_eq!(window.eval("document.querySelectorAll('h1').length"), 1, "{hash}");
    }
}

#[test]
fn texts_of_senders_are_shown_as_text_wherever_they_appear() {
    let Some((rig, window)) = empty("#/days", DESK) else {
        return;
    };
    let kind = "<img src=x onerror=\"document.title='taken'\">";
    let user = "<script>document.title='taken'</script>/../?#%2e";
    let long = "w".repeat(128);
    let event = |user: &str, kind: &str, key: &str, amount: &str| json!({"user_id": user, "event_type": kind, "idempotency_key": key, "amount": amount, "note": kind});
    let events = json!([
        event(user, kind, "k1", "1"),
        event(user, &long, "k2", "2"),
        event(user, "a,b\\c", "k3", "3"),
        event(user, kind, "k1", "4")
    ]);
    rig.post_events("application/json", events.to_string().as_bytes());
    let path: String = e2e_encoded(user);
    for view in [DESK, PHONE] {
        window.look(view);
        for hash in ["#/days", "#/live", &format!("#/users/{path}"), "#/dead-letters"] {
            window.go(hash);
            let text = if hash == "#/dead-letters" { user } else { kind };
            window.until_shown(text);
            assert_eq!(
                window.eval("document.querySelectorAll('main img, main script').length"),
                0,
                "{hash}"
            );
            assert!(!window.text("document.title").contains("taken"), "{hash}");
            let View { width, .. } = view;
            let wide = window.eval("document.documentElement.scrollWidth");
            assert!(
                wide.as_u64().unwrap() <= width.into(),
                "{hash} is {wide} wide at {width}"
            );
        }
    }
    // A type with a comma and a backslash is asked for as one type.
    window.go("#/days");
    window.until_shown("a,b\\c");
    window.press("a,b\\c");
    window.until(
        "one type is left",
        "document.querySelector('table').tHead.rows[0].cells.length === 2",
    );
    assert_eq!(window.table("Events by type")[1][1], "1");
    // A name of a file is a text as well.
    window.go("#/send");
    window.take_files(&[rig.write("<b onclick=x>.csv", "user_id,event_type\n,<i>\n")]);
    window.until_shown("<b onclick=x>.csv");
    window.until_shown("1 refused row");
    assert_eq!(
        window.eval("document.querySelectorAll('.delivery b, .delivery i').length"),
        0
    );
}

/// A text as a part of a path.
fn e2e_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
