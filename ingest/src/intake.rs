//! From bytes to records: cuts rows, reads and checks each, gives it its key, and adds it to the chunk of its
//! partition. No waiting, no clock: what must wait is done between two calls of [`Intake::feed`].
//!
//! A row that is not valid is counted and named, burns no key, and does not stop the next one.

use crate::chunks::Chunks;
use crate::cloud_events::Shape;
use crate::limits::Limits;
use crate::live_event;
use crate::rows::{Broken, Content, Cut, Rows, Step};
use crate::tally::Tally;
use schemas::input::{Columns, KeyContext, Raw, Renames};
use schemas::{Field, Invalid, Timestamp};
use std::cell::Cell;
use uuid::Uuid;

/// What the events of one request have in common.
pub(crate) struct Request {
    /// Whose they are.
    pub(crate) tenant: String,
    /// The `Idempotency-Key` header.
    pub(crate) idempotency_key: Option<String>,
    /// Largest row, in bytes; named to those whose row is larger.
    pub(crate) row_limit_bytes: usize,
    /// Whether only to look at the rows.
    pub(crate) validate: bool,
    /// How events are put into the body.
    pub(crate) shape: Shape,
    /// Other names of columns and fields.
    pub(crate) renames: Renames,
    /// The upload that the rows belong to.
    pub(crate) upload_id: Option<Uuid>,
    /// Whether it is a file of the older service: all of its own three columns must be there and filled, and any other is metadata.
    pub(crate) older: bool,
    /// Whether each row is an event of its own, with a key made of `idempotency_key` and the row, also in a body of one object.
    pub(crate) by_row: bool,
}

impl Request {
    pub(crate) fn new(tenant: &str, limits: &Limits) -> Self {
        Self {
            tenant: tenant.to_owned(),
            idempotency_key: None,
            row_limit_bytes: limits.row_bytes,
            validate: false,
            shape: Shape::Plain,
            renames: Renames::default(),
            upload_id: None,
            older: false,
            by_row: false,
        }
    }
}

/// The work on one body.
pub(crate) struct Intake {
    /// What was read and not yet cut; the reader adds to its end.
    pub(crate) buffer: Vec<u8>,
    pub(crate) chunks: Chunks,
    pub(crate) tally: Tally,
    /// Key of the event, where the body is a single object.
    pub(crate) single_key: Option<String>,
    request: Request,
    rows: Rows,
    /// The header of a CSV body, once it was read.
    columns: Option<Columns>,
}

impl Intake {
    pub(crate) fn new(request: Request, rows: Rows, chunks: Chunks, tally: Tally) -> Self {
        Self {
            buffer: Vec::new(),
            chunks,
            tally,
            single_key: None,
            request,
            rows,
            columns: None,
        }
    }

    /// Whether the body is one JSON object. Certain once the body is at its end.
    pub(crate) fn is_single(&self) -> bool {
        self.rows.is_single()
    }

    /// Takes in all rows that are complete in the buffer; `last` says that no more bytes come. `accepted_at` is now.
    ///
    /// # Errors
    /// [`Broken`] where the rest of the body cannot be trusted. What was taken in before stays in the chunks.
    pub(crate) fn feed(&mut self, last: bool, accepted_at: Timestamp) -> Result<(), Broken> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        let ended = loop {
            let bytes = buffer.get(at..).unwrap_or_default();
            match self.rows.next(bytes, last) {
                Ok(Step::Row(cut)) => {
                    at += cut.consumed;
                    if let Err(broken) = self.row(&cut, bytes, accepted_at) {
                        break Err(broken);
                    }
                }
                Ok(Step::Skip { consumed }) => at += consumed,
                Ok(Step::More { consumed }) => {
                    at += consumed;
                    break Ok(());
                }
                Err(broken) => break Err(broken),
            }
        };
        self.buffer = buffer;
        self.buffer.drain(..at.min(self.buffer.len()));
        if last && self.needs_header() {
            return ended.and(Err(Broken::empty()));
        }
        match last {
            true => ended.and_then(|()| self.check_shape()),
            false => ended,
        }
    }

    /// Refuses an array where one CloudEvent was announced, and one where an array was.
    fn check_shape(&self) -> Result<(), Broken> {
        match (&self.request.shape, self.rows.is_single()) {
            (Shape::Structured, false) => Err(Broken::json(
                "application/cloudevents+json is one object; send an array as application/cloudevents-batch+json",
            )),
            (Shape::Batch, true) => Err(Broken::json(
                "application/cloudevents-batch+json is an array; send one object as application/cloudevents+json",
            )),
            _ => Ok(()),
        }
    }

    fn needs_header(&self) -> bool {
        self.rows.is_csv() && self.columns.is_none()
    }

    fn row(&mut self, cut: &Cut, bytes: &[u8], accepted_at: Timestamp) -> Result<(), Broken> {
        if self.needs_header() {
            let columns = match self.request.older {
                true => older_header(&mut self.rows, cut, bytes, &mut self.tally)?,
                false => header(&mut self.rows, cut, bytes, &self.request.renames)?,
            };
            self.columns = Some(columns);
            return Ok(());
        }
        self.check_shape()?;
        let Self {
            rows,
            columns,
            request,
            tally,
            chunks,
            single_key,
            ..
        } = self;
        let single = rows.is_single() && !request.by_row;
        let is_fresh = Cell::new(false);
        let mut fresh_key = || {
            is_fresh.set(true);
            Uuid::now_v7().to_string()
        };
        let mut context = KeyContext {
            tenant: &request.tenant,
            accepted_at,
            batch_key: request.idempotency_key.as_deref(),
            single,
            row: cut.number,
            fresh_key: &mut fresh_key,
            upload_id: request.upload_id,
        };
        let raw = raw(rows, columns.as_ref(), cut, bytes, request);
        match raw.and_then(|raw| raw.into_event(&mut context)) {
            Err(invalid) => {
                let invalid = match request.shape {
                    Shape::Plain => invalid,
                    Shape::Revenue => live_event::named(invalid),
                    _ => invalid.of_cloud_event(),
                };
                tally.invalid(cut.number, invalid);
            }
            Ok(event) if request.older && event.occurred_at_assigned => {
                tally.invalid(
                    cut.number,
                    Invalid::new(Field::Timestamp, "missing", "is missing"),
                );
            }
            Ok(event) => {
                tally.valid += 1;
                if !request.validate {
                    chunks.add(&event, cut.number);
                }
                if single {
                    *single_key = Some(event.idempotency_key.into_owned());
                } else if is_fresh.get() {
                    tally.fresh_key(cut.number, event.idempotency_key.into_owned());
                }
            }
        }
        Ok(())
    }
}

