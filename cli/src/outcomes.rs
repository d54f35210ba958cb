//! What ingest needs to answer `wait=counted`: outcomes as `query-api` reads them from the chains and the views. Neither knows the other.
//!
//! The role `ingest` needs no view store. Where one is set it is connected to when somebody waits for the first time; one that is
//! away costs those who wait two seconds at most and nobody else anything, and events are durable all the same.

use futures::future::BoxFuture;
use ingest::{Known, TooManyWait, Waiting};
use query_api::{Begun, Outcomes, ProgressWatch};
use schemas::receipt::Receipt;
use schemas::{Offset, Partition};
use service::shutdown::Shutdown;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use views::cassandra;

/// Longest wait for a store before the events are appended without it.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// How long nobody tries again after a try that failed.
const FAILURE_REST: Duration = Duration::from_secs(1);

/// Outcomes that are there from the start.
pub(crate) struct Ready(pub(crate) Outcomes);

impl ingest::Outcomes for Ready {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Waiting>, TooManyWait>> {
        Box::pin(begin(&self.0))
    }
}

/// Outcomes that are there once the store was reached.
pub(crate) struct Later {
    made: OnceCell<Outcomes>,
    failed: Mutex<Option<Instant>>,
    parts: Parts,
}

/// What [`Later`] is made of.
pub(crate) struct Parts {
    pub(crate) store: cassandra::Config,
    pub(crate) generation: u32,
    pub(crate) changelog_id: Uuid,
    pub(crate) chain: log::kafka::Settings,
    pub(crate) metrics: query_api::Metrics,
    pub(crate) shutdown: Shutdown,
}

impl Later {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            made: OnceCell::new(),
            failed: Mutex::new(None),
            parts,
        }
    }

    async fn outcomes(&self) -> Option<&Outcomes> {
        if let Some(made) = self.made.get() {
            return Some(made);
        }
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|at| at.elapsed() < FAILURE_REST) {
            return None;
        }
        let cause = match timeout(CONNECT_DEADLINE, self.made.get_or_try_init(|| self.connect())).await {
            Ok(Ok(made)) => return Some(made),
            Ok(Err(cause)) => cause.to_string(),
            Err(_) => format!("no answer within {} ms", CONNECT_DEADLINE.as_millis()),
        };
        tracing::warn!(cause, "outcomes cannot be told: the view store is away");
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        None
    }

    async fn connect(&self) -> Result<Outcomes, views::Error> {
        let parts = &self.parts;
        let store = views::Store::connect(parts.store.clone()).await?;
        store.check_log(parts.changelog_id).await?;
        let progress = ProgressWatch::start(store.clone(), parts.metrics.clone(), parts.shutdown.clone());
        let chain = parts.chain.clone();
        let open: query_api::OpenChain =
            Box::new(move || Ok(Box::new(log::kafka::KafkaChainReader::new(&chain)?)));
        Ok(Outcomes::new(store, parts.generation, open, progress))
    }
}

impl ingest::Outcomes for Later {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Waiting>, TooManyWait>> {
        Box::pin(async {
            match self.outcomes().await {
                Some(outcomes) => begin(outcomes).await,
                None => Ok(Box::new(Nothing) as Box<dyn Waiting>),
            }
        })
    }
}

async fn begin(outcomes: &Outcomes) -> Result<Box<dyn Waiting>, TooManyWait> {
    let begun = outcomes.begin().await.map_err(|query_api::TooMany| TooManyWait)?;
    Ok(Box::new(Begins(begun)))
}

struct Begins(Begun);

impl Waiting for Begins {
    fn known(
        self: Box<Self>,
        places: BTreeMap<Partition, Vec<Offset>>,
        receipt: Receipt,
        deadline: Instant,
    ) -> BoxFuture<'static, Known> {
        Box::pin(async move {
            let known = self.0.outcomes(places, &receipt, deadline).await;
            let became = known.became.into_iter();
            Known {
                reflected: known.reflected,
                became: became
                    .map(|(place, became)| (place, (became.outcome, became.detail)))
                    .collect(),
            }
        })
    }
}

/// Nothing is known, and waiting would not change that.
struct Nothing;

impl Waiting for Nothing {
    fn known(
        self: Box<Self>,
        _: BTreeMap<Partition, Vec<Offset>>,
        _: Receipt,
        _: Instant,
    ) -> BoxFuture<'static, Known> {
        Box::pin(async { Known::default() })
    }
}
