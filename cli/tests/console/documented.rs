//! The page that shows the API's document and calls it.

use super::browser;
use super::window::{DESK, Window};
use crate::rig::Rig;

#[test]
fn the_page_of_the_api_shows_and_calls_it_and_asks_nobody_else() {
    let Some(browser) = browser::shared() else { return };
    let rig = Rig::new();
    let window = Window::open(browser, &rig, DESK);
    window.load("api-docs");
    window.until_shown("/v1/days/{date}");
    let paths = rig.get("/openapi.json")["paths"].as_object().unwrap().len();
    window.until(
        "all operations are listed",
        &format!("new Set([...document.querySelectorAll('.opblock-summary-path')].map((node) => node.textContent)).size === {paths}"),
    );
    window.shot("api-docs");
    window.click("#operations-Service-get_health .opblock-summary-control");
    window.until(
        "it is open",
        "document.querySelector('#operations-Service-get_health .try-out__btn')",
    );
    window.click("#operations-Service-get_health .try-out__btn");
    window.until(
        "it can be called",
        "document.querySelector('#operations-Service-get_health .execute')",
    );
    window.click("#operations-Service-get_health .execute");
    window.until(
        "it was called",
        "[...document.querySelectorAll('#operations-Service-get_health .live-responses-table .response-col_status')].some((node) => node.textContent.startsWith('200'))",
    );
    window.shot("api-docs-called");
}
