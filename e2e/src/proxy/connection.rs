//! One client connection and its one connection to the broker: a pump in each direction.
//!
//! The pump from the client reads a request, asks the rules, and does what they say. The pump from the broker
//! finds the request of a response by its correlation id, rewrites what names the broker, and passes it on.
//! Either pump's end, a cut or a rule ends both connections: a client never goes on with a half that is dead.
//!
//! Every request is logged before its rule is asked and every response before it is passed on, so no test
//! sees an effect before its event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result, bail, ensure};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::api::Api;
use super::event::What;
use super::fence::with_generation;
use super::held::Held;
use super::request::Request;
use super::rewrite::rewrite;
use super::rule::Action;
use super::wire::Reader;
use super::{Shared, frame};

/// Requests without an answer that one connection may have; librdkafka's own limit per broker is far higher,
/// its habit far lower.
const IN_FLIGHT_LIMIT: usize = 10_000;

/// Where responses to a client go; its connection owns it, and the socket closes with it.
type Sink = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

/// The way back to a client for a request that is held. It does not keep the socket open: else a client whose
/// connection was closed would not learn of it while one of its requests is held.
#[derive(Clone)]
pub(crate) struct ToClient(Weak<tokio::sync::Mutex<OwnedWriteHalf>>);

impl ToClient {
    /// Writes to the client if it is still there.
    pub(crate) async fn write(&self, response: &[u8]) -> Result<()> {
        match self.0.upgrade() {
            Some(sink) => frame::write(&mut *sink.lock().await, response).await,
            None => Ok(()),
        }
    }
}

/// A request that the broker has not answered.
struct Asked {
    request: Arc<Request>,
    /// What was decided of the request, and so of its answer.
    action: Action,
}

struct Connection<'a> {
    shared: &'a Shared,
    number: u64,
    sink: Sink,
    asked: Mutex<HashMap<i32, Asked>>,
}

/// Serves one client until either side closes, a rule closes, or the token is cancelled.
pub(crate) async fn serve(shared: Arc<Shared>, client: TcpStream, number: u64, ended: CancellationToken) {
    let served = async {
        let broker = TcpStream::connect(shared.broker)
            .await
            .context("the broker cannot be reached")?;
        broker.set_nodelay(true)?;
        client.set_nodelay(true)?;
        shared.events.push(What::Connected { connection: number });
        let (client_source, client_sink) = client.into_split();
        let (broker_source, broker_sink) = broker.into_split();
        let sink = Arc::new(tokio::sync::Mutex::new(client_sink));
        let connection = Connection {
            shared: &shared,
            number,
            sink,
            asked: Mutex::default(),
        };
        tokio::select! {
            end = connection.requests(client_source, broker_sink) => end,
            end = connection.responses(broker_source) => end,
        }
    };
    let reason = tokio::select! {
        end = served => end.map_or_else(|error| format!("{error:#}"), str::to_owned),
        () = ended.cancelled() => "closed by the test".to_owned(),
    };
    shared.events.push(What::Closed {
        connection: number,
        reason,
    });
}

impl Connection<'_> {
    async fn requests(&self, mut client: OwnedReadHalf, mut broker: OwnedWriteHalf) -> Result<&'static str> {
        while let Some(mut bytes) = frame::read(&mut client).await? {
            self.shared.switches.flowing().await;
            let request = Arc::new(Request::decode(self.number, &bytes)?);
            self.shared.events.push(What::RequestSeen(Arc::clone(&request)));
            let action = self.shared.rules.decide(&request);
            match action {
                Action::CloseBeforeForward => return Ok("a rule closed it before the request was forwarded"),
                Action::Hold => {
                    self.hold(&request, bytes, Some(ToClient(Arc::downgrade(&self.sink))))?;
                    continue;
                }
                Action::Duplicate => self.hold(&request, bytes.clone(), None)?,
                Action::Delay(time) => tokio::time::sleep(time).await,
                Action::Generation(generation) => bytes = with_generation(&bytes, generation)?,
                Action::Pass | Action::DropResponse | Action::Withhold => {}
            }
            self.expect(request, action)?;
            frame::write(&mut broker, &bytes).await?;
        }
        Ok("the client closed")
    }

    async fn responses(&self, mut broker: OwnedReadHalf) -> Result<&'static str> {
        while let Some(bytes) = frame::read(&mut broker).await? {
            self.shared.switches.flowing().await;
            let correlation_id = Reader::new(&bytes).int32()?;
            let Asked { request, action } = self
                .asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&correlation_id)
                .context("the broker answered what was not asked")?;
            let answer = answer_to(&request, &bytes);
            self.shared.events.push(What::ResponseSeen {
                request: Arc::clone(&request),
                answer,
                delivered: !matches!(action, Action::DropResponse | Action::Withhold),
            });
            match action {
                Action::DropResponse => return Ok("a rule closed it instead of the answer"),
                Action::Withhold => continue,
                _ => {}
            }
            let response = rewrite(request.api, request.version, bytes, self.shared.address)?;
            frame::write(&mut *self.sink.lock().await, &response).await?;
        }
        Ok("the broker closed")
    }

    fn hold(&self, request: &Arc<Request>, bytes: Vec<u8>, to_client: Option<ToClient>) -> Result<()> {
        let id = self.shared.held.keep(Held {
            request: Arc::clone(request),
            bytes,
            to_client,
        })?;
        self.shared.events.push(What::Held {
            id,
            request: Arc::clone(request),
        });
        Ok(())
    }

    fn expect(&self, request: Arc<Request>, action: Action) -> Result<()> {
        if !request.is_answered() {
            return Ok(());
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(
            asked.len() < IN_FLIGHT_LIMIT,
            "more than {IN_FLIGHT_LIMIT} requests without an answer"
        );
        if asked
            .insert(request.correlation_id, Asked { request, action })
            .is_some()
        {
            bail!("the client used a correlation id twice");
        }
        Ok(())
    }
}

/// What the broker said to a request.
pub(crate) fn answer_to(request: &Request, response: &[u8]) -> Answer {
    match request.api {
        Api::Other(_) => Answer::default(),
        api => Answer::decode(api, request.version, response),
    }
}
