//! What every HTTP port of ours has: limits, request ids, problem documents, a drain.
//!
//! [`serve`] takes a router and puts around it, from the outside in: request id and span, metrics, panics as 500, origins that
//! may call, the guard (keys; where there are none, Host and Origin), the limits of the body, the number of requests at one
//! time, and problem documents where no route or method fits. Around the connections: a cap, and times for slow heads, slow bodies and
//! slow readers. Where there is a certificate, all of it goes over TLS. A handler can rely on all of it, and never sees a request that broke a limit of the head.

// Errors as RFC 9457 problem documents.
mod problem;
// The form of errors for clients of an older service.
mod older;
// Who a request is, in the log and to the client.
mod request_id;
// Times and sizes of requests.
mod measure;
// Host and Origin where there are no keys.
pub(crate) mod loopback;
// Pages of other origins that may call.
mod cors;
// Bodies that are too large or too slow.
mod body;
// How many requests are worked on at one time.
mod admission;
// Accepting connections, and letting them finish.
mod connections;
// HTTPS, and the certificate behind it.
mod tls;
// Clients that do not read what they asked for.
mod stall;
// Small JSON bodies.
mod json;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

pub use self::body::BodyFault;
pub use self::json::{PLAIN_JSON, plain_json};
pub use self::measure::Metrics;
pub(crate) use self::older::is_older;
pub use self::problem::{CONTENT_TYPE, Problem, RETRY_AFTER_S};
pub use self::request_id::{REQUEST_ID, RequestId};
pub use self::tls::{Certificate, CertificateError, Listener};

use crate::access::{self, Access, Guard};
use crate::config;
use crate::shutdown::Shutdown;

/// Serves `router` on `listener` until `shutdown`, and then until the requests in hand are done or
/// `limits.drain_deadline_ms` is over.
///
/// The fallbacks of `router` are replaced by problem documents. A response without end (an event stream) must watch
/// `shutdown` itself, or it is cut at the deadline. Handlers can take `Extension<RequestId>` and
/// `ConnectInfo<SocketAddr>`; they take an [`access::Caller`], and routes say what it [`access::needs`].
///
/// # Errors
/// If `listener` has no local address, or one that others reach while nobody needs a key. What happens to single connections is no
/// error of the server.
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    limits: &config::Http,
    metrics: Metrics,
    access: Access,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let listener = listener.into();
    let address = listener.tcp.local_addr()?;
    let local = loopback::Local {
        is_loopback: address.ip().is_loopback(),
        origins: limits.cors_origins.clone().into(),
    };
    if access.is_open() && !local.is_loopback {
        let why = format!("{address} can be reached by others, and there are no keys");
        return Err(std::io::Error::other(why));
    }
    let router = limited(router, limits).layer(from_fn_with_state(Guard { access, local }, access::guard));
    let router = cors::layer(router, &limits.cors_origins).layer(CatchPanicLayer::custom(panicked));
    let router = request_id::layer(measure::layer(router, metrics.clone()));
    connections::serve(listener, router, limits, Some(&metrics), shutdown).await;
    Ok(())
}

/// [`serve`] for the admin port, whose own requests are not worth a metric.
pub(crate) async fn serve_unmeasured(
    listener: TcpListener,
    router: Router,
    limits: &config::Http,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let local = loopback::Local {
        is_loopback: listener.local_addr()?.ip().is_loopback(),
        origins: Arc::default(),
    };
    let router = limited(router, limits)
        .layer(from_fn_with_state(local, loopback::check))
        .layer(CatchPanicLayer::custom(panicked));
    let router = request_id::layer(router);
    connections::serve(listener.into(), router, limits, None, shutdown).await;
    Ok(())
}

fn limited(router: Router, limits: &config::Http) -> Router {
    router
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .layer(from_fn_with_state(
            admission::Places::new(limits.request_queue),
            admission::admit,
        ))
        .layer(from_fn_with_state(body::Limits::new(limits), body::guard))
}

/// A panic in a handler is a bug. The hook of [`crate::telemetry`] has logged it, within the request's span; the client
/// learns only that there was one.
fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    Problem::internal().into_response()
}

#[cfg(test)]
pub(crate) mod testing;
// Docs that name every type.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod documented;
#[cfg(test)]
mod tests;
