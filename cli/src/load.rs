//! Loads a file through the program's own HTTP surface, in process, and says what came of it: what `make run` shows first.

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::Value;
use service::access::Caller;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use tower::ServiceExt;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Rows of refusals printed.
const SHOWN: usize = 5;

/// Sends the file as CSV and prints the ledger once all of it is projected.
pub(crate) async fn load(router: &Router, file: &Path, address: &str) -> anyhow::Result<()> {
    let opened = tokio::fs::File::open(file)
        .await
        .with_context(|| format!("{}", file.display()))?;
    let body = Body::from_stream(tokio_util::io::ReaderStream::with_capacity(opened, 256 * 1024));
    let request = axum::http::Request::post("/v1/events").header("content-type", "text/csv");
    let answer = call(router, request.body(body)?).await?;
    let receipt = answer.get("receipt").and_then(Value::as_str).unwrap_or_default();
    let mut said = format!(
        "\nloaded {}: {} accepted, {} refused at the door\n",
        file.display(),
        field(&answer, "accepted"),
        field(&answer, "invalid")
    );
    for row in answer
        .get("results")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(SHOWN)
    {
        writeln!(
            said,
            "  row {}: {}: {}",
            field(row, "row"),
            field(row, "field"),
            field(row, "message")
        )?;
    }
    let ledger = format!("/v1/ledger?after={receipt}&wait=30000");
    let ledger = call(router, axum::http::Request::get(ledger).body(Body::empty())?).await?;
    writeln!(
        said,
        "counted {}, duplicates {}, dead letters {} {}, balanced: {}\n\nlook at:",
        field(&ledger, "counted"),
        field(&ledger, "duplicate"),
        field(&ledger, "dead_lettered"),
        field(&ledger, "dead_letters_by_reason"),
        field(&ledger, "balanced")
    )?;
    for path in [
        "/",
        "/v1/days?from=2025-11-01&to=2025-11-30",
        "/v1/users/user-1",
        "/v1/ledger",
        "/v1/dead-letters",
    ] {
        writeln!(said, "  http://{address}{path}")?;
    }
    // Nobody may be reading any more: that is no reason to stop serving.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(())
}

async fn call(router: &Router, mut request: axum::http::Request<Body>) -> anyhow::Result<Value> {
    // It comes from the program itself and passes no guard: its events are those of the tenant `default`, keys or not.
    request.extensions_mut().insert(Caller::local());
    let response = router.clone().oneshot(request).await?;
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    anyhow::ensure!(status.is_success(), "the answer was {status}: {text}");
    Ok(serde_json::from_slice(&body)?)
}

/// A field of an answer as text; `null` where there is none.
fn field(answer: &Value, name: &str) -> String {
    answer.get(name).unwrap_or(&Value::Null).to_string()
}
