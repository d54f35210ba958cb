//! Takes events over HTTP: `POST /v1/events` makes rows of a body, events of rows, records of events, and hands these
//! to the log in chunks; it answers when all of them are durable. `POST /v1/uploads` does the same for a file, and writes
//! down what becomes of it.
//!
//! Read it in this order: `events` is the way of one request, and `work` what is done. `head` and `body` are what comes in,
//! `rows` cuts it, `intake` makes events and `chunks` records of it, `appends` brings them to
//! the log, and `answer` says what became of them. Nothing here knows which log it is.

/// What may be taken.
mod limits;
/// `POST /v1/events`.
mod events;
/// `POST /v1/uploads`.
mod uploads;
/// `POST /api/uploads`.
mod batches;
/// `POST /liveEvent`.
mod live_event;
/// What the head of a request says.
mod head;
/// What the head says of CloudEvents.
mod cloud_events;
/// What the head of an upload says.
mod upload_head;
/// The file of a form.
mod multipart;
/// The work on one body.
mod work;
/// Bodies, decompressed, in pieces.
mod body;
/// Cutting a body into rows; for `send` too, which cuts files.
pub mod rows;
/// From rows to records.
mod intake;
/// What is told of single rows.
mod tally;
/// The facts of an upload.
mod diary;
/// Chunks that are not complete.
mod chunks;
/// The memory that requests share.
mod room;
/// Chunks on their way to the log.
mod appends;
/// Waiting for what becomes of the events.
mod outcomes;
/// What a client is told.
mod answer;
/// What handlers say of themselves in the document.
mod described;
/// What is counted.
mod metrics;
/// `GET /health`.
mod health;

pub use health::health;
pub use limits::Limits;
pub use live_event::OlderSecret;
pub use metrics::Metrics;
pub use outcomes::{Known, Outcomes, TooManyWait, Waiting};

use crate::room::Rooms;
use axum::Router;
use log::Appender;
use schemas::Timestamp;
use service::access::Scope;
use service::api::{Api, needs};
use std::sync::Arc;
use std::time::Duration;
use utoipa_axum::routes;
use uuid::Uuid;

/// What ingest works with.
pub struct Ingest {
    appender: Arc<dyn Appender>,
    partitions: u32,
    topic_id: Uuid,
    schema_id: u32,
    limits: Limits,
    rooms: Rooms,
    metrics: Metrics,
    clock: fn() -> Timestamp,
    live_event_secret: live_event::Secret,
    pace: batches::Pace,
    outcomes: Option<outcomes::Source>,
}

/// The clients of `POST /liveEvent` that have no key.
#[derive(Clone)]
pub struct OlderClients<'a> {
    /// What they must send as `Authorization`.
    pub secret: OlderSecret,
    /// Whose events theirs are.
    pub tenant: &'a str,
}

/// Where events go.
#[derive(Clone)]
pub struct Target {
    /// Appends to the topic `events`.
    pub appender: Arc<dyn Appender>,
    /// How many partitions that topic has: P.
    pub partitions: u32,
    /// Its id, for receipts.
    pub topic_id: Uuid,
    /// Id of our schema in the registry.
    pub schema_id: u32,
}

impl Ingest {
    /// Ingest into `target`. `clock` gives the present time.
    pub fn new(
        target: Target,
        limits: Limits,
        metrics: Metrics,
        clock: fn() -> Timestamp,
        older: &OlderClients<'_>,
    ) -> Self {
        let Target {
            appender,
            partitions,
            topic_id,
            schema_id,
        } = target;
        let rooms = Rooms::new(limits.held_bytes, limits.room_timeout, metrics.held_bytes.clone());
        Self {
            appender,
            partitions,
            topic_id,
            schema_id,
            pace: batches::Pace::new(limits.older_uploads),
            limits,
            rooms,
            metrics,
            clock,
            live_event_secret: live_event::Secret::new(older),
            outcomes: None,
        }
    }

    /// Requests may wait for what becomes of their events, at most `limit`.
    #[must_use]
    pub fn with_outcomes(mut self, outcomes: Arc<dyn Outcomes>, limit: Duration) -> Self {
        self.outcomes = Some(outcomes::Source { outcomes, limit });
        self
    }
}

/// The route that has a secret of its own, so that the guard must let it pass.
pub const OLDER_ROUTE: &str = "/liveEvent";

/// The routes of ingest, for [`service::http::serve`], which bounds bodies and times.
pub fn router(ingest: Ingest) -> Router {
    api(ingest).into_parts().0
}

/// The same with what the document says of them.
pub fn api(ingest: Ingest) -> Api {
    let posts = Api::new()
        .on(routes!(events::post))
        .on(routes!(uploads::post))
        .on(routes!(batches::post));
    needs(posts, &[Scope::Ingest])
        // It has a secret of its own.
        .on(routes!(live_event::post))
        .with_state(Arc::new(ingest))
}
