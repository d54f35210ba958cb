//! Every page in both widths and both themes: pictures in `target/console-shots` for a person to look at, and what a program can see
//! of them: nothing wider than the screen, and text that stands out from its ground as WCAG 2.2 AA asks.

use super::changing::Gate;
use super::sample;
use super::window::{View, Window};
use super::{DESK_AND_PHONE, with_sample};
use serde_json::{Value, json};

/// Texts whose contrast is too small, with the ratio.
const CONTRAST: &str = r"(() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const over = (top, under) => ({ r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a), b: top.b * top.a + under.b * (1 - top.a), a: 1 });
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const bad = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    const style = getComputedStyle(node);
    if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest('.hidden, option, noscript') || parseFloat(style.fontSize) === 0) continue;
    const under = ground(node);
    const [x, y] = [light(over(parse(style.color), under)), light(under)];
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (ratio < needed) bad.push(`${walk.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return bad;
})()";

/// Takes the pictures of what a window shows now.
pub(super) fn shoot(window: &Window, name: &str) {
    for width in DESK_AND_PHONE {
        for (is_dark, theme) in [(false, "light"), (true, "dark")] {
            window.look(View { width, is_dark });
            // What is fixed to the window stands where a reader sees it first.
            window.eval("scrollTo(0, 0)");
            window.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))");
            let name = format!("{name}-{width}-{theme}");
            window.shot(&name);
            let wide = window.eval("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= width.into(), "{name} is {wide} wide");
            let pale = window.eval(CONTRAST);
            assert_eq!(pale, Value::Array(Vec::new()), "{name}");
        }
    }
}

#[test]
fn every_page_fits_both_widths_and_both_themes() {
    let desk = View {
        width: 1280,
        is_dark: false,
    };
    let Some((mut rig, window)) = with_sample("#/send", desk) else {
        return;
    };
    let now = "{\"user_id\":\"u\",\"event_type\":\"click\",\"amount\":\"19.99\"}\n{\"user_id\":\"u\",\"event_type\":\"view\"}\n";
    window.allow("status of 4");
    for (name, hash, text) in [
        ("days", "#/days?from=2025-11-01&to=2025-11-30", "Events by type"),
        (
            "days-sum-by-hour",
            "#/days?from=2025-11-04&to=2025-11-05&bucket=1h&measure=sum&tz=America/Argentina/Buenos_Aires",
            "Sums of amounts by type",
        ),
        (
            "days-empty",
            "#/days?from=2001-11-04&to=2001-11-05",
            "Show November 2025",
        ),
        (
            "days-problem",
            "#/days?from=1900-01-01&to=2025-11-05",
            "Try again",
        ),
        ("users", "#/users", "No user is looked up"),
        ("user", "#/users/user-1", "Events by type"),
        ("dead-letters", "#/dead-letters", "oldest first"),
        ("dead-letter", "#/dead-letters/0-30", "What was sent"),
        ("not-found", "#/nowhere", "There is no such page"),
    ] {
        window.go(hash);
        window.until_shown(text);
        shoot(&window, name);
        window.look(desk);
    }
    for (name, hash) in [("live", "#/live"), ("system", "#/system")] {
        window.go(hash);
        window.until_shown("As of");
        // Something happens while it looks.
        for count in [5, 40] {
            rig.post_events("application/x-ndjson", now.repeat(count).as_bytes());
            std::thread::sleep(std::time::Duration::from_millis(1_200));
        }
        shoot(&window, name);
        window.look(desk);
    }
    window.go("#/send");
    shoot(&window, "send");
    window.look(desk);
    window.take_files(&[rig.write("a file of mine.json", "{"), sample()]);
    window.until(
        "the sample is counted",
        "document.querySelector('[data-state=counted]') !== null",
    );
    shoot(&window, "sent");
    window.look(desk);
    window.press("The upload");
    window.until_shown("rows not counted");
    shoot(&window, "upload");
    window.look(desk);
    window.go("#/send");
    window.choose("Rows count", "hold");
    window.take_files(&[rig.write("held until monday.csv", "user_id,event_type\nu,t\n")]);
    window.until_shown("It is held");
    window.press("The upload");
    window.until_shown("Nothing of it counts until");
    shoot(&window, "upload-held");
    window.look(desk);
    window.press("Uploads");
    window.until_shown("on this page, newest first");
    shoot(&window, "uploads");
    window.look(desk);
    window.go("#/send");
    window.take_files(&[rig.write(
        "shop.csv",
        "customer,what,when,eur\nc1,buy,2025-11-04T12:00:00Z,9.50\n",
    )]);
    window.until_shown("have names of their own");
    shoot(&window, "send-columns");
    window.look(desk);
    let mut gate = Gate::new(&window);
    window.eval("location.hash = '#/dead-letters'");
    gate.until("right", "document.querySelector('dialog[open]') !== null");
    shoot(&window, "key");
    window.look(desk);
    window.write("right");
    window.key("Enter");
    gate.until(
        "right",
        "document.querySelector('main').innerText.includes('oldest first')",
    );
    window.call("Fetch.disable", json!({}));
    window.allow("net::ERR_");
    // The server has no keys, and would refuse this one.
    window.eval("sessionStorage.clear()");
    window.go("#/system");
    window.until_shown("It adds up.");
    rig.kill_server();
    window.until_shown("The server does not answer");
    shoot(&window, "gone");
}
