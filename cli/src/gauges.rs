//! What others measure, as metrics of ours: librdkafka's clients, the driver of the view store, and the disk.

use log::kafka::{ClientKind, Measured, Statistics};
use prometheus::IntCounter;
use service::metrics::{Error, Label, Registry};
use std::path::Path;
use std::sync::Arc;
use views::cassandra::Driver;

/// Takes a count that somebody else keeps; one that fell is of somebody new, and adds nothing until it has caught up.
fn follow(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

/// Where Kafka's clients say what they measure, shown from now on.
pub(crate) fn kafka(metrics: &Registry) -> Result<Arc<Statistics>, Error> {
    let kinds = [Label::new("client", ClientKind::ALL.map(ClientKind::name))];
    let gauges = |name: &str, help: &str| metrics.gauges(&format!("tidemark_kafka_{name}"), help, &kinds);
    let counters =
        |name: &str, help: &str| metrics.counters(&format!("tidemark_kafka_{name}_total"), help, &kinds);
    let records = gauges(
        "queue_records",
        "Records in librdkafka that wait to be sent or for their answer.",
    )?;
    let bytes = gauges("queue_bytes", "Bytes of these records.")?;
    let up = gauges("brokers_up", "Connections to brokers that are up.")?;
    let round_trip = metrics.float_gauges(
        "tidemark_kafka_round_trip_seconds",
        "Time from request to answer that 99 in 100 stayed under, at the slowest broker, over the last ten seconds.",
        &kinds,
    )?;
    let requests = counters("requests", "Requests sent to brokers.")?;
    let errors = counters(
        "request_errors",
        "Requests not sent, not answered in time, or answered with what cannot be read.",
    )?;
    let retries = counters("request_retries", "Requests sent again.")?;
    let disconnects = counters("disconnects", "Connections to brokers that broke.")?;
    let statistics = Arc::new(Statistics::default());
    let asked = Arc::clone(&statistics);
    metrics.before_render(move || {
        let totals = asked.totals();
        for kind in ClientKind::ALL {
            let Measured {
                queue_records,
                queue_bytes,
                brokers_up,
                round_trip_s,
                requests: sent,
                request_errors,
                request_retries,
                disconnects: broken,
            } = totals.get(&kind).copied().unwrap_or_default();
            let name = [kind.name()];
            for (gauge, value) in [
                (&records, queue_records),
                (&bytes, queue_bytes),
                (&up, brokers_up),
            ] {
                gauge.get(&name).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
            round_trip.get(&name).set(round_trip_s);
            for (counter, value) in [
                (&requests, sent),
                (&errors, request_errors),
                (&retries, request_retries),
                (&disconnects, broken),
            ] {
                follow(counter.get(&name), value);
            }
        }
    });
    Ok(statistics)
}

/// Shows how full the file system is on which a folder lies.
pub(crate) fn disk(metrics: &Registry, folder: &Path) -> Result<(), Error> {
    let free = metrics.gauge(
        "tidemark_data_free_bytes",
        "Bytes that this process may still write on the file system of its data folder.",
    )?;
    let size = metrics.gauge("tidemark_data_size_bytes", "Bytes of that file system.")?;
    let folder = folder.to_owned();
    metrics.before_render(move || {
        // It is made at the start; until then there is nothing to say.
        let Ok(disk) = rustix::fs::statvfs(&folder) else {
            return;
        };
        for (gauge, blocks) in [(&free, disk.f_bavail), (&size, disk.f_blocks)] {
            let bytes = blocks.saturating_mul(disk.f_frsize);
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    });
    Ok(())
}

/// Shows what the driver of this store measures; of the embedded store there is nothing.
pub(crate) fn store(metrics: &Registry, store: &views::Store) -> Result<(), Error> {
    if store.driver().is_none() {
        return Ok(());
    }
    let counter =
        |name: &str, help: &str| metrics.counter(&format!("tidemark_store_driver_{name}_total"), help);
    let requests = counter("requests", "Requests of the store's driver.")?;
    let errors = counter("errors", "Requests of the store's driver that failed.")?;
    let retries = counter(
        "retries",
        "Requests that the store's driver sent again by itself.",
    )?;
    let timeouts = counter(
        "timeouts",
        "Requests and connections of the store's driver that were not answered in time.",
    )?;
    let connections = metrics.gauge(
        "tidemark_store_driver_connections",
        "Connections to nodes of the store.",
    )?;
    let latency = metrics.float_gauges(
        "tidemark_store_driver_latency_seconds",
        "Time to the answer of requests of the store's driver, since its start; of whole milliseconds.",
        &[Label::new("quantile", QUANTILES)],
    )?;
    let store = store.clone();
    metrics.before_render(move || {
        let Driver {
            requests: sent,
            errors: failed,
            retries: again,
            timeouts: late,
            connections: open,
            latency_ms,
        } = store.driver().unwrap_or_default();
        for (counter, value) in [
            (&requests, sent),
            (&errors, failed),
            (&retries, again),
            (&timeouts, late),
        ] {
            follow(counter, value);
        }
        connections.set(i64::try_from(open).unwrap_or(i64::MAX));
        for (quantile, ms) in QUANTILES.into_iter().zip(latency_ms) {
            latency.get(&[quantile]).set(ms as f64 / 1e3);
        }
    });
    Ok(())
}

/// Of the driver's latency.
const QUANTILES: [&str; 2] = ["0.5", "0.99"];
