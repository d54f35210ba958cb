//! `tidemark check-config`: what holds, and where each value came from. Secrets are redacted.

use service::config::Config;
use service::exit;
use std::io::Write;

/// Prints the settings. A pipe that closes early is no error.
pub(crate) fn print(config: &Config) -> u8 {
    let settings = config.explain();
    let width = settings
        .iter()
        .map(|setting| setting.key.len())
        .max()
        .unwrap_or(0);
    let mut out = std::io::stdout().lock();
    for setting in settings {
        let line = writeln!(
            out,
            "{:width$} = {}  # {}",
            setting.key, setting.value, setting.source
        );
        if line.is_err() {
            break;
        }
    }
    exit::OK
}
