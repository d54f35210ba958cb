//! A Prometheus of a test. It scrapes each second and follows the rules as they are shipped, but for their patience. It finds what it scrapes
//! in files, so that a test can take a role away from it.

use crate::rig::SETTLE;
use anyhow::Context;
use e2e::client;
use e2e::world::{PATIENCE, Service};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The folder of the repository.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Files of rules: for everybody, and for Kubernetes, where a role can vanish.
const RULES: [&str; 2] = ["alerts.yml", "gone.yml"];
/// What fires. That a disk fills is said of others as well, whose disk is the machine's: it may be nearly full all the time.
const FIRING: &str =
    "ALERTS{alertstate=\"firing\"} unless ALERTS{alertname=\"TidemarkDiskFills\",instance!=\"disk\"}";

/// A Prometheus that runs until it is dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Scrapes these services, by job; each under its name as `instance`.
    pub(crate) fn start(folder: &Path, jobs: &[(&str, Vec<&Service>)]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files:\n".to_owned();
        for file in RULES {
            std::fs::write(folder.join(file), impatient(&shipped(file)))?;
            config += &format!("  - {file}\n");
        }
        config += "scrape_configs:\n";
        for (job, services) in jobs {
            let mut targets = Vec::new();
            for Service { role, .. } in services {
                let admin = role.admin.context("a role without an admin port")?;
                targets.push(json!({"targets": [admin.to_string()], "labels": {"instance": role.name}}));
            }
            std::fs::write(targets_of(folder, job), Value::from(targets).to_string())?;
            config += &format!("  - {{job_name: {job}, file_sd_configs: [{{files: [{job}.json]}}]}}\n");
        }
        std::fs::write(folder.join("prometheus.yml"), config)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = std::fs::File::create(folder.join("log"))?;
        let child = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                folder.join("prometheus.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting prometheus: `make prometheus` installs it")?;
        let prometheus = Self {
            child,
            address,
            folder: folder.to_owned(),
        };
        until("Prometheus is ready", || {
            client::get(address, "/-/ready", PATIENCE).is_ok_and(|answer| answer.status == 200)
        });
        Ok(prometheus)
    }

    /// Takes all targets of a job away, as where a role has no pod.
    pub(crate) fn lose(&self, job: &str) {
        let targets = targets_of(&self.folder, job);
        std::fs::rename(&targets, targets.with_extension("lost")).unwrap();
        // Whole at once: it reads as soon as it sees a change.
        let none = targets.with_extension("none");
        std::fs::write(&none, "[]").unwrap();
        std::fs::rename(none, targets).unwrap();
    }

    /// Gives them back.
    pub(crate) fn find(&self, job: &str) {
        let targets = targets_of(&self.folder, job);
        std::fs::rename(targets.with_extension("lost"), targets).unwrap();
    }

    /// Whether a query gives any series now whose value is a number.
    pub(crate) fn has(&self, query: &str) -> bool {
        let series = self.query(query).unwrap();
        series.iter().any(|series| series["value"][1] != "NaN")
    }

    /// Whether an alert fires, with these labels beside its name.
    pub(crate) fn fires(&self, alert: &str, labels: &str) -> bool {
        self.has(&format!(
            "ALERTS{{alertstate=\"firing\",alertname=\"{alert}\",{labels}}}"
        ))
    }

    /// What fires now, by name, but of the machine's own disk.
    pub(crate) fn firing(&self) -> Vec<String> {
        let alerts = self.query(FIRING).unwrap();
        let name = |alert: &Value| alert["metric"]["alertname"].as_str().map(str::to_owned);
        alerts.iter().filter_map(name).collect()
    }

    fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let answer = client::get(self.address, &path, PATIENCE)?.json()?;
        anyhow::ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }
}

/// Where it finds what to scrape for a job.
fn targets_of(folder: &Path, job: &str) -> PathBuf {
    folder.join(format!("{job}.json"))
}

/// All rules as they are shipped, one file behind the other.
pub(crate) fn rules() -> String {
    RULES.map(shipped).concat()
}

/// The tests of these rules for promtool.
pub(crate) fn tests_of_rules() -> String {
    RULES
        .map(|file| shipped(&file.replace(".yml", ".test.yml")))
        .concat()
}

fn shipped(file: &str) -> String {
    std::fs::read_to_string(format!("{REPOSITORY}/deploy/prometheus/{file}")).unwrap()
}

/// The same rules with the same thresholds, which wait for a second alone, and whose windows have as many seconds as they had minutes. Else
/// nothing would fire in a test, and nothing clear. Ten seconds are the least: in fewer a flush or two would be missed by chance.
fn impatient(rules: &str) -> String {
    let mut impatient = String::new();
    for line in rules.lines() {
        let mut line = match line.split_once("for:") {
            Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 1s"),
            _ => line.to_owned(),
        };
        for minutes in [2_u32, 5, 10, 15, 30] {
            line = line.replace(&format!("[{minutes}m]"), &format!("[{}s]", minutes.max(10)));
        }
        impatient += &line;
        impatient.push('\n');
    }
    assert!(!impatient.contains("m]"), "a rule has a window of another length");
    impatient
}

/// Waits until it holds, at most [`SETTLE`].
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SETTLE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SETTLE:?}: {what}");
        sleep(Duration::from_millis(200));
    }
}
