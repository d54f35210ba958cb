//! What every role needs of its surroundings: ports, metrics, readiness, and the way down.

use crate::ended::Ended;
use axum::Router;
use schemas::Timestamp;
use service::access::Access;
use service::api::Api;
use service::config::Config;
use service::http::{Certificate, Listener};
use service::metrics::Registry;
use service::readiness::{Condition, Readiness};
use service::shutdown::Shutdown;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Routes that ask for no key: one says nothing, two look for a secret or a key themselves, the others are the console's page, the API's document and
/// the page that shows it.
const PUBLIC: [&str; 10] = {
    let [page, about, files] = console::ROUTES;
    let [docs, slash, parts, document] = console::DOCS_ROUTES;
    let (revenue, queue) = (ingest::OLDER_ROUTE, query_api::OLDER_ROUTE);
    [
        "/health", revenue, queue, page, about, files, docs, slash, parts, document,
    ]
};

/// The surroundings of a role.
pub(crate) struct World<'a> {
    pub(crate) config: &'a Config,
    pub(crate) metrics: Registry,
    pub(crate) readiness: Readiness,
    /// All parts are there: until then nothing else is asked.
    pub(crate) started: Condition,
    pub(crate) shutdown: Shutdown,
    access: Access,
    admin_shutdown: Shutdown,
}

/// The public port, and the certificate that it shows, if it has one.
pub(crate) struct Port {
    listener: TcpListener,
    certificate: Option<Certificate>,
}

impl Port {
    /// Where it is.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl<'a> World<'a> {
    pub(crate) fn new(config: &'a Config, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let metrics = Registry::new()?;
        // What is named must be there, so that a mount that failed opens nothing.
        let must_be = config.access.keys_file.is_some();
        let access = Access::open(&config.keys_file(), must_be, &PUBLIC, &metrics)?;
        let readiness = Readiness::new(shutdown);
        Ok(Self {
            config,
            metrics,
            access,
            started: readiness.condition("start"),
            readiness,
            shutdown: shutdown.clone(),
            admin_shutdown: Shutdown::new(),
        })
    }

    /// Opens the admin port; it stays until the drain is over, so that readiness is seen to fall first.
    pub(crate) async fn open_admin(&self) -> anyhow::Result<tokio::task::JoinHandle<std::io::Result<()>>> {
        let address = self.config.http.admin_listen;
        let listener = bind("http.admin_listen", address).await?;
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

    /// `/v1/keys`.
    pub(crate) fn keys_api(&self) -> Api {
        service::access::keys_api(self.access.clone())
    }

    /// Opens the public port. Its certificate is read here: a role without the port has no use for it, and must not warn of its end.
    pub(crate) async fn listen(&self) -> anyhow::Result<Port> {
        let http = &self.config.http;
        let certificate =
            Certificate::open(&http.tls, &self.metrics).map_err(|error| Ended::setting(error.to_string()))?;
        let listener = bind("http.listen", http.listen).await?;
        Ok(Port {
            listener,
            certificate,
        })
    }

    /// Serves until asked to stop, then until the requests under way are answered or the deadline passed.
    pub(crate) async fn serve(&self, port: Port, router: Router) -> anyhow::Result<()> {
        let address = port.address()?;
        let keys = self.config.keys_file();
        match self.access.is_open() {
            true => tracing::warn!(
                %address,
                "serving without keys: only this machine is answered, and may do everything"
            ),
            false => tracing::info!(%address, keys = %keys.display(), "serving whoever has a key"),
        }
        let http = &self.config.http;
        let is_known = http.live_event_secret_file.is_none() && http.live_event_secret_is_known();
        if !self.access.is_open() && is_known {
            tracing::warn!(
                "POST /liveEvent takes keys only: the setting http.live_event_secret is known to everybody"
            );
        }
        let metrics = service::http::Metrics::new(&self.metrics)?;
        let (access, limits) = (self.access.clone(), &self.config.http);
        let watching = tokio::spawn(access.clone().watch(self.shutdown.clone()));
        let listener = Listener::from(port.listener).with(port.certificate.clone());
        if let Some(certificate) = port.certificate {
            tokio::spawn(certificate.watch(self.shutdown.clone()));
        }
        self.started.ready();
        service::http::serve(listener, router, limits, metrics, access, self.shutdown.clone()).await?;
        self.shutdown.begin();
        watching.await?;
        Ok(())
    }

    /// Closes the admin port, last.
    pub(crate) fn close_admin(&self) {
        self.admin_shutdown.begin();
    }
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|cause| Ended::setting(format!("{setting}: {address} cannot be opened: {cause}")).into())
}

/// The present time: the one clock of the program's services.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
