//! Completions and manual pages, made of the command line itself, so that they cannot say otherwise.

use crate::args::Args;
use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use service::exit;
use std::io::Write;
use std::path::Path;

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tidemark", &mut script);
    // Whoever closes the pipe has read enough.
    let _ = std::io::stdout().write_all(&script);
    Ok(exit::OK)
}

/// Writes `tidemark.1`, and `tidemark-<subcommand>.1` of each subcommand and of theirs, into `folder`.
pub(crate) fn pages(folder: &Path) -> anyhow::Result<u8> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    clap_mangen::generate_to(Args::command(), folder)
        .with_context(|| format!("pages cannot be written into {}", folder.display()))?;
    Ok(exit::OK)
}
