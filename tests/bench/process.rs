//! What a running process has used so far. Known on Linux only.

use std::{fs, path::Path, time::Duration};

/// The length of a tick of `/proc/PID/stat`, which is the same on all systems that run Linux today.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of process `id`.
pub fn cpu(id: u32) -> Option<Duration> {
    // By ticks, with the threads that have ended; and exactly, without those.
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

/// The memory of process `id` that is in use now, in bytes.
pub fn resident(id: u32) -> Option<u64> {
    status(id, "VmRSS:")
}

/// The most memory that process `id` has ever used, in bytes.
pub fn peak(id: u32) -> Option<u64> {
    status(id, "VmHWM:")
}

fn status(id: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
