//! The admin port: is it alive, is it ready, and its metrics.
//!
//! It must answer while everything else is stuck or draining. So it depends on nothing but memory, and is stopped
//! last: give it a [`Shutdown`] of its own, begun after the drain, else nobody sees readiness fall.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::net::TcpListener;

use crate::config::Http;
use crate::http;
use crate::metrics::{self, Registry};
use crate::readiness::Readiness;
use crate::shutdown::Shutdown;

/// Connections at one time: probes and a scraper or two.
const CONNECTIONS: usize = 64;
/// Milliseconds that a scrape in hand has to finish at the end.
const DRAIN_DEADLINE_MS: u64 = 1000;

#[derive(Clone)]
struct Parts {
    readiness: Readiness,
    metrics: Registry,
}

/// Serves `/live`, `/ready` and `/metrics` until `shutdown`, which should begin after the drain of all else.
///
/// # Errors
/// If `listener` has no local address, that is, is none; if `metrics` has its name already.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Registry,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let help = "Conditions of /ready that do not hold; /ready names them.";
    let unmet = metrics
        .gauge("tidemark_ready_unmet_conditions", help)
        .map_err(std::io::Error::other)?;
    let asked = readiness.clone();
    metrics.before_render(move || {
        let conditions = asked.report().conditions;
        let count = conditions.iter().filter(|line| !line.ready).count();
        unmet.set(i64::try_from(count).unwrap_or(i64::MAX));
    });
    let router = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
        .with_state(Parts { readiness, metrics });
    let limits = Http {
        connections: CONNECTIONS,
        request_queue: CONNECTIONS,
        drain_deadline_ms: DRAIN_DEADLINE_MS,
        body_limit_bytes: 1024,
        ..Http::default()
    };
    http::serve_unmeasured(listener, router, &limits, shutdown).await
}

/// It answers, so it lives. That a store is away must not make it be restarted.
async fn live() -> Response {
    Json(serde_json::json!({"alive": true})).into_response()
}

async fn ready(State(parts): State<Parts>) -> Response {
    let report = parts.readiness.report();
    match report.ready {
        true => Json(report).into_response(),
        false => {
            let retry = [(RETRY_AFTER, http::RETRY_AFTER_S.to_string())];
            (StatusCode::SERVICE_UNAVAILABLE, retry, Json(report)).into_response()
        }
    }
}

async fn render(State(parts): State<Parts>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], parts.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{exchange, get, listener};

    #[tokio::test]
    async fn readiness_falls_with_the_wish_to_stop_and_is_still_served() {
        let (listener, address) = listener().await;
        let (work, admin) = (Shutdown::new(), Shutdown::new());
        let readiness = Readiness::new(&work);
        let store = readiness.condition("store");
        let metrics = Registry::new().unwrap();
        let served = tokio::spawn(serve(listener, readiness, metrics, admin.clone()));

        assert!(get(address, "/live").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/ready").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("starting"),
            "{answer}"
        );
        assert!(answer.contains("retry-after: "), "{answer}");
        store.ready();
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 200"));
        work.begin();
        let answer = get(address, "/ready").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("draining"),
            "{answer}"
        );

        let answer = get(address, "/metrics").await;
        assert!(
            answer.contains("content-type: text/plain; version=0.0.4"),
            "{answer}"
        );
        assert!(answer.contains("tidemark_process_open_files"), "{answer}");
        assert!(answer.contains("tidemark_ready_unmet_conditions 1"), "{answer}");
        let answer = get(address, "/nothing").await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.contains("/problems/not_found"),
            "{answer}"
        );
        let answer = exchange(
            address,
            "GET /metrics HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");

        admin.begin();
        served.await.unwrap().unwrap();
    }
}
