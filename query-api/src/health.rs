//! `GET /health` of a process that only answers queries. Ingest has one that knows more: mount one of them.

use axum::Json;
use serde_json::{Value, json};
use service::api::Api;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// That the process answers.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Health {
    /// `ok`.
    status: String,
}

/// The route `/health`, which answers 200 for as long as the process answers. Whether it should be given work is said on
/// the admin port.
pub fn health_api() -> Api {
    Api::new().on(routes!(ok))
}

#[utoipa::path(
    get, path = "/health", tag = "Service",
    summary = "Whether the process answers",
    responses((status = 200, description = "It does.", body = Health)),
)]
async fn ok() -> Json<Value> {
    Json(json!({"status": "ok"}))
}
