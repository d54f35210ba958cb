//! What every role needs of its surroundings: ports, metrics, readiness, and the way down.

use anyhow::Context;
use axum::Router;
use schemas::Timestamp;
use service::config::Config;
use service::metrics::Registry;
use service::readiness::Readiness;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;

/// The surroundings of a role.
pub(crate) struct World<'a> {
    pub(crate) config: &'a Config,
    pub(crate) metrics: Registry,
    pub(crate) readiness: Readiness,
    pub(crate) shutdown: Shutdown,
    admin_shutdown: Shutdown,
}

impl<'a> World<'a> {
    pub(crate) fn new(config: &'a Config, shutdown: &Shutdown) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            metrics: Registry::new()?,
            readiness: Readiness::new(shutdown),
            shutdown: shutdown.clone(),
            admin_shutdown: Shutdown::new(),
        })
    }

    /// Opens the admin port; it stays until the drain is over, so that readiness is seen to fall first.
    pub(crate) async fn open_admin(&self) -> anyhow::Result<tokio::task::JoinHandle<std::io::Result<()>>> {
        let address = self.config.http.admin_listen;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("admin port {address}"))?;
        tracing::info!(address = %listener.local_addr()?, "admin port: /live, /ready, /metrics");
        let (readiness, metrics, stop) = (
            self.readiness.clone(),
            self.metrics.clone(),
            self.admin_shutdown.clone(),
        );
        Ok(tokio::spawn(service::admin::serve(
            listener, readiness, metrics, stop,
        )))
    }

    /// Opens the public port.
    pub(crate) async fn listen(&self) -> anyhow::Result<TcpListener> {
        let address = self.config.http.listen;
        TcpListener::bind(address)
            .await
            .with_context(|| format!("port {address}"))
    }

    /// Serves until asked to stop, then until the requests under way are answered or the deadline passed.
    pub(crate) async fn serve(&self, listener: TcpListener, router: Router) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        tracing::info!(%address, "serving; without API keys only this machine is answered");
        let metrics = service::http::Metrics::new(&self.metrics)?;
        service::http::serve(
            listener,
            router,
            &self.config.http,
            metrics,
            self.shutdown.clone(),
        )
        .await?;
        Ok(())
    }

    /// Closes the admin port, last.
    pub(crate) fn close_admin(&self) {
        self.admin_shutdown.begin();
    }
}

/// The present time: the one clock of the program's services.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
