//! What a process cost: processor time and resident memory, from `/proc`. Rates on a shared machine swing; processor time does less so.

use anyhow::Context;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Ticks of a second in `/proc/PID/stat`; Linux fixes it for user space.
const TICKS_PER_S: f64 = 100.0;

/// Processor time that a process has used, in seconds.
///
/// # Errors
/// If there is no such process.
pub fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces.
    let fields = stat.rsplit(')').next().context("no fields")?;
    let number = |at: usize| {
        fields
            .split_whitespace()
            .nth(at)
            .and_then(|field| field.parse::<f64>().ok())
    };
    Ok((number(11).context("no utime")? + number(12).context("no stime")?) / TICKS_PER_S)
}

/// Resident memory now and at its highest, in bytes.
///
/// # Errors
/// If there is no such process.
pub fn resident(pid: u32) -> anyhow::Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line
            .and_then(|line| line.split_whitespace().nth(1))
            .and_then(|kib| kib.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("no {name}"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Sets the highest resident memory back to what it is now.
///
/// # Errors
/// If the system refuses.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// Process ids of the broker and of the view store, from the script that runs them.
///
/// # Errors
/// If they are not up.
pub fn engines() -> anyhow::Result<(u32, u32)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/engines/engines");
    let output = Command::new("bash").arg(script).arg("status").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let pid = |engine: &str| {
        let line = text.lines().find(|line| line.starts_with(engine));
        let words = line.into_iter().flat_map(str::split_whitespace);
        let mut words = words.skip_while(|word| *word != "pid").skip(1);
        words
            .next()
            .and_then(|pid| pid.parse().ok())
            .with_context(|| format!("{engine} is not up: `make engines-up`"))
    };
    Ok((pid("kafka")?, pid("cassandra")?))
}

/// Microseconds a record.
pub fn us_each(seconds: f64, records: u64) -> f64 {
    seconds * 1e6 / records.max(1) as f64
}

/// Records a second.
pub fn rate(records: u64, took: Duration) -> f64 {
    records as f64 / took.as_secs_f64()
}

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
