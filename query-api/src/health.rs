//! `GET /health` of a process that only answers queries. Ingest has one that knows more: mount one of them.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// The route `/health`, which answers 200 for as long as the process answers. Whether it should be given work is said on
/// the admin port.
pub fn health_router() -> Router {
    Router::new().route("/health", get(ok))
}

async fn ok() -> Json<Value> {
    Json(json!({"status": "ok"}))
}
