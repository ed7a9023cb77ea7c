//! Without traffic nothing happens.
#![cfg(target_os = "linux")]

use annex_e2e::{Dev, DevOptions, Folder, Usage, dev_key, number, seconds, soak};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

/// `sysconf(_SC_CLK_TCK)` on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process, user and system, in seconds.
fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name may hold spaces; it ends at the last parenthesis. utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let field =
        |index: usize| fields.split_whitespace().nth(index - 3).expect("a field").parse::<f64>();
    (field(14).expect("utime") + field(15).expect("stime")) / TICKS_PER_SECOND
}

fn length() -> Duration {
    let given = std::env::var("ANNEX_IDLE_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds(given.unwrap_or(if soak() { 300 } else { 30 }))
}

#[test]
fn an_idle_chain_costs_nothing() {
    let folder = Folder::new();
    let dev = Dev::start(&folder, "dev", &DevOptions::default());
    dev.everything_safe();
    // Start-up's own work ends.
    std::thread::sleep(seconds(3));

    let state = || {
        let sent: Vec<u64> = (0..22)
            .map(|index| dev_key(index).address())
            .map(|account| {
                number(&dev.l1.get_result("eth_getTransactionCount", json!([account, "pending"])))
            })
            .collect();
        (dev.rpc.block_number("latest"), dev.records(), sent)
    };
    let before = state();
    let (start, spent) = (Instant::now(), cpu(dev.process.pid()));
    std::thread::sleep(length());
    let share = (cpu(dev.process.pid()) - spent) / start.elapsed().as_secs_f64();
    let memory = Usage::of(&dev.process).megabytes();
    println!("idle: {:.2} % of a core, {memory} MB", share * 100.0);
    assert_eq!(state(), before, "blocks, records or L1 transactions without traffic");
    assert!(share < 0.01, "{:.2} % of a core", share * 100.0);
    assert!(memory < 200, "{memory} MB");
}
