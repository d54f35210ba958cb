//! Calls of the server, tried again until they are answered or the time for it is over.
//!
//! Whatever might be cured by waiting is tried again, without asking what became of the last try: no answer, an answer cut
//! short, 408, 425, 429 and all of 5xx. The pauses grow, and are never shorter than what `Retry-After` asks for.
//! Anything else is a word that another try would not change.

use crate::args::Args;
use crate::progress::Progress;
use crate::{Fault, exit};
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use reqwest::{Method, StatusCode, Url, header};
use serde_json::Value;
use serde_json::value::RawValue;
use service::config::Secret;
use service::shutdown::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one try may take in all: a slice over a slow line, and a server that waits for its log.
const TRY_TIMEOUT: Duration = Duration::from_secs(300);
/// Connections unused for so long are not used again: the server closes them after 10 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long an answer is still waited for after the wish to stop: what it acknowledges need not be sent again.
const GRACE: Duration = Duration::from_secs(5);
/// Longest pause that a server may ask for.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(300);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The server.
pub(crate) struct Client {
    http: reqwest::Client,
    server: Url,
    query_server: Url,
    /// Where it sends to, and by which key.
    destination: String,
    key: Option<header::HeaderValue>,
    retry_for: Duration,
    shutdown: Shutdown,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    url: Url,
    media_type: &'static str,
    body: Bytes,
}

/// Why there is no answer to go on with.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It was asked to stop.
    Interrupted,
    /// The server could not be reached, or was busy, for all the time there was.
    GaveUp(String),
    /// The server answered, and will not answer otherwise.
    Said {
        status: u16,
        code: String,
        detail: String,
    },
}

impl Failed {
    /// As the end of a run.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Interrupted => Fault::new(exit::INTERRUPTED, "interrupted"),
            Self::GaveUp(why) => Fault::new(exit::UNREACHABLE, why),
            Self::Said { status, detail, .. } => Fault::new(
                exit::UNREACHABLE,
                format!("the server answered {status}: {detail}"),
            ),
        }
    }
}

/// How one try ended, other than well.
struct Again {
    why: String,
    /// No sooner than this.
    after: Option<Duration>,
}

/// A server, and who calls it.
pub(crate) struct To<'a> {
    pub(crate) server: &'a str,
    pub(crate) query_server: Option<&'a str>,
    pub(crate) key: Option<&'a Secret>,
    pub(crate) key_file: Option<&'a Path>,
    pub(crate) ca_file: Option<&'a Path>,
    /// Seconds to go on trying.
    pub(crate) retry_for: u64,
}

impl Client {
    /// A client for where `args` say.
    pub(crate) fn new(args: &Args, shutdown: Shutdown) -> Result<Self, Fault> {
        let to = To {
            server: &args.server,
            query_server: args.query_server.as_deref(),
            key: args.key.as_ref(),
            key_file: args.key_file.as_deref(),
            ca_file: args.ca_file.as_deref(),
            retry_for: args.retry_for,
        };
        Self::to(&to, shutdown)
    }

    /// A client for a server.
    pub(crate) fn to(to: &To<'_>, shutdown: Shutdown) -> Result<Self, Fault> {
        let server = url(to.server)?;
        let (key, key_id) = key(to)?.unzip();
        let destination = match key_id {
            Some(id) => format!("{server} with key {id}"),
            None => server.to_string(),
        };
        let query_server = to.query_server.map_or(Ok(server.clone()), url)?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TRY_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tidemark-send/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = to.ca_file {
            http = http.tls_certs_only(authorities(file)?);
        }
        if is_loopback(&server) {
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|error| Fault::new(exit::USAGE, error.to_string()))?;
        Ok(Self {
            http,
            server,
            query_server,
            destination,
            key,
            retry_for: Duration::from_secs(to.retry_for),
            shutdown,
        })
    }

    /// Where it sends to. With another key it is another place: that may be another tenant's.
    pub(crate) fn server(&self) -> &str {
        &self.destination
    }

    /// When to stop.
    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// `POST /v1/events` of `body`; with `validate` nothing is recorded.
    pub(crate) fn events(&self, media_type: &'static str, body: Vec<u8>, validate: bool) -> Call {
        let mut url = self.server.clone();
        url.set_path("/v1/events");
        if validate {
            url.set_query(Some("validate=true"));
        }
        Call {
            method: Method::POST,
            url,
            media_type,
            body: body.into(),
        }
    }

    /// `GET` of what the query server has at `path`.
    pub(crate) fn query(&self, path: &str, query: Option<&str>) -> Call {
        let mut url = self.query_server.clone();
        url.set_path(path);
        url.set_query(query);
        Call {
            method: Method::GET,
            url,
            media_type: "",
            body: Bytes::new(),
        }
    }

    /// `POST` of a JSON object to what the query server has at `path`, with `event` as a further member as it stands.
    pub(crate) fn command(&self, path: &str, body: &Value, event: Option<&RawValue>) -> Call {
        let mut text = body.to_string();
        if let (Some(event), Some('}')) = (event, text.pop()) {
            text.push_str(",\"event\":");
            text.push_str(event.get());
        }
        text.push('}');
        Call {
            method: Method::POST,
            media_type: "application/json",
            body: text.into(),
            ..self.query(path, None)
        }
    }

