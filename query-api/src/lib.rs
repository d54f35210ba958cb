//! Answers questions about what was counted, over HTTP. It reads the view store and nothing else counts here: a value is the
//! sum of the partials of all source partitions. All that it writes are the facts by which held uploads are released or discarded, and
//! redriven copies of dead letters.
//!
//! Every answer says what it is as of. Progress is read first and rows after it, so `as_of` is a lower bound: the answer holds
//! all that is before it, and may hold a little more. A view that cannot answer says so; it must never answer with zeros
//! that are only missing rows.
//!
//! Read it in this order: `days` is the way of one question; `params`, `zone` and `asked` are what was
//! asked, `reflected` and `waiting` are what the views reflect, `lines` reads and `tally` adds up. Only `reader.rs`, `ends.rs`,
//! `letters.rs`, `log_events.rs` and `walk.rs` look at the log.

/// Who asks.
mod caller;
/// What several handlers say of themselves in the document.
mod described;
/// What the query string says.
mod params;
/// Days of a zone, in quarter-hours.
mod zone;
/// Quarter-hours, hours, days and months of a zone.
mod buckets;
/// A range of days, a zone, buckets and types, as asked for.
mod asked;
/// Adding up partials.
mod tally;
/// Calls of the store, with a deadline.
mod reads;
/// Watching progress for all who wait.
mod watch;
/// What a view reflects, and `as_of`.
mod reflected;
/// Receipts, and waiting for them.
mod waiting;
/// The lines of an answer, made while rows are read.
mod lines;
/// A blocking log reader, behind a deadline.
mod reader;
/// Port: where the log ends.
mod ends;
/// Port: one record of the log.
mod letters;
/// The log behind a user's numbers.
mod log_events;
/// The chain, read backwards.
mod walk;
/// The event in a record's bytes.
mod decoded;
/// JSON, NDJSON or CSV.
mod format;
/// Answers of any length, streamed.
mod export;
/// A short hash of a question.
mod digest;
/// Whether a client has the newest answer already.
mod tag;
/// The head of an answer.
mod reply;
/// `GET /v1/days`.
mod days;
/// `GET /v1/users/{id}`.
mod users;
/// `GET /userEvents/{userId}`.
mod user_events;
/// `GET /v1/users/{id}/days`.
mod user_days;
/// `GET /v1/users/{id}/events`.
mod events;
/// `GET /v1/distinct-users`.
mod distinct_users;
/// `GET /v1/receipts/{receipt}`.
mod receipts;
/// `GET /v1/ledger`.
mod ledger;
/// Where a page of dead letters ended.
mod cursor;
/// Dead letters in order of time, over tenants and days.
mod scan;
/// A dead letter with the tries to redrive it.
mod tries;
/// `GET /v1/dead-letters`.
mod dead_letters;
/// `GET /v1/dead-letters/{id}`.
mod dead_letter;
/// `POST /v1/dead-letters/redrive`.
mod redrive;
/// Uploads, and what becomes of them.
mod uploads;
/// `GET /v1/days/{date}/users`.
mod top_users;
/// `GET /api/metrics` and the dead letters of the older service.
mod older;
/// `GET /v1/live`.
mod live;
/// What became of records whose places are known.
mod outcomes;
/// `GET /health`.
mod health;
/// What is counted of this part itself.
mod metrics;

/// Records that count for nothing, to see how long the way of an event takes.
mod canary;

pub use canary::{Canaries, CanaryMetrics};
pub use ends::{Ends, LogEnds};
pub use health::health_api;
pub use letters::{AskRetention, LetterBytes, LogLetters, LogRecord, RecordAt, Retention};
pub use log_events::LogEvents;
pub use metrics::Metrics;
pub use outcomes::{Became, Begun, Known, Outcomes, TooMany};
pub use reader::{LogAway, OpenChain, OpenReader};
pub use watch::ProgressWatch;

