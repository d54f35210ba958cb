//! Ends that have an exit code of their own; any other failure is [`exit::SOFTWARE`].

use service::exit;

/// Why a command ended, for people and as a number.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Ended {
    code: u8,
    what: String,
}

impl Ended {
    /// A setting is missing or cannot be used.
    pub(crate) fn setting(what: impl Into<String>) -> Self {
        let (code, what) = (exit::CONFIG, what.into());
        Self { code, what }
    }

    /// Something that must be there is not there yet.
    pub(crate) fn not_there(what: impl Into<String>) -> Self {
        let (code, what) = (exit::UNAVAILABLE, what.into());
        Self { code, what }
    }

    /// It was asked to stop before it had begun.
    pub(crate) fn early() -> Self {
        let (code, what) = (exit::TEMPORARY, "stopped while waiting".to_owned());
        Self { code, what }
    }

    /// The exit code of a failure.
    pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
        match error.downcast_ref::<Self>() {
            Some(ended) => ended.code,
            None if error.is::<service::access::file::Error>() => exit::CONFIG,
            None => exit::SOFTWARE,
        }
    }
}
