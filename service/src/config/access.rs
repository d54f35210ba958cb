//! Where keys lie.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Section `access`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The file of keys, which `tidemark keys` writes and every process that serves reads, again whenever it has changed. One that is
    /// named must be there. Where none is named and none is in the folder of `data`, no key is needed, and only this machine is
    /// answered.
    /// Default none, which is `keys.jsonl` in the folder of `data`; `TIDEMARK_ACCESS__KEYS_FILE`.
    pub keys_file: Option<PathBuf>,
}
