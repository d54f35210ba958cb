//! Prints what writing rows costs, CPU of this process, on both stores. Run with `--release -- --ignored --nocapture`.

use crate::keyspace::Keyspace;
use crate::rows::{progress, user};
use schemas::Partition;
use schemas::row::{Row, View};
use std::time::Instant;
use views::Store;

const USERS: u64 = 1 << 20;

fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// A round of distinct users in random order, 60-byte keys, values of 32 bytes.
fn round(seed: u64, rows: u64, version: u64) -> Vec<Row> {
    (0..rows)
        .map(|count| {
            // An odd factor permutes the numbers below a power of two.
            let number = (seed * 77_777 + count).wrapping_mul(0x9e37_79b1) % USERS;
            let name = format!("user-{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let row = user("default", &name, 20_000, (number % 4) as u32, version);
            Row {
                value: vec![7; 32],
                ..row
            }
        })
        .collect()
}

async fn measure(store: &Store, rounds: u64, per_call: usize, total: u64) {
    for number in 1..=rounds {
        let rows = round(number, total, number * 1_000_000);
        let (began, before) = (Instant::now(), cpu_s());
        for chunk in rows.chunks(per_call) {
            store.upsert(chunk.to_vec()).await.unwrap();
        }
        let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_s() - before);
        let synced = Instant::now();
        for partition in 0..4 {
            for view in View::ALL {
                let row = progress(number * 1_000_000, number);
                store
                    .write_progress(view, Partition(partition), &row)
                    .await
                    .unwrap();
            }
        }
        let micros = 1e6 / total as f64;
        println!(
            "calls of {per_call}, round {number}: {:.2} us/row wall, {:.2} us/row CPU of ours, 16 progress rows {:.1} ms",
            wall * micros,
            cpu * micros,
            synced.elapsed().as_secs_f64() * 1e3
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn on_the_embedded_store() {
    for per_call in [50_000, 10_000, 2_000] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("views"), 1).await.unwrap();
        measure(&store, 5, per_call, 500_000).await;
        let began = Instant::now();
        for row in round(1, 2_000, 1) {
            store.upsert(vec![row]).await.unwrap();
        }
        println!(
            "2,000 single repeated rows, looked at: {:.1} us each",
            began.elapsed().as_secs_f64() * 500.0
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn on_cassandra() {
    let keyspace = Keyspace::new().await;
    let config = views::cassandra::Config {
        user_buckets: 512,
        ..keyspace.config.clone()
    };
    let store = Store::connect(config).await.unwrap();
    for per_call in [50_000, 10_000, 2_000] {
        measure(&store, 3, per_call, 200_000).await;
    }
    keyspace.remove().await;
}
