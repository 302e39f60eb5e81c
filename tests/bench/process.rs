//! A running process's resource usage. Linux only.

use std::{fs, path::Path, time::Duration};

/// The length of a tick in `/proc/PID/stat`, the same on all current Linux systems.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of process `id`.
pub fn cpu(id: u32) -> Option<Duration> {
    // `stat` counts ticks and includes threads that have ended; `schedstat` is exact but excludes them.
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: u32 = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten();
    let exactly = threads.filter_map(|thread| on_cpu(&thread.path())).sum();
    Some((TICK * ticks).max(exactly))
}

fn on_cpu(thread: &Path) -> Option<Duration> {
    let times = fs::read_to_string(thread.join("schedstat")).ok()?;
    times.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The current memory of process `id`, in bytes.
pub fn resident(id: u32) -> Option<u64> {
    status(id, "VmRSS:")
}

/// The peak memory of process `id`, in bytes.
pub fn peak(id: u32) -> Option<u64> {
    status(id, "VmHWM:")
}

fn status(id: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
