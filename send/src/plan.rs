//! Where to begin: what the file is, what was sent of it before, and whether the server still has that.
//!
//! A file that was changed half-way is not gone on with: rows without key and time would count a second time under a new
//! digest. Neither is one that was sent completely and is another now: whether it was mended or another file has its name, only its
//! owner knows. Only a side file may be mended and sent again, since each of its rows has a key. A file that has only grown is gone on
//! with, and keeps its old digest for its keys. And if the server's log is another one than took the rows, all are sent again: to trust
//! the state file then would lose them.

use crate::args::{Args, Format};
use crate::client::{Client, Failed};
use crate::content::Content;
use crate::csv::Csv;
use crate::identity::{self, Found, Look, Than, Whole};
use crate::inputs::{self, Input};
use crate::json::Json;
use crate::progress::Progress;
use crate::shape::Shape;
use crate::slice::Place;
use crate::state::{self, State};
use crate::{Fault, exit, say, side};
use ingest::rows::{self, Rows, Step};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

/// Bytes within which a file must show what it is.
const BEGINNING_BYTES: usize = crate::slices::ROW_BYTES + crate::content::PIECE_BYTES;
/// Bytes from which on it is said that a file is being read.
const LONG_BYTES: u64 = 256 * 1024 * 1024;

/// How to send one input.
pub(crate) struct Plan {
    pub(crate) state: State,
    /// Where the state is kept; nowhere for standard input and for a dry run.
    pub(crate) state_path: Option<PathBuf>,
    pub(crate) side_path: Option<PathBuf>,
    pub(crate) shape: Shape,
    pub(crate) format: rows::Format,
    /// Standing at the place of the state.
    pub(crate) content: Content,
    /// Bytes of the content, where that is known.
    pub(crate) total: Option<u64>,
    /// Keeps others from sending the same file meanwhile.
    pub(crate) lock: Option<std::fs::File>,
}

/// Finds out how to send `input`.
pub(crate) async fn prepare(input: &Input, args: &Args, client: &Client) -> Result<Plan, Fault> {
    match input {
        Input::Stdin => of_stdin(args, client),
        Input::File(path) => of_file(path, args, client).await,
    }
}

fn of_stdin(args: &Args, client: &Client) -> Result<Plan, Fault> {
    let name = Input::Stdin.name();
    let reading = |error: io::Error| Fault::reading(&name, &error);
    let mut content = Content::stdin().map_err(reading)?;
    let opening = Opening::read(&mut content, None, args.format).map_err(|fault| fault.of(&name))?;
    let Content::Stream(rest) = content else {
        return Err(reading(io::Error::other("it is no stream")));
    };
    let content = Content::Stream(Box::new(Cursor::new(opening.first.clone()).chain(rest)));
    // Nobody can say what comes, so its rows have keys that no other run has.
    let whole = Whole {
        bytes: 0,
        digest: uuid::Uuid::new_v4().simple().to_string(),
    };
    let mut state = State::new(client.server(), opening.format, &args.map, Look::default(), whole);
    let side_path = side_path(Path::new("stdin"), args, &opening);
    inputs::check_own(None, None, side_path.as_deref())?;
    finish(&mut state, opening, content, args, side_path, None)
}

