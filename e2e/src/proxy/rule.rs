//! What shall happen to a request: the rules that a test gave, asked in the order in which it gave them.
//!
//! The first rule with an opinion decides; without one the request passes. Rules are closures over the whole
//! [`Request`], so that a test can count, compare epochs, or let a flag of its own decide.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::request::Request;

/// What a rule wants done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the broker, and the answer back: as if no rule was there.
    Pass,
    /// As `Pass`, but only after this long; later requests of the connection wait behind it.
    Delay(Duration),
    /// Kept, neither forwarded nor answered, until [`release`](super::Proxy::release). Later requests of the
    /// connection go on.
    Hold,
    /// Forwarded; the broker's answer is swallowed and the client's connection closed: "the commit's answer
    /// was lost".
    DropResponse,
    /// Forwarded; the broker's answer is swallowed and the connection stays: the client goes on waiting.
    Withhold,
    /// Not forwarded; the client's connection is closed: "the request was lost".
    CloseBeforeForward,
    /// As `Pass`, and a copy is kept until [`release`](super::Proxy::release): "the network delivers it a
    /// second time, late".
    Duplicate,
    /// As `Pass`, but a TxnOffsetCommit names this generation: one that does not fit, so that the broker refuses it as after a
    /// rebalance, or [`NO_GENERATION`](super::NO_GENERATION) and no member, so that it checks nothing.
    Generation(i32),
}

/// Names a rule for [`forget`](super::Proxy::forget).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

type Decide = Box<dyn FnMut(&Request) -> Option<Action> + Send>;

struct Rule {
    id: RuleId,
    once: bool,
    decide: Decide,
}

/// The rules in force.
#[derive(Default)]
pub(crate) struct Rules {
    inner: Mutex<(u64, Vec<Rule>)>,
}

impl Rules {
    /// Adds a rule behind the others; with `once` it goes when it has decided for the first time.
    pub(crate) fn add(&self, once: bool, decide: Decide) -> RuleId {
        let mut inner = self.inner();
        inner.0 += 1;
        let id = RuleId(inner.0);
        inner.1.push(Rule { id, once, decide });
        id
    }

    pub(crate) fn remove(&self, id: RuleId) {
        self.inner().1.retain(|rule| rule.id != id);
    }

    pub(crate) fn clear(&self) {
        self.inner().1.clear();
    }

    pub(crate) fn decide(&self, request: &Request) -> Action {
        let mut inner = self.inner();
        let decided = inner
            .1
            .iter_mut()
            .find_map(|rule| Some(((rule.decide)(request)?, rule.once.then_some(rule.id))));
        let Some((action, spent)) = decided else {
            return Action::Pass;
        };
        if let Some(spent) = spent {
            inner.1.retain(|rule| rule.id != spent);
        }
        action
    }

    fn inner(&self) -> MutexGuard<'_, (u64, Vec<Rule>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::api::Api;
    use crate::proxy::request::Facts;

    fn request(api: Api) -> Request {
        Request {
            connection: 1,
            api,
            version: 1,
            correlation_id: 1,
            client_id: None,
            facts: Facts::Opaque,
        }
    }

    #[test]
    fn the_first_rule_with_an_opinion_decides_and_a_spent_one_goes() {
        let rules = Rules::default();
        assert_eq!(rules.decide(&request(Api::EndTxn)), Action::Pass);
        rules.add(
            true,
            Box::new(|request| (request.api == Api::EndTxn).then_some(Action::Hold)),
        );
        let always = rules.add(false, Box::new(|_| Some(Action::Duplicate)));
        assert_eq!(rules.decide(&request(Api::Produce)), Action::Duplicate);
        assert_eq!(rules.decide(&request(Api::EndTxn)), Action::Hold);
        assert_eq!(rules.decide(&request(Api::EndTxn)), Action::Duplicate);
        rules.remove(always);
        assert_eq!(rules.decide(&request(Api::EndTxn)), Action::Pass);
    }
}
