//! The engines of this run, killed and started again by the script that started them. It never touches others': before anything else the
//! script must name the very addresses that the tests were given.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The engines that the tests were pointed at.
#[derive(Debug)]
pub struct Engines {
    script: PathBuf,
}

/// The time in which an engine is down; it is started again when this is dropped, so that a test that fails leaves the engines up.
#[derive(Debug)]
pub struct Outage<'e> {
    engines: &'e Engines,
    engine: Option<&'static str>,
}

impl Engines {
    /// Finds them.
    ///
    /// # Errors
    /// If the addresses in the environment are not those of the script's instance.
    pub fn of_this_run() -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/engines/engines");
        let engines = Self { script };
        for line in engines.run(&["env"])?.lines() {
            let named = line.strip_prefix("export ").and_then(|line| line.split_once('='));
            let (variable, address) = named.with_context(|| format!("no address: {line}"))?;
            ensure!(
                std::env::var(variable).is_ok_and(|given| given == address),
                "{variable} is not {address}: these are the engines of another instance, which this test must not kill"
            );
        }
        Ok(engines)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If the script fails.
    pub fn kill(&self, engine: &'static str) -> anyhow::Result<Outage<'_>> {
        let outage = Outage {
            engines: self,
            engine: Some(engine),
        };
        self.run(&["kill", engine])?;
        Ok(outage)
    }

    fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("bash").arg(&self.script).args(args).output()?;
        ensure!(
            output.status.success(),
            "engines {args:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Outage<'_> {
    /// Starts the engine again, and waits until it answers.
    ///
    /// # Errors
    /// If it does not start.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.start()
    }

    fn start(&mut self) -> anyhow::Result<()> {
        match self.engine.take() {
            Some(engine) => self.engines.run(&["start", engine]).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.start() {
            eprintln!("{error:#}");
        }
    }
}
