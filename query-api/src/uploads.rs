//! Uploads: what became of each, by its facts and its ledgers in the view, and the calls that release or discard it.
//!
//! Facts of an upload lie in one partition, and of two that exclude each other the first holds; [`schemas::upload::Upload`] says
//! so once for all. An upload is completed when the outcomes of its rows add up to what was accepted, and all views show them.

/// `GET /v1/uploads/{id}`.
mod show;
/// `GET /v1/uploads`.
mod list;
/// `GET /v1/uploads/{id}/errors`.
mod errors;
/// `POST /v1/uploads/{id}/process` and `DELETE /v1/uploads/{id}`.
mod decide;
/// `/api/batches`.
pub(crate) mod batches;

// With what `utoipa::path` made of them, for `routes!`.
pub(crate) use decide::{__path_discard, __path_process, discard, process};
pub(crate) use errors::{__path_errors, errors};
pub(crate) use list::{__path_list, list};
pub(crate) use show::{__path_show, show};

use crate::QueryApi;
use crate::caller::Caller;
use crate::params::invalid;
use crate::reads::{CALL_DEADLINE, malformed};
use crate::reflected::{ByPartition, ENDS_AGE, NOT_READY, Reflected};
use crate::waiting::{After, too_many};
use crate::watch::WaitEnd;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use schemas::row::{Row, RowKey, View, decode_upload_ledger};
use schemas::upload::{Fact, Stage, Upload, day, home};
use schemas::{Ledger, Offset, Partition, Reason, Timestamp};
use serde::Serialize;
use service::http::Problem;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

/// An upload without a fact for so long is interrupted: one that goes on says so every 10 s.
const SILENCE_MS: i64 = 60_000;
/// An upload that is younger may not be in the view yet, though its client was answered.
const YOUNG_MS: i64 = 10_000;
/// How long to wait for a young one where nobody says.
const WAIT: Duration = Duration::from_secs(1);

/// Pause between two looks for a view that is not there yet.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What the view holds of an upload.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Its facts, in order, without those whose bytes are elsewhere.
    facts: Vec<Fact>,
    /// Where these lie, in order.
    errors: Vec<(Partition, Offset)>,
    /// Outcomes of its records so far.
    ledger: Ledger,
    /// By source partition: up to where its ledger is.
    versions: BTreeMap<Partition, Offset>,
}

/// An upload, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Upload)]
pub(crate) struct Shown {
    #[schema(value_type = String, format = "uuid")]
    upload: Uuid,
    /// `receiving`, `interrupted`, `held`, `processing`, `completed`, `discarded` or `failed`.
    status: &'static str,
    #[schema(required = true)]
    name: Option<String>,
    hold: bool,
    atomic: bool,
    #[schema(format = DateTime)]
    begun_at: String,
    /// Rows read; of one that is being received, when it last said so.
    rows: u64,
    /// None until all is read.
    #[schema(required = true)]
    accepted: Option<u64>,
    #[schema(required = true)]
    invalid: Option<u64>,
    /// Invalid rows of which nobody knows any more what was wrong.
    #[schema(required = true)]
    unlisted: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    ledger: Counts,
}

/// Why an upload failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadFailure)]
struct Failure {
    code: String,
    detail: String,
    /// Rows that may be recorded or not.
    unknown: u64,
}

/// Outcomes of an upload's rows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadLedger)]
struct Counts {
    counted: u64,
    duplicate: u64,
    reversed: u64,
    dead_lettered: u64,
    dead_letters_by_reason: BTreeMap<&'static str, u64>,
    /// Rows that waited to be released, or wait.
    held: u64,
    /// Copies of held rows of which another was taken before: no rows of their own.
    repeated: u64,
    /// Accepted rows without an outcome yet; none until all is read.
    #[schema(required = true)]
    in_flight: Option<u64>,
}

