//! Prometheus metrics: one registry a process, whose names follow one rule and whose labels are closed sets.
//!
//! A name is `tidemark_<part>_<noun>_<unit>`, with `_total` last for counters; another name is refused when the metric
//! is made, that is at the start of the program and in every test. A label takes its values from a list given
//! beforehand: no request can make a new time series, so no client can fill the memory of Prometheus.

// Metrics with labels.
mod family;
// Memory, CPU time and open files of this process.
mod process;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, TextEncoder};

pub use self::family::{Family, Label};
use self::process::Process;

/// What the text of [`Registry::render`] is: Prometheus text format 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Buckets in seconds for what takes from half a millisecond to half a minute: requests, commits, projections.
pub const SECONDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Buckets in bytes from 256 B to 1 GiB.
pub const BYTES: [f64; 12] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];
/// Buckets for the sizes of batches, from 1 to 100,000 records or rows.
pub const COUNTS: [f64; 11] = [
    1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0, 100_000.0,
];

/// The last word of a gauge's or histogram's name, and the last but one of a counter's where it has one.
const UNITS: [&str; 22] = [
    "seconds",
    "bytes",
    "records",
    "events",
    "rows",
    "keys",
    "batches",
    "requests",
    "connections",
    "partitions",
    "messages",
    "files",
    "conditions",
    "uploads",
    "offset",
    "number",
    "ratio",
    "state",
    "info",
    "threads",
    "up",
    "waiters",
];

/// Why a metric was not made: a mistake in the code that asks for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name breaks the rule.
    #[error("the metric {name} {reason}")]
    Name {
        /// The name asked for.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The name is taken, or a label is not valid.
    #[error(transparent)]
    Prometheus(#[from] prometheus::Error),
}

/// The metrics of this process. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: prometheus::Registry,
    process: Arc<Process>,
    asked: Asked,
}

type Ask = Box<dyn Fn() + Send>;

/// What is asked before everything is written out.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Ask>>>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

impl Registry {
    /// A registry that has the metrics of the process itself.
    ///
    /// # Errors
    /// None in practice: the names are ours.
    pub fn new() -> Result<Self, Error> {
        let inner = prometheus::Registry::new();
        let process = Arc::new(Process::register(&inner)?);
        Ok(Self {
            inner,
            process,
            asked: Asked::default(),
        })
    }

