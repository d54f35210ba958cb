//! The admin port: is it alive, is it ready, and its metrics.
//!
//! It must answer while everything else is stuck or draining. So it depends on nothing but memory, and is stopped
//! last: give it a [`Shutdown`] of its own, begun after the drain, else nobody sees readiness fall. Metrics alone ask more, as how full the
//! disk is: they are written on threads that may block, so that a mount that hangs stops them and nothing else.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::Http;
use crate::http::{self, Problem};
use crate::metrics::{self, Registry};
use crate::readiness::Readiness;
use crate::shutdown::Shutdown;

/// Connections at one time: probes and a scraper or two.
const CONNECTIONS: usize = 64;
/// Scrapes at one time. One that hangs keeps its thread, though whoever asked has gone: the bound keeps the next ones from taking all threads.
const SCRAPES: usize = 4;
/// Milliseconds that a scrape in hand has to finish at the end.
const DRAIN_DEADLINE_MS: u64 = 1000;

#[derive(Clone)]
struct Parts {
    readiness: Readiness,
    metrics: Registry,
    scrapes: Arc<Semaphore>,
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
    let parts = Parts {
        readiness,
        metrics,
        scrapes: Arc::new(Semaphore::new(SCRAPES)),
    };
    let router = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
        .with_state(parts);
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

async fn render(State(Parts { metrics, scrapes, .. }): State<Parts>) -> Response {
    let Ok(place) = scrapes.try_acquire_owned() else {
        return Problem::unavailable(
            "too_busy",
            "Too many requests are being worked on",
            http::RETRY_AFTER_S,
        )
        .detail("earlier questions for the metrics are not answered yet: does the disk of the data folder answer?")
        .into_response();
    };
    let rendered = tokio::task::spawn_blocking(move || {
        let text = metrics.render();
        drop(place);
        text
    });
    match rendered.await {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{exchange, get, listener};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};
    use tokio::task::JoinSet;

    /// How long the scrape of a test hangs, unless it is let go.
    const HANGS: Duration = Duration::from_secs(10);

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

    #[tokio::test]
    async fn a_scrape_that_hangs_stops_nothing_else_and_few_hang_at_one_time() {
        let (listener, address) = listener().await;
        let (work, admin) = (Shutdown::new(), Shutdown::new());
        let metrics = Registry::new().unwrap();
        let (go, hangs) = mpsc::channel::<()>();
        metrics.before_render(move || {
            let _ = hangs.recv_timeout(HANGS);
        });
        let begun = Instant::now();
        let served = tokio::spawn(serve(listener, Readiness::new(&work), metrics, admin.clone()));

        let mut scrapes = JoinSet::new();
        for _ in 0..=SCRAPES {
            scrapes.spawn(get(address, "/metrics"));
        }
        let first = scrapes.join_next().await.unwrap().unwrap();
        assert!(
            first.starts_with("HTTP/1.1 503") && first.contains("/problems/too_busy"),
            "{first}"
        );
        assert!(get(address, "/live").await.starts_with("HTTP/1.1 200"));
        assert!(begun.elapsed() < HANGS, "it was waited for a scrape");
        // Whoever was first hangs no more, nor do those behind.
        drop(go);
        while let Some(answer) = scrapes.join_next().await {
            let answer = answer.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 200"));
        admin.begin();
        served.await.unwrap().unwrap();
    }
}
