//! `tidemark dead-letters`: lists dead letters of a server, shows one, and redrives them.
//!
//! A redrive by filter is a loop over the server's pages, each of which may be made again: no letter has its effect twice. So it can be
//! stopped at any point, and the same command goes on, since the server leaves out what is redriven.

use crate::args::secret;
use crate::client::{Client, To};
use crate::progress::Progress;
use crate::slice::Place;
use crate::{Fault, exit, say, wait};
use reqwest::Url;
use schemas::receipt::Receipt;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use service::config::Secret;
use service::shutdown::Shutdown;
use std::io::Write as _;
use std::path::PathBuf;

const PATH: &str = "/v1/dead-letters";
/// Letters that one call of the server redrives.
const PAGE: u64 = 1_000;
/// Letters that one call of the server lists.
const LIST_PAGE: u64 = 1_000;

/// What to do with dead letters.
#[derive(Clone, Debug, clap::Subcommand)]
#[command(
    after_help = "Exit codes: 0 done; 2 a redrive left out letters that are not redriven yet (quarantined, not found, their bytes gone, held, \
    or too large); 3 interrupted, 4 server not reached or it refused (the same command goes on); 64 wrong use; 65 the file of --event holds no JSON object; 66 a file cannot be read."
)]
pub enum Letters {
    /// Lists them, oldest first: id, reason, time of acceptance, state, tries, user, detail, with tabs between.
    List {
        /// Which of them.
        #[command(flatten)]
        filter: Filter,
        /// Only those in this state: open, redriven or quarantined.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "LETTERS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        /// Of which server.
        #[command(flatten)]
        at: At,
    },
    /// Shows one, with its bytes, its event where it can be read, and all tries, as JSON.
    Show {
        /// Its id, as in 3-1207.
        #[arg(value_name = "ID")]
        id: String,
        /// Of which server.
        #[command(flatten)]
        at: At,
    },
    /// Puts them back on the log: those that are named, or all that a filter finds.
    Redrive {
        /// Ids, as in 3-1207; at most 1,000.
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// Which of them.
        #[command(flatten)]
        filter: Filter,
        /// All of the last seven days, where neither ids nor a filter are given.
        #[arg(long)]
        all: bool,
        /// File with the mended event, a JSON object as `POST /v1/events` takes it; `-` is standard input. With one ID.
        #[arg(long, value_name = "FILE")]
        event: Option<PathBuf>,
        /// Whose the mended event is, where the letter does not say; for operators.
        #[arg(long, value_name = "TENANT", requires = "event")]
        tenant: Option<String>,
        /// Count what would be redriven, and write nothing.
        #[arg(long)]
        dry_run: bool,
        /// Most records written in a second, 1 to 10,000.
        #[arg(long, value_name = "RECORDS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        rate: u64,
        /// Stop when so many letters were looked at.
        #[arg(long, value_name = "LETTERS", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Quarantined ones too.
        #[arg(long)]
        force: bool,
        /// When all is written, wait until it is counted.
        #[arg(long)]
        wait: bool,
        /// Of which server.
        #[command(flatten)]
        at: At,
    },
}

/// Which dead letters.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filter {
    /// Only of this reason, as in key_conflict; may be repeated.
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Accepted at this time or later: RFC 3339, or a date [default: seven days ago].
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Accepted before this time, or on this date or before.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only of this upload.
    #[arg(long, value_name = "UPLOAD")]
    upload: Option<String>,
    /// Only of this user.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// Which server.
#[derive(Clone, Debug, clap::Args)]
pub struct At {
    /// The server that answers queries.
    #[arg(
        long,
        value_name = "URL",
        env = "TIDEMARK_SERVER",
        default_value = "http://127.0.0.1:8080"
    )]
    server: String,
    /// Key with the scope admin, where the server needs one; other users of this machine may see it, so better is TIDEMARK_KEY or --key-file.
    #[arg(long, value_name = "KEY", env = "TIDEMARK_KEY", hide_env_values = true, value_parser = secret, conflicts_with = "key_file")]
    key: Option<Secret>,
    /// File that holds the key and nothing else.
    #[arg(long, value_name = "FILE", env = "TIDEMARK_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// PEM file of the authorities that an https:// server's certificate is believed by, in place of the system's.
    #[arg(long, value_name = "FILE", env = "TIDEMARK_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Seconds to go on trying when the server cannot be reached or is busy.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_for: u64,
    /// Print nothing but what was asked for and what is wrong.
    #[arg(long, short)]
    quiet: bool,
}

impl Filter {
    fn is_empty(&self) -> bool {
        let Self {
            reason,
            from,
            to,
            upload,
            user,
        } = self;
        reason.is_empty() && [from, to, upload, user].into_iter().all(Option::is_none)
    }

