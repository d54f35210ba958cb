//! Moments inside a transaction at which an aggregator is killed or frozen. The proxy keeps one request of the transaction, or the
//! answer to it, from going on: the client cannot come any further, so the moment is known and not guessed.

use crate::rig::Chance;
use e2e::proxy::{Action, Api, Event, Proxy, Request, What};
use std::time::Duration;

/// For a moment that was chosen; an aggregator without partitions never comes to it.
pub(crate) const REACH: Duration = Duration::from_secs(20);

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives after its sender's death.
    Late,
    /// The broker has done it, and its sender never hears of it.
    Unheard,
}

/// The requests of a producer's life, in their order.
const APIS: [Api; 6] = [
    Api::InitProducerId,
    Api::AddPartitionsToTxn,
    Api::Produce,
    Api::AddOffsetsToTxn,
    Api::TxnOffsetCommit,
    Api::EndTxn,
];

/// A request, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) api: Api,
    pub(crate) fate: Fate,
}

impl Moment {
    /// Where the client stands.
    pub(crate) fn name(self) -> String {
        let doing = match self.api {
            Api::InitProducerId => "becoming a producer",
            Api::AddPartitionsToTxn => "opening a transaction",
            Api::Produce => "writing records",
            Api::AddOffsetsToTxn => "adding the group",
            Api::TxnOffsetCommit => "writing offsets",
            _ => "ending the transaction",
        };
        let fate = match self.fate {
            Fate::Lost => "the request lost",
            Fate::Late => "the request late",
            Fate::Unheard => "done and not heard of",
        };
        format!("{doing}, {fate}")
    }

    /// Waits until the client stands there, and keeps it there. Gives the number under which the request is held, if it is; `None`
    /// if the client did not come to it.
    pub(crate) fn reach(self, proxy: &Proxy) -> Option<Option<u64>> {
        let action = match self.fate {
            Fate::Lost | Fate::Late => Action::Hold,
            Fate::Unheard => Action::Withhold,
        };
        let api = self.api;
        let is_it = move |request: &Request| request.api == api && request.transactional_id().is_some();
        let mark = proxy.mark();
        let rule = proxy.once(is_it, action);
        let stands = |event: &Event| {
            event.sequence > mark
                && match &event.what {
                    What::Held { request, .. } => is_it(request),
                    What::ResponseSeen {
                        request,
                        delivered: false,
                        ..
                    } => is_it(request),
                    _ => false,
                }
        };
        let reached = proxy.wait_for(stands, REACH);
        proxy.forget(rule);
        reached.ok().map(|event| event.held().map(|(id, _)| id))
    }
}

/// All moments in an order of chance, again and again. The last one comes three times: the batch is on the chain, so the projector
/// works.
pub(crate) struct Deck(Vec<Moment>);

impl Deck {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn draw(&mut self, chance: &mut Chance) -> Moment {
        if self.0.is_empty() {
            let fates = [Fate::Lost, Fate::Late, Fate::Unheard];
            self.0 = APIS
                .iter()
                .flat_map(|api| fates.map(|fate| Moment { api: *api, fate }))
                .collect();
            let committed = Moment {
                api: Api::EndTxn,
                fate: Fate::Unheard,
            };
            self.0.extend([committed; 2]);
        }
        let index = chance.below(self.0.len() as u64) as usize;
        self.0.swap_remove(index)
    }
}
