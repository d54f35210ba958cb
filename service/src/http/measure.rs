//! The metrics of a public port: how many requests, how long, how many now.
//!
//! A route is the pattern that matched, never the path, so its values are closed by the code.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::Method;
use prometheus::{HistogramVec, IntGauge};

use crate::metrics::{Error, Registry, SECONDS};

/// The metrics of a public port. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: HistogramVec,
    current: IntGauge,
    pub(super) connections: IntGauge,
}

impl Metrics {
    /// Makes `tidemark_http_request_seconds` by method, route and status class, `tidemark_http_current_requests` and
    /// `tidemark_http_open_connections`. Once per registry.
    ///
    /// # Errors
    /// If they are made already.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let help = "Time from the request's head to the answer's head, by route.";
        let labels = ["method", "route", "status"];
        let requests = registry.histogram_vec("tidemark_http_request_seconds", help, &SECONDS, &labels)?;
        let current = registry.gauge("tidemark_http_current_requests", "Requests worked on now.")?;
        let connections = registry.gauge("tidemark_http_open_connections", "Connections open now.")?;
        Ok(Self {
            requests,
            current,
            connections,
        })
    }
}

/// One more for as long as it lives, also when what it counts is dropped half way.
pub(super) struct Counted(IntGauge);

impl Counted {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(super) fn layer(router: Router, metrics: Metrics) -> Router {
    router.layer(from_fn_with_state(metrics, measure))
}

async fn measure(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let _current = Counted::new(&metrics.current);
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let status = match response.status().as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    // Fails only if the number of labels is wrong; the tests count them.
    if let Ok(histogram) = metrics
        .requests
        .get_metric_with_label_values(&[method, route, status])
    {
        histogram.observe(start.elapsed().as_secs_f64());
    }
    response
}

/// A client can make up methods; the label must not follow.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