    fn named(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("from", &self.from),
            ("to", &self.to),
            ("upload", &self.upload),
            ("user", &self.user),
        ]
    }

    fn object(&self) -> Value {
        let mut object = Map::new();
        if !self.reason.is_empty() {
            object.insert("reason".to_owned(), json!(self.reason));
        }
        for (name, value) in self.named() {
            if let Some(value) = value {
                object.insert(name.to_owned(), json!(value));
            }
        }
        object.into()
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        let reasons = self.reason.iter().map(|reason| ("reason", reason.clone()));
        let named = self.named().into_iter();
        let named = named.filter_map(|(name, value)| Some((name, value.clone()?)));
        reasons.chain(named).collect()
    }
}

impl At {
    fn client(&self, shutdown: &Shutdown) -> Result<Client, Fault> {
        let to = To {
            server: &self.server,
            query_server: None,
            key: self.key.as_ref(),
            key_file: self.key_file.as_deref(),
            ca_file: self.ca_file.as_deref(),
            retry_for: self.retry_for,
        };
        Client::to(&to, shutdown.clone())
    }

    fn progress(&self, name: &str) -> Progress {
        Progress::new(name, None, Place::default(), self.quiet)
    }
}

/// Does it, until done or until `shutdown`; gives the exit code.
pub async fn run(letters: &Letters, shutdown: &Shutdown) -> u8 {
    let done = match letters {
        Letters::List {
            filter,
            state,
            limit,
            json,
            at,
        } => list(filter, state.as_deref(), *limit, *json, at, shutdown).await,
        Letters::Show { id, at } => show(id, at, shutdown).await,
        Letters::Redrive { .. } => redrive(letters, shutdown).await,
    };
    done.unwrap_or_else(|fault| {
        // Nobody may be reading: that is no reason to stop.
        let _ = writeln!(std::io::stderr(), "tidemark dead-letters: {}", fault.message);
        fault.code
    })
}

async fn list(
    filter: &Filter,
    state: Option<&str>,
    limit: u64,
    as_json: bool,
    at: &At,
    shutdown: &Shutdown,
) -> Result<u8, Fault> {
    let client = at.client(shutdown)?;
    let progress = at.progress("dead letters");
    let (mut left, mut cursor) = (limit, None::<String>);
    while left > 0 {
        let mut pairs = filter.pairs();
        pairs.extend(state.map(|state| ("state", state.to_owned())));
        pairs.push(("limit", left.min(LIST_PAGE).to_string()));
        pairs.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let call = client.query(PATH, Some(&query(&pairs)));
        let page = client
            .call(&call, &progress)
            .await
            .map_err(|failed| failed.into_fault())?;
        let letters = page.get("dead_letters").and_then(Value::as_array);
        for letter in letters.into_iter().flatten() {
            left = left.saturating_sub(1);
            say(&match as_json {
                true => letter.to_string(),
                false => line(letter),
            });
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    progress.finish();
    Ok(exit::OK)
}

/// Tabs between columns, which no value may hold.
fn line(letter: &Value) -> String {
    let names = [
        "id",
        "reason",
        "accepted_at",
        "state",
        "tries",
        "user_id",
        "detail",
    ];
    let cells = names.map(|name| match letter.get(name) {
        Some(Value::String(text)) => text.replace(|c: char| c.is_control(), " "),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    });
    cells.join("\t")
}

async fn show(id: &str, at: &At, shutdown: &Shutdown) -> Result<u8, Fault> {
    let client = at.client(shutdown)?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if !is_id {
        return Err(Fault::new(
            exit::USAGE,
            "an id is a partition and an offset, as in 3-1207",
        ));
    }
    let call = client.query(&format!("{PATH}/{id}"), None);
    let letter = client.call(&call, &at.progress(id)).await;
    let letter = letter.map_err(|failed| failed.into_fault())?;
    say(&format!("{letter:#}"));
    Ok(exit::OK)
}

/// What calls did, summed up.
#[derive(Debug, Default)]
struct Sum {
    matched: u64,
    redriven: u64,
    by_reason: Map<String, Value>,
    skipped: Map<String, Value>,
    receipts: Vec<Receipt>,
}

impl Sum {
    fn add(&mut self, answer: &Value) {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.matched += number("matched");
        self.redriven += number("redriven");
        for (mine, name) in [(&mut self.by_reason, "by_reason"), (&mut self.skipped, "skipped")] {
            for (word, count) in answer.get(name).and_then(Value::as_object).into_iter().flatten() {
                let sum = mine.get(word).and_then(Value::as_u64).unwrap_or(0);
                mine.insert(word.clone(), json!(sum + count.as_u64().unwrap_or(0)));
            }
        }
        let receipt = answer.get("receipt").and_then(Value::as_str);
        self.receipts
            .extend(receipt.and_then(|text| text.parse::<Receipt>().ok()));
    }

    fn words(&self, dry_run: bool) -> String {
        let counts = |map: &Map<String, Value>| {
            let counts = map.iter().filter(|(_, count)| count.as_u64() != Some(0));
            let words: Vec<String> = counts.map(|(word, count)| format!("{word} {count}")).collect();
            match words.is_empty() {
                true => "none".to_owned(),
                false => words.join(", "),
            }
        };
        let letters = if self.redriven == 1 { "letter" } else { "letters" };
        format!(
            "{} {letters} {} ({}); skipped: {}",
            self.redriven,
            if dry_run { "would be redriven" } else { "redriven" },
            counts(&self.by_reason),
            counts(&self.skipped),
        )
    }

    /// Letters that were left out and have not had their effect.
    fn left_out(&self) -> u64 {
        let counts = self.skipped.iter().filter(|(word, _)| *word != "redriven");
        counts.filter_map(|(_, count)| count.as_u64()).sum()
    }
}

async fn redrive(letters: &Letters, shutdown: &Shutdown) -> Result<u8, Fault> {
    let Letters::Redrive {
        ids,
        filter,
        all,
        event,
        tenant,
        dry_run,
        rate,
        limit,
        force,
        wait,
        at,
    } = letters
    else {
        return Ok(exit::OK);
    };
    let wrong = |text: &str| Err(Fault::new(exit::USAGE, text));
    match (ids.is_empty(), filter.is_empty(), all) {
        (true, true, false) => return wrong("name ids, give a filter such as --reason, or say --all"),
        (false, false, _) | (false, _, true) => return wrong("ids and a filter exclude each other"),
        _ => {}
    }
    let client = at.client(shutdown)?;
    let progress = at.progress("redrive");
    let mut body = Map::new();
    let put = |body: &mut Map<String, Value>, name: &str, value: Value| body.insert(name.to_owned(), value);
    put(&mut body, "dry_run", json!(dry_run));
    put(&mut body, "rate", json!(rate));
    put(&mut body, "force", json!(force));
    let mut event_text = None;
    if let Some(path) = event {
        event_text = Some(read_event(path)?);
    }
    if let Some(tenant) = tenant {
        put(&mut body, "tenant", json!(tenant));
    }
    let mut sum = Sum::default();
    let mut left = limit.unwrap_or(u64::MAX);
    loop {
        if ids.is_empty() {
            put(&mut body, "filter", filter.object());
            put(&mut body, "limit", json!(left.min(PAGE)));
        } else {
            put(&mut body, "ids", json!(ids));
        }
        let call = client.command(PATH_REDRIVE, &Value::Object(body.clone()), event_text.as_deref());
        let answer = client.call(&call, &progress).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(failed) => {
                say(&sum.words(*dry_run));
                return Err(failed.into_fault());
            }
        };
        left = left.saturating_sub(answer.get("matched").and_then(Value::as_u64).unwrap_or(0));
        sum.add(&answer);
        match answer.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) if left > 0 => {
                put(&mut body, "cursor", json!(cursor));
            }
            _ => break,
        }
        if shutdown.has_begun() {
            say(&sum.words(*dry_run));
            return Err(Fault::new(
                exit::INTERRUPTED,
                "interrupted; the same command goes on",
            ));
        }
    }
    progress.finish();
    say(&sum.words(*dry_run));
    let code = if sum.left_out() > 0 {
        exit::REFUSED
    } else {
        exit::OK
    };
    if *wait && !dry_run {
        let waited = wait::until_counted(&client, sum.receipts, at.quiet).await;
        return Ok(exit::worse(code, waited));
    }
    Ok(code)
}

