//! A TCP proxy on loopback that knows Kafka's frames, for faults that a real broker and client must live
//! through.
//!
//! A test points `bootstrap.servers` at `Proxy::address`. The proxy writes its own address over the
//! broker's in Metadata and FindCoordinator, so the client has no other way. Rules hold, delay, repeat or
//! lose single requests; switches pause or cut all; the event log says what went through. One broker only.
//! All runs on a thread of its own and stops on drop, so the blocking calls serve plain tests and
//! multi-threaded async ones, the `_async` ones any.
//!
//! # What a late EndTxn does, measured
//! Kafka 4.3.0 (one node, `transaction.version=2`) and librdkafka 2.12.1, which speaks protocol 1
//! (InitProducerId 4, AddPartitionsToTxn 0, Produce 10, EndTxn 1). Each line is a test in `e2e/tests/proxy/`.
//!
//! In protocol 1 a producer keeps its epoch from one transaction to the next, so the broker takes an EndTxn
//! of transaction N (a copy, or one that the client repeated elsewhere and forgot) for one of the open
//! transaction N+1 and answers 0. It ends what N+1 has so far (its *early* part), and the client is not told.
//! What it learns depends on what it does next; "dead" is a fatal INVALID_TXN_STATE (48) for this producer:
//!
//! | late | then the client | and ends with | result it gets | early records | late ones, offsets |
//! | --- | --- | --- | --- | --- | --- |
//! | abort | adds a new partition | commit | **success** | **gone** | visible |
//! | abort | sends offsets | commit | **success** | **gone** | offsets **committed** |
//! | abort | nothing | commit | dead | gone | |
//! | abort | writes to an early partition | commit | write refused (48), must abort | gone | refused |
//! | abort | writes to an early partition | abort | write refused (48), abort succeeds | gone | refused |
//! | abort | any of the others | abort | success | gone | gone |
//! | commit | new partition, or offsets | abort | **success** | **visible** | gone |
//! | commit | nothing | abort | dead | **visible** | |
//! | commit | writes to an early partition | abort | write refused (48), dead | **visible** | refused |
//! | commit | writes to an early partition | commit | must abort; the abort: dead | **visible** | refused |
//! | commit | any of the others | commit | success | visible | visible, committed |
//!
//! So a commit that succeeded may lack records while the offsets stand (the read-back rule is for this), and
//! an abort that succeeded may have published (the chain rule is for this). Our reading, not measured: a write
//! to an early partition is refused since the broker checks that the partition is in the transaction (KIP-890,
//! first part), while adding a partition or offsets opens the transaction again.
//! - The table was made with forged EndTxn of version 1; versions 0, 2, 3 and 4 give its second line alike. A
//!   real copy (`Duplicate`) and a real late one (`Hold`, connection closed, repeated by librdkafka) were tried
//!   for the late commit before a new partition and an abort, and tear alike.
//! - A refused write after a late abort costs one more transaction: the next one fails with
//!   OUT_OF_ORDER_SEQUENCE_NUMBER (45) and must abort, whereupon librdkafka raises its epoch and goes on.
//! - An EndTxn of a former epoch (before another `init_transactions`) is refused with INVALID_PRODUCER_EPOCH
//!   (47).
//! - Before N+1's first record the late commit of N is answered with 0 and an abort with 48; neither does
//!   harm.
//! - A commit whose answer, or request, is lost: librdkafka connects again, repeats it, and reports success;
//!   each record is there once. With the broker away afterwards `commit_transaction` ends in
//!   `OperationTimedOut`, although the records are visible; called again later, it succeeds.
//!
//! Not measured: a write that races with the markers of the late EndTxn (the tests wait for the marker), and
//! clusters of several brokers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub use answer::Answer;
pub use api::Api;
pub use event::{Event, What};
pub use request::{EndTxn, Facts, NO_GENERATION, Producer, Request};
pub use rule::{Action, RuleId};

mod wire; // bytes: Kafka's primitive types
mod frame; // bytes on a socket
mod api; // which APIs are known, and their layouts
mod request; // what a request says
mod answer; // what a response says
mod fence; // another generation in a request
mod rewrite; // the proxy's address in responses
mod rule; // what shall happen to a request
mod event; // what happened
mod switch; // pause and cut
mod connection; // one client connection, pumped
mod held; // requests that wait for the test's word
mod upstream; // requests of the proxy's own

/// A running proxy; it stops and closes every connection when dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    /// Taken on drop.
    runtime: Option<Runtime>,
}

/// What all tasks of a proxy see.
pub(crate) struct Shared {
    pub(crate) broker: SocketAddr,
    pub(crate) address: SocketAddr,
    pub(crate) rules: rule::Rules,
    pub(crate) events: event::Events,
    pub(crate) switches: switch::Switches,
    pub(crate) held: held::Shelf,
    /// What ends each open connection, by its number.
    open: Mutex<HashMap<u64, CancellationToken>>,
}

