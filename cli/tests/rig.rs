//! A server of the program, and senders, each in a folder of its own.

use crate::{ports, tidemark};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For anything that is waited for; it only bounds a test that has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
const ONE_CALL: Duration = Duration::from_secs(30);

/// A process that is ended with the test.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended; gives its exit code, and nothing if a signal ended it.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let status = until("the process ends", || self.0.try_wait().unwrap());
        status.code()
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

/// Waits until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder with a server's data, and the files that are sent.
pub(crate) struct Rig {
    folder: TempDir,
    listen: String,
    admin: String,
    settings: Vec<String>,
    server: Option<Process>,
}

impl Rig {
    /// With a server that runs.
    pub(crate) fn new() -> Self {
        let mut rig = Self::idle();
        rig.start();
        rig
    }

    /// With a server yet to be started.
    pub(crate) fn idle() -> Self {
        let [listen, admin] = ports();
        Self {
            folder: tempfile::tempdir().unwrap(),
            listen,
            admin,
            settings: Vec::new(),
            server: None,
        }
    }

    /// Settings of the server, from its next start on.
    pub(crate) fn set(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What a file of the folder holds, as text.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Starts the server on the ports that it had before.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with more flags.
    pub(crate) fn start_with(&mut self, flags: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("server.log"))
            .unwrap();
        let mut command = tidemark();
        command.args([
            "run",
            "--listen",
            &self.listen,
            "--admin-listen",
            &self.admin,
            "--data",
        ]);
        command
            .arg(self.path("data"))
            .args(self.settings.iter().flat_map(|setting| ["--set", setting]))
            .args(flags)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.server = Some(Process(command.spawn().unwrap()));
        until("the server is up", || {
            let answer = e2e::client::get(self.address(), "/health", ONE_CALL);
            answer.ok().filter(|answer| answer.status == 200)
        });
    }

    /// SIGKILL.
    pub(crate) fn kill_server(&mut self) {
        let server = self.server.as_mut().unwrap();
        assert!(
            !server.has_ended(),
            "the server ended by itself: {}",
            self.folder.path().display()
        );
        self.server = None;
    }

    /// Waits until the server has ended by itself; gives its exit code.
    pub(crate) fn server_ends(&mut self) -> Option<i32> {
        self.server.take().unwrap().end()
    }

    /// Stops the server, and audits what it counted.
    pub(crate) fn audit(&mut self) {
        let mut server = self.server.take().unwrap();
        server.signal("TERM");
        assert_eq!(server.end(), Some(0), "{}", self.read("server.log"));
        let mut audit = tidemark();
        let audited = audit
            .args(["audit", "--embedded", "--data"])
            .arg(self.path("data"))
            .output()
            .unwrap();
        assert_eq!(audited.status.code(), Some(0), "{audited:?}");
    }

    /// Removes all that the server has counted.
    pub(crate) fn empty_server(&mut self) {
        self.kill_server();
        std::fs::remove_dir_all(self.path("data")).unwrap();
        self.start();
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen.parse().unwrap()
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> Value {
        e2e::client::get_json(self.address(), path, ONE_CALL).unwrap()
    }

    /// `POST /v1/events`; answers once the events are counted.
    pub(crate) fn post_events(&self, media: &str, body: &[u8]) -> Value {
        let answer = e2e::client::post(self.address(), "/v1/events", media, body, ONE_CALL).unwrap();
        let answer = answer.json().unwrap();
        let receipt = answer["receipt"].as_str().unwrap_or_else(|| panic!("{answer}"));
        // A disk under a build may take its time.
        until("it is counted", || {
            let counted = self.get(&format!("/v1/receipts/{receipt}?wait=20s"));
            (counted["counted"] == true).then_some(())
        });
        answer
    }

    /// `POST` with a body of a type.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
        let answer = e2e::client::post(self.address(), path, content_type, body.as_ref(), ONE_CALL);
        let answer = answer.unwrap();
        (answer.status, answer.json().unwrap())
    }

    /// `DELETE`.
    pub(crate) fn delete(&self, path: &str) -> (u16, Value) {
        let answer = e2e::client::delete(self.address(), path, ONE_CALL).unwrap();
        (answer.status, answer.json().unwrap())
    }

    /// `GET` of any status, as text.
    pub(crate) fn text(&self, path: &str) -> (u16, String) {
        let answer = e2e::client::get(self.address(), path, ONE_CALL).unwrap();
        (answer.status, answer.text())
    }

    /// The whole answer to `GET`, as it comes: head, and body in its chunks.
    pub(crate) fn raw(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(ONE_CALL)).unwrap();
        let host = &self.listen;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// A number of the ledger, once all that was accepted is counted.
    pub(crate) fn ledger(&self, name: &str) -> u64 {
        let ledger = until("all is counted", || {
            let ledger = self.get("/v1/ledger");
            (ledger["in_flight"] == 0).then_some(ledger)
        });
        ledger[name].as_u64().unwrap()
    }

    /// `tidemark send`, to its end.
    pub(crate) fn send(&self, args: &[&str]) -> Sent {
        Sent(self.command(args).output().unwrap())
    }

    /// `tidemark send`, with something on its standard input.
    pub(crate) fn send_from(&self, input: &Path, args: &[&str]) -> Sent {
        let input = File::open(input).unwrap();
        Sent(self.command(args).stdin(Stdio::from(input)).output().unwrap())
    }

    /// `tidemark send`, started.
    pub(crate) fn sending(&self, args: &[&str]) -> Process {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("send.log"))
            .unwrap();
        let mut command = self.command(args);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Process(command.spawn().unwrap())
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = tidemark();
        command
            .arg("send")
            .args(args)
            .env("TIDEMARK_SERVER", format!("http://{}", self.listen));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Of a file that is being sent, the last row that is acknowledged.
    pub(crate) fn row_sent(&self, file: &str) -> u64 {
        let state = std::fs::read(self.path(&format!("{file}.send-state"))).unwrap_or_default();
        let state: Value = serde_json::from_slice(&state).unwrap_or_default();
        state["place"]["row"].as_u64().unwrap_or(0)
    }

    /// Waits until a process has had so many rows of a file acknowledged, and is not done.
    pub(crate) fn until_sent(&self, process: &mut Process, file: &str, rows: u64) {
        until("rows are acknowledged", || {
            assert!(
                !process.has_ended(),
                "it ended before row {rows}: {}",
                self.read("send.log")
            );
            (self.row_sent(file) >= rows).then_some(())
        });
    }
}

/// A run of `tidemark send` that has ended.
pub(crate) struct Sent(Output);

impl Sent {
    /// Its exit code.
    pub(crate) fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// What it printed, of both kinds.
    pub(crate) fn text(&self) -> String {
        let both = [self.0.stdout.as_slice(), &self.0.stderr].concat();
        String::from_utf8_lossy(&both).into_owned()
    }

    /// Checks its exit code.
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{}", self.text());
        self
    }

    /// Checks that it printed `text`.
    pub(crate) fn said(self, text: &str) -> Self {
        assert!(self.text().contains(text), "{text:?} is not in: {}", self.text());
        self
    }
}
