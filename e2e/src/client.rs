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
    /// The head, as it came.
    pub head: String,
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
    call(server, &format!("GET {path}"), &[], b"", patience)
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
    call(
        server,
        &format!("POST {path}"),
        &[("Content-Type", content_type)],
        body,
        patience,
    )
}

/// `DELETE path`.
///
/// # Errors
/// Those of [`get`].
pub fn delete(server: SocketAddr, path: &str, patience: Duration) -> anyhow::Result<Answer> {
    call(server, &format!("DELETE {path}"), &[], b"", patience)
}

/// Any request: method and path, headers beside those that every request has, and a body.
///
/// # Errors
/// Those of [`get`].
pub fn call(
    server: SocketAddr,
    what: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    patience: Duration,
) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    let mut head = format!("{what} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || what.starts_with("POST") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    read(&mut BufReader::new(stream))
}

fn read(from: &mut impl BufRead) -> anyhow::Result<Answer> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let Some(status) = status else {
        bail!("no answer: {line:?}")
    };
    let (mut head, mut length, mut is_chunked) = (String::new(), None, false);
    loop {
        line.clear();
        ensure!(from.read_line(&mut line)? > 0, "the answer broke off in its head");
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        }
        is_chunked |= name.eq_ignore_ascii_case("transfer-encoding") && value.trim() == "chunked";
        head.push_str(&line);
    }
    let mut body = Vec::new();
    match length {
        // A 304 has no body and need not say so.
        None if status == 304 => {}
        None if is_chunked => while chunk(from, &mut body)? {},
        None => bail!("an answer without a length"),
        Some(length) => piece(from, length, &mut body)?,
    }
    Ok(Answer { status, head, body })
}

/// Reads a chunk (RFC 9112, 7.1); false behind the last one.
fn chunk(from: &mut impl BufRead, body: &mut Vec<u8>) -> anyhow::Result<bool> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let length = usize::from_str_radix(line.trim_end(), 16).context("the answer broke off")?;
    piece(from, length, body)?;
    line.clear();
    from.read_line(&mut line)?;
    ensure!(line == "\r\n", "the answer broke off behind a chunk");
    Ok(length > 0)
}

fn piece(from: &mut impl BufRead, length: usize, body: &mut Vec<u8>) -> anyhow::Result<()> {
    let start = body.len();
    let end = start.checked_add(length).filter(|end| *end <= ANSWER_BYTES);
    body.resize(
        end.with_context(|| format!("an answer of more than {ANSWER_BYTES} bytes"))?,
        0,
    );
    from.read_exact(body.get_mut(start..).unwrap_or_default())
        .context("the answer broke off")
}
