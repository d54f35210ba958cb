//! What librdkafka measures of itself, summed over the clients of one kind.
//!
//! Only clients that are polled all the time say it (appender, committer, member, a lane's reader): what nobody takes from a client's queue
//! would lie there for ever.

use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKind {
    /// Appends events.
    Appender,
    /// Sends a lane's transactions.
    Committer,
    /// Is a lane's membership of the group.
    Member,
    /// Reads events for a lane.
    Reader,
}

impl ClientKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Appender, Self::Committer, Self::Member, Self::Reader];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Appender => "appender",
            Self::Committer => "committer",
            Self::Member => "member",
            Self::Reader => "reader",
        }
    }
}

/// What the clients of one kind measured; counts are of all clients that there ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Records that wait to be sent or for their answer, now.
    pub queue_records: u64,
    /// Their bytes.
    pub queue_bytes: u64,
    /// Connections to brokers that are up, now.
    pub brokers_up: u64,
    /// The longest time from request to answer of 99 in 100, over the brokers, in seconds.
    pub round_trip_s: f64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that failed: not sent, not answered in time, or answered with what could not be read.
    pub request_errors: u64,
    /// Requests sent again.
    pub request_retries: u64,
    /// Connections that broke.
    pub disconnects: u64,
}

impl Measured {
    fn add(&mut self, other: &Self) {
        self.queue_records += other.queue_records;
        self.queue_bytes += other.queue_bytes;
        self.brokers_up += other.brokers_up;
        self.round_trip_s = self.round_trip_s.max(other.round_trip_s);
        self.requests += other.requests;
        self.request_errors += other.request_errors;
        self.request_retries += other.request_retries;
        self.disconnects += other.disconnects;
    }

    /// What stays of a client that is gone.
    fn counts(&self) -> Self {
        Self {
            queue_records: 0,
            queue_bytes: 0,
            brokers_up: 0,
            round_trip_s: 0.0,
            ..*self
        }
    }
}

/// What all clients of a process measure.
#[derive(Debug, Default)]
pub struct Statistics(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By client's name, which is unique in a process.
    clients: HashMap<String, (ClientKind, Measured)>,
    gone: BTreeMap<ClientKind, Measured>,
}

impl Statistics {
    /// The sums of each kind of which there was a client.
    pub fn totals(&self) -> BTreeMap<ClientKind, Measured> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = state.gone.clone();
        for (kind, measured) in state.clients.values() {
            totals.entry(*kind).or_default().add(measured);
        }
        totals
    }

    /// Takes what a client says of itself: JSON of librdkafka's STATISTICS.md.
    pub(super) fn say(&self, client: &str, kind: ClientKind, json: &[u8]) {
        match serde_json::from_slice::<Said>(json) {
            Ok(said) => self.note(client, kind, said.measured()),
            Err(error) => tracing::debug!(%error, "statistics of librdkafka's that cannot be read"),
        }
    }

    pub(super) fn note(&self, client: &str, kind: ClientKind, measured: Measured) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.clients.insert(client.to_owned(), (kind, measured));
    }

    /// A client is gone; its counts stay.
    pub(super) fn forget(&self, client: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kind, measured)) = state.clients.remove(client) {
            state.gone.entry(kind).or_default().add(&measured.counts());
        }
    }
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    msg_cnt: u64,
    #[serde(default)]
    msg_size: u64,
    #[serde(default)]
    brokers: HashMap<String, Broker>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Broker {
    nodeid: i64,
    state: String,
    tx: u64,
    txerrs: u64,
    txretries: u64,
    rxerrs: u64,
    req_timeouts: u64,
    disconnects: u64,
    rtt: RoundTrip,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            // Not a broker: the bootstrap address or a coordinator by that name.
            nodeid: -1,
            state: String::new(),
            tx: 0,
            txerrs: 0,
            txretries: 0,
            rxerrs: 0,
            req_timeouts: 0,
            disconnects: 0,
            rtt: RoundTrip::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoundTrip {
    /// Microseconds.
    p99: u64,
}

impl Said {
    fn measured(&self) -> Measured {
        let mut sum = Measured {
            queue_records: self.msg_cnt,
            queue_bytes: self.msg_size,
            ..Measured::default()
        };
        for broker in self.brokers.values() {
            let round_trip_s = broker.rtt.p99 as f64 / 1e6;
            sum.add(&Measured {
                brokers_up: u64::from(broker.nodeid >= 0 && broker.state == "UP"),
                round_trip_s,
                requests: broker.tx,
                request_errors: broker.txerrs + broker.rxerrs + broker.req_timeouts,
                request_retries: broker.txretries,
                disconnects: broker.disconnects,
                ..Measured::default()
            });
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] = br#"{"name":"a#producer-1","msg_cnt":3,"msg_size":300,"brokers":{
        "one:9092/1":{"nodeid":1,"state":"UP","tx":10,"txerrs":1,"txretries":2,"rxerrs":1,"req_timeouts":1,"disconnects":4,"rtt":{"p99":2500}},
        "one:9092/bootstrap":{"nodeid":-1,"state":"UP","tx":5,"rtt":{"p99":100}}},"topics":{}}"#;

    #[test]
    fn clients_of_a_kind_are_summed_and_what_one_counted_stays_when_it_is_gone() {
        let statistics = Statistics::default();
        statistics.say("a", ClientKind::Appender, SAID);
        statistics.say("b", ClientKind::Appender, SAID);
        let totals = statistics.totals();
        let sum = totals.get(&ClientKind::Appender).copied().unwrap_or_default();
        assert_eq!(
            (
                sum.queue_records,
                sum.brokers_up,
                sum.requests,
                sum.request_errors
            ),
            (6, 2, 30, 6)
        );
        assert_eq!(
            (sum.request_retries, sum.disconnects, sum.round_trip_s),
            (4, 8, 0.0025)
        );
        statistics.forget("a");
        let totals = statistics.totals();
        let sum = totals.get(&ClientKind::Appender).copied().unwrap_or_default();
        assert_eq!((sum.queue_records, sum.brokers_up, sum.requests), (3, 1, 30));
    }
}