async fn of_file(path: &Path, args: &Args, client: &Client) -> Result<Plan, Fault> {
    let name = path.display().to_string();
    let reading = |error: io::Error| Fault::reading(&name, &error);
    let lock = lock(path)?;
    let state_path = (!args.dry_run).then(|| {
        args.state
            .clone()
            .unwrap_or_else(|| with_suffix(path, state::SUFFIX))
    });
    let mut content = Content::open(path).map_err(reading)?;
    let opening = Opening::read(&mut content, Some(path), args.format).map_err(|fault| fault.of(&name))?;
    let is_side = opening.is_side();
    let side_path = side_path(path, args, &opening);
    inputs::check_own(Some(path), state_path.as_deref(), side_path.as_deref())?;
    let old = match &state_path {
        Some(state_path) => old_state(state_path, args.state.is_some())?,
        None => None,
    };
    let mut state = match of_old(path, old, is_side, args, client).await? {
        Some(state) => state,
        None => {
            let look = Look::at(path).map_err(reading)?;
            let found = digest(path, None, args.quiet, client).await?;
            State::new(client.server(), opening.format, &args.map, look, found.whole)
        }
    };
    if state.accepted + state.refused > 0 && (state.format != opening.format || state.map != args.map) {
        let text = format!("{name} was begun with another --format or --map: use the same, or --fresh");
        return Err(Fault::new(exit::USAGE, text));
    }
    (state.format, state.map) = (opening.format, args.map.clone());
    forget_what_the_server_lacks(&name, &mut state, args, client).await?;
    let place = state.place.bytes.max(opening.end.bytes);
    let mut content = Content::open(path).map_err(reading)?;
    content.skip(place).map_err(reading)?;
    let mut plan = finish(&mut state, opening, content, args, side_path, state_path)?;
    (plan.total, plan.lock) = (Some(plan.state.whole.bytes), Some(lock));
    Ok(plan)
}

fn finish(
    state: &mut State,
    opening: Opening,
    content: Content,
    args: &Args,
    side_path: Option<PathBuf>,
    state_path: Option<PathBuf>,
) -> Result<Plan, Fault> {
    let shape = opening.shape(&args.map)?;
    if state.place.bytes == 0 {
        state.place = opening.end;
    }
    state.slice_bytes = args.slice_bytes;
    Ok(Plan {
        state: state.clone(),
        state_path,
        side_path,
        shape,
        format: opening.cut_as(),
        content,
        total: None,
        lock: None,
    })
}

/// The state to go on with, if `old` is of this file.
async fn of_old(
    path: &Path,
    old: Option<State>,
    is_side: bool,
    args: &Args,
    client: &Client,
) -> Result<Option<State>, Fault> {
    let Some(mut state) = old else {
        return Ok(None);
    };
    let name = path.display().to_string();
    let look = Look::at(path).map_err(|error| Fault::reading(&name, &error))?;
    if look != state.look {
        let found = digest(path, Some(state.whole.clone()), args.quiet, client).await?;
        let why = match found.than_before {
            Than::Same | Than::Grown => None,
            _ if args.fresh => return Ok(None),
            Than::Other if state.done && is_side => return Ok(None),
            Than::Other if state.done => Some("is another file than the one that was sent"),
            Than::Other => Some("was changed since a part of it was sent"),
            Than::Torn => Some("ended within a row when it was sent, and that row goes on now"),
        };
        if let Some(why) = why {
            let text = format!(
                "{name} {why}; --fresh sends it as a new file, and rows that have neither key nor time are counted again then"
            );
            return Err(Fault::new(exit::DATA, text));
        }
        if found.whole != state.whole && state.done {
            state.done = false;
            tell(
                args,
                &format!("{name} has grown: goes on behind row {}", state.place.row),
            );
        }
        (state.look, state.whole) = (look, found.whole);
    }
    if args.fresh {
        state = begin_again(state, client);
    }
    Ok(Some(state))
}

/// The same file, of which nothing was sent. Its identity stays: else rows without key and time would count twice.
fn begin_again(old: State, client: &Client) -> State {
    let identity = old.identity.clone();
    let mut state = State::new(client.server(), old.format, &old.map, old.look, old.whole);
    state.identity = identity;
    state
}

