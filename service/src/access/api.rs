//! `GET /v1/keys`, `POST /v1/keys` and `DELETE /v1/keys/{id}`: what `tidemark keys` does, over HTTP, by the same file.
//!
//! Whoever changes the file holds its lock, here and on the command line, so nothing is lost where two do it at once. This process
//! goes by the new file before it answers; others follow within two seconds. The text of a key is in the one answer that made
//! it, and never again: not in a list, not in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::caller::Caller;
use super::file::{self, Error, Lock};
use super::key::{Key, Wanted};
use super::manage;
use super::scope::Scope;
use super::usage::rfc3339;
use super::{Access, State};
use crate::api::{Api, Codes, needs};
use crate::http::{PLAIN_JSON, Problem, plain_json};

/// Largest body: every field at its limit, escaped.
const BODY_BYTES: usize = 16 * 1024;
/// How long to wait for whoever changes the file at the moment.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_LOOK: Duration = Duration::from_millis(10);

/// A key's text, and who has which key, are nobody's to keep.
const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// What any of these calls may be refused for.
const REFUSED: Codes = &[
    (400, "parameter_invalid"),
    (400, "query_invalid"),
    (400, "unknown_parameter"),
    (503, "keys_unavailable"),
];

/// The routes, for [`crate::http::serve`] with the same `access`.
pub fn api(access: Access) -> Api {
    let routes = Api::new().on(routes!(list, make)).on(routes!(revoke));
    needs(routes, &[Scope::Operator, Scope::Admin])
        .body_limit(BODY_BYTES)
        .with_state(access)
}

/// A key as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
struct Line {
    id: String,
    name: String,
    tenant: String,
    scopes: Vec<&'static str>,
    #[schema(required = true)]
    rate: Option<u32>,
    #[schema(required = true)]
    quota: Option<u64>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required = true)]
    last_used_at: Option<String>,
    #[schema(required = true)]
    revoked_at: Option<String>,
}

impl Line {
    fn new(key: &Key, used_s: Option<u64>) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            tenant: key.tenant.as_ref().to_owned(),
            scopes: words(&key.scopes),
            rate: key.rate,
            quota: key.quota,
            created_at: rfc3339(key.created_s),
            last_used_at: used_s.map(rfc3339),
            revoked_at: key.revoked_s.map(rfc3339),
        }
    }
}

/// Keys, and whose list it is.
#[derive(ToSchema)]
#[schema(as = Keys)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct List {
    keys: Vec<Line>,
    caller: Asker,
}

/// Who asks.
#[derive(ToSchema)]
#[schema(as = KeysCaller)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
struct Asker {
    tenant: String,
    scopes: Vec<String>,
    /// None where no key is needed.
    #[schema(required = true)]
    id: Option<String>,
}

/// A key that was made, with its text.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyMade)]
struct Made<'a> {
    #[serde(flatten)]
    line: Line,
    key: &'a str,
}

fn words<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> Vec<&'static str> {
    scopes.into_iter().map(|scope| scope.word()).collect()
}

/// `GET /v1/keys`: those of the caller's tenant, or of all tenants for the operator, in the order in which they were made. The limit of the file
/// is that of the answer.
#[utoipa::path(
    get, path = "/v1/keys", tag = "Keys",
    summary = "Keys of the caller's tenant, or of all tenants for the operator; never a secret",
    responses((status = 200, description = "In the order in which they were made.", body = List)),
    extensions(("x-problems" = json!([REFUSED]))),
)]
async fn list(Shared(access): Shared<Access>, caller: Caller, query: Pairs) -> Result<Response, Problem> {
    parameters(query, &[])?;
    let path = access.0.path.clone();
    let read = spawn_blocking(move || (file::read(&path), file::last_used(&path))).await;
    let (keys, mut used) = read.map_err(|_| Problem::internal())?;
    let keys = match keys {
        // Nobody needs one yet.
        Err(Error::Missing(_)) if access.is_open() => Vec::new(),
        keys => keys.map_err(|error| unavailable(&error))?,
    };
    access.note_recent(&mut used);
    let shown = keys.iter().filter(|key| manage::is_of(&caller, &key.tenant));
    let lines: Vec<Line> = shown
        .map(|key| Line::new(key, used.get(&key.id).copied()))
        .collect();
    let scopes: Vec<Scope> = Scope::ALL
        .into_iter()
        .filter(|scope| caller.has(*scope))
        .collect();
    let asker = json!({"tenant": caller.tenant().as_ref(), "scopes": words(&scopes), "id": caller.key_id()});
    Ok((NO_STORE, Json(json!({"keys": lines, "caller": asker}))).into_response())
}