impl Found {
    /// Takes in a row of the upload whose facts lie in `home`.
    fn take(&mut self, row: &Row, fact: Option<Offset>, home: Partition) -> Result<(), Problem> {
        match fact {
            None => {
                let ledger = decode_upload_ledger(&row.value).map_err(|cause| malformed(&cause))?;
                self.ledger.merge(&ledger);
                self.versions.insert(row.partition, row.version);
            }
            // Elsewhere are only words from one owner to another.
            Some(_) if row.partition != home => {}
            Some(offset) if row.value.is_empty() => self.errors.push((row.partition, offset)),
            Some(_) => self
                .facts
                .push(Fact::decode(&row.value).map_err(|cause| malformed(&cause))?),
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.errors.is_empty() && self.versions.is_empty()
    }

    /// The upload by its facts. Without any, whose rows were faster, it is being received.
    pub(crate) fn upload(&self, id: Uuid) -> Upload {
        let begun_ms = made_ms(id);
        Upload::of(&self.facts).unwrap_or(Upload {
            begun: Default::default(),
            begun_ms,
            newest_ms: begun_ms,
            rows: 0,
            totals: None,
            failure: None,
            stage: Stage::Receiving,
        })
    }

    /// As it is shown. `projected` is how far all views are, looked at behind the rows; `is_silent` says that nothing more is heard of it.
    fn show(&self, id: Uuid, projected: &ByPartition, is_silent: bool) -> Shown {
        let upload = self.upload(id);
        let totals = upload.totals;
        let accepted = totals.map(|totals| totals.accepted);
        let is_shown = |(partition, version): (&Partition, &Offset)| {
            let row = projected.get(partition);
            row.is_some_and(|row| row.next >= *version)
        };
        let is_done = accepted.is_some_and(|rows| self.ledger.concluded() >= rows);
        Shown {
            upload: id,
            status: match upload.stage {
                Stage::Receiving if is_silent => "interrupted",
                Stage::Counting if is_done && self.versions.iter().all(is_shown) => "completed",
                stage => word(stage),
            },
            hold: upload.begun.hold,
            atomic: upload.begun.atomic,
            begun_at: Timestamp::from_millis(upload.begun_ms).rfc3339(),
            rows: upload.rows,
            accepted,
            invalid: totals.map(|totals| totals.invalid),
            unlisted: totals.map(|totals| totals.unlisted),
            ledger: Counts::new(&self.ledger, in_flight(&upload, &self.ledger)),
            failure: upload.failure.map(|(code, detail)| Failure {
                code,
                detail,
                unknown: totals.map_or(0, |totals| totals.unknown),
            }),
            name: upload.begun.name,
        }
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Receiving => "receiving",
        Stage::Held => "held",
        Stage::Counting => "processing",
        Stage::Discarded => "discarded",
        Stage::Failed => "failed",
    }
}

/// Accepted rows without an outcome: of a held upload, without the outcome that they wait.
fn in_flight(upload: &Upload, ledger: &Ledger) -> Option<u64> {
    let accepted = upload.totals?.accepted;
    let waits = match upload.stage {
        Stage::Held | Stage::Discarded => true,
        Stage::Failed => upload.begun.waits(),
        Stage::Receiving | Stage::Counting => false,
    };
    let done = if waits { ledger.held } else { ledger.concluded() };
    Some(accepted.saturating_sub(done))
}

impl Counts {
    fn new(ledger: &Ledger, in_flight: Option<u64>) -> Self {
        let reasons = Reason::ALL.map(|reason| (reason.word(), ledger.dead_lettered_for(reason)));
        Self {
            counted: ledger.counted,
            duplicate: ledger.duplicate,
            reversed: ledger.reversed,
            dead_lettered: ledger.dead_lettered_total(),
            dead_letters_by_reason: reasons.into_iter().filter(|(_, count)| *count > 0).collect(),
            held: ledger.held,
            repeated: ledger.repeated,
            in_flight,
        }
    }
}

impl QueryApi {
    /// What the view holds of an upload, and what it reflected before. A young one is waited for, at most for `wait`.
    ///
    /// Errors: 404; those of receipts and of the store.
    async fn upload(
        &self,
        caller: &Caller,
        id: Uuid,
        after: Option<&After>,
        wait: Option<Duration>,
    ) -> Result<(Found, Reflected), Problem> {
        let age_ms = self.now_ms().saturating_sub(made_ms(id));
        let is_young = age_ms.abs() <= YOUNG_MS;
        let deadline = Instant::now() + self.bounded(Some(wait.unwrap_or(WAIT)));
        let home = home(id, self.generation.partitions);
        let mut after = after;
        loop {
            let reflected = match self.reflected(View::Uploads, after.take(), ENDS_AGE).await {
                // The first events of all come before the view.
                Err(problem) if problem.code() == NOT_READY && is_young && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_PAUSE).await;
                    continue;
                }
                reflected => reflected?,
            };
            let found = self.found(caller, id).await?;
            if !found.is_empty() {
                return Ok((found, reflected));
            }
            let next = reflected.progress.get(&home).map_or(Offset(0), |row| row.next);
            if !is_young || !self.reached(home, next.next(), deadline).await? {
                return Err(Problem::not_found(
                    "there is no such upload, or it is not reflected yet",
                ));
            }
        }
    }

    /// The rows of one upload.
    async fn found(&self, caller: &Caller, id: Uuid) -> Result<Found, Problem> {
        let call = self.store.upload_rows(&caller.tenant, day(id), id, id);
        let rows = self.read(CALL_DEADLINE, call).await?;
        let mut found = self.gather(&rows)?;
        Ok(found.remove(&id).unwrap_or_default())
    }

    /// Uploads of rows in the order of the store.
    fn gather(&self, rows: &[Row]) -> Result<BTreeMap<Uuid, Found>, Problem> {
        let mut uploads: BTreeMap<Uuid, Found> = BTreeMap::new();
        for row in rows {
            if let RowKey::Upload { upload, fact, .. } = row.key {
                let home = home(upload, self.generation.partitions);
                uploads.entry(upload).or_default().take(row, fact, home)?;
            }
        }
        Ok(uploads)
    }

    /// Waits until the view of uploads reflects a partition up to `next`; false when the time is over.
    async fn reached(&self, partition: Partition, next: Offset, deadline: Instant) -> Result<bool, Problem> {
        let seen = |seen: &crate::watch::Seen| {
            let rows = seen.get(&View::Uploads);
            rows.and_then(|rows| rows.get(&partition))
                .is_some_and(|row| row.next >= next)
        };
        match self.progress.wait(&[View::Uploads], deadline, seen).await {
            WaitEnd::Seen => Ok(true),
            WaitEnd::TooMany => Err(too_many()),
            WaitEnd::TimeOver | WaitEnd::Stopping => Ok(false),
        }
    }

    /// An upload as it is shown.
    fn show(&self, id: Uuid, found: &Found, reflected: &Reflected, projected: &ByPartition) -> Shown {
        let is_silent = self.is_silent(id, &found.upload(id), reflected);
        found.show(id, projected, is_silent)
    }

    /// Whether no fact came for so long that none is to be expected. What only the view does not know yet is no silence.
    fn is_silent(&self, id: Uuid, upload: &Upload, reflected: &Reflected) -> bool {
        let home = home(id, self.generation.partitions);
        let (next, newest_ms) = match reflected.progress.get(&home) {
            Some(row) => (row.next, row.max_append_ms),
            None => (Offset(0), 0),
        };
        let end = reflected.ends.as_ref().and_then(|ends| ends.get(&home));
        let sure_ms = match end.is_some_and(|end| next >= *end) {
            true => self.now_ms(),
            false => newest_ms,
        };
        sure_ms.saturating_sub(upload.newest_ms) > SILENCE_MS
    }

    fn now_ms(&self) -> i64 {
        (self.clock)().millis()
    }
}

/// When an id was made, in milliseconds: UUID version 7 begins with it. 1970 for other ids.
fn made_ms(id: Uuid) -> i64 {
    match id.get_version_num() {
        7 => (id.as_u128() >> 80) as i64,
        _ => 0,
    }
}

/// The id of a path, written in one way only.
fn id(path: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let Path(text) = path?;
    let id = Uuid::try_parse(&text)
        .ok()
        .filter(|id| id.hyphenated().to_string() == text);
    id.ok_or_else(|| invalid("id", "must be the id of an upload, a UUID in small letters"))
}
