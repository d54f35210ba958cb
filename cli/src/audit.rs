//! `tidemark audit`.

use service::config::Config;
use service::exit;

/// Audits the folder or the cluster of the settings.
pub(crate) fn run(_runtime: &tokio::runtime::Runtime, _config: &Config, _embedded: bool, _wait: u64) -> anyhow::Result<u8> {
    Ok(exit::COULD_NOT_LOOK)
}
