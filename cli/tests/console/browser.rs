//! Chromium without a window, spoken to in its DevTools protocol over a pipe: messages of JSON that end with a zero byte, to its file
//! descriptor 3 and from 4. No port, no socket and no crate is needed for it, and it ends when the pipe does, however the tests end.
//! <https://chromedevtools.github.io/devtools-protocol/>

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// For one answer of the browser; a call that waits within a page has its own deadline.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Where Debian, Ubuntu and Google put it.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// What the browser told of one window, in order.
pub(super) type Events = Arc<Mutex<Vec<Value>>>;

/// The one browser of all tests.
pub(super) struct Browser {
    to: Mutex<ChildStdin>,
    asked: Arc<Mutex<HashMap<u64, Sender<Value>>>>,
    told: Arc<Mutex<HashMap<String, Events>>>,
    next: AtomicU64,
}

/// The browser; none where none is installed, which fails the tests of CI.
pub(super) fn shared() -> Option<&'static Browser> {
    static SHARED: OnceLock<Option<Browser>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| installed().map(|program| Browser::start(&program)));
    if shared.is_none() {
        let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!is_ci, "chromium is not installed: make test installs it");
        eprintln!("not run: chromium is not installed; make test installs it");
    }
    shared.as_ref()
}

/// `TIDEMARK_CHROMIUM`, or the first of the known names on the path.
fn installed() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("TIDEMARK_CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let places = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

impl Browser {
    fn start(program: &PathBuf) -> Self {
        let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chromium");
        let _ = std::fs::remove_dir_all(&profile);
        // Without a sandbox, since CI is root in a container; it only ever shows our own page.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args([
                "--disable-sync",
                "--disable-default-apps",
                "--hide-scrollbars",
                "--lang=en-GB",
            ])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let browser = Self {
            to: Mutex::new(child.stdin.take().unwrap()),
            asked: Arc::default(),
            told: Arc::default(),
            next: AtomicU64::new(1),
        };
        let (asked, told) = (Arc::clone(&browser.asked), Arc::clone(&browser.told));
        std::thread::spawn(move || {
            for message in from.split(0).map_while(Result::ok) {
                let message: Value = serde_json::from_slice(&message).unwrap();
                if let Some(id) = message["id"].as_u64() {
                    if let Some(answer) = asked.lock().unwrap().remove(&id) {
                        let _ = answer.send(message);
                    }
                } else if let Some(session) = message["sessionId"].as_str() {
                    let events = told.lock().unwrap().get(session).cloned();
                    if let Some(events) = events {
                        events.lock().unwrap().push(message);
                    }
                }
            }
            // Its end of the pipe is closed: it is gone, or going.
            let _ = child.wait();
        });
        browser
    }

    /// Calls a method, of a session where one is named.
    pub(super) fn call(&self, session: Option<&str>, method: &str, params: &Value) -> Value {
        let answer = self.ask(session, method, params);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same, where the browser may have no answer.
    pub(super) fn ask(&self, session: Option<&str>, method: &str, params: &Value) -> Result<Value, Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let (answer, answered) = channel();
        self.asked.lock().unwrap().insert(id, answer);
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.to.lock().unwrap().write_all(&text).unwrap();
        let answer = answered.recv_timeout(ANSWER_WAIT);
        let mut answer = answer.unwrap_or_else(|_| panic!("the browser does not answer {method}"));
        match answer["error"].is_null() {
            true => Ok(answer["result"].take()),
            false => Err(answer["error"].take()),
        }
    }

    /// Keeps what the browser tells of a session from now on.
    pub(super) fn listen(&self, session: &str) -> Events {
        let events = Events::default();
        self.told
            .lock()
            .unwrap()
            .insert(session.to_owned(), Arc::clone(&events));
        events
    }
}
