//! One file: slices are cut on a thread of their own, delivered in their order, and what was acknowledged is written down
//! before the next is looked at.
//!
//! The order is: the server says that a slice is durable, its refused rows are written to the side file, then the state file
//! says that it is done. It is never done because the thread that reads has ended: only its word says that there is no more.

use crate::args::Args;
use crate::client::{Client, Failed};
use crate::deliver::{Delivery, Outcome, merge};
use crate::identity::Look;
use crate::inputs::Input;
use crate::pace::Pace;
use crate::plan::{self, Plan};
use crate::progress::{Progress, Sent, thousands};
use crate::side::{Mark, Side};
use crate::slice::{Refusal, Slice};
use crate::slices::{Limits, ROW_BYTES, Slices};
use crate::state::State;
use crate::{Fault, exit, report, say};
use futures::{StreamExt, stream};
use schemas::receipt::Receipt;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Slices that are cut and wait to be sent.
const QUEUED: usize = 1;
/// Refused rows that are printed.
const SHOWN: usize = 5;
/// The same of a dry run, which has no side file.
const SHOWN_DRY: usize = 20;

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: u8,
    /// Where the rows are that were accepted, in this run or before.
    pub(crate) receipt: Option<Receipt>,
}

/// What the reading thread says.
enum Read {
    Slice(Slice),
    /// There is no more.
    End,
    Fault(io::Error),
}

/// Sends one input, and says what came of it.
pub(crate) async fn send(input: &Input, args: &Args, client: &Client) -> Ended {
    match planned(input, args, client).await {
        Ok(ended) => ended,
        Err(fault) => Ended {
            code: report(&fault),
            receipt: None,
        },
    }
}

async fn planned(input: &Input, args: &Args, client: &Client) -> Result<Ended, Fault> {
    let name = input.name();
    let plan = plan::prepare(input, args, client).await?;
    let delivery = Delivery {
        client,
        progress: Progress::new(&name, plan.total, plan.state.place, args.quiet),
        media_type: plan.shape.media_type(),
        dry_run: args.dry_run,
    };
    let mut record = Record::begin(name, args, &plan)?;
    let ended = match plan.state.done {
        true => Ok(true),
        false => run(&mut record, plan, &delivery).await,
    };
    let ended = match (ended, input) {
        (Ok(true), Input::File(path)) if !record.was_done => record.unchanged(path).map(|()| true),
        (ended, _) => ended,
    };
    delivery.progress.finish();
    let code = record.tell(ended, &delivery.progress);
    Ok(Ended {
        code,
        receipt: record.receipt,
    })
}

/// Sends what is left; says whether all of it was.
async fn run(record: &mut Record<'_>, plan: Plan, delivery: &Delivery<'_>) -> Result<bool, Fault> {
    let args = record.args;
    let shutdown = delivery.client.shutdown().clone();
    let pace = Pace::new(args.rate);
    // Holds the lock of the file until the end.
    let (reads, _lock) = start_reading(plan, args)?;
    let slices = stream::unfold((reads, pace), |(mut reads, mut pace)| async move {
        let read = reads.recv().await;
        if let Some(Read::Slice(slice)) = &read {
            pace.wait(slice.rows()).await;
        }
        read.map(|read| (read, (reads, pace)))
    });
    let delivered = slices
        .take_until(shutdown.begun())
        .map(|read| deliver(delivery, read))
        .buffered(usize::try_from(args.in_flight).unwrap_or(1));
    let mut delivered = std::pin::pin!(delivered);
    while let Some(item) = delivered.next().await {
        match item? {
            Some((slice, outcome)) => record.acknowledged(&slice, outcome, &delivery.progress)?,
            None => {
                record.state.done = true;
                record.write_state()?;
                return Ok(true);
            }
        }
    }
    match shutdown.has_begun() {
        true => Ok(false),
        false => Err(Fault::new(
            service::exit::SOFTWARE,
            "the thread that reads ended without a word",
        )),
    }
}

