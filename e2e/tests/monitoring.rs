//! A real Prometheus scrapes the running services: every query of every dashboard and every series of every alert rule has data, and an
//! alert fires when its cause is there, and clears when it is gone. That each rule fires and clears on made-up series is promtool's to
//! show (`deploy/prometheus/alerts.test.yml`); that Grafana draws the panels nobody shows here.

use crate::rig::{SETTLE, turn};
use crate::services::{Services, audit};
use anyhow::Context;
use e2e::client;
use e2e::model::Ledger;
use e2e::paced::{Sender, Settings};
use e2e::world::{Cluster, PATIENCE, Service};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What stands for a dashboard's variables.
const VARIABLES: [(&str, &str); 4] = [
    ("${__rate_interval}", "20s"),
    ("$__rate_interval", "20s"),
    ("$__range", "60s"),
    ("$instance", ".*"),
];
const RATE: u64 = 500;

/// A Prometheus of this test.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Scrapes these jobs each second, and follows the alert rules with no patience.
    fn start(folder: &Path, jobs: &[(&str, Vec<SocketAddr>)]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let rules = std::fs::read_to_string(format!("{REPOSITORY}/deploy/prometheus/alerts.yml"))?;
        let impatient = rules
            .lines()
            .map(|line| match line.trim_start().starts_with("for:") {
                true => format!("{}for: 1s\n", line.split("for:").next().unwrap_or_default()),
                false => format!("{line}\n"),
            });
        std::fs::write(folder.join("alerts.yml"), impatient.collect::<String>())?;
        let mut config =
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yml]\nscrape_configs:\n".to_owned();
        for (job, targets) in jobs {
            let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
            config += &format!(
                "  - {{job_name: {job}, static_configs: [{{targets: [{}]}}]}}\n",
                targets.join(", ")
            );
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
        let prometheus = Self { child, address };
        until("Prometheus is ready", || {
            client::get(address, "/-/ready", PATIENCE).is_ok_and(|answer| answer.status == 200)
        });
        Ok(prometheus)
    }

    /// The series that a query gives now.
    fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let answer = client::get(self.address, &path, PATIENCE)?.json()?;
        anyhow::ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    fn has(&self, query: &str) -> bool {
        !self.query(query).unwrap().is_empty()
    }

    fn fires(&self, alert: &str, labels: &str) -> bool {
        self.has(&format!(
            "ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"{labels}}}"
        ))
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(200));
    }
}

fn files(folder: &str, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("{REPOSITORY}/{folder}")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == kind));
    files.sort();
    assert!(!files.is_empty(), "no {kind} in {folder}");
    files
}

/// Every `expr` of a dashboard, with its panel.
fn queries(dashboard: &Value, panel: &str, found: &mut Vec<(String, String)>) {
    let title = dashboard["title"].as_str().unwrap_or(panel);
    match dashboard {
        Value::Object(fields) => {
            if let Some(expr) = fields.get("expr").and_then(Value::as_str) {
                let mut expr = expr.to_owned();
                for (variable, value) in VARIABLES {
                    expr = expr.replace(variable, value);
                }
                found.push((panel.to_owned(), expr));
            }
            fields.values().for_each(|value| queries(value, title, found));
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, panel, found)),
        _ => {}
    }
}

/// The series that the rules speak of: names with what stands in braces behind them, whatever is done to them.
fn series(rules: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let exprs = rules.lines().scan(None::<usize>, |block, line| {
        // An `expr:` and the lines that are further in behind it.
        let indent = line.len() - line.trim_start().len();
        let text = line.trim_start();
        let begins = text.strip_prefix("expr:");
        if begins.is_some() {
            *block = Some(indent);
        } else if block.is_some_and(|from| indent <= from) {
            *block = None;
        }
        Some(begins.or(block.map(|_| text)).unwrap_or_default().to_owned())
    });
    for line in exprs {
        let mut rest = line.as_str();
        while let Some(at) = rest.find("tidemark_") {
            let from = &rest[at..];
            let name = from
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(from.len());
            let matchers = match from[name..].starts_with('{') {
                true => from[name..].find('}').map_or(0, |end| end + 1),
                false => 0,
            };
            found.insert(from[..name + matchers].to_owned());
            rest = &from[name + matchers..];
        }
    }
    found
}

#[test]
fn every_panel_and_rule_has_data_and_an_alert_fires_and_clears() {
    let _turn = turn();
    let mut world = Cluster::new("monitoring").unwrap();
    world.set("TIDEMARK_QUERY__CANARY_INTERVAL_MS", 500);
    let mut services = Services::start(&world, true);
    let admin = |service: &Service| service.role.admin.unwrap();
    let jobs = [
        ("tidemark-ingest", vec![admin(&services.ingest)]),
        (
            "tidemark-aggregate",
            services.aggregators.iter().map(admin).collect(),
        ),
        ("tidemark-query", vec![admin(&services.query)]),
    ];
    let prometheus = Prometheus::start(&world.path("prometheus"), &jobs).unwrap();
    let sender = Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE,
        keys: "m".to_owned(),
    });
    // Librdkafka speaks every ten seconds.
    until("librdkafka has spoken", || {
        prometheus.has("tidemark_kafka_requests_total{client=\"committer\"} > 0")
    });
    until("canaries have arrived", || {
        prometheus.has("sum(tidemark_canary_seen_total) > 8")
    });
    assert!(
        !prometheus.has("sum(tidemark_canary_lost_total) > 0"),
        "a canary was lost"
    );

    let mut without = Vec::new();
    let mut count = 0;
    for file in files("deploy/grafana/dashboards", "json") {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut found = Vec::new();
        queries(&dashboard, "", &mut found);
        for (panel, query) in found {
            count += 1;
            // Without a certificate there is no day on which it ends.
            if !query.contains("tidemark_tls_") && !prometheus.has(&query) {
                without.push(format!("{}: {panel}: {query}", file.display()));
            }
        }
    }
    let rules = std::fs::read_to_string(format!("{REPOSITORY}/deploy/prometheus/alerts.yml")).unwrap();
    for series in series(&rules) {
        count += 1;
        if !series.starts_with("tidemark_tls_") && !prometheus.has(&series) {
            without.push(format!("alerts.yml: {series}"));
        }
    }
    println!("{count} queries of dashboards and rules asked");
    assert!(without.is_empty(), "without data:\n{}", without.join("\n"));

    assert!(!prometheus.fires("TidemarkInstanceDown", ""), "nothing is down");
    services.query.process.kill().unwrap();
    until("the alert fires", || {
        prometheus.fires("TidemarkInstanceDown", ",job=\"tidemark-query\"")
    });
    services.query.restart().unwrap();
    until("the alert clears", || {
        !prometheus.fires("TidemarkInstanceDown", "")
    });

    let sent = sender.finish().unwrap();
    let deadline = Instant::now() + SETTLE;
    while Ledger::ask(world.query_address, PATIENCE).unwrap().counted < sent.keys {
        assert!(Instant::now() < deadline, "not counted in {SETTLE:?}");
        sleep(Duration::from_millis(100));
    }
    sent.counts.confirm(world.query_address).unwrap();
    drop(prometheus);
    services.stop();
    // Canaries are on the log, and the audit has an outcome for each.
    audit(&world);
}
