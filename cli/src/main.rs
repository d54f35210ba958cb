//! The program `tidemark`: one binary, a role as its subcommand.
//!
//! Every role goes the same way: signals, settings, telemetry, parts, run until asked to stop, drain. A bad
//! setting ends it with 64 before a port opens. What is no role needs no settings, and reads none.

mod args;
mod roles;
mod world;
mod ended;
mod embedded;
mod kafka;
mod registry;
mod outcomes;
mod gauges;
mod secrets;
mod load;
mod check;
mod ready;
mod migrate;
mod audit;
mod client;
mod manual;
mod keys;

use args::{Args, Command};
use clap::Parser;
use service::config::Config;
use service::exit;
use service::shutdown::Shutdown;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// For what is still at work on threads of its own when a role has ended.
const LEFT: Duration = Duration::from_secs(3);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    log::kafka::keep_little_memory();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            let _ = error.print();
            return code.into();
        }
    };
    if let Some(code) = client::without_settings(&args) {
        return code.into();
    }
    let config = match Config::load(args.config.as_deref(), args.overrides()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("tidemark: {error}");
            return exit::CONFIG.into();
        }
    };
    match &args.command {
        Command::CheckConfig => return check::print(&config).into(),
        Command::Ready => return ready::ask(config.http.admin_listen).into(),
        Command::Keys(command) => return keys::run(command, &config).into(),
        _ => {}
    }
    let telemetry = match service::telemetry::init(&config.log, &config.traces, role(&args.command)) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("tidemark: {error}");
            return exit::CONFIG.into();
        }
    };
    let code: ExitCode = match run(args.command, config) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("tidemark: {error:#}");
            ended::Ended::code_of(&error).into()
        }
    };
    // What was traced last is sent.
    drop(telemetry);
    code
}

/// What a command is called in traces.
fn role(command: &Command) -> &'static str {
    match command {
        Command::Run { .. } => "run",
        Command::Ingest => "ingest",
        Command::Aggregate { .. } => "aggregate",
        Command::Query => "query",
        _ => "tool",
    }
}

fn run(command: Command, config: Config) -> anyhow::Result<u8> {
    // A process without a public port gets no work from anybody who would look.
    let delay = match &command {
        Command::Run { .. } | Command::Ingest | Command::Query => config.http.drain_delay(),
        _ => Duration::ZERO,
    };
    let shutdown = Shutdown::on_signals(delay)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = match command {
        Command::Run { load } => roles::run(&runtime, &config, load.as_deref(), &shutdown),
        Command::Ingest => roles::ingest(&runtime, &config, &shutdown),
        Command::Aggregate { without_store } => roles::aggregate(&runtime, &config, without_store, &shutdown),
        Command::Query => roles::query(&runtime, &config, &shutdown),
        Command::Migrate(rights) => migrate::run(&runtime, &config, &rights),
        Command::Audit { embedded, wait } => audit::run(&runtime, &config, embedded, wait),
        // They were done before, without any of this.
        Command::CheckConfig
        | Command::Ready
        | Command::Keys(_)
        | Command::Send(_)
        | Command::DeadLetters(_)
        | Command::Completions { .. }
        | Command::Man { .. } => Ok(exit::SOFTWARE),
    };
    end(runtime);
    ended
}

/// What a disk that hangs still holds up is left: the process would wait for it for ever.
fn end(runtime: Runtime) {
    runtime.shutdown_timeout(LEFT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Instant;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn a_thread_that_hangs_does_not_hold_up_the_end() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let (begin, begun) = mpsc::channel();
        let (go, hangs) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || {
            begin.send(()).unwrap();
            let _ = hangs.recv_timeout(4 * LEFT);
        });
        begun.recv().unwrap();
        let before = Instant::now();
        end(runtime);
        assert!(before.elapsed() < 2 * LEFT, "it was waited for");
        drop(go);
    }
}
