//! What the projector needs of a view store.

use schemas::Partition;
use schemas::row::{Progress, Row, View};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use uuid::Uuid;
use views::{Error, Stored};

/// Where rows go.
///
/// A store may lose what it acknowledged (it was emptied, or put back to an earlier state) if it does not do so without a sign: an
/// emptied table has lost its life, and after a store was set back the next call fails with [`Error::Away`], since its
/// connections broke. On that the projector rests when it says how far the rows are.
pub trait Sink: Clone + Send + Sync + 'static {
    /// Puts rows in the order in which writing them costs least.
    fn arrange(&self, rows: &mut [Row]);

    /// Writes absolute partials under their stamps; an older stamp never replaces a newer one.
    fn upsert(&self, rows: Arc<[Row]>) -> impl Future<Output = Result<(), Error>> + Send;

    /// The life of a view's table for this partition: read, or begun where the table has none. A later life has a greater id.
    /// What was filled from the log of another changelog is [`Error::Wrong`].
    fn begin(
        &self,
        view: View,
        partition: Partition,
        changelog_id: Uuid,
    ) -> impl Future<Output = Result<Uuid, Error>> + Send;

    /// Writes how far a view reflects a partition, into that view's own table.
    fn write_progress(
        &self,
        view: View,
        partition: Partition,
        progress: &Progress,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The life and the progress row of each partition in a view's own table, believed or not.
    fn stored(&self, view: View) -> impl Future<Output = Result<BTreeMap<Partition, Stored>, Error>> + Send;
}

impl Sink for views::Store {
    fn arrange(&self, rows: &mut [Row]) {
        Self::arrange(self, rows);
    }

    async fn upsert(&self, rows: Arc<[Row]>) -> Result<(), Error> {
        Self::upsert(self, rows).await
    }

    async fn begin(&self, view: View, partition: Partition, changelog_id: Uuid) -> Result<Uuid, Error> {
        Self::begin(self, view, partition, changelog_id).await
    }

    async fn write_progress(
        &self,
        view: View,
        partition: Partition,
        progress: &Progress,
    ) -> Result<(), Error> {
        Self::write_progress(self, view, partition, progress).await
    }

    async fn stored(&self, view: View) -> Result<BTreeMap<Partition, Stored>, Error> {
        Self::stored(self, view).await
    }
}