/// Cuts slices on a thread of its own, which ends with the last slice, or when nobody takes them any more.
fn start_reading(plan: Plan, args: &Args) -> Result<(mpsc::Receiver<Read>, Option<std::fs::File>), Fault> {
    let limits = Limits {
        bytes: usize::try_from(args.slice_bytes).unwrap_or(usize::MAX),
        rows: Pace::slice_rows(args.rate),
        row_bytes: ROW_BYTES,
    };
    let Plan {
        state,
        content,
        shape,
        format,
        lock,
        total,
        ..
    } = plan;
    let mut slices = Slices::new(content, format, shape, state.identity, state.place, total, limits);
    let (sender, receiver) = mpsc::channel(QUEUED);
    let reading = move || {
        loop {
            let read = match slices.next() {
                Ok(Some(slice)) => Read::Slice(slice),
                Ok(None) => Read::End,
                Err(error) => Read::Fault(error),
            };
            let is_last = !matches!(read, Read::Slice(_));
            if sender.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("read".to_owned()).spawn(reading);
    thread.map_err(|error| Fault::new(service::exit::SOFTWARE, error.to_string()))?;
    Ok((receiver, lock))
}

/// Delivers a slice; `None` at the end.
async fn deliver(delivery: &Delivery<'_>, read: Read) -> Result<Option<(Slice, Outcome)>, Fault> {
    match read {
        Read::End => Ok(None),
        Read::Fault(error) => Err(Fault::new(
            exit::DATA,
            format!("the input cannot be read: {error}"),
        )),
        Read::Slice(slice) => {
            let outcome = delivery.slice(&slice).await.map_err(Failed::into_fault)?;
            Ok(Some((slice, outcome)))
        }
    }
}

/// What is written down of one input.
struct Record<'a> {
    name: String,
    args: &'a Args,
    state: State,
    state_path: Option<PathBuf>,
    side: Option<Side>,
    /// Where the accepted rows are.
    receipt: Option<Receipt>,
    /// All was sent in a former run.
    was_done: bool,
    /// Rows of this run.
    rows: u64,
    /// What is printed of refused rows.
    shown: Vec<String>,
}

impl<'a> Record<'a> {
    fn begin(name: String, args: &'a Args, plan: &Plan) -> Result<Self, Fault> {
        // A state that was never written has none.
        let mark = (plan.state.side != Mark::default()).then_some(&plan.state.side);
        let open = |path: &PathBuf| {
            Side::open(path.clone(), plan.shape.own_head(), &plan.state.identity, mark)
                .map_err(|error| Fault::writing(path, &error))
        };
        let mut record = Self {
            name,
            args,
            receipt: plan.state.receipt.as_deref().and_then(|text| text.parse().ok()),
            was_done: plan.state.done,
            state: plan.state.clone(),
            state_path: plan.state_path.clone(),
            side: plan.side_path.as_ref().map(open).transpose()?,
            rows: 0,
            shown: Vec::new(),
        };
        record.state.side = record.side.as_ref().map(Side::mark).unwrap_or_default();
        // Before the first row goes: where no state can be kept, nothing is begun.
        record.write_state()?;
        Ok(record)
    }

    /// Whether the file is still what it was when the first row was read. It may have grown: what follows is sent by the next run.
    fn unchanged(&self, path: &Path) -> Result<(), Fault> {
        let (was, is) = (&self.state.look, Look::at(path));
        let is = is.map_err(|error| Fault::reading(&self.name, &error))?;
        match is == *was || (is.length > was.length && is.head == was.head) {
            true => Ok(()),
            false => Err(Fault::new(
                exit::DATA,
                "was changed while it was sent: the server may have rows of what it was and of what it is",
            )),
        }
    }

    fn acknowledged(&mut self, slice: &Slice, outcome: Outcome, progress: &Progress) -> Result<(), Fault> {
        if let Some(side) = self.side.as_mut() {
            let added = side.add(slice, &outcome.refused);
            added.map_err(|error| Fault::writing(side.path(), &error))?;
            self.state.side = side.mark();
        }
        let most = if self.args.dry_run { SHOWN_DRY } else { SHOWN };
        let left = most.saturating_sub(self.shown.len());
        self.shown.extend(
            outcome
                .refused
                .iter()
                .take(left)
                .map(|refusal| words(slice, refusal)),
        );
        merge(&mut self.receipt, outcome.receipt);
        self.rows += slice.rows() as u64;
        self.state.place = slice.end;
        self.state.accepted += outcome.accepted;
        self.state.refused += outcome.refused.len() as u64;
        self.state.receipt = self.receipt.as_ref().map(ToString::to_string);
        self.write_state()?;
        let sent = Sent {
            rows: self.rows,
            refused: self.state.refused,
        };
        progress.acknowledged(self.state.place, sent);
        Ok(())
    }

    fn write_state(&self) -> Result<(), Fault> {
        let Some(path) = &self.state_path else {
            return Ok(());
        };
        self.state.write(path).map_err(|error| {
            let mut fault = Fault::writing(path, &error);
            fault.message.push_str("; --state names another place");
            fault
        })
    }

    /// Says what came of it; gives the exit code.
    fn tell(&self, ended: Result<bool, Fault>, progress: &Progress) -> u8 {
        let code = match &ended {
            Ok(true) if self.state.refused > 0 => exit::REFUSED,
            Ok(true) => exit::OK,
            Ok(false) => exit::INTERRUPTED,
            Err(fault) => fault.code,
        };
        if let Err(fault) = ended.as_ref().map_err(|fault| &fault.message)
            && code != exit::INTERRUPTED
        {
            crate::warn(&format!("{}: {fault}", self.name));
        }
        if !self.args.quiet {
            say(&self.summary(code, progress));
            for line in &self.shown {
                say(line);
            }
            let not_shown = self.state.refused.saturating_sub(self.shown.len() as u64);
            if not_shown > 0 && !self.shown.is_empty() {
                say(&format!("  and {} more", thousands(not_shown)));
            }
        }
        code
    }

    fn summary(&self, code: u8, progress: &Progress) -> String {
        let Self {
            name, state, args, ..
        } = self;
        let taken = if args.dry_run {
            "valid (nothing was recorded)"
        } else {
            "accepted"
        };
        let mut text = format!(
            "{name}: {} {taken}, {} refused",
            thousands(state.accepted),
            thousands(state.refused)
        );
        if let Some(side) = self.side.as_ref().filter(|_| state.refused > 0) {
            text.push_str(&format!(", which lie in {}", side.path().display()));
        }
        if self.was_done {
            text.push_str("; all of it was sent before, --fresh sends it again");
        } else if self.rows > 0 {
            text.push_str(&format!(
                "; {} rows/s",
                thousands(progress.rows_per_second(self.rows) as u64)
            ));
        }
        let is_whole = matches!(code, exit::OK | exit::REFUSED);
        match (is_whole, &self.state_path) {
            (true, _) => {}
            (false, Some(_)) => text.push_str("; not all: the same command goes on from here"),
            (false, None) => text.push_str("; not all, and it cannot be gone on with"),
        }
        text
    }
}

/// A refused row, as it is printed.
fn words(slice: &Slice, refusal: &Refusal) -> String {
    let number = slice.row(refusal.at).map_or(0, |(number, _)| number);
    format!(
        "  row {number}: {} {} ({})",
        refusal.field, refusal.reason, refusal.code
    )
}
