//! Accepting connections up to a cap, serving HTTP/1.1 on each, and letting them finish at the end.
//!
//! This is hyper and not `axum::serve`, which has neither a time for the request's head, nor a cap, nor a deadline
//! for the drain. hyper answers what breaks the limits of the head itself, with a bare 400 or 431, and closes what is
//! too slow.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::measure::{Counted, Metrics};
use super::stall::Impatient;
use super::tls::{self, Certificate, Listener};
use crate::config;
use crate::shutdown::{Shutdown, within};

/// Headers of one request at most; browsers and proxies send fewer than half of it.
const HEADERS_LIMIT: usize = 100;
/// Wait after an accept that failed for want of descriptors or memory, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Accepts until `shutdown`, then waits for the requests in hand, at most until the deadline.
pub(super) async fn serve(
    listener: Listener,
    router: Router,
    limits: &config::Http,
    metrics: Option<&Metrics>,
    shutdown: Shutdown,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout())
        .max_headers(HEADERS_LIMIT)
        .max_buf_size(limits.header_limit_bytes);
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let cut = Shutdown::new();
    while let Some((stream, peer, place)) = accept(&listener.tcp, &places, &shutdown).await {
        let connection = Connection {
            stream,
            certificate: listener.certificate.clone(),
            head_timeout: limits.header_timeout(),
            patience: limits.body_idle_timeout(),
            peer,
            _place: place,
            _counted: metrics.map(|metrics| Counted::new(&metrics.connections)),
        };
        connections.spawn(connection.run(http.clone(), router.clone(), shutdown.clone(), cut.clone()));
    }
    drop(listener);
    connections.close();
    if within(limits.drain_deadline(), connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "cut connections at the drain's deadline"
        );
        cut.begin();
        connections.wait().await;
    }
}

/// The next connection and its place among those allowed; none once `shutdown` has begun.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    shutdown: &Shutdown,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accepted = async {
        // Fails only when the semaphore is closed, which nobody does.
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.begun() => None,
        accepted = accepted => accepted,
    }
}

struct Connection {
    stream: TcpStream,
    certificate: Option<Certificate>,
    head_timeout: Duration,
    patience: Duration,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
    _counted: Option<Counted>,
}

impl Connection {
    /// Greets whoever connected, where there is a certificate, and serves. Who is not done with the greeting when `shutdown` begins has
    /// asked for nothing yet.
    async fn run(mut self, http: http1::Builder, router: Router, shutdown: Shutdown, cut: Shutdown) {
        let Some(certificate) = self.certificate.take() else {
            let stream = Impatient::new(self.stream, self.patience);
            return serve_on(stream, self.peer, http, router, shutdown, cut).await;
        };
        let greeted = async {
            if !tls::speaks_tls(&mut self.stream, self.head_timeout).await {
                return None;
            }
            let stream = Impatient::new(self.stream, self.patience);
            let greeted = certificate.greet(stream, self.head_timeout).await;
            greeted
                .inspect_err(|error| tracing::debug!(%error, "a connection ended in its TLS handshake"))
                .ok()
        };
        let greeted = tokio::select! {
            greeted = greeted => greeted,
            () = shutdown.begun() => None,
        };
        if let Some(stream) = greeted {
            serve_on(stream, self.peer, http, router, shutdown, cut).await;
        }
    }
}

/// Serves requests until the client goes, `shutdown` begins and the request in hand is done, or `cut` begins. hyper
/// closes at once what has sent nothing yet; a head half sent has what is left of its time.
async fn serve_on<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    http: http1::Builder,
    router: Router,
    shutdown: Shutdown,
    cut: Shutdown,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| answer(&router, request, peer));
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.begun() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection => served,
                () = cut.begun() => Ok(()),
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(
    router: &TowerToHyperService<Router>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    router.call(request.map(Body::new)).await
}