    /// A counter, as in `tidemark_ingest_events_total`.
    ///
    /// # Errors
    /// [`Error`], if the name is wrong or taken.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        counter_name(name)?;
        self.registered(IntCounter::new(name, help)?)
    }

    /// A gauge, as in `tidemark_ingest_waiting_requests`.
    ///
    /// # Errors
    /// [`Error`], if the name is wrong or taken.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        unit_name(name)?;
        self.registered(IntGauge::new(name, help)?)
    }

    /// A gauge that takes fractions, as in `tidemark_aggregator_lag_seconds`.
    ///
    /// # Errors
    /// [`Error`], if the name is wrong or taken.
    pub fn float_gauge(&self, name: &str, help: &str) -> Result<prometheus::Gauge, Error> {
        unit_name(name)?;
        self.registered(prometheus::Gauge::new(name, help)?)
    }

    /// A histogram, as in `tidemark_aggregator_commit_seconds` with [`SECONDS`].
    ///
    /// # Errors
    /// [`Error`], if the name is wrong or taken, or the buckets do not rise.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, Error> {
        unit_name(name)?;
        self.registered(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        )?)
    }

    /// Counters by label; each is there, at zero, from the start.
    ///
    /// # Errors
    /// [`Error`], if the name or a label is wrong, or the name taken.
    pub fn counters(&self, name: &str, help: &str, labels: &[Label]) -> Result<Family<IntCounter>, Error> {
        counter_name(name)?;
        let vec = self.registered(prometheus::IntCounterVec::new(
            Opts::new(name, help),
            &family::names(labels),
        )?)?;
        Family::new(labels, |values| Ok(vec.get_metric_with_label_values(values)?))
    }

    /// Gauges by label; each is there, at zero, from the start.
    ///
    /// # Errors
    /// [`Error`], if the name or a label is wrong, or the name taken.
    pub fn gauges(&self, name: &str, help: &str, labels: &[Label]) -> Result<Family<IntGauge>, Error> {
        unit_name(name)?;
        let vec = self.registered(prometheus::IntGaugeVec::new(
            Opts::new(name, help),
            &family::names(labels),
        )?)?;
        Family::new(labels, |values| Ok(vec.get_metric_with_label_values(values)?))
    }

    /// Gauges by label that take fractions; each is there, at zero, from the start.
    ///
    /// # Errors
    /// [`Error`], if the name or a label is wrong, or the name taken.
    pub fn float_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[Label],
    ) -> Result<Family<prometheus::Gauge>, Error> {
        unit_name(name)?;
        let vec = self.registered(prometheus::GaugeVec::new(
            Opts::new(name, help),
            &family::names(labels),
        )?)?;
        Family::new(labels, |values| Ok(vec.get_metric_with_label_values(values)?))
    }

    /// Histograms by label; each is there, empty, from the start.
    ///
    /// # Errors
    /// [`Error`], if the name, a label or the buckets are wrong, or the name taken.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[Label],
    ) -> Result<Family<Histogram>, Error> {
        let vec = self.histogram_vec(name, help, buckets, &family::names(labels))?;
        Family::new(labels, |values| Ok(vec.get_metric_with_label_values(values)?))
    }

    /// Has `ask` called before everything is written out: it sets metrics of what others measure. While it
    /// blocks, as on a disk that does not answer, nothing is written out and nothing added.
    pub fn before_render(&self, ask: impl Fn() + Send + 'static) {
        let mut asked = self.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(Box::new(ask));
    }

    /// Everything, as text; of type [`CONTENT_TYPE`]. It may block: an async caller gives it a thread that may.
    ///
    /// What cannot be encoded is left out and logged: half of the metrics are better than none.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.refresh();
        for ask in &*self.asked.0.lock().unwrap_or_else(PoisonError::into_inner) {
            ask();
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.inner.gather(), &mut text) {
            tracing::warn!(%error, "a metric cannot be encoded");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// For labels whose set is closed by the code but not known beforehand: the routes of a router.
    pub(crate) fn histogram_vec(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<prometheus::HistogramVec, Error> {
        unit_name(name)?;
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(prometheus::HistogramVec::new(opts, labels)?)
    }

    fn registered<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> Result<M, Error> {
        self.inner.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn counter_name(name: &str) -> Result<(), Error> {
    match name.strip_suffix("_total") {
        Some(rest) => words(name, rest, 2),
        None => Err(Error::Name {
            name: name.to_owned(),
            reason: "is a counter and must end in _total",
        }),
    }
}

fn unit_name(name: &str) -> Result<(), Error> {
    words(name, name, 2)?;
    let unit = name.rsplit('_').next().unwrap_or_default();
    match UNITS.contains(&unit) {
        true => Ok(()),
        false => Err(Error::Name {
            name: name.to_owned(),
            reason: "must end in a unit of metrics::UNITS",
        }),
    }
}

/// `tidemark_` and at least so many further words of a-z, 0-9.
fn words(name: &str, text: &str, least: usize) -> Result<(), Error> {
    let reason = "must be tidemark_<part>_<noun>_<unit> in a-z, 0-9 and single _";
    let error = || Error::Name {
        name: name.to_owned(),
        reason,
    };
    let words: Vec<&str> = text
        .strip_prefix("tidemark_")
        .ok_or_else(error)?
        .split('_')
        .collect();
    let is_word = |word: &&str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    match words.len() >= least && words.iter().all(is_word) {
        true => Ok(()),
        false => Err(error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_break_the_rule_are_refused() {
        let registry = Registry::new().unwrap();
        for name in [
            "events_total",
            "tidemark_ingest_events",
            "tidemark_total",
            "tidemark_ingest__events_total",
        ] {
            assert!(
                matches!(registry.counter(name, "h"), Err(Error::Name { .. })),
                "{name}"
            );
        }
        for name in [
            "tidemark_ingest_latency",
            "tidemark_seconds",
            "tidemark_Ingest_lag_seconds",
        ] {
            assert!(
                matches!(registry.gauge(name, "h"), Err(Error::Name { .. })),
                "{name}"
            );
            assert!(
                matches!(registry.histogram(name, "h", &SECONDS), Err(Error::Name { .. })),
                "{name}"
            );
        }
        registry.counter("tidemark_ingest_events_total", "h").unwrap();
        assert!(matches!(
            registry.counter("tidemark_ingest_events_total", "h"),
            Err(Error::Prometheus(_))
        ));
    }

    #[test]
    fn every_label_value_is_there_from_the_start() {
        let registry = Registry::new().unwrap();
        let labels = [
            Label::new("outcome", ["counted", "duplicate"]),
            Label::new("partition", ["0", "1"]),
        ];
        let outcomes = registry
            .counters("tidemark_aggregator_outcomes_total", "h", &labels)
            .unwrap();
        outcomes.get(&["counted", "1"]).inc_by(3);
        let text = registry.render();
        assert!(text.contains("tidemark_aggregator_outcomes_total{outcome=\"counted\",partition=\"1\"} 3\n"));
        assert!(
            text.contains("tidemark_aggregator_outcomes_total{outcome=\"duplicate\",partition=\"0\"} 0\n")
        );
    }

    #[test]
    fn an_unknown_label_value_makes_no_new_series() {
        let registry = Registry::new().unwrap();
        let labels = [Label::new("state", ["open"])];
        let gauges = registry
            .gauges("tidemark_http_open_connections", "h", &labels)
            .unwrap();
        gauges.get(&["user-17"]).inc();
        gauges.get(&[]).inc();
        let text = registry.render();
        assert!(!text.contains("user-17"));
        assert!(
            text.contains("tidemark_http_open_connections{state=\"other\"} 2\n"),
            "{text}"
        );
    }

    #[test]
    fn the_process_is_measured() {
        let text = Registry::new().unwrap().render();
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))
                .unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("tidemark_process_resident_memory_bytes") > 100_000.0);
        assert!(value("tidemark_process_open_files") >= 3.0);
        assert!(value("tidemark_process_cpu_seconds_total") >= 0.0);
    }
}
