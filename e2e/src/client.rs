//! Requests over HTTP/1.1, one connection each, with a deadline on every step. It trusts nothing: an answer that is not complete is
//! an error, never a short answer, since tests of kills decide by it what a client was told.

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Largest body of an answer; more is a fault of the server.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The body as text, for people.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET path`.
///
/// # Errors
/// If there is no complete answer, or a step takes longer than `patience`.
pub fn get(server: SocketAddr, path: &str, patience: Duration) -> anyhow::Result<Answer> {
    request(server, "GET", path, None, patience)
}

/// `GET path` where only 200 will do, as JSON.
///
/// # Errors
/// Those of [`get`], any other status, and a body that is no JSON.
pub fn get_json(server: SocketAddr, path: &str, patience: Duration) -> anyhow::Result<Value> {
    let answer = get(server, path, patience)?;
    ensure!(
        answer.status == 200,
        "{path}: {} {}",
        answer.status,
        answer.text()
    );
    answer.json()
}

/// `POST path` with a body of type `content_type`.
///
/// # Errors
/// Those of [`get`].
pub fn post(
    server: SocketAddr,
    path: &str,
    content_type: &str,
    body: &[u8],
    patience: Duration,
) -> anyhow::Result<Answer> {
    request(server, "POST", path, Some((content_type, body)), patience)
}

/// `DELETE path`.
///
/// # Errors
/// Those of [`get`].
pub fn delete(server: SocketAddr, path: &str, patience: Duration) -> anyhow::Result<Answer> {
    request(server, "DELETE", path, None, patience)
}

fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: Option<(&str, &[u8])>,
    patience: Duration,
) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    if let Some((content_type, body)) = body {
        head.push_str(&format!(
            "Content-Type: {content_type}\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if let Some((_, body)) = body {
        stream.write_all(body)?;
    }
    read(&mut BufReader::new(stream))
}

fn read(from: &mut impl BufRead) -> anyhow::Result<Answer> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let Some(status) = status else {
        bail!("no answer: {line:?}")
    };
    let mut length = None;
    loop {
        line.clear();
        ensure!(from.read_line(&mut line)? > 0, "the answer broke off in its head");
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let length = length.context("an answer without a length")?;
    ensure!(length <= ANSWER_BYTES, "an answer of {length} bytes");
    let mut body = vec![0; length];
    from.read_exact(&mut body).context("the answer broke off")?;
    Ok(Answer { status, body })
}
