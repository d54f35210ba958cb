//! Completions and manual pages, made of the command line itself, so that they cannot say otherwise.

use crate::args::Args;
use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
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

/// Writes `tidemark.1` and `tidemark-<subcommand>.1` into `folder`.
pub(crate) fn pages(folder: &Path) -> anyhow::Result<u8> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut program = Args::command();
    // Gives each subcommand its full name.
    program.build();
    page(folder, &program, "tidemark")?;
    for command in program
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        page(folder, command, &format!("tidemark-{}", command.get_name()))?;
    }
    Ok(exit::OK)
}

fn page(folder: &Path, command: &Command, name: &str) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.1"));
    let mut text = Vec::new();
    Man::new(command.clone()).title(name).render(&mut text)?;
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}
