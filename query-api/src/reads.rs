//! Calls of the view store, each with a deadline: a store that is away is told to the client within seconds, never by a
//! request that hangs.

use crate::{Metrics, QueryApi};
use schemas::wire::Malformed;
use service::http::Problem;
use std::future::Future;
use std::time::Duration;

/// Longest time for one call. The store tries again by itself within it.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time for all the rows of one answer.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Rows of an answer at most: about 10 MB of JSON.
pub(crate) const ANSWER_ROWS: usize = 100_000;
/// Calls of one answer at one time.
pub(crate) const READS_AT_ONCE: usize = 16;
/// Calls of one export at one time: there may be many exports, and none is in a hurry.
pub(crate) const EXPORT_READS_AT_ONCE: usize = 4;
/// Seconds until a store or a log that is away may be there again.
const AWAY_RETRY_S: u32 = 5;

impl QueryApi {
    /// Awaits calls of the store for at most `deadline`.
    ///
    /// Errors: 503 `store_away`; 500 if what it holds is wrong.
    pub(crate) async fn read<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<T, views::Error>>,
    ) -> Result<T, Problem> {
        read(&self.metrics, deadline, work).await
    }

    /// 503 `log_away`, for what only the log can say.
    pub(crate) fn log_away(&self, cause: &crate::LogAway) -> Problem {
        tracing::warn!(%cause, "a query was not answered: the event log is away");
        self.metrics.failures.get(&["log"]).inc();
        Problem::unavailable("log_away", "The event log does not answer", AWAY_RETRY_S)
    }
}

async fn read<T>(
    metrics: &Metrics,
    deadline: Duration,
    work: impl Future<Output = Result<T, views::Error>>,
) -> Result<T, Problem> {
    let cause = match tokio::time::timeout(deadline, work).await {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(views::Error::Wrong(cause))) => {
            tracing::error!(%cause, "the view store is not what it should be");
            return Err(Problem::internal());
        }
        Ok(Err(views::Error::Away(cause))) => cause,
        Err(_) => format!("no answer within {} ms", deadline.as_millis()),
    };
    tracing::warn!(%cause, "a query was not answered: the view store is away");
    metrics.failures.get(&["store"]).inc();
    Err(
        Problem::unavailable("store_away", "The view store does not answer", AWAY_RETRY_S)
            .detail("nothing is lost: events are taken and counted meanwhile, or wait on the log"),
    )
}

/// 500 for a row that cannot be read; its view must be made again from the log.
pub(crate) fn malformed(cause: &Malformed) -> Problem {
    tracing::error!(%cause, "a row of the view store cannot be read");
    Problem::internal()
}

/// 400 `answer_too_large`.
pub(crate) fn too_large() -> Problem {
    Problem::bad_request("answer_too_large", "The answer is too large")
        .detail("ask for fewer days or longer buckets, name types, or ask for format=csv or format=ndjson")
        .with("limit_rows", ANSWER_ROWS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_is_away_or_hangs_is_a_503_and_never_a_wait() {
        let registry = service::metrics::Registry::new().unwrap();
        let metrics = Metrics::new(&registry).unwrap();
        let limit = Duration::from_millis(10);
        let away = async { Err::<(), _>(views::Error::Away("10.0.0.7 refused".into())) };
        let hangs = std::future::pending::<Result<(), views::Error>>();
        for problem in [
            read(&metrics, limit, away).await,
            read(&metrics, limit, hangs).await,
        ] {
            let problem = problem.unwrap_err();
            assert_eq!((problem.status().as_u16(), problem.code()), (503, "store_away"));
            assert!(
                !format!("{problem:?}").contains("10.0.0.7"),
                "an inner cause is for the log"
            );
        }
        let wrong = async { Err::<(), _>(views::Error::Wrong("layout".into())) };
        assert_eq!(
            read(&metrics, limit, wrong).await.unwrap_err().status().as_u16(),
            500
        );
        assert!(
            registry
                .render()
                .contains("tidemark_query_failures_total{part=\"store\"} 2")
        );
    }
}
