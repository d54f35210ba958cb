//! The page that shows the API's document and calls it.

use super::browser;
use super::window::{DESK, Window};
use crate::access::create;
use crate::rig::Rig;
use std::time::Duration;

/// An operation of the page.
const DAYS: &str = "#operations-Counts-get_v1_days";

/// Opens an operation, and calls it; the status of the answer.
fn call(window: &Window) -> String {
    let status =
        format!("document.querySelector('{DAYS} .live-responses-table .response .response-col_status')");
    window.click(&format!("{DAYS} .execute"));
    window.until(
        "it was called",
        &format!("{status} && !document.querySelector('{DAYS} .loading-container')"),
    );
    window.text(&format!("{status}.textContent"))
}

#[test]
fn the_page_of_the_api_shows_and_calls_it_with_a_key_and_asks_nobody_else() {
    let Some(browser) = browser::shared() else { return };
    let mut rig = Rig::idle();
    let (key, _) = create(&rig, "shop", &["query"], &[]);
    rig.start();
    let window = Window::open(browser, &rig, DESK);
    window.load("api-docs");
    window.until_shown("/v1/days/{date}");
    let document = e2e::client::get_json(rig.address(), "/openapi.json", Duration::from_secs(30)).unwrap();
    let paths = document["paths"].as_object().unwrap().len();
    window.until(
        "all operations are listed",
        &format!("new Set([...document.querySelectorAll('.opblock-summary-path')].map((node) => node.textContent.replaceAll('\\u200b', ''))).size === {paths}"),
    );
    window.shot("api-docs");
    window.click(&format!("{DAYS} .opblock-summary-control"));
    window.until(
        "it is open",
        &format!("document.querySelector('{DAYS} .try-out__btn')"),
    );
    window.click(&format!("{DAYS} .try-out__btn"));
    window.until(
        "it can be called",
        &format!("document.querySelector('{DAYS} .execute')"),
    );
    // The browser itself reports the refusal.
    window.allow("401");
    assert!(call(&window).starts_with("401"));
    window.click(".auth-wrapper .authorize");
    window.until("a key is asked for", "document.querySelector('.modal-ux input')");
    window.eval("document.querySelector('.modal-ux input').focus()");
    window.write(&key);
    window.click(".modal-ux .authorize");
    window.click(".modal-ux .btn-done");
    assert!(call(&window).starts_with("200"), "{}", window.page());
    window.shot("api-docs-called");
}
