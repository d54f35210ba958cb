//! What a lane tells of itself. Labels are partitions and outcomes only.

use log::Transaction;
use schemas::{Ledger, Partition, Reason};
use service::metrics::{COUNTS, Error, Family, Label, Registry, SECONDS};
use std::time::Duration;

/// The metrics of all lanes of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    polled: Family<prometheus::IntCounter>,
    outcomes: Family<prometheus::IntCounter>,
    lag: Family<prometheus::IntGauge>,
    keys: Family<prometheus::IntGauge>,
    spilled: Family<prometheus::IntGauge>,
    dedup_bytes: Family<prometheus::IntGauge>,
    read_back: Family<prometheus::IntCounter>,
    superseded: Family<prometheus::IntCounter>,
    restarts: Family<prometheus::IntCounter>,
    copies: Family<prometheus::IntCounter>,
    commits: Family<prometheus::IntCounter>,
    commit_seconds: prometheus::Histogram,
    commit_records: prometheus::Histogram,
    registry: Family<prometheus::IntCounter>,
    /// Partitions that wait for the registry.
    pub(crate) waiting: prometheus::IntGauge,
}

impl Metrics {
    /// Makes the metrics for `partitions` source partitions.
    pub fn new(registry: &Registry, partitions: u32) -> Result<Self, Error> {
        let partition = || {
            Label::new(
                "partition",
                (0..partitions).map(|partition| partition.to_string()),
            )
        };
        let outcome = || {
            let words = [
                "counted",
                "duplicate",
                "rerouted",
                "reversed",
                "held",
                "repeated",
                "noted",
            ]
            .into_iter();
            Label::new("outcome", words.chain(Reason::ALL.map(Reason::word)))
        };
        let result = |words: [&'static str; 2]| Label::new("result", words);
        let counters = |name: &str, help: &str| registry.counters(name, help, &[partition()]);
        let gauges = |name: &str, help: &str| registry.gauges(name, help, &[partition()]);
        Ok(Self {
            polled: counters(
                "tidemark_lane_polled_records_total",
                "Records polled from events.",
            )?,
            outcomes: registry.counters(
                "tidemark_lane_outcomes_records_total",
                "Records folded, by outcome; dead letters by reason.",
                &[partition(), outcome()],
            )?,
            lag: gauges(
                "tidemark_lane_lag_records",
                "Records between what is concluded on the chain and the end of events.",
            )?,
            keys: gauges("tidemark_lane_dedup_keys", "Idempotency keys remembered.")?,
            spilled: gauges(
                "tidemark_lane_dedup_spilled_keys",
                "Idempotency keys remembered on disk only.",
            )?,
            dedup_bytes: gauges("tidemark_lane_dedup_memory_bytes", "Memory of the dedup index.")?,
            read_back: counters(
                "tidemark_lane_read_back_batches_total",
                "Batches read back from the chain.",
            )?,
            superseded: counters(
                "tidemark_lane_superseded_batches_total",
                "Commit records found off the chain.",
            )?,
            restarts: counters(
                "tidemark_lane_restores_total",
                "Times that a partition was read from the chain again.",
            )?,
            copies: counters(
                "tidemark_lane_copied_records_total",
                "Copies of misplaced and of released records written, and words to other partitions.",
            )?,
            commits: registry.counters(
                "tidemark_lane_commits_total",
                "Transactions sent, by the broker's word.",
                &[result(["committed", "refused"])],
            )?,
            commit_seconds: registry.histogram(
                "tidemark_lane_commit_seconds",
                "Time of a transaction.",
                &SECONDS,
            )?,
            commit_records: registry.histogram(
                "tidemark_lane_commit_records",
                "Commit records of a transaction.",
                &COUNTS,
            )?,
            registry: registry.counters(
                "tidemark_lane_registry_answers_total",
                "Answers of the registry to a schema id.",
                &[result(["answered", "away"])],
            )?,
            waiting: registry.gauge(
                "tidemark_lane_waiting_partitions",
                "Partitions that wait for the registry.",
            )?,
        })
    }

    /// Counts what one batch of records became: the difference of two ledgers.
    pub(super) fn folded(&self, partition: Partition, polled: usize, before: &Ledger, after: &Ledger) {
        let partition = partition.to_string();
        self.polled.get(&[&partition]).inc_by(polled as u64);
        let count = |word, count: u64| {
            if count > 0 {
                self.outcomes.get(&[&partition, word]).inc_by(count);
            }
        };
        count("counted", after.counted - before.counted);
        count("duplicate", after.duplicate - before.duplicate);
        count("rerouted", after.rerouted - before.rerouted);
        count("reversed", after.reversed - before.reversed);
        count("held", after.held - before.held);
        count("repeated", after.repeated - before.repeated);
        count("noted", after.noted - before.noted);
        for reason in Reason::ALL {
            count(
                reason.word(),
                after.dead_lettered_for(reason) - before.dead_lettered_for(reason),
            );
        }
    }

    pub(super) fn lag(&self, partition: Partition, records: u64) {
        self.lag
            .get(&[&partition.to_string()])
            .set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    pub(super) fn dedup(&self, partition: Partition, keys: u64, spilled: u64, bytes: usize) {
        let partition = partition.to_string();
        self.keys
            .get(&[&partition])
            .set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.spilled
            .get(&[&partition])
            .set(i64::try_from(spilled).unwrap_or(i64::MAX));
        self.dedup_bytes
            .get(&[&partition])
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn read_back(&self, partition: Partition) {
        self.read_back.get(&[&partition.to_string()]).inc();
    }

    pub(super) fn superseded(&self, partition: Partition, count: u64) {
        self.superseded.get(&[&partition.to_string()]).inc_by(count);
    }

    pub(super) fn restarted(&self, partition: Partition) {
        self.restarts.get(&[&partition.to_string()]).inc();
    }

    pub(super) fn copied(&self, partition: Partition, count: usize) {
        self.copies.get(&[&partition.to_string()]).inc_by(count as u64);
    }

    pub(super) fn committed(&self, transaction: &Transaction, took: Duration, ok: bool) {
        self.commits
            .get(&[if ok { "committed" } else { "refused" }])
            .inc();
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_records.observe(transaction.commits.len() as f64);
    }

    pub(super) fn registry(&self, answered: bool) {
        self.registry
            .get(&[if answered { "answered" } else { "away" }])
            .inc();
    }

    /// A partition that is another's now has no lag here.
    pub(super) fn forget(&self, partition: Partition) {
        self.lag(partition, 0);
        self.dedup(partition, 0, 0, 0);
    }
}