/// `POST /v1/keys`.
#[utoipa::path(
    post, path = "/v1/keys", tag = "Keys",
    summary = "Makes a key; its text is in this answer and never again",
    description = "Where there is no key yet, the first one needs the scopes operator and admin.",
    request_body(content = Asked, content_type = "application/json"),
    responses((status = 201, description = "The key.", body = Made<'static>)),
    extensions(("x-problems" = json!([
        REFUSED, PLAIN_JSON, [400, "json_invalid"], [403, "tenant_not_yours"], [403, "scope_missing"],
        [409, "first_key_needs_operator"], [409, "keys_read_only"], [409, "too_many_keys"]
    ]))),
)]
async fn make(
    Shared(access): Shared<Access>,
    caller: Caller,
    query: Pairs,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    parameters(query, &[])?;
    let wanted = wanted(&headers, &body?, &caller)?;
    let who = caller.clone();
    let (key, text) = access
        .change(move |keys, now_s| manage::make(&who, keys, wanted, now_s))
        .await?;
    tracing::info!(key = key.id, by = caller.key_id(), "a key was made over HTTP");
    let made = Made {
        line: Line::new(&key, None),
        key: text.reveal(),
    };
    Ok((StatusCode::CREATED, NO_STORE, Json(made)).into_response())
}

/// `DELETE /v1/keys/{id}?force`; may be repeated.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "Keys",
    summary = "Revokes a key; may be repeated",
    params(
        ("id" = String, Path, description = "Its id.", example = "0123456789abcdef"),
        ("force" = Option<bool>, Query, description = "Also the last key with the scope operator."),
    ),
    responses((status = 204, description = "It is revoked.")),
    extensions(("x-problems" = json!([
        REFUSED, [400, "path_invalid"], [404, "not_found"], [409, "keys_read_only"], [409, "last_operator_key"]
    ]))),
)]
async fn revoke(
    Shared(access): Shared<Access>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: Pairs,
) -> Result<Response, Problem> {
    let Path(id) = path?;
    let force = match parameters(query, &["force"])?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(invalid("force", "must be true or false")),
    };
    let who = caller.clone();
    let of = id.clone();
    let is_new = access
        .change(move |keys, now_s| manage::revoke(&who, keys, &of, force, now_s))
        .await?;
    if is_new {
        tracing::info!(
            key = id,
            by = caller.key_id(),
            force,
            "a key was revoked over HTTP"
        );
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Access {
    /// Changes the file, alone, and goes by what it holds then.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Vec<Key>, u64) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let lock = self.lock().await?;
        let access = self.clone();
        let changing = spawn_blocking(move || {
            let now_s = SystemTime::now().duration_since(UNIX_EPOCH);
            let now_s = now_s.unwrap_or_default().as_secs();
            let done = lock.change(|keys| change(keys, now_s).map_err(Failed::Refused));
            // Also where it was refused: then somebody else may have changed it. Whoever watches it says what is wrong with it.
            let _ = access.look();
            done
        });
        match changing.await.map_err(|_| Problem::internal())? {
            Ok(changed) => Ok(changed),
            Err(Failed::Refused(problem)) => Err(problem),
            Err(Failed::File(error)) => Err(unavailable(&error)),
        }
    }

    /// The lock of the file, within a bounded time and without a thread that waits for it.
    async fn lock(&self) -> Result<Lock, Problem> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let path = self.0.path.clone();
            let taken = spawn_blocking(move || Lock::try_take(&path)).await;
            match taken.map_err(|_| Problem::internal())? {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < deadline => sleep(LOCK_LOOK).await,
                Ok(None) => {
                    let title = "The keys cannot be read or changed now";
                    return Err(Problem::unavailable("keys_unavailable", title, 1)
                        .detail("somebody else has been changing the file of keys for too long"));
                }
                Err(error) => return Err(unavailable(&error)),
            }
        }
    }

    /// Adds uses of this process that were not written yet.
    fn note_recent(&self, used: &mut BTreeMap<String, u64>) {
        let State::Keyed(table) = self.state() else {
            return;
        };
        for (id, entry) in table.iter() {
            let recent = entry.usage.last_used_s();
            if recent > 0 {
                let known = used.entry(id.clone()).or_default();
                *known = (*known).max(recent);
            }
        }
    }
}