use axum::Router;
use axum::extract::FromRef;
use export::Exports;
use live::Live;
use log::Appender;
use schemas::Timestamp;
use schemas::generation::Generation;
use service::access::Scope;
use service::api::{Api, needs};
use service::config;
use std::sync::Arc;
use utoipa_axum::routes;

/// What queries are answered from.
#[derive(Clone)]
pub struct QueryApi {
    /// The views.
    pub store: views::Store,
    /// Whose views they are: how many partitions there are, and which topic receipts are of.
    pub generation: Arc<Generation>,
    /// Where the log ends.
    pub ends: Arc<dyn Ends>,
    /// Takes the facts by which held uploads are released or discarded, and redriven copies. Nothing else is written here.
    pub appender: Arc<dyn Appender>,
    /// The records behind dead letters.
    pub letters: Arc<dyn LetterBytes>,
    /// The events behind a user's numbers.
    pub events: Arc<LogEvents>,
    /// Limits of a query.
    pub limits: config::Query,
    /// How far the views are, for those who wait.
    pub progress: ProgressWatch,
    /// What is counted of this part itself.
    pub metrics: Metrics,
    /// The present time, for ranges that name none.
    pub clock: fn() -> Timestamp,
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    api: Arc<QueryApi>,
    exports: Exports,
    scans: top_users::Places,
    live: Live,
}

impl FromRef<Shared> for Arc<QueryApi> {
    fn from_ref(shared: &Shared) -> Self {
        Self::clone(&shared.api)
    }
}

impl FromRef<Shared> for Exports {
    fn from_ref(shared: &Shared) -> Self {
        shared.exports.clone()
    }
}

impl FromRef<Shared> for top_users::Places {
    fn from_ref(shared: &Shared) -> Self {
        shared.scans.clone()
    }
}

impl FromRef<Shared> for Live {
    fn from_ref(shared: &Shared) -> Self {
        shared.live.clone()
    }
}

/// The route that looks for a key itself, so that the guard must let it pass.
pub const OLDER_ROUTE: &str = "/api/queues/{queue}/dlq";

/// The routes of queries, for [`service::http::serve`].
pub fn router(state: QueryApi) -> Router {
    api(state).into_parts().0
}

/// The same with what the document says of them.
pub fn api(state: QueryApi) -> Api {
    let api = Arc::new(state);
    let shared = Shared {
        live: Live::new(Arc::clone(&api)),
        api,
        exports: Exports::new(),
        scans: top_users::Places::new(),
    };
    let queries = Api::new()
        .on(routes!(days::range))
        .on(routes!(days::one))
        .on(routes!(top_users::show))
        .on(routes!(users::total))
        .on(routes!(user_events::show))
        .on(routes!(older::metrics))
        .on(routes!(user_days::show))
        .on(routes!(events::show))
        .on(routes!(distinct_users::show))
        .on(routes!(live::show));
    // Whoever sends is given receipts; they are positions and nothing else.
    let receipts = Api::new().on(routes!(receipts::show));
    let refused = Api::new()
        .on(routes!(dead_letters::list))
        .on(routes!(redrive::redrive))
        .on(routes!(dead_letter::show));
    // It spans tenants.
    let ledger = Api::new().on(routes!(ledger::show));
    let uploads = Api::new()
        .on(routes!(uploads::list))
        .on(routes!(uploads::show))
        .on(routes!(uploads::errors))
        .on(routes!(uploads::batches::list))
        .on(routes!(uploads::batches::show));
    let releases = Api::new()
        .on(routes!(uploads::discard))
        .on(routes!(uploads::process))
        .on(routes!(uploads::batches::process));
    needs(queries, &[Scope::Query])
        .merge(needs(receipts, &[Scope::Query, Scope::Ingest]))
        .merge(needs(refused, &[Scope::Admin]))
        .merge(needs(ledger, &[Scope::Operator]))
        .merge(needs(uploads, &[Scope::Query, Scope::Ingest]))
        .merge(needs(releases, &[Scope::Ingest, Scope::Admin]))
        // It looks for a key itself.
        .on(routes!(older::failed))
        .with_state(shared)
}
