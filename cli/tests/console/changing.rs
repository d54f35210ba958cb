//! What changes while one looks: totals that events change, and a server that is slow or goes away.

use super::window::{DESK, PHONE, Window};
use super::{empty, with_sample};
use serde_json::{Value, json};

fn total(window: &Window) -> u64 {
    window
        .text("document.querySelector('.figures dd').textContent")
        .replace(',', "")
        .parse()
        .unwrap_or(0)
}

/// Events that happen now, as many as asked.
fn events(first: u32, count: u32) -> Vec<u8> {
    let events = (first..first + count).map(|id| {
        let kind = if id % 2 == 0 { "even" } else { "odd" };
        format!("{{\"user_id\":\"u\",\"event_type\":\"{kind}\",\"amount\":\"0.10\",\"idempotency_key\":\"k{id}\"}}\n")
    });
    events.collect::<String>().into_bytes()
}

#[test]
fn live_totals_change_when_events_are_counted_and_survive_a_restart() {
    let Some((mut rig, window)) = empty("#/live", DESK) else {
        return;
    };
    window.until_shown("Nothing today and yesterday");
    rig.post_events("application/x-ndjson", &events(0, 7));
    window.until(
        "seven are shown",
        "document.querySelector('.figures dd')?.textContent === '7'",
    );
    assert_eq!(window.table("Totals by type")[1][..3], ["even", "4", "0.40"]);
    rig.post_events("application/x-ndjson", &events(7, 1_993));
    window.until(
        "all are shown",
        "document.querySelector('.figures dd')?.textContent === '2,000'",
    );
    assert_eq!(total(&window), 2_000);
    assert!(window.page().contains("200.00"), "{}", window.page());
    // The stream is cut off, and says so; it comes back by itself.
    window.allow("net::ERR_");
    rig.kill_server();
    window.until_shown("Trying again in");
    assert_eq!(
        window.text("document.querySelector('#link').textContent"),
        "No answer"
    );
    rig.start();
    rig.post_events("application/x-ndjson", &events(2_000, 1));
    window.until(
        "it is live again",
        "document.querySelector('.pulse').dataset.state === 'live'",
    );
    window.until(
        "the last one is shown",
        "document.querySelector('.figures dd')?.textContent === '2,001'",
    );
    let resumed = window.told("Network.requestWillBeSent");
    let ids = resumed
        .iter()
        .filter(|request| !request["request"]["headers"]["Last-Event-ID"].is_null());
    assert!(ids.count() > 0, "it says how far it got");
}

#[test]
fn a_server_that_is_gone_is_told_on_every_page_and_comes_back() {
    let Some((mut rig, window)) = with_sample("#/system", PHONE) else {
        return;
    };
    window.until_shown("It adds up.");
    window.allow("net::ERR_");
    rig.kill_server();
    window.until_shown("The server does not answer");
    // What was known stays, and is called what it is.
    assert!(
        window.page().contains("what stands below is the last answer"),
        "{}",
        window.page()
    );
    for hash in ["#/days", "#/users/user-1", "#/dead-letters"] {
        window.eval(&format!("location.hash = '{hash}'"));
        window.until_shown("It may have stopped, or the network between is down");
    }
    rig.start();
    window.press("Try again");
    window.until_shown("oldest first");
    window.eval("location.hash = '#/system'");
    window.until_shown("It adds up.");
    assert_eq!(
        window.text("document.querySelector('#link').textContent"),
        "Server answers"
    );
}

#[test]
fn a_slow_answer_is_said_to_be_slow_and_then_shown() {
    let Some((_rig, window)) = with_sample("#/send", DESK) else {
        return;
    };
    window.call(
        "Fetch.enable",
        json!({"patterns": [{"urlPattern": "*/v1/days*"}]}),
    );
    window.eval("location.hash = '#/days?from=2025-11-01&to=2025-11-30'");
    window.until_shown("Loading the days");
    window.until_shown("The server takes longer than usual");
    for paused in window.told("Fetch.requestPaused") {
        window.call("Fetch.continueRequest", json!({"requestId": paused["requestId"]}));
    }
    window.until_shown("Events by type");
}

/// Answers the requests of a page that were not answered yet: with 401 where they do not hold the key.
pub(super) struct Gate<'w> {
    window: &'w Window,
    answered: usize,
    /// Requests that held the key.
    pub(super) let_in: usize,
}

impl<'w> Gate<'w> {
    pub(super) fn new(window: &'w Window) -> Self {
        window.call("Fetch.enable", json!({"patterns": [{"urlPattern": "*/v1/*"}]}));
        Self {
            window,
            answered: 0,
            let_in: 0,
        }
    }

    /// Answers until an expression is true.
    pub(super) fn until(&mut self, key: &str, expression: &str) {
        for _ in 0..1_000 {
            let paused: Vec<Value> = self.window.told("Fetch.requestPaused");
            for request in paused.iter().skip(self.answered) {
                let id = &request["requestId"];
                if request["request"]["headers"]["Authorization"] == format!("Bearer {key}") {
                    self.let_in += 1;
                    // The server behind has no keys, and refuses those of others.
                    let headers = request["request"]["headers"].as_object().unwrap().iter();
                    let others = headers.filter(|(name, _)| *name != "Authorization");
                    let others: Vec<Value> = others
                        .map(|(name, value)| json!({"name": name, "value": value}))
                        .collect();
                    let pass = json!({"requestId": id, "headers": others});
                    self.window.call("Fetch.continueRequest", pass);
                } else {
                    let answer = json!({"requestId": id, "responseCode": 401, "body": "e30="});
                    self.window.call("Fetch.fulfillRequest", answer);
                }
            }
            self.answered = paused.len();
            if self.window.holds(expression) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("not in time: {expression}, on:\n{}", self.window.page());
    }
}
