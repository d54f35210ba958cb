//! Memory, CPU time and open files of this process, read from `/proc` when the metrics are asked for.
//!
//! Where `/proc` does not answer, as outside Linux, the last values stay: metrics never fail for it.

use std::fs;
use std::sync::{Mutex, PoisonError};

use prometheus::{Counter, IntGauge};

/// Ticks a second in `/proc/self/stat`: `USER_HZ`, which Linux holds at 100 for programs on all architectures of
/// ours (proc(5); asm-generic/param.h).
const TICKS_PER_S: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process {
    resident: IntGauge,
    open_files: IntGauge,
    threads: IntGauge,
    /// Behind a lock, so that two who ask at the same time do not add the same seconds twice.
    cpu: Mutex<Counter>,
}

impl Process {
    pub(super) fn register(registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let resident = IntGauge::new("tidemark_process_resident_memory_bytes", "Memory in use (RSS).")?;
        let open_files = IntGauge::new(
            "tidemark_process_open_files",
            "Open file descriptors, sockets included.",
        )?;
        let threads = IntGauge::new("tidemark_process_running_threads", "Threads.")?;
        let cpu = Counter::new("tidemark_process_cpu_seconds_total", "CPU time, user and system.")?;
        for gauge in [&resident, &open_files, &threads] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(cpu.clone()))?;
        Ok(Self {
            resident,
            open_files,
            threads,
            cpu: Mutex::new(cpu),
        })
    }

    pub(super) fn refresh(&self) {
        if let Some(status) = fs::read_to_string("/proc/self/status").ok().as_deref() {
            if let Some(kib) = status_number(status, "VmRSS:") {
                self.resident.set(kib * 1024);
            }
            if let Some(threads) = status_number(status, "Threads:") {
                self.threads.set(threads);
            }
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the descriptor that lists them.
            self.open_files
                .set(i64::try_from(files.count()).unwrap_or(i64::MAX) - 1);
        }
        if let Some(seconds) = fs::read_to_string("/proc/self/stat")
            .ok()
            .as_deref()
            .and_then(cpu_seconds)
        {
            let cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
            cpu.inc_by((seconds - cpu.get()).max(0.0));
        }
    }
}

/// The number after `name` in `/proc/self/status`.
fn status_number(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// utime + stime of `/proc/self/stat`, its fields 14 and 15. The second field, the program's name in brackets, may
/// hold anything, so counting starts after its last bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_an_odd_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 2038 0 0 0 150 50 0 0 20 0 1 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }
}
