//! What a process holds of the machine.

use annex_e2e::Process;
use std::fs;

/// MiB, open files and sockets, and threads.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub mebibytes: u64,
    pub descriptors: usize,
    pub threads: u64,
}

impl Usage {
    pub fn of(process: &Process) -> Self {
        let folder = format!("/proc/{}", process.pid());
        let status = fs::read_to_string(format!("{folder}/status")).expect("the process runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let words = line.unwrap_or_else(|| panic!("no {name}")).split_whitespace();
            words.take(1).next().and_then(|word| word.parse::<u64>().ok()).expect("a number")
        };
        Self {
            mebibytes: field("VmRSS:") / 1024,
            descriptors: fs::read_dir(format!("{folder}/fd")).expect("the process runs").count(),
            threads: field("Threads:"),
        }
    }

    /// Sockets come and go; memory grows with what is cached, up to a gigabyte in all.
    pub fn is_no_leak_after(&self, early: &Self) {
        assert!(self.descriptors <= early.descriptors + 16, "{early:?}, then {self:?}");
        assert!(self.threads <= early.threads + 8, "{early:?}, then {self:?}");
        assert!(self.mebibytes <= early.mebibytes * 2 + 64, "{early:?}, then {self:?}");
        assert!(self.mebibytes <= 1024, "{self:?}");
    }
}