/// What a row says, field by field.
fn raw<'a>(
    rows: &'a mut Rows,
    columns: Option<&'a Columns>,
    cut: &Cut,
    bytes: &'a [u8],
    request: &'a Request,
) -> Result<Raw<'a>, Invalid> {
    let whole = |code, message: String| Err(Invalid::new(Field::Whole, code, message));
    match (&cut.content, columns) {
        (Content::Text(range), _) => {
            let text = bytes.get(range.clone()).unwrap_or_default();
            match &request.shape {
                Shape::Plain => Raw::from_json_renamed(text, &request.renames),
                Shape::Revenue => live_event::raw(text),
                Shape::Structured | Shape::Batch => Raw::from_cloud_event(text),
                Shape::Binary {
                    attributes,
                    content_type,
                } => Raw::from_binary_cloud_event(attributes, content_type.as_deref(), text),
            }
        }
        (Content::Cells(range), Some(columns)) => {
            columns.raw(rows.cells(bytes.get(range.clone()).unwrap_or_default()))
        }
        // The first record is the header, and without one there is no second.
        (Content::Cells(_), None) => whole("columns", "has no header".to_owned()),
        (Content::TooLong, _) => whole(
            "too_long",
            format!("is longer than {} bytes", request.row_limit_bytes),
        ),
        (Content::Malformed(what), _) => whole("not_csv", (*what).to_owned()),
    }
}

fn header<'a>(
    rows: &'a mut Rows,
    cut: &Cut,
    bytes: &'a [u8],
    renames: &'a Renames,
) -> Result<Columns, Broken> {
    let Content::Cells(range) = &cut.content else {
        return Err(Broken::csv("the header is too long, or its quotes are broken"));
    };
    let cells = rows.cells(bytes.get(range.clone()).unwrap_or_default());
    let cells: Vec<&[u8]> = cells.collect();
    let has = |name: &str| cells.iter().any(|cell| cell.trim_ascii() == name.as_bytes());
    if let Some(missing) = renames.theirs().find(|name| !has(name)) {
        return Err(Broken::csv(format!(
            "there is no column `{missing}`, which is to be renamed"
        )));
    }
    let ours = |cell: &&'a [u8]| renames.ours(cell.trim_ascii()).map_or(*cell, str::as_bytes);
    Columns::parse(cells.iter().map(ours)).map_err(|invalid| bad_header(&invalid))
}

/// The header of a file of the older service. What is wrong with it is told of row 0, as there.
fn older_header(rows: &mut Rows, cut: &Cut, bytes: &[u8], tally: &mut Tally) -> Result<Columns, Broken> {
    let Content::Cells(range) = &cut.content else {
        return Err(Broken::csv("the header is too long, or its quotes are broken"));
    };
    let cells = rows.cells(bytes.get(range.clone()).unwrap_or_default());
    Columns::parse_older(cells).map_err(|invalid| {
        let broken = bad_header(&invalid);
        invalid.into_iter().for_each(|invalid| tally.invalid(0, invalid));
        broken
    })
}

fn bad_header(invalid: &[Invalid]) -> Broken {
    let faults: Vec<String> = invalid.iter().map(|invalid| invalid.message.clone()).collect();
    Broken::csv(format!("the header is not valid: {}", faults.join("; ")))
}
