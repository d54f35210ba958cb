//! The subcommands that are no role of a server: they read no settings, open no port and keep no folder.

use crate::args::{Args, Command};
use crate::manual;
use service::exit;
use service::shutdown::Shutdown;

/// Does what `args` say, and gives the exit code; `None` if they name a role.
pub(crate) fn without_settings(args: &Args) -> Option<u8> {
    let is_role = !matches!(
        args.command,
        Command::Send(_) | Command::DeadLetters(_) | Command::Completions { .. } | Command::Man { .. }
    );
    if !is_role && args.has_settings() {
        // A flag that would be ignored is one that somebody relied on in vain.
        eprintln!("tidemark: --config, --set, --listen, --admin-listen and --data are for servers");
        return Some(exit::USAGE);
    }
    let done = match &args.command {
        Command::Send(send) => on_a_server(async |shutdown| send::run(send, shutdown).await),
        Command::DeadLetters(letters) => {
            on_a_server(async |shutdown| send::letters::run(letters, shutdown).await)
        }
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { folder } => manual::pages(folder),
        _ => return None,
    };
    Some(done.unwrap_or_else(|error| {
        eprintln!("tidemark: {error:#}");
        exit::SOFTWARE
    }))
}

fn on_a_server(call: impl AsyncFnOnce(&Shutdown) -> u8) -> anyhow::Result<u8> {
    let shutdown = Shutdown::on_signals(std::time::Duration::ZERO)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(call(&shutdown));
    // The thread that reads standard input may wait for it for ever.
    runtime.shutdown_background();
    Ok(code)
}
