//! One process of the program under test: started with settings of its own, killed, frozen, woken, asked to stop. Its log lines go
//! to a file. It never outlives its handle.

use crate::client;
use anyhow::{Context, bail, ensure};
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// For one look at a port of a process that may be frozen or gone.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How a role is started.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name in this test.
    pub name: String,
    /// Arguments, the subcommand first.
    pub args: Vec<String>,
    /// Settings as variables.
    pub env: Vec<(String, String)>,
    /// Where its log lines go; those of a later process are added to them.
    pub log: PathBuf,
    /// Its admin port, where it has one.
    pub admin: Option<SocketAddr>,
    /// What starts the program, with arguments of its own: it gets the program and its arguments behind them and must become it, so that
    /// signals reach it. Empty: nothing stands between.
    pub wrapper: Vec<String>,
}

impl Role {
    /// With one more setting, or another value of one.
    #[must_use]
    pub fn with(mut self, variable: &str, value: impl ToString) -> Self {
        self.env.push((variable.to_owned(), value.to_string()));
        self
    }

    /// Deletes its local state, the folder of `--data`.
    ///
    /// # Errors
    /// If it has none, or it cannot be deleted.
    pub fn forget(&self) -> anyhow::Result<()> {
        let mut args = self.args.iter();
        let data = args
            .find_map(|arg| arg.strip_prefix("--data="))
            .context("no --data")?;
        std::fs::remove_dir_all(data).with_context(|| format!("deleting {data}"))
    }

    /// Starts a process, and does not wait for it.
    ///
    /// # Errors
    /// If the program is not there or the log cannot be written.
    pub fn spawn(&self) -> anyhow::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let program = program()?;
        let mut command = match self.wrapper.split_first() {
            None => Command::new(&program),
            Some((wrapper, args)) => {
                let mut command = Command::new(wrapper);
                command.args(args).arg(&program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            // What the test itself is told is no setting of the program.
            if name.to_string_lossy().starts_with("TIDEMARK_") {
                command.env_remove(name);
            }
        }
        command.args(&self.args).envs(self.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Process {
            name: self.name.clone(),
            child,
            log: self.log.clone(),
            admin: self.admin,
        })
    }

    /// Starts a process and waits until it is ready.
    ///
    /// # Errors
    /// Those of [`Self::spawn`] and [`Process::wait_ready`].
    pub fn start(&self, patience: Duration) -> anyhow::Result<Process> {
        let mut process = self.spawn()?;
        process.wait_ready(patience)?;
        Ok(process)
    }

    /// Runs it to its end and gives its exit code.
    ///
    /// # Errors
    /// Those of [`Self::spawn`]; if it does not end within `patience`, or by a signal.
    pub fn run(&self, patience: Duration) -> anyhow::Result<i32> {
        let mut process = self.spawn()?;
        let status = process.wait_end(patience)?;
        status
            .code()
            .with_context(|| format!("{} ended by a signal", self.name))
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident at most since its start.
    pub peak: u64,
}

/// A process that was started.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    admin: Option<SocketAddr>,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone. Gives the moment just before.
    ///
    /// # Errors
    /// If it was gone already: then what looked like a kill was a crash.
    pub fn kill(&mut self) -> anyhow::Result<Instant> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself: {status}\n{}", self.name, self.last_lines());
        }
        let moment = Instant::now();
        self.child.kill()?;
        self.child.wait()?;
        Ok(moment)
    }

    /// SIGSTOP: it stands still, and its connections stay open.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn wake(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If it does not end within `patience`, or not with 0.
    pub fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let status = self.wait_end(patience)?;
        ensure!(
            status.success(),
            "{} stopped with {status}\n{}",
            self.name,
            self.last_lines()
        );
        Ok(())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn is_alive(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until `/ready` says so.
    ///
    /// # Errors
    /// If it ends before, or is not ready within `patience`.
    pub fn wait_ready(&mut self, patience: Duration) -> anyhow::Result<()> {
        let admin = self
            .admin
            .context("a role without an admin port is never ready")?;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended before it was ready: {status}\n{}",
                    self.name,
                    self.last_lines()
                );
            }
            let answer = client::get(admin, "/ready", LOOK_PATIENCE);
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {patience:?}: {answer:?}\n{}",
                    self.name,
                    self.last_lines()
                );
            }
            sleep(LOOK);
        }
    }

    /// What it has resident now, and had at most since its start.
    ///
    /// # Errors
    /// If it is gone, or the system does not say.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024)
                .with_context(|| format!("no {name} of {}", self.name))
        };
        Ok(Memory {
            resident: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
        })
    }

    /// The sum of a metric over all its labels, as the admin port shows it; 0 where it is not there.
    ///
    /// # Errors
    /// If the port does not answer, or shows something else than a number.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let admin = self
            .admin
            .context("a role without an admin port has no metrics")?;
        let answer = client::get(admin, "/metrics", LOOK_PATIENCE)?;
        let mut sum = 0.0;
        for line in answer.text().lines() {
            let Some(rest) = line.strip_prefix(name) else {
                continue;
            };
            if let Some(value) = rest
                .starts_with(['{', ' '])
                .then(|| rest.rsplit(' ').next())
                .flatten()
            {
                sum += value.parse::<f64>()?;
            }
        }
        Ok(sum)
    }

    fn wait_end(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not end in {patience:?}\n{}",
                self.name,
                self.last_lines()
            );
            sleep(LOOK);
        }
    }

    // The program `kill`, since a call of libc would be unsafe code.
    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.child.id().to_string())
            .status()?;
        ensure!(status.success(), "kill -{signal} of {}: {status}", self.name);
        Ok(())
    }

    fn last_lines(&self) -> String {
        last_lines(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone; and there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a log, for the message of a failure.
pub fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    let lines: Vec<&str> = lines.into_iter().rev().collect();
    format!("the end of {}:\n{}", log.display(), lines.join("\n"))
}

/// The program under test: `TIDEMARK_BIN`, or what the workspace built last.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("TIDEMARK_BIN") {
        return Ok(path.into());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let places = ["release/tidemark", "debug/tidemark"].map(|place| target.join(place));
    let built = |place: &PathBuf| std::fs::metadata(place).and_then(|file| file.modified()).ok();
    places
        .into_iter()
        .filter(|place| built(place).is_some())
        .max_by_key(built)
        .context("there is no program to test: set TIDEMARK_BIN, or run `cargo build -p cli` first")
}