impl Proxy {
    /// Listens on a free loopback port in front of `broker`.
    ///
    /// # Errors
    /// When no port or thread is to be had. That the broker is reachable is not checked: a test may start it
    /// later.
    pub fn start(broker: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kafka-proxy")
            .enable_all()
            .build()
            .context("the proxy's runtime did not start")?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no loopback port is free")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(broker, address));
        let accepting = Arc::clone(&shared);
        runtime.spawn(async move { accepting.accept(TcpListener::from_std(listener)?).await });
        Ok(Self {
            shared,
            runtime: Some(runtime),
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Adds a rule behind the others. It is asked about every request; `None` leaves the request to the next
    /// rule. It must not call the proxy.
    pub fn rule(&self, decide: impl FnMut(&Request) -> Option<Action> + Send + 'static) -> RuleId {
        self.shared.rules.add(false, Box::new(decide))
    }

    /// Adds a rule that does `action` to the first request that `wanted` accepts, and is then gone.
    pub fn once(&self, mut wanted: impl FnMut(&Request) -> bool + Send + 'static, action: Action) -> RuleId {
        self.shared
            .rules
            .add(true, Box::new(move |request| wanted(request).then_some(action)))
    }

    /// Removes a rule; one that is gone already is no error.
    pub fn forget(&self, rule: RuleId) {
        self.shared.rules.remove(rule);
    }

    /// Removes all rules.
    pub fn clear_rules(&self) {
        self.shared.rules.clear();
    }

    /// Stops forwarding both ways and keeps all connections: a peer that has become slow.
    pub fn pause(&self) {
        self.shared.switches.pause();
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.shared.switches.resume();
    }

    /// Closes all connections and refuses new ones (they are accepted and closed at once) until
    /// [`heal`](Self::heal).
    pub fn cut(&self) {
        self.shared.switches.cut();
    }

    /// Ends a cut.
    pub fn heal(&self) {
        self.shared.switches.heal();
    }

    /// Closes one client connection, by the number that its events carry; one that is closed already is no
    /// error.
    pub fn close(&self, connection: u64) {
        if let Some(ended) = self.shared.open().remove(&connection) {
            ended.cancel();
        }
    }

    /// The number of the last event, to compare later ones with.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.shared.events.last()
    }

    /// A copy of all events that are kept, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.events.all()
    }

    /// The id and epoch that the broker last gave this transactional id through the proxy.
    #[must_use]
    pub fn producer(&self, transactional_id: &str) -> Option<Producer> {
        self.shared.events.newest(|event| {
            let (request, answer) = event.response()?;
            (request.api == Api::InitProducerId && request.transactional_id() == Some(transactional_id))
                .then_some(answer.producer)?
        })
    }

    /// Waits for the first event, kept or to come, that `wanted` accepts. It must not call the proxy.
    ///
    /// # Errors
    /// When the deadline passes first; the error names the newest event.
    pub fn wait_for(&self, wanted: impl FnMut(&Event) -> bool, deadline: Duration) -> Result<Event> {
        futures::executor::block_on(self.wait_for_async(wanted, deadline))
    }

    /// [`wait_for`](Self::wait_for) without blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_for_async(
        &self,
        wanted: impl FnMut(&Event) -> bool,
        deadline: Duration,
    ) -> Result<Event> {
        // The proxy's own clock, since the caller need not have a tokio runtime.
        let sleep = {
            let _entered = self.runtime()?.enter();
            tokio::time::sleep(deadline)
        };
        self.shared.events.wait_for(wanted, deadline, sleep).await
    }

    /// Sends a held request, or a held copy, over a connection of its own and returns the broker's answer.
    /// For a request of [`Action::Hold`] the client gets it too, if its connection still lives.
    ///
    /// # Errors
    /// When nothing is held under `id`, or the broker does not answer within 10 s.
    pub fn release(&self, id: u64) -> Result<Answer> {
        futures::executor::block_on(self.release_async(id))
    }

    /// [`release`](Self::release) without blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub async fn release_async(&self, id: u64) -> Result<Answer> {
        let shared = Arc::clone(&self.shared);
        self.runtime()?
            .spawn(async move { held::release(&shared, id).await })
            .await?
    }

    /// Sends an EndTxn of the test's making to the broker, past rules and switches, and returns the error
    /// code of the answer. Versions 0 to 4 are protocol 1; librdkafka 2.12 uses 1.
    ///
    /// # Errors
    /// When the version is another, or the broker does not answer within 10 s.
    pub fn forge_end_txn(&self, end: &EndTxn, version: i16) -> Result<i16> {
        futures::executor::block_on(self.forge_end_txn_async(end, version))
    }

    /// [`forge_end_txn`](Self::forge_end_txn) without blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub async fn forge_end_txn_async(&self, end: &EndTxn, version: i16) -> Result<i16> {
        let (broker, end) = (self.shared.broker, end.clone());
        self.runtime()?
            .spawn(async move { upstream::forge_end_txn(broker, &end, version).await })
            .await?
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().context("the proxy has stopped")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.switches.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            // Not `drop`: that blocks, which panics inside another runtime.
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn new(broker: SocketAddr, address: SocketAddr) -> Self {
        Self {
            broker,
            address,
            rules: rule::Rules::default(),
            events: event::Events::default(),
            switches: switch::Switches::default(),
            held: held::Shelf::default(),
            open: Mutex::default(),
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) -> Result<()> {
        let mut number = 0;
        loop {
            let (client, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                () = self.switches.stop.cancelled() => return Ok(()),
            };
            let Some(ended) = self.switches.admit() else {
                continue; // Cut: dropping the client closes it.
            };
            number += 1;
            self.open().insert(number, ended.clone());
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                connection::serve(Arc::clone(&shared), client, number, ended).await;
                shared.open().remove(&number);
            });
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
