//! Following chains: what lanes and the projector do alike with a reader of the changelog. What a record means to them is their own.
//!
//! A changelog that is away is waited for, never taken for one without records.

use crate::chain::Chain;
use log::{ChainEvent, ChainReader, LogError, Place};
use schemas::Partition;
use std::time::Duration;

/// What came on the chains within `timeout`, in order per partition. Nothing while the changelog is away.
pub(crate) fn poll(
    reader: &mut dyn ChainReader,
    who: &str,
    timeout: Duration,
) -> Result<Vec<ChainEvent>, LogError> {
    match reader.poll(timeout) {
        Err(LogError::Away(reason)) => {
            tracing::warn!(who, reason, "the changelog is away");
            Ok(Vec::new())
        }
        answer => answer,
    }
}

/// Reads exactly these chains, each from where it is.
pub(crate) fn assign<'a>(
    reader: &mut dyn ChainReader,
    chains: impl Iterator<Item = (Partition, &'a Chain)>,
) -> Result<(), LogError> {
    let places: Vec<Place> = chains
        .map(|(partition, chain)| Place {
            partition,
            next: chain.changelog,
        })
        .collect();
    reader.assign(&places)
}
