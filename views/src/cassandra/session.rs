//! The session: how it is opened, what becomes of a request that failed, and how often it is tried again.

use super::secure::{self, Doubt, Password};
use super::{Config, Consistency};
use crate::Error;
use backon::{ExponentialBuilder, Retryable};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::policies::load_balancing::DefaultPolicy;
use std::sync::Arc;
use std::time::Duration;

/// The first pause before a request is tried again, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// How Cassandra begins to say that it cannot read `system_auth`, under the very code of a right that lacks (its `Roles` and `CassandraAuthorizer`).
const NOT_LOOKED_UP: &str = "Unable to perform auth";

/// Opens a session, within `connect_timeout`.
pub(super) async fn open(config: &Config) -> Result<Session, Error> {
    if !schemas::cql::is_keyspace(&config.keyspace) {
        let text = "must be a lower-case letter, then lower-case letters, digits and _, at most 47";
        return Err(Error::Wrong(format!("keyspace {:?}: {text}", config.keyspace)));
    }
    let mut balancing = DefaultPolicy::builder();
    if let Some(datacenter) = &config.datacenter {
        balancing = balancing.prefer_datacenter(datacenter.clone());
    }
    let profile = ExecutionProfile::builder()
        .consistency(config.consistency.into())
        .request_timeout(Some(config.request_timeout))
        .load_balancing_policy(balancing.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .keyspaces_to_fetch([config.keyspace.as_str()])
        .connection_timeout(config.connect_timeout);
    if let Some(credentials) = &config.credentials {
        builder = builder.authenticator_provider(Arc::new(Password(credentials.clone())));
    }
    let doubt = Doubt::default();
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(secure::context(tls, &doubt)?));
    }
    let build = async {
        let built = builder.build().await;
        built.map_err(|error| secure::refused(&error, &doubt, config))
    };
    match tokio::time::timeout(config.connect_timeout, build).await {
        Ok(opened) => opened,
        Err(_) => {
            let words = format!(
                "connecting took more than {} ms",
                config.connect_timeout.as_millis()
            );
            Err(secure::advised(words, &doubt, config))
        }
    }
}

impl From<Consistency> for scylla::statement::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::LocalQuorum => Self::LocalQuorum,
            Consistency::Quorum => Self::Quorum,
            Consistency::LocalOne => Self::LocalOne,
        }
    }
}

/// Gives up on a call after `limit`.
pub(super) async fn limited<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(Error::Away(format!(
            "{what} took more than {} ms",
            limit.as_millis()
        ))),
    }
}

/// Tries a request again while the store is away, for at most `retry_for`; all our requests may be repeated.
pub(super) async fn retried<T, F: Future<Output = Result<T, Error>>>(
    retry_for: Duration,
    request: impl FnMut() -> F,
) -> Result<T, Error> {
    let [first, longest] = PAUSES;
    let pauses = ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times();
    let mut last = String::new();
    let tries = request
        .retry(pauses)
        .when(|error| matches!(error, Error::Away(_)))
        .notify(|error, _| last = error.to_string());
    match tokio::time::timeout(retry_for, tries).await {
        Ok(result) => result,
        Err(_) => Err(Error::Away(format!(
            "nothing within {} ms; {last}",
            retry_for.as_millis()
        ))),
    }
}

/// What becomes of a request that failed: the request itself was refused, or the store may answer later.
pub(super) fn fate(error: ExecutionError) -> Error {
    match &error {
        ExecutionError::BadQuery(_) => Error::Wrong(error.to_string()),
        ExecutionError::LastAttemptError(attempt) => fate_of_attempt(attempt),
        ExecutionError::PrepareError(prepare) => fate_of_prepare(prepare),
        _ => Error::Away(error.to_string()),
    }
}

pub(super) fn fate_of_prepare(error: &PrepareError) -> Error {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => fate_of_attempt(first_attempt),
        error => Error::Away(error.to_string()),
    }
}

fn fate_of_attempt(error: &RequestAttemptError) -> Error {
    let text = error.to_string();
    match error {
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => {
            Error::Wrong(text)
        }
        RequestAttemptError::DbError(DbError::Invalid, message) if is_missing(message) => {
            Error::Wrong(format!("{message}: run `tidemark migrate`"))
        }
        // What our role may do could not be looked up, since the store's own tables of roles do not answer.
        RequestAttemptError::DbError(DbError::Unauthorized, message) if message.contains(NOT_LOOKED_UP) => {
            Error::Away(text)
        }
        RequestAttemptError::DbError(DbError::Unauthorized, message) => Error::Wrong(format!(
            "{message}: our role lacks a right; `tidemark migrate --grant` gives those of each role"
        )),
        RequestAttemptError::DbError(DbError::SyntaxError | DbError::Invalid | DbError::ConfigError, _) => {
            Error::Wrong(text)
        }
        _ => Error::Away(text),
    }
}

/// The words of Cassandra and ScyllaDB for a keyspace or table that is not there.
fn is_missing(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("does not exist") || message.contains("unconfigured table")
}

/// An answer that is not of the shape that was asked for.
pub(super) fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Wrong(format!("unexpected answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_lacks_is_wrong_and_one_that_cannot_be_looked_up_is_away() {
        let refused = |message: &str| {
            fate_of_attempt(&RequestAttemptError::DbError(
                DbError::Unauthorized,
                message.to_owned(),
            ))
        };
        let lacks = "User query has no MODIFY permission on <table tidemark.days_g1> or any of its parents";
        assert!(matches!(refused(lacks), Error::Wrong(_)));
        for message in [
            "Unable to perform authorization of permissions: Cannot achieve consistency level LOCAL_ONE",
            "Unable to perform authorization of super-user permission: Cannot achieve consistency level QUORUM",
        ] {
            assert!(matches!(refused(message), Error::Away(_)), "{message}");
        }
    }
}
