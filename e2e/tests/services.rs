//! All services on Kafka and the view store, as an operator starts and stops them, and the audit behind them.

use crate::rig::AUDIT;
use e2e::process::Role;
use e2e::world::{Cluster, PATIENCE, Service};

/// Ingest, query, and two aggregators.
pub(crate) struct Services {
    pub(crate) ingest: Service,
    pub(crate) query: Service,
    pub(crate) aggregators: [Service; 2],
}

impl Services {
    /// With aggregators that are static members of the group, or dynamic ones.
    pub(crate) fn start(world: &Cluster, is_static: bool) -> Self {
        let role = |name| world.aggregate(name, is_static).unwrap();
        Self::with(world, [role("aggregate-1"), role("aggregate-2")])
    }

    /// With these aggregators.
    pub(crate) fn with(world: &Cluster, aggregators: [Role; 2]) -> Self {
        Self {
            aggregators: aggregators.map(|role| Service::start(role).unwrap()),
            ingest: Service::start(world.ingest().unwrap()).unwrap(),
            query: Service::start(world.query().unwrap()).unwrap(),
        }
    }

    /// Stops all of them, what sends first, and `query` sends canaries; each must end with 0.
    pub(crate) fn stop(self) {
        self.ingest.process.stop(PATIENCE).unwrap();
        self.query.process.stop(PATIENCE).unwrap();
        for aggregator in self.aggregators {
            aggregator.process.stop(PATIENCE).unwrap();
        }
    }
}

/// The audit reads the raw log with a fold of its own and compares every row of every view. To be called once all have stopped: a drain
/// must leave the store at the very end of the chain.
pub(crate) fn audit(world: &Cluster) {
    assert_eq!(
        world.audit(60).run(AUDIT).unwrap(),
        0,
        "the audit found differences, or could not look"
    );
}