/// A state says what one log has. If the server has another, or less of it, all is to be sent again.
async fn forget_what_the_server_lacks(
    name: &str,
    state: &mut State,
    args: &Args,
    client: &Client,
) -> Result<(), Fault> {
    if state.server != client.server() {
        tell(
            args,
            &format!(
                "{name} was sent to {} before: begins with the first row",
                state.server
            ),
        );
        *state = begin_again(state.clone(), client);
    }
    let Some(receipt) = &state.receipt else {
        return Ok(());
    };
    let progress = Progress::new(name, None, state.place, args.quiet);
    let call = client.query(&format!("/v1/receipts/{receipt}"), None);
    let known = client.call(&call, &progress).await;
    progress.finish();
    match known {
        Err(Failed::Said { code, .. })
            if matches!(code.as_str(), "receipt_of_another_log" | "receipt_beyond_end") =>
        {
            tell(
                args,
                &format!("{name}: the server does not have what was sent before: begins with the first row"),
            );
            *state = begin_again(state.clone(), client);
            Ok(())
        }
        // A server that only takes events does not know of receipts.
        Ok(_) | Err(Failed::Said { .. }) => Ok(()),
        Err(failed) => Err(failed.into_fault()),
    }
}

fn tell(args: &Args, text: &str) {
    if !args.quiet {
        say(text);
    }
}

/// The state that was written before. What is none of ours is not replaced where it was named by hand.
fn old_state(path: &Path, is_named: bool) -> Result<Option<State>, Fault> {
    match State::read(path) {
        Ok(state) => Ok(state),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            if is_named {
                let text = format!(
                    "--state: {} is there, and no state file of ours: name another",
                    path.display()
                );
                return Err(Fault::new(exit::USAGE, text));
            }
            crate::warn(&format!(
                "{} is no state file of ours ({error}): begins with the first row",
                path.display()
            ));
            Ok(None)
        }
        Err(error) => Err(Fault::reading(&path.display().to_string(), &error)),
    }
}

/// Two that send one file would count nothing twice, but write one state file and one side file.
fn lock(path: &Path) -> Result<std::fs::File, Fault> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| Fault::reading(&name, &error))?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Err(Fault::new(
            exit::USAGE,
            format!("{name} is being sent by another `tidemark send`"),
        )),
        // Where a file system has no locks there are none.
        _ => Ok(file),
    }
}

async fn digest(path: &Path, before: Option<Whole>, quiet: bool, client: &Client) -> Result<Found, Fault> {
    let name = path.display().to_string();
    if !quiet && path.metadata().is_ok_and(|metadata| metadata.len() > LONG_BYTES) {
        crate::warn(&format!("reading {name} once, to know it again"));
    }
    let (path, shutdown) = (path.to_owned(), client.shutdown().clone());
    let reading = tokio::task::spawn_blocking(move || {
        identity::read(Content::open(&path)?, before.as_ref(), || shutdown.has_begun())
    });
    match reading.await {
        Ok(Ok(Some(found))) => Ok(found),
        Ok(Ok(None)) => Err(Failed::Interrupted.into_fault()),
        Ok(Err(error)) => Err(Fault::reading(&name, &error)),
        Err(error) => Err(Fault::new(service::exit::SOFTWARE, error.to_string())),
    }
}