    /// Makes a call until it is answered with success; gives the answer, which is JSON.
    pub(crate) async fn call(&self, call: &Call, progress: &Progress) -> Result<Value, Failed> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        let mut pauses = pauses.build();
        let begun = Instant::now();
        loop {
            let tried = tokio::select! {
                tried = self.attempt(call) => tried,
                () = self.cut_off() => return Err(Failed::Interrupted),
            };
            let again = match tried {
                Ok(answered) => return answered,
                Err(again) => again,
            };
            let pause = pauses
                .next()
                .unwrap_or(LONGEST_PAUSE)
                .max(again.after.unwrap_or_default());
            if begun.elapsed() + pause > self.retry_for {
                let tried_s = begun.elapsed().as_secs_f64();
                return Err(Failed::GaveUp(format!(
                    "gave up after {tried_s:.0} s of trying: {}",
                    again.why
                )));
            }
            progress.waits(&again.why, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.begun() => return Err(Failed::Interrupted),
            }
        }
    }

    /// When to wait for answers no longer.
    async fn cut_off(&self) {
        self.shutdown.begun().await;
        tokio::time::sleep(GRACE).await;
    }

    /// One try: an answer, whatever it says, or a reason to try again.
    async fn attempt(&self, call: &Call) -> Result<Result<Value, Failed>, Again> {
        let mut request = self.http.request(call.method.clone(), call.url.clone());
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, key.clone());
        }
        if call.method == Method::POST {
            request = request
                .header(header::CONTENT_TYPE, call.media_type)
                .body(call.body.clone());
        }
        let again = |error: reqwest::Error| Again {
            why: format!(
                "{} does not answer: {}",
                call.url.origin().ascii_serialization(),
                innermost(&error)
            ),
            after: None,
        };
        let mut response = request.send().await.map_err(again)?;
        let status = response.status();
        let after = response.headers().get(header::RETRY_AFTER).and_then(seconds);
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(again)? {
            if bytes.len() + piece.len() > ANSWER_BYTES {
                return Ok(Err(said(
                    status,
                    "answer_too_large",
                    "the answer is too large to be one of Tidemark's",
                )));
            }
            bytes.extend_from_slice(&piece);
        }
        let answer: Option<Value> = serde_json::from_slice(&bytes).ok();
        let (code, detail) = words(status, answer.as_ref());
        if status.is_success() {
            let no_json = || {
                said(
                    status,
                    "not_json",
                    "the answer is not JSON: is this a Tidemark server?",
                )
            };
            return Ok(answer.ok_or_else(no_json));
        }
        let is_body_fault = matches!(code.as_str(), "body_incomplete" | "body_too_slow");
        match is_temporary(status) || is_body_fault {
            true => Err(Again {
                why: format!("the server answered {}: {detail}", status.as_u16()),
                after,
            }),
            false => Ok(Err(said(status, &code, &detail))),
        }
    }
}

/// The key that is named, as a header, and its id. What is said of one that is wrong does not show it.
fn key(to: &To<'_>) -> Result<Option<(header::HeaderValue, String)>, Fault> {
    let text = match (to.key, to.key_file) {
        (Some(key), _) => key.reveal().to_owned(),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path);
            read.map_err(|error| Fault::reading(&path.display().to_string(), &error))?
        }
        (None, None) => return Ok(None),
    };
    let text = text.trim();
    let wrong = || {
        Fault::new(
            exit::USAGE,
            "the key is none: it must be tmk_, an id, _ and a secret",
        )
    };
    let id = service::access::id_of(text).ok_or_else(wrong)?;
    let mut value = header::HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(Some((value, id.to_owned())))
}

fn said(status: StatusCode, code: &str, detail: &str) -> Failed {
    Failed::Said {
        status: status.as_u16(),
        code: code.to_owned(),
        detail: detail.to_owned(),
    }
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The code of a problem document (RFC 9457), and its words.
fn words(status: StatusCode, answer: Option<&Value>) -> (String, String) {
    let text = |name: &str| answer.and_then(|answer| answer.get(name)).and_then(Value::as_str);
    let code = text("type")
        .and_then(|kind| kind.rsplit('/').next())
        .unwrap_or_default();
    let title = text("title").unwrap_or_else(|| status.canonical_reason().unwrap_or("an error"));
    let detail = match text("detail") {
        Some(detail) => format!("{title}: {detail}"),
        None => title.to_owned(),
    };
    (code.to_owned(), detail)
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); a date is not understood, and the pauses of our own hold.
fn seconds(value: &header::HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_LIMIT))
}

/// The cause of all causes: what is outside of it only says that a request failed.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The authorities of a PEM file.
fn authorities(file: &Path) -> Result<Vec<reqwest::Certificate>, Fault> {
    let wrong = |why: String| Fault::new(exit::USAGE, format!("--ca-file {}: {why}", file.display()));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong("holds no certificate".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn url(text: &str) -> Result<Url, Fault> {
    let wrong = |why: &str| Fault::new(exit::USAGE, format!("{text} is no address of a server: {why}"));
    let full = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    let url: Url = full.parse().map_err(|_| wrong("it is not a URL"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(wrong("give http://HOST:PORT or https://HOST:PORT")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_or_host_and_port() {
        assert_eq!(url("127.0.0.1:1").unwrap().as_str(), "http://127.0.0.1:1/");
        assert_eq!(url("http://there:80/").unwrap().as_str(), "http://there/");
        assert_eq!(url("https://there").unwrap().as_str(), "https://there/");
        for wrong in ["ftp://there", "", "http://"] {
            assert_eq!(url(wrong).unwrap_err().code, exit::USAGE, "{wrong}");
        }
        for (text, expected) in [
            ("localhost:1", true),
            ("[::1]:1", true),
            ("127.9.9.9", true),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&url(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_waiting_may_cure_is_tried_again_and_nothing_else() {
        for (status, expected) in [
            (408, true),
            (429, true),
            (500, true),
            (503, true),
            (400, false),
            (404, false),
            (413, false),
        ] {
            assert_eq!(
                is_temporary(StatusCode::from_u16(status).unwrap()),
                expected,
                "{status}"
            );
        }
    }
}
