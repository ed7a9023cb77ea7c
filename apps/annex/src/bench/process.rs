//! What a process on this machine used, from /proc (proc(5)).

use super::BenchError;
use std::fs;

/// Microseconds of one tick of /proc's clock: USER_HZ is 100 on every Linux that this runs on.
const TICK: u64 = 10_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Microseconds of processor, user and system.
    pub cpu: u64,
    /// Bytes.
    pub rss_peak: u64,
}

/// Of process `pid` up to now.
pub(super) fn usage(pid: u32) -> Result<Usage, BenchError> {
    read(pid).ok_or(BenchError::NoProcess { pid })
}

fn read(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; utime and stime are fields 14 and 15, the state after the name is field 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(Usage { cpu: ticks * TICK, rss_peak: kilobytes * 1024 })
}
