//! Where the log ends, for the lag of an answer and for receipts that cannot be. Asked by many requests, looked at once.

use crate::reader::{LogAway, OpenReader, Reader};
use futures::future::BoxFuture;
use schemas::{Offset, Partition};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest time for one look at the ends of all partitions.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);
/// How long nobody looks again after a look that failed, so that a log that is away costs one request its time and not all.
const FAILURE_REST: Duration = Duration::from_secs(1);

/// The ends of the log.
pub trait Ends: Send + Sync {
    /// The next offset at the end of each partition of `events`, from a look that began at most `age` ago; with an age of
    /// zero, one that begins now. Bounded in time.
    fn ends(&self, age: Duration) -> BoxFuture<'_, Result<Arc<BTreeMap<Partition, Offset>>, LogAway>>;
}

/// The ends as a log reader tells them.
#[derive(Debug)]
pub struct LogEnds {
    reader: Reader,
    partitions: u32,
    last: Mutex<Option<Look>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Look {
    /// When it began, or when it failed.
    at: Instant,
    ends: Result<Arc<BTreeMap<Partition, Offset>>, LogAway>,
}

impl LogEnds {
    /// The ends of partitions 0 to `partitions` - 1, looked at through readers that `open` makes.
    pub fn new(open: OpenReader, partitions: u32) -> Self {
        Self {
            reader: Reader::new(open),
            partitions,
            last: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    async fn ends_now(&self, age: Duration) -> Result<Arc<BTreeMap<Partition, Offset>>, LogAway> {
        let asked = Instant::now();
        if let Some(ends) = self.known(asked, age) {
            return ends;
        }
        let late = |_| LogAway("others wait for the log's ends already".to_owned());
        let _turn = timeout(LOOK_DEADLINE, self.turn.lock()).await.map_err(late)?;
        // Whoever had the turn before may have looked for this one too.
        if let Some(ends) = self.known(asked, age) {
            return ends;
        }
        let began = Instant::now();
        let partitions = self.partitions;
        let ends = self.reader.call(LOOK_DEADLINE, move |reader| {
            let ends = (0..partitions).map(|p| Ok((Partition(p), reader.range(Partition(p))?.1)));
            ends.collect::<Result<BTreeMap<_, _>, log::LogError>>()
        });
        let ends = ends.await.map(Arc::new);
        let at = if ends.is_ok() { began } else { Instant::now() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Look {
            at,
            ends: ends.clone(),
        });
        ends
    }

    fn known(
        &self,
        asked: Instant,
        age: Duration,
    ) -> Option<Result<Arc<BTreeMap<Partition, Offset>>, LogAway>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let look = last.as_ref()?;
        let age = if look.ends.is_ok() { age } else { FAILURE_REST };
        (look.at + age >= asked).then(|| look.ends.clone())
    }
}

impl Ends for LogEnds {
    fn ends(&self, age: Duration) -> BoxFuture<'_, Result<Arc<BTreeMap<Partition, Offset>>, LogAway>> {
        Box::pin(self.ends_now(age))
    }
}
