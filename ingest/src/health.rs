//! `GET /health`: for people and for clients of the older services. Orchestrators ask the admin port.
//!
//! It answers 200 for as long as it answers, and says `degraded` and why when a part is not ready: a client can do
//! nothing about that, and what is on the log is safe.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use service::api::Api;
use service::readiness::Readiness;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// The route `/health`, to be mounted once in a process.
pub fn health(readiness: Readiness) -> Api {
    Api::new().on(routes!(report)).with_state(readiness)
}

/// How the process is.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Health {
    /// `ok` or `degraded`.
    status: String,
    /// Where it is degraded: what each part waits for.
    conditions: Option<Vec<Condition>>,
}

/// A part that may not be ready.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Condition {
    name: String,
    ready: bool,
    reason: Option<String>,
}

#[utoipa::path(
    get, path = "/health", tag = "Service",
    summary = "How the process is",
    responses((status = 200, description = "It answers.", body = Health)),
)]
async fn report(State(readiness): State<Readiness>) -> Json<Value> {
    let report = readiness.report();
    Json(match report.ready {
        true => json!({"status": "ok"}),
        false => json!({"status": "degraded", "conditions": report.conditions}),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use service::shutdown::Shutdown;

    #[tokio::test]
    async fn a_part_that_is_not_ready_is_named() {
        let readiness = Readiness::new(&Shutdown::new());
        let store = readiness.condition("store");
        assert_eq!(report(State(readiness.clone())).await.0["status"], "degraded");
        store.ready();
        assert_eq!(report(State(readiness.clone())).await.0, json!({"status": "ok"}));
        store.not_ready("no node answers");
        assert_eq!(
            report(State(readiness)).await.0["conditions"][0]["reason"],
            "no node answers"
        );
    }
}
