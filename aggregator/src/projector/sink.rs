//! What the projector needs of a view store.

use schemas::Partition;
use schemas::row::{Progress, Row, View};
use std::collections::BTreeMap;
use std::future::Future;
use uuid::Uuid;
use views::Error;

/// Where rows go.
pub trait Sink: Clone + Send + Sync + 'static {
    /// Writes absolute partials under their stamps; an older stamp never replaces a newer one.
    fn upsert(&self, rows: Vec<Row>) -> impl Future<Output = Result<(), Error>> + Send;

    /// The life of a view's table for this partition: read, or begun where the table has none.
    fn begin(&self, view: View, partition: Partition) -> impl Future<Output = Result<Uuid, Error>> + Send;

    /// Writes how far a view reflects a partition, into that view's own table.
    fn write_progress(
        &self,
        view: View,
        partition: Partition,
        progress: &Progress,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// How far a view reflects each partition; absent where the table has no life or another one.
    fn progress(
        &self,
        view: View,
    ) -> impl Future<Output = Result<BTreeMap<Partition, Progress>, Error>> + Send;
}

impl Sink for views::Store {
    async fn upsert(&self, rows: Vec<Row>) -> Result<(), Error> {
        Self::upsert(self, rows).await
    }

    async fn begin(&self, view: View, partition: Partition) -> Result<Uuid, Error> {
        Self::begin(self, view, partition).await
    }

    async fn write_progress(
        &self,
        view: View,
        partition: Partition,
        progress: &Progress,
    ) -> Result<(), Error> {
        Self::write_progress(self, view, partition, progress).await
    }

    async fn progress(&self, view: View) -> Result<BTreeMap<Partition, Progress>, Error> {
        Self::progress(self, view).await
    }
}
