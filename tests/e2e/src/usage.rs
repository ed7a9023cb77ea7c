//! What a process holds of the machine.

use crate::Process;
use std::fs;

/// Memory, open files and sockets, and threads. Linux only.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory in kilobytes, as the kernel counts it.
    pub kilobytes: u64,
    pub descriptors: usize,
    pub threads: u64,
}

impl Usage {
    pub fn of(process: &Process) -> Self {
        let folder = format!("/proc/{}", process.pid());
        let status = fs::read_to_string(format!("{folder}/status")).expect("the process runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
        };
        Self {
            kilobytes: field("VmRSS:"),
            descriptors: fs::read_dir(format!("{folder}/fd")).expect("the process runs").count(),
            threads: field("Threads:"),
        }
    }

    pub fn megabytes(&self) -> u64 {
        self.kilobytes / 1024
    }

    /// Sockets come and go; memory grows with what is cached, up to a gigabyte in all.
    pub fn is_no_leak_after(&self, early: &Self) {
        assert!(self.descriptors <= early.descriptors + 16, "{early:?}, then {self:?}");
        assert!(self.threads <= early.threads + 8, "{early:?}, then {self:?}");
        assert!(self.megabytes() <= early.megabytes() * 2 + 64, "{early:?}, then {self:?}");
        assert!(self.megabytes() <= 1024, "{self:?}");
    }
}
