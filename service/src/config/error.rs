//! What is wrong with the settings, said to whoever must mend them: key, value, source, reason.
//!
//! All faults found are reported at once, so that mending a deployment does not take one restart per mistake.
//! A [`Fault`] never holds the value of a secret: values pass through `redact` before they get here.

use std::fmt;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, as in `http.listen`; for a variable or file as a whole, its name.
    pub key: String,
    /// The value as given, redacted where it is a secret; none where there is no one value.
    pub value: Option<String>,
    /// Where the value came from.
    pub source: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        write!(f, " (from {}): {}", self.source, self.reason)
    }
}

/// Why the settings cannot be used; at least one fault.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used{}", lines(.faults))]
pub struct ConfigError {
    /// All that was found.
    pub faults: Vec<Fault>,
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault] }
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}