fn side_path(path: &Path, args: &Args, opening: &Opening) -> Option<PathBuf> {
    let ending = match opening.format {
        Format::Ndjson | Format::LinesA => "ndjson",
        Format::Csv | Format::Auto => "csv",
    };
    let usual = || with_suffix(path, &format!("{}{ending}", side::SUFFIX));
    match (&args.refused, args.dry_run) {
        (Some(refused), _) => Some(refused.clone()),
        (None, true) => None,
        (None, false) => Some(usual()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// How a file begins.
struct Opening {
    format: Format,
    /// The header of a CSV file: its text, and its cells.
    header: Option<(Vec<u8>, Vec<Vec<u8>>)>,
    /// Behind the header; the beginning where there is none.
    end: Place,
    /// What was read behind it.
    first: Vec<u8>,
}

/// What is wrong with a beginning.
enum BadOpening {
    Reading(io::Error),
    Words(&'static str),
}

impl From<io::Error> for BadOpening {
    fn from(error: io::Error) -> Self {
        Self::Reading(error)
    }
}

impl BadOpening {
    fn of(self, name: &str) -> Fault {
        match self {
            Self::Reading(error) => Fault::reading(name, &error),
            Self::Words(words) => Fault::new(exit::DATA, format!("{name}: {words}")),
        }
    }
}

impl Opening {
    fn read(content: &mut Content, path: Option<&Path>, asked: Format) -> Result<Self, BadOpening> {
        let mut first = Vec::new();
        let mut ended = content.read(&mut first)? == 0;
        let format = match asked {
            Format::Auto => loop {
                match path
                    .and_then(format_of_name)
                    .map_or_else(|| sniffed(&first), |format| Some(Ok(format)))
                {
                    Some(format) => break format?,
                    None if ended || first.len() > BEGINNING_BYTES => break Format::Ndjson,
                    None => ended = content.read(&mut first)? == 0,
                }
            },
            asked => asked,
        };
        let mut opening = Self {
            format,
            header: None,
            end: Place::default(),
            first,
        };
        if format == Format::Csv {
            opening.read_header(content, ended)?;
        }
        Ok(opening)
    }

    fn read_header(&mut self, content: &mut Content, mut ended: bool) -> Result<(), BadOpening> {
        let mut rows = Rows::new(Some(rows::Format::Csv), crate::slices::ROW_BYTES);
        let mut at = 0;
        loop {
            let bytes = self.first.get(at..).unwrap_or_default();
            match rows.next(bytes, ended) {
                Ok(Step::Row(cut)) => {
                    let rows::Content::Cells(_) = cut.content else {
                        return Err(BadOpening::Words(
                            "the header is too long, or its quotes are broken",
                        ));
                    };
                    let text = bytes.get(..cut.consumed).unwrap_or_default();
                    let cells = rows.cells(text).map(<[u8]>::to_vec).collect();
                    self.header = Some((text.to_vec(), cells));
                    at += cut.consumed;
                    break;
                }
                Ok(Step::Skip { consumed }) => at += consumed,
                Ok(Step::More { consumed }) => {
                    at += consumed;
                    if self.first.len() > BEGINNING_BYTES {
                        return Err(BadOpening::Words("there is no header within the longest row"));
                    }
                    if ended {
                        return Err(BadOpening::Words("it is empty: CSV begins with a header"));
                    }
                    ended = content.read(&mut self.first)? == 0;
                }
                Err(_) => return Err(BadOpening::Words("it is no CSV")),
            }
        }
        self.end = Place {
            bytes: at as u64,
            row: 1,
        };
        self.first.drain(..at);
        Ok(())
    }

    /// Whether it is a side file, by its header or, of JSON, by its first rows.
    fn is_side(&self) -> bool {
        let header = self.header.as_ref().map(|(text, _)| text);
        side::is_one(header.unwrap_or(&self.first))
    }

    fn shape(&self, map: &[(String, String)]) -> Result<Shape, Fault> {
        Ok(match (&self.header, self.format) {
            (Some((text, cells)), _) => {
                let cells: Vec<&[u8]> = cells.iter().map(Vec::as_slice).collect();
                let csv = Csv::new(&cells, text, map).map_err(|bad| Fault::new(exit::DATA, bad.0))?;
                Shape::Csv(Box::new(csv))
            }
            (None, Format::LinesA) => Shape::LinesA,
            (None, _) => Shape::Json(Json::new(map)),
        })
    }

    fn cut_as(&self) -> rows::Format {
        match self.format {
            Format::Csv => rows::Format::Csv,
            _ => rows::Format::Lines,
        }
    }
}

fn format_of_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let name = [".gz", ".zst", ".gzip", ".zstd"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" | "ldjson" => Some(Format::Ndjson),
        _ => None,
    }
}

/// The format as the first byte tells it; `None` where there is none yet.
fn sniffed(first: &[u8]) -> Option<Result<Format, BadOpening>> {
    let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    Some(match text.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'{' => Ok(Format::Ndjson),
        b'[' => Err(BadOpening::Words(
            "a JSON array is not read in slices; write one object a line, or post it to /v1/events",
        )),
        _ => Ok(Format::Csv),
    })
}
