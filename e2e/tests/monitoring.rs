//! A real Prometheus scrapes the running services: every query of every dashboard and every series of every alert rule has data, and
//! each alert fires when its cause is there, and clears when it is gone. No engine is stopped: they are away for one process alone.
//!
//! Rules keep their thresholds here, and are less patient (`prometheus`). That each fires and clears as it is shipped, on made-up
//! series, is promtool's to show (`deploy/prometheus/alerts.test.yml`); that Grafana draws the panels nobody shows here.

mod prometheus; // scrapes, and is asked
mod link; // a way to an engine that can be cut
mod disk; // a process whose disk can be filled
mod stage; // all that runs
mod causes; // what makes each alert fire

use crate::rig::turn;
use crate::services::audit;
use causes::{BURST, FOREIGN, STEPS, ask_too_early};
use e2e::client;
use e2e::model::Ledger;
use e2e::paced::{Sender, Settings};
use e2e::world::PATIENCE;
use prometheus::{Prometheus, REPOSITORY, rules, tests_of_rules, until};
use serde_json::Value;
use stage::Stage;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What stands for a dashboard's variables.
const VARIABLES: [(&str, &str); 4] = [
    ("${__rate_interval}", "20s"),
    ("$__rate_interval", "20s"),
    ("$__range", "60s"),
    ("$instance", ".*"),
];
/// New events a second: few, so that a burst is long work beside them.
const RATE: u64 = 100;
/// What the sender's keys start with.
const KEYS: &str = "m";
/// Queries that failed, at two looks at least: a route has no series before it was asked.
const FAILED_QUERIES: &str = "rate(tidemark_http_request_seconds_count{job=\"tidemark-query\",method=\"GET\",status=\"5xx\"}[10s]) > 0";

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

/// What has no data, of the queries of all dashboards and the series of all rules.
fn without_data(prometheus: &Prometheus) -> Vec<String> {
    let mut asked = Vec::new();
    for file in files("deploy/grafana/dashboards", "json") {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut found = Vec::new();
        queries(&dashboard, "", &mut found);
        for (panel, query) in found {
            asked.push((format!("{}: {panel}", file.display()), query));
        }
    }
    for series in series(&rules()) {
        asked.push(("alerts.yml".to_owned(), series));
    }
    println!("{} queries of dashboards and rules asked", asked.len());
    asked.retain(|(_, query)| !prometheus.has(query));
    let line = |(place, query): (String, String)| format!("{place}: {query}");
    asked.into_iter().map(line).collect()
}

/// Waits until no alert fires.
fn until_quiet(prometheus: &Prometheus) {
    until("no alert fires", || {
        let firing = prometheus.firing();
        println!("firing: {firing:?}");
        firing.is_empty()
    });
}

#[test]
fn every_panel_and_rule_has_data_and_each_alert_fires_of_its_cause_and_clears() {
    let _turn = turn();
    let mut stage = Stage::open();
    let query = stage.world.query_address;
    let sender = Sender::start(Settings {
        server: stage.world.ingest_address,
        rate: RATE,
        keys: KEYS.to_owned(),
    });
    // Librdkafka speaks every ten seconds.
    until("librdkafka has spoken", || {
        stage
            .prometheus
            .has("tidemark_kafka_requests_total{client=\"committer\"} > 0")
    });
    until("canaries have arrived", || {
        stage.prometheus.has("sum(tidemark_canary_seen_total) > 8")
    });
    // Of query-2 one may be: it waits two seconds only.
    assert!(
        !stage
            .prometheus
            .has("sum(tidemark_canary_lost_total{instance=\"query\"}) > 0"),
        "a canary was lost"
    );
    until("queries were answered, and some refused", || {
        client::get(query, "/v1/ledger", PATIENCE).unwrap();
        ask_too_early(&mut stage);
        stage.prometheus.has(FAILED_QUERIES)
    });
    let without = without_data(&stage.prometheus);
    assert!(without.is_empty(), "without data:\n{}", without.join("\n"));

    until_quiet(&stage.prometheus);
    for step in STEPS {
        step.take(&mut stage);
    }
    until_quiet(&stage.prometheus);

    let mut sent = sender.finish().unwrap();
    sent.also(0..BURST);
    sent.also(0..FOREIGN);
    until("all is counted", || {
        Ledger::ask(query, PATIENCE).is_ok_and(|ledger| ledger.counted >= sent.keys)
    });
    sent.counts.confirm(query).unwrap();
    // Canaries are on the log, and the audit has an outcome for each.
    audit(&stage.close());
}

/// The cause of each alert is made, and promtool shows that it fires as it is shipped.
#[test]
fn no_alert_is_forgotten() {
    let tests = tests_of_rules();
    let made: BTreeSet<&str> = STEPS.iter().flat_map(|step| step.alerts()).collect();
    let rules = rules();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: BTreeSet<&str> = alerts.collect();
    assert_eq!(alerts, made);
    for alert in alerts {
        assert!(
            tests.contains(&format!("ALERTS{{alertname=\"{alert}\"")),
            "{alert} has no test for promtool"
        );
    }
}
