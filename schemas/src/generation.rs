//! The generation record: what a fold of the whole log rests on. `migrate` alone writes it; whoever starts compares it with
//! what is there and refuses to start on any difference.

use crate::key::Secret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of the fold that this release has. A change in what the fold concludes from the same records makes a new one.
pub const FOLD_VERSION: u32 = 4;
/// The partitioner of this release.
pub const PARTITIONER: &str = "murmur2";

/// One generation, stored as JSON under the key `generation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Layout version, 1.
    pub layout: u32,
    /// Number of the generation, from 1.
    pub number: u32,
    /// Partitions of `events` and of the changelog.
    pub partitions: u32,
    /// Id of the topic `events`.
    pub events_id: Uuid,
    /// Id of the topic of commit records.
    pub changelog_id: Uuid,
    /// How keys find their partition.
    pub partitioner: String,
    /// Secret of fingerprints and content hashes: 64 hex digits.
    #[serde(with = "secret_hex")]
    pub secret: Secret,
    /// Buckets of user rows.
    pub user_buckets: u32,
    /// [`FOLD_VERSION`] of the release that made it.
    pub fold_version: u32,
    /// Id of the event schema in the registry; `None` on the embedded log.
    pub schema_id: Option<u32>,
    /// BLAKE3 digest of the event schema, in hex.
    pub schema_digest: String,
}

mod secret_hex {
    use super::Secret;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        let hex: String = secret.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&hex)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        let hex = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom("secret must be 64 hex digits");
        let mut secret = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(wrong());
        }
        for (place, byte) in secret.iter_mut().enumerate() {
            let digits = hex.get(place * 2..place * 2 + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Secret(secret))
    }
}
