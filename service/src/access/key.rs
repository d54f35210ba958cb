//! A key: whose it is, what it may be used for, and how its secret is known again.
//!
//! The text of a key is `tmk_<id>_<secret>`: 64 random bits as a name that may be shown, and 256 random bits that are shown once, both
//! in hex. Kept is only the hash of the text. A fast hash is enough: nobody tries 256 random bits one by one, so there is
//! nothing that a slow one would slow down. Nothing here may print the text of a key, other than to whoever made it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

use super::scope::Scope;

/// What the text of every key begins with, so that a leaked one is found by whoever searches for it.
pub(super) const PREFIX: &str = "tmk_";
/// Largest tenant, in bytes: that of an event, which `schemas` says; a test of the program holds the two together.
pub const TENANT_BYTES: usize = 128;
/// Largest name, in bytes.
const NAME_BYTES: usize = 128;
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// Highest rate, in requests a second; more is no limit.
const RATE_MAX: u32 = 1_000_000;

/// The hash of a key's text. Two are compared in constant time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(blake3::Hash);

impl Digest {
    fn of(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<digest>")
    }
}

/// What a key is made with.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose events and answers it stands for.
    pub tenant: String,
    /// What it may be used for; at least one.
    pub scopes: BTreeSet<Scope>,
    /// For people; may be empty.
    pub name: String,
    /// Requests a second.
    pub rate: Option<u32>,
    /// Events that are accepted on one UTC day.
    pub quota: Option<u64>,
}

/// A key as it is kept: without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Key {
    /// Its name in lists and logs; no secret.
    pub id: String,
    /// For people.
    pub name: String,
    /// Whose events and answers it stands for.
    pub tenant: Arc<str>,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// Requests a second; none is no limit.
    pub rate: Option<u32>,
    /// Events that are accepted on one UTC day; none is no limit.
    pub quota: Option<u64>,
    /// When it was made, in seconds since 1970.
    pub created_s: u64,
    /// When it was revoked, in seconds since 1970.
    pub revoked_s: Option<u64>,
    digest: Digest,
}

/// The text of a new key, which is shown once.
pub struct Text(String);

impl Text {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Key {
    /// Makes a key, with randomness of the system.
    ///
    /// # Errors
    /// In words: what is wrong with `wanted`, or that the system gives no randomness.
    pub fn make(wanted: Wanted, now_s: u64) -> Result<(Self, Text), String> {
        let id = random_hex::<ID_BYTES>()?;
        let text = format!("{PREFIX}{id}_{}", random_hex::<SECRET_BYTES>()?);
        let line = Line {
            id,
            name: wanted.name,
            tenant: wanted.tenant,
            scopes: wanted.scopes,
            rate: wanted.rate,
            quota: wanted.quota,
            created_s: now_s,
            revoked_s: None,
            digest: blake3::hash(text.as_bytes()).to_hex().to_string(),
        };
        Ok((Self::try_from(line)?, Text(text)))
    }

    /// Whether this is its text. Takes the same time for every text of one length.
    #[must_use]
    pub fn is_of(&self, text: &str) -> bool {
        self.digest == Digest::of(text)
    }
}

/// The id that the text of a key names, if it has the form of one.
#[must_use]
pub fn id_of(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    (is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then_some(id)
}

/// A key as a line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    #[serde(default)]
    name: String,
    tenant: String,
    scopes: BTreeSet<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota: Option<u64>,
    created_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_s: Option<u64>,
    digest: String,
}

impl TryFrom<Line> for Key {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        let is_text = |text: &str, max| text.len() <= max && !text.chars().any(char::is_control);
        let wrong = [
            (!is_hex(&line.id, ID_BYTES), "id must be 16 hex digits"),
            (
                !is_text(&line.name, NAME_BYTES),
                "name must be at most 128 bytes without control characters",
            ),
            (
                line.tenant.is_empty() || !is_text(&line.tenant, TENANT_BYTES),
                "tenant must be 1 to 128 bytes without control characters",
            ),
            (
                line.scopes.is_empty(),
                "scopes must name at least one of ingest, query, admin, operator",
            ),
            (
                line.rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)),
                "rate must be 1 to 1000000 requests a second",
            ),
            (line.quota == Some(0), "quota must be at least 1 event a day"),
        ];
        if let Some((_, what)) = wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            return Err(what.to_owned());
        }
        let digest = blake3::Hash::from_hex(&line.digest).map_err(|_| "digest must be 64 hex digits")?;
        Ok(Self {
            id: line.id,
            name: line.name,
            tenant: line.tenant.into(),
            scopes: line.scopes,
            rate: line.rate,
            quota: line.quota,
            created_s: line.created_s,
            revoked_s: line.revoked_s,
            digest: Digest(digest),
        })
    }
}

