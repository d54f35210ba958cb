//! A window of the browser with a profile of its own: what a person does in it, and what is seen. Closing it checks that the page asked
//! nothing of anybody but its server, and that nothing was reported: no error, no exception, nothing that the policy stopped.

use super::browser::{Browser, Events};
use crate::rig::Rig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// For what is waited for on a page; it only bounds a test that has failed.
const PATIENCE: Duration = Duration::from_secs(45);

/// How a window looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// In CSS pixels.
    pub(super) width: u32,
    /// Whether the system asks for dark pages.
    pub(super) is_dark: bool,
}

/// A desk.
pub(super) const DESK: View = View {
    width: 1280,
    is_dark: false,
};
/// A phone at night.
pub(super) const PHONE: View = View {
    width: 390,
    is_dark: true,
};

/// A window.
pub(super) struct Window {
    browser: &'static Browser,
    session: String,
    target: String,
    context: String,
    events: Events,
    origin: String,
    allowed: std::cell::RefCell<Vec<String>>,
}

impl Window {
    /// A window that shows nothing yet.
    pub(super) fn open(browser: &'static Browser, rig: &Rig, view: View) -> Self {
        let text = |value: Value| value.as_str().unwrap().to_owned();
        let call = |method: &str, params: Value| browser.call(None, method, &params);
        let context = text(call("Target.createBrowserContext", json!({}))["browserContextId"].take());
        let blank = json!({"url": "about:blank", "browserContextId": context});
        let target = text(call("Target.createTarget", blank)["targetId"].take());
        let attach = json!({"targetId": target, "flatten": true});
        let session = text(call("Target.attachToTarget", attach)["sessionId"].take());
        let window = Self {
            events: browser.listen(&session),
            browser,
            session,
            target,
            context,
            origin: format!("http://{}", rig.address()),
            allowed: std::cell::RefCell::default(),
        };
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"] {
            window.call(&format!("{domain}.enable"), json!({}));
        }
        window.look(view);
        window
    }

    /// Calls a method of the protocol.
    pub(super) fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, &params)
    }

    /// What the browser told, of a method.
    pub(super) fn told(&self, method: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        let of = events.iter().filter(|event| event["method"] == method);
        of.map(|event| event["params"].clone()).collect()
    }

    /// Takes a width and a theme.
    pub(super) fn look(&self, view: View) {
        let is_phone = view.width < 500;
        let height = if is_phone { 844 } else { 900 };
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": view.width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}),
        );
        let theme = if view.is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Opens a page by its address, from the beginning.
    pub(super) fn go(&self, hash: &str) {
        self.load(hash);
        self.until("the page is there", "document.querySelector('main h1') !== null");
    }

    /// The same, without waiting for what it shows.
    pub(super) fn load(&self, hash: &str) {
        self.call("Page.navigate", json!({"url": "about:blank"}));
        self.call("Page.navigate", json!({"url": format!("{}/{hash}", self.origin)}));
    }

    /// Waits until the browser tells of something; the first of it.
    pub(super) fn until_told(&self, method: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(first) = self.told(method).into_iter().next() {
                return first;
            }
            assert!(Instant::now() < deadline, "not in time: {method}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What an expression gives in the page.
    pub(super) fn eval(&self, expression: &str) -> Value {
        let mut answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
        );
        let fault = &answer["exceptionDetails"];
        assert!(fault.is_null(), "{expression}: {fault}");
        answer["result"]["value"].take()
    }

    /// What an expression gives, as text.
    pub(super) fn text(&self, expression: &str) -> String {
        self.eval(expression).as_str().unwrap_or_default().to_owned()
    }

    /// All that can be read on the page.
    pub(super) fn page(&self) -> String {
        self.text("document.querySelector('main').innerText")
    }

    /// Whether an expression is true. A page that is being left has no answer.
    pub(super) fn holds(&self, expression: &str) -> bool {
        let look = json!({"expression": format!("Boolean({expression})"), "returnByValue": true});
        let answer = self.browser.ask(Some(&self.session), "Runtime.evaluate", &look);
        answer.is_ok_and(|answer| answer["result"]["value"] == true)
    }

    /// Waits until an expression is true.
    pub(super) fn until(&self, what: &str, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.holds(expression) {
            assert!(
                Instant::now() < deadline,
                "not in time: {what}, on:\n{}",
                self.page()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until the page shows a text.
    pub(super) fn until_shown(&self, text: &str) {
        let is_shown = format!(
            "document.querySelector('main')?.innerText.includes({})",
            json!(text)
        );
        self.until(text, &is_shown);
    }

    /// Clicks what a selector finds.
    pub(super) fn click(&self, selector: &str) {
        self.eval(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// Clicks the button or link of a text.
    pub(super) fn press(&self, text: &str) {
        let find = "[...document.querySelectorAll('button, a')].find((node) => node.textContent.trim() ===";
        self.eval(&format!("{find} {}).click()", json!(text)));
    }

    /// Chooses a value in the control that a label names.
    pub(super) fn choose(&self, label: &str, value: &str) {
        self.eval(&format!(
            "(() => {{ const label = [...document.querySelectorAll('label')].find((node) => node.textContent === {});
             const control = document.getElementById(label.htmlFor); control.value = {};
             control.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()",
            json!(label),
            json!(value)
        ));
    }

    /// Presses a key, as a keyboard would.
    pub(super) fn key(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            _ => (0, key),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Writes into what has the focus.
    pub(super) fn write(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Chooses files in the file control.
    pub(super) fn take_files(&self, files: &[PathBuf]) {
        let root = self.call("DOM.getDocument", json!({}))["root"]["nodeId"].take();
        let find = json!({"nodeId": root, "selector": "input[type=file]"});
        let node = self.call("DOM.querySelector", find)["nodeId"].take();
        self.call("DOM.setFileInputFiles", json!({"nodeId": node, "files": files}));
    }

    /// The table whose caption begins so: its rows, each with its cells. A time is what it stands for.
    pub(super) fn table(&self, caption: &str) -> Vec<Vec<String>> {
        let rows = self.eval(&format!(
            "(() => {{ const of = [...document.querySelectorAll('table')].find((table) => table.caption.textContent.startsWith({}));
             return of && [...of.rows].map((row) => [...row.cells].map((cell) => cell.querySelector('time')?.dateTime ?? cell.textContent)); }})()",
            json!(caption)
        ));
        serde_json::from_value(rows).unwrap_or_else(|_| panic!("no table {caption:?} on:\n{}", self.page()))
    }

    /// A picture of the whole page in `target/console-shots`.
    pub(super) fn shot(&self, name: &str) {
        let size = self.eval("[innerWidth, Math.max(innerHeight, document.documentElement.scrollHeight)]");
        let height = size[1].as_u64().unwrap().min(2_200);
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let shot = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let data = self.call("Page.captureScreenshot", shot)["data"].take();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("console-shots");
        std::fs::create_dir_all(&folder).unwrap();
        let image = STANDARD.decode(data.as_str().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), image).unwrap();
    }

    /// A report that holds this text is part of the test.
    pub(super) fn allow(&self, text: &str) {
        self.allowed.borrow_mut().push(text.to_owned());
    }

    /// What was asked of others, and what was reported.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for request in self.told("Network.requestWillBeSent") {
            let url = request["request"]["url"].as_str().unwrap();
            let is_ours = url.starts_with(&format!("{}/", self.origin)) || url == "about:blank";
            // The browser's own icons of controls are `data:`, which is no request to anybody.
            if !is_ours && !url.starts_with("data:") {
                faults.push(format!("asked of another: {url}"));
            }
        }
        for entry in self.told("Log.entryAdded") {
            if entry["entry"]["level"] != "verbose" && entry["entry"]["level"] != "info" {
                faults.push(entry["entry"].to_string());
            }
        }
        let thrown = self.told("Runtime.exceptionThrown");
        faults.extend(thrown.iter().map(Value::to_string));
        let called = self.told("Runtime.consoleAPICalled");
        faults.extend(called.iter().map(Value::to_string));
        let allowed = self.allowed.borrow();
        faults.retain(|fault| !allowed.iter().any(|text| fault.contains(text.as_str())));
        faults
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What was there, for whoever looks into it.
            let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.shot(&format!("failed-{name}"))
            }));
            return;
        }
        assert_eq!(self.faults(), [""; 0]);
        self.browser
            .call(None, "Target.closeTarget", &json!({"targetId": self.target}));
        let context = json!({"browserContextId": self.context});
        self.browser.call(None, "Target.disposeBrowserContext", &context);
    }
}