const PATH_REDRIVE: &str = "/v1/dead-letters/redrive";

/// The mended event as it stands in its file: no number of it is read and written anew.
fn read_event(path: &std::path::Path) -> Result<Box<RawValue>, Fault> {
    let name = path.display().to_string();
    let text = match name.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(path),
    };
    let text = text.map_err(|error| Fault::reading(&name, &error))?;
    serde_json::from_str(&text)
        .map_err(|error| Fault::new(exit::DATA, format!("{name} holds no JSON object: {error}")))
}

/// The pairs as a query string.
fn query(pairs: &[(&'static str, String)]) -> String {
    // Any address will do.
    let Ok(mut url) = Url::parse("http://localhost/") else {
        return String::new();
    };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_add_up_and_what_is_left_out_is_told_from_what_is_done() {
        let mut sum = Sum::default();
        for (reason, redriven) in [("invalid", 0), ("key_conflict", 2)] {
            sum.add(&json!({
                "matched": 5, "redriven": 3, "by_reason": {reason: 3},
                "skipped": {"redriven": redriven, "quarantined": 1, "held": 0}, "receipt": null,
            }));
        }
        assert_eq!((sum.matched, sum.redriven, sum.left_out()), (10, 6, 2));
        assert_eq!(
            sum.words(true),
            "6 letters would be redriven (invalid 3, key_conflict 3); skipped: quarantined 2, redriven 2"
        );
    }

    #[test]
    fn a_filter_is_the_same_in_a_query_and_in_a_body() {
        let filter = Filter {
            reason: vec!["key_conflict".into(), "invalid".into()],
            user: Some("ü &=".into()),
            ..Filter::default()
        };
        assert_eq!(
            query(&filter.pairs()),
            "reason=key_conflict&reason=invalid&user=%C3%BC+%26%3D"
        );
        assert_eq!(
            filter.object(),
            json!({"reason": ["key_conflict", "invalid"], "user": "ü &="})
        );
        assert!(!filter.is_empty() && Filter::default().is_empty());
    }
}