impl From<Key> for Line {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            name: key.name,
            tenant: key.tenant.as_ref().to_owned(),
            scopes: key.scopes,
            rate: key.rate,
            quota: key.quota,
            created_s: key.created_s,
            revoked_s: key.revoked_s,
            digest: key.digest.0.to_hex().to_string(),
        }
    }
}

/// Lower case only, so that a key has one text.
fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == bytes * 2 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_hex<const N: usize>() -> Result<String, String> {
    let mut bytes = [0; N];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| format!("the system gives no randomness: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            tenant: "acme".to_owned(),
            scopes: [Scope::Ingest].into(),
            name: "shop".to_owned(),
            rate: None,
            quota: Some(7),
        }
    }

    #[test]
    fn a_key_is_known_by_its_text_and_by_no_other() {
        let (key, text) = Key::make(wanted(), 5).unwrap();
        let (other, other_text) = Key::make(wanted(), 5).unwrap();
        assert_eq!(id_of(text.reveal()), Some(key.id.as_str()));
        assert!(key.is_of(text.reveal()) && other.is_of(other_text.reveal()));
        assert!(!key.is_of(other_text.reveal()) && key.id != other.id);
        let mixed = other_text.reveal().replace(&other.id, &key.id);
        assert_eq!(id_of(&mixed), Some(key.id.as_str()));
        assert!(!key.is_of(&mixed));
    }

    #[test]
    fn neither_debug_nor_the_file_has_the_secret() {
        let (key, text) = Key::make(wanted(), 5).unwrap();
        let secret = text.reveal().rsplit('_').next().unwrap();
        let line = serde_json::to_string(&key).unwrap();
        for shown in [format!("{key:?}"), format!("{text:?}"), line.clone()] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let read: Key = serde_json::from_str(&line).unwrap();
        assert!(read.is_of(text.reveal()));
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
    }

    #[test]
    fn what_is_no_key_of_ours_names_no_id() {
        let (_, text) = Key::make(wanted(), 5).unwrap();
        let text = text.reveal();
        let upper = text.to_ascii_uppercase().replace("TMK_", "tmk_");
        for bad in [
            "",
            "tmk_",
            "tmk__",
            "secret",
            &text[..text.len() - 1],
            &upper,
            &format!("{text}0"),
        ] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_is_not_made() {
        let makes = |change: &dyn Fn(&mut Wanted)| {
            let mut wanted = wanted();
            change(&mut wanted);
            Key::make(wanted, 0).map(|_| ()).unwrap_err()
        };
        assert!(makes(&|w| w.tenant.clear()).contains("tenant"));
        assert!(makes(&|w| w.tenant = "a\nb".to_owned()).contains("tenant"));
        assert!(makes(&|w| w.tenant = "x".repeat(129)).contains("tenant"));
        assert!(makes(&|w| w.scopes.clear()).contains("scopes"));
        assert!(makes(&|w| w.rate = Some(0)).contains("rate"));
        assert!(makes(&|w| w.quota = Some(0)).contains("quota"));
        assert!(makes(&|w| w.name = "\u{7f}".to_owned()).contains("name"));
    }
}
