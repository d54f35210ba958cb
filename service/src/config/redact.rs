//! What may not be printed: values whose key sounds secret, and the user part of URLs.
//!
//! It errs towards hiding: the path `ssl.key.location` is redacted though it is only a path.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Stands where a secret stood.
pub(super) const REDACTED: &str = "<redacted>";

/// Words in a key that make its value a secret. `jaas` and `oauthbearer.config` hold credentials inside a longer text.
const SECRET_WORDS: [&str; 7] = [
    "password",
    "secret",
    "key",
    "token",
    "credential",
    "jaas",
    "oauthbearer.config",
];

/// Settings of ours that are secrets.
const SECRETS: [&str; 1] = ["http.live_event_secret"];

/// A secret in the settings: it shows itself to whoever asks by name, and never by `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// The value as it may be shown.
pub(super) fn value(key: &str, value: &str) -> String {
    if is_secret(key) {
        return REDACTED.to_owned();
    }
    without_user_info(value)
}

/// Whether the value of this key must never be shown.
///
/// Secrets of ours, and raw librdkafka properties that sound like one; other settings of ours, such as `store.keyspace`, never hold
/// one. A path in `kafka.extra_files` is where a secret lies, not the secret.
pub(super) fn is_secret(key: &str) -> bool {
    let Some(property) = key.strip_prefix("kafka.extra.") else {
        return SECRETS.contains(&key);
    };
    let property = property.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| property.contains(word))
}

/// `http://user:password@host/` as `http://<redacted>@host/`.
fn without_user_info(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REDACTED}@{host}{tail}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_hidden() {
        assert_eq!(
            value("registry.url", "http://me:pw@host:8081/x@y"),
            "http://<redacted>@host:8081/x@y"
        );
        assert_eq!(value("registry.url", "http://host/x@y"), "http://host/x@y");
    }

    #[test]
    fn only_raw_properties_can_be_secret() {
        assert!(is_secret("kafka.extra.sasl.password"));
        assert!(is_secret("kafka.extra.ssl.KEY.pem"));
        assert!(!is_secret("kafka.extra.security.protocol"));
        assert!(!is_secret("store.keyspace"));
    }
}
