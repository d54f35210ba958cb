//! Who may do what: keys with a tenant and scopes, kept in a file without their secrets.
//!
//! While there is no file of keys, whoever reaches the port is the tenant `default` with all scopes; [`crate::http::serve`] answers
//! only this machine then. As soon as there is one, every route demands a key, but those that are named as public; it never goes
//! back before the process starts again. The file is looked at each second. One that cannot be read changes
//! nothing: the keys that were read last hold, an error is logged, and `tidemark_access_damaged_files` is 1. Where
//! none were read before, no key holds.
//!
//! Read it in this order: `scope` and `key` are what a key is, `file` where keys lie, `usage` what a key has used, `caller` what a handler
//! learns, `guard` what stands before every handler, `watch` what happens each second, `manage` and `api` how keys are made and revoked over
//! HTTP.

/// What a key may be used for.
mod scope;
/// A key, and how its secret is known again.
mod key;
/// The file of keys.
pub mod file;
/// What a key has used.
mod usage;
/// Whoever made a request.
mod caller;
/// Before every handler.
mod guard;
/// Following the file.
mod watch;
/// Who may make and revoke which keys.
mod manage;
/// `/v1/keys`.
mod api;
/// What is counted of it.
mod metrics;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

pub use self::api::api as keys_api;
pub use self::caller::Caller;
pub use self::guard::{API_KEY, needs};
pub use self::key::{Key, TENANT_BYTES, Text, Wanted, id_of};
pub use self::scope::Scope;
pub use self::usage::rfc3339;

pub(crate) use self::guard::{Guard, guard};

use self::file::{Error, Stamp};
use self::metrics::Metrics;
use self::usage::Usage;
use crate::metrics::Registry;

/// The keys that hold now. Clones are the same.
#[derive(Clone, Debug)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Routes that need no key, as the router writes them.
    public: &'static [&'static str],
    state: RwLock<State>,
    metrics: Metrics,
    /// From here the time of rates runs.
    started: Instant,
    /// The file as it was read last.
    read: std::sync::Mutex<Option<Stamp>>,
}

/// Keys by id.
type Table = BTreeMap<String, Arc<Entry>>;

#[derive(Clone, Debug)]
enum State {
    /// There is no file of keys, and never was one since the start; the token ends with that.
    Open(CancellationToken),
    Keyed(Arc<Table>),
}

/// A key and its use.
#[derive(Debug)]
struct Entry {
    key: Key,
    usage: Arc<Usage>,
}

impl Access {
    /// The keys of the file at `path`. Without a file, unless it `must_be` there, nobody needs a key.
    ///
    /// `public` are the routes that need none, as the router writes them: `/health`. Makes the metrics `tidemark_access_...`, once
    /// per registry.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or is not there and must be.
    pub fn open(
        path: &Path,
        must_be: bool,
        public: &'static [&'static str],
        registry: &Registry,
    ) -> Result<Self, Error> {
        let metrics = Metrics::new(registry).map_err(|error| Error::Io {
            path: path.to_owned(),
            cause: std::io::Error::other(error),
        })?;
        let stamp = Stamp::of(path);
        let state = match file::read(path) {
            Ok(keys) => State::Keyed(Arc::new(table(keys, &Table::new()))),
            Err(Error::Missing(_)) if !must_be => State::Open(CancellationToken::new()),
            Err(error) => return Err(error),
        };
        let access = Self(Arc::new(Inner {
            path: path.to_owned(),
            public,
            state: RwLock::new(state),
            metrics,
            started: Instant::now(),
            read: std::sync::Mutex::new(stamp),
        }));
        access.show();
        Ok(access)
    }

    /// Whether nobody needs a key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state(), State::Open(_))
    }

    fn state(&self) -> State {
        self.0
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on these keys hold.
    fn take(&self, keys: Vec<Key>) {
        let old = self.state();
        let known = match &old {
            State::Open(_) => Arc::default(),
            State::Keyed(table) => Arc::clone(table),
        };
        let new = Arc::new(table(keys, &known));
        *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = State::Keyed(Arc::clone(&new));
        if let State::Open(until) = old {
            until.cancel();
        }
        for (id, entry) in known.iter() {
            if new.get(id).is_none_or(|entry| entry.key.revoked_s.is_some()) {
                entry.usage.revoked().cancel();
            }
        }
        self.show();
    }

    fn show(&self) {
        let keys = match self.state() {
            State::Open(_) => 0,
            State::Keyed(table) => table
                .values()
                .filter(|entry| entry.key.revoked_s.is_none())
                .count(),
        };
        self.0.metrics.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }
}

/// Keys that go on with what they have used, where they were known.
fn table(keys: Vec<Key>, known: &Table) -> Table {
    let entries = keys.into_iter().map(|key| {
        let usage = known.get(&key.id).map(|entry| Arc::clone(&entry.usage));
        // What was revoked stays so; a key that somebody puts back begins anew.
        let usage = usage.filter(|usage| key.revoked_s.is_some() || !usage.revoked().is_cancelled());
        let entry = Entry {
            usage: usage.unwrap_or_default(),
            key,
        };
        (entry.key.id.clone(), Arc::new(entry))
    });
    entries.collect()
}

#[cfg(test)]
mod tests;