/// Why the file was not changed.
enum Failed {
    File(Error),
    Refused(Problem),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::File(error)
    }
}

/// 409 where this server may never write the file, 503 where it may work later. The cause is the operator's, not the client's.
fn unavailable(error: &Error) -> Problem {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    tracing::error!(%error, "the file of keys cannot be read or changed over HTTP");
    match error {
        Error::Io { cause, .. } if matches!(cause.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            let title = "The keys cannot be changed by this server";
            Problem::new(StatusCode::CONFLICT, "keys_read_only", title)
                .detail("it may not write the file of keys: make and revoke keys with tidemark keys where the file is written")
        }
        _ => Problem::unavailable("keys_unavailable", "The keys cannot be read or changed now", 5)
            .detail("the file of keys is damaged, gone or cannot be written; the log says why"),
    }
}

/// What is asked for, as it comes: each field is looked at by itself, so that what is wrong names it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyWanted)]
struct Asked {
    /// Without it the caller's own.
    #[schema(value_type = Option<String>)]
    tenant: Option<Value>,
    /// Some of ingest, query, admin and operator.
    #[schema(value_type = Vec<String>)]
    scopes: Option<Value>,
    #[schema(value_type = Option<String>)]
    name: Option<Value>,
    /// Requests a second, 1 to 1,000,000.
    #[schema(value_type = Option<u32>)]
    rate: Option<Value>,
    /// Events on one UTC day.
    #[schema(value_type = Option<u64>)]
    quota: Option<Value>,
}

/// The key that a body asks for; without a tenant that of the caller.
fn wanted(headers: &HeaderMap, body: &[u8], caller: &Caller) -> Result<Wanted, Problem> {
    plain_json(headers)?;
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request("json_invalid", "The body is not the JSON expected").detail(format!(
            "it must be an object with tenant, scopes, name, rate and quota, each once: {error}"
        ))
    })?;
    let text = |name, value: Option<Value>, absent: &str| match value {
        None | Some(Value::Null) => Ok(absent.to_owned()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(invalid(name, "must be a text of at most 128 bytes")),
    };
    Ok(Wanted {
        tenant: text("tenant", asked.tenant, caller.tenant())?,
        scopes: scopes(asked.scopes)?,
        name: text("name", asked.name, "")?,
        rate: number(asked.rate)
            .and_then(|rate| rate.map(u32::try_from).transpose().map_err(|_| ()))
            .map_err(|()| invalid("rate", "must be 1 to 1000000 requests a second"))?,
        quota: number(asked.quota).map_err(|()| invalid("quota", "must be 1 event a day or more"))?,
    })
}

fn scopes(value: Option<Value>) -> Result<BTreeSet<Scope>, Problem> {
    let wrong = || {
        invalid(
            "scopes",
            "must be a list of ingest, query, admin and operator, at least one of them",
        )
    };
    let Some(Value::Array(list)) = value else {
        return Err(wrong());
    };
    let read = list
        .iter()
        .map(|word| word.as_str().and_then(|word| word.parse().ok()));
    let scopes: BTreeSet<Scope> = read.collect::<Option<_>>().ok_or_else(wrong)?;
    match scopes.is_empty() {
        true => Err(wrong()),
        false => Ok(scopes),
    }
}

fn number(value: Option<Value>) -> Result<Option<u64>, ()> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(()),
    }
}

fn invalid(name: &'static str, words: &str) -> Problem {
    Problem::bad_request("parameter_invalid", "A parameter is not valid")
        .detail(format!("{name} {words}"))
        .with("parameter", name)
}

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The one parameter of a query string, where there may be one; any other is an error.
fn parameters(query: Pairs, known: &[&'static str]) -> Result<Option<String>, Problem> {
    let Query(pairs) = query?;
    let unknown: BTreeSet<&str> = pairs
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !known.contains(name))
        .collect();
    if !unknown.is_empty() {
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let there = match known {
            [] => "there are none here".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        return Err(
            Problem::bad_request("unknown_parameter", "A parameter is unknown")
                .detail(format!("unknown: {}; {there}", unknown.join(", ")))
                .with("parameters", unknown),
        );
    }
    match (known, pairs.len()) {
        ([name, ..], 2..) => Err(invalid(name, "may stand once")),
        _ => Ok(pairs.into_iter().next().map(|(_, value)| value)),
    }
}

#[cfg(test)]
mod tests;
