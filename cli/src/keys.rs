//! `tidemark keys`: makes, lists and revokes keys in the file that servers read. It talks to no server and needs none.
//!
//! The text of a key goes to standard output once, when it is made; what is said about it goes to standard error, so that a script can
//! take the one without the other.

use crate::args::Keys;
use crate::world::now;
use service::access::file::{self, Error};
use service::access::{Key, Scope, Wanted, rfc3339};
use service::config::Config;
use service::exit;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Why nothing was done: what is said, and the exit code.
struct Failed(String, u8);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Missing(_) => exit::NO_INPUT,
            Error::Damaged { .. } => exit::DATA,
            Error::Io { .. } => exit::IO,
        };
        Self(error.to_string(), code)
    }
}

/// Does it, and gives the exit code.
pub(crate) fn run(command: &Keys, config: &Config) -> u8 {
    let path = config.keys_file();
    let now_s = u64::try_from(now().0 / 1_000_000).unwrap_or_default();
    let done = match command {
        Keys::Create { .. } => create(command, &path, now_s),
        Keys::List { json } => list(&path, *json),
        Keys::Revoke { id } => revoke(&path, id, now_s),
    };
    match done {
        Ok(()) => exit::OK,
        Err(Failed(why, code)) => {
            eprintln!("tidemark: {why}");
            code
        }
    }
}

fn create(command: &Keys, path: &Path, now_s: u64) -> Result<(), Failed> {
    let Keys::Create {
        tenant,
        scopes,
        name,
        rate,
        quota,
    } = command
    else {
        return Ok(());
    };
    let wanted = Wanted {
        tenant: tenant.clone(),
        scopes: scopes.iter().copied().collect(),
        name: name.clone(),
        rate: *rate,
        quota: *quota,
    };
    let (key, text) = Key::make(wanted, now_s).map_err(|why| Failed(why, exit::USAGE))?;
    let id = key.id.clone();
    file::change(path, |keys| {
        keys.push(key);
        Ok::<_, Failed>(())
    })?;
    eprintln!("key {id} is in {}; it is shown this once:", path.display());
    let makes_others = |key: &Key| {
        key.revoked_s.is_none()
            && [Scope::Operator, Scope::Admin]
                .iter()
                .all(|scope| key.scopes.contains(scope))
    };
    if !file::read(path)?.iter().any(makes_others) {
        eprintln!(
            "no key has the scopes operator and admin: to a server that follows this file, nobody may make keys or see ledger and dead letters over HTTP"
        );
    }
    let shown = writeln!(std::io::stdout(), "{}", text.reveal());
    shown.map_err(|_| {
        Failed(
            format!("the key could not be shown: revoke {id}, and make another"),
            exit::IO,
        )
    })
}

fn list(path: &Path, json: bool) -> Result<(), Failed> {
    let (keys, used) = (file::read(path)?, file::last_used(path));
    let mut out = String::new();
    if !json {
        let head = [
            "ID",
            "TENANT",
            "SCOPES",
            "NAME",
            "RATE",
            "QUOTA",
            "CREATED",
            "LAST USED",
            "REVOKED",
        ];
        out.push_str(&head.join("\t"));
        out.push('\n');
    }
    for key in &keys {
        match json {
            true => out.push_str(&object(key, &used).to_string()),
            false => out.push_str(&row(key, &used)),
        }
        out.push('\n');
    }
    // Whoever closes the pipe has read enough.
    let _ = std::io::stdout().write_all(out.as_bytes());
    Ok(())
}

fn scopes(key: &Key) -> String {
    let words: Vec<_> = key.scopes.iter().map(|scope| scope.word()).collect();
    words.join(",")
}

/// Tabs between columns, which no value can hold.
fn row(key: &Key, used: &BTreeMap<String, u64>) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        key.id.clone(),
        key.tenant.as_ref().to_owned(),
        scopes(key),
        or_dash(Some(key.name.clone()).filter(|name| !name.is_empty())),
        or_dash(key.rate.map(|rate| format!("{rate}/s"))),
        or_dash(key.quota.map(|quota| format!("{quota}/day"))),
        rfc3339(key.created_s),
        used.get(&key.id).map_or("never".to_owned(), |at| rfc3339(*at)),
        or_dash(key.revoked_s.map(rfc3339)),
    ]
    .join("\t")
}

fn object(key: &Key, used: &BTreeMap<String, u64>) -> serde_json::Value {
    serde_json::json!({
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant.as_ref(),
        "scopes": key.scopes.iter().map(|scope| scope.word()).collect::<Vec<_>>(),
        "rate": key.rate,
        "quota": key.quota,
        "created_at": rfc3339(key.created_s),
        "last_used_at": used.get(&key.id).map(|at| rfc3339(*at)),
        "revoked_at": key.revoked_s.map(rfc3339),
    })
}

fn revoke(path: &Path, id: &str, now_s: u64) -> Result<(), Failed> {
    // A key that was given by mistake must not end up in a message.
    let unknown = || {
        Failed(
            "there is no key with this id; `tidemark keys list` shows ids".to_owned(),
            exit::DATA,
        )
    };
    // Without a file there is nothing to change, and none should come of it.
    file::read(path)?;
    let is_new = file::change(path, |keys| {
        let key = keys.iter_mut().find(|key| key.id == id).ok_or_else(unknown)?;
        let is_new = key.revoked_s.is_none();
        key.revoked_s.get_or_insert(now_s);
        Ok::<_, Failed>(is_new)
    })?;
    match is_new {
        true => eprintln!("key {id} is revoked; servers learn it within two seconds"),
        false => eprintln!("key {id} was revoked before"),
    }
    Ok(())
}
