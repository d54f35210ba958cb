//! A part of the API that answers what a test says, whatever the server behind it can: pages are held against the shape of answers that is
//! agreed upon, also of states that are hard to come by.

use super::window::Window;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(45);

/// A request of the page.
pub(super) struct Asked {
    /// `POST /v1/keys`, with its query.
    pub(super) what: String,
    /// Its body, where it is JSON.
    pub(super) body: Value,
}

/// Answers some requests of a window.
pub(super) struct Stub<'w, F> {
    window: &'w Window,
    answered: usize,
    answer: F,
}

impl<'w, F: FnMut(&Asked) -> Option<(u16, Value)>> Stub<'w, F> {
    /// Answers by `answer` what it gives an answer to, and lets the server answer all else.
    pub(super) fn new(window: &'w Window, answer: F) -> Self {
        let patterns =
            json!({"patterns": [{"urlPattern": "*/v1/*"}, {"urlPattern": "*/console/about.json"}]});
        window.call("Fetch.enable", patterns);
        Self {
            window,
            answered: 0,
            answer,
        }
    }

    /// Answers until an expression is true.
    pub(super) fn until(&mut self, what: &str, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.answer();
            if self.window.holds(expression) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not in time: {what}, on:\n{}",
                self.window.page()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Answers until the page shows a text, in a dialog or outside.
    pub(super) fn until_shown(&mut self, text: &str) {
        let is_shown = format!("document.body?.innerText.includes({})", json!(text));
        self.until(text, &is_shown);
    }

    fn answer(&mut self) {
        let paused = self.window.told("Fetch.requestPaused");
        for one in paused.iter().skip(self.answered) {
            let id = &one["requestId"];
            let url = one["request"]["url"].as_str().unwrap();
            let path = url.split_once("//").unwrap().1;
            let path = path.find('/').map_or("/", |at| &path[at..]);
            let asked = Asked {
                what: format!("{} {path}", one["request"]["method"].as_str().unwrap()),
                body: one["request"]["postData"]
                    .as_str()
                    .and_then(|body| serde_json::from_str(body).ok())
                    .unwrap_or_default(),
            };
            match (self.answer)(&asked) {
                Some((status, body)) => {
                    let headers = json!([{"name": "Content-Type", "value": "application/json"}]);
                    let body = STANDARD.encode(body.to_string());
                    let answer = json!({"requestId": id, "responseCode": status, "responseHeaders": headers, "body": body});
                    self.window.call("Fetch.fulfillRequest", answer);
                }
                None => {
                    self.window
                        .call("Fetch.continueRequest", json!({"requestId": id}));
                }
            }
        }
        self.answered = paused.len();
    }
}

/// What the page is told that there is: everything.
pub(super) fn everything(asked: &Asked) -> Option<(u16, Value)> {
    (asked.what == "GET /console/about.json").then(|| {
        let about = json!({"takes_events": true, "version": "0"});
        (200, about)
    })
}

/// What every answer reflects.
pub(super) fn as_of() -> Value {
    json!({"newest_accepted_at": "2026-11-28T12:00:00.000Z", "lag_records": 0})
}
