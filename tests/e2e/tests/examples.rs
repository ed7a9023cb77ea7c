//! The examples of `examples/`, run as their readers run them.

use annex_e2e::{Dev, DevOptions, Folder, Process, eventually, seconds};
use std::path::PathBuf;
use std::process::Command;

/// Each file, and the last thing it says. They share an account, so one runs after another.
const EXAMPLES: &[(&str, &str)] = &[
    ("send.mjs", "signed by the leader, covers 1 transaction"),
    ("contract/deploy.mjs", "refused with TooLong(281)"),
    ("subscribe.mjs", "1 transaction(s) in block"),
    ("deposit.mjs", "wei more than before"),
    ("withdraw.mjs", "paid: 0.25 ether"),
];

#[test]
fn every_example_runs() {
    let examples = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"));
    let installed = examples.join("node_modules").exists();
    assert!(installed, "packages are missing: run `npm ci --prefix examples`");
    let folder = Folder::new();
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    for (name, last) in EXAMPLES {
        let mut command = Command::new("node");
        command.arg(examples.join(name));
        command.env("L2_URL", dev.rpc.url()).env("L1_URL", dev.l1.url());
        let log = folder.path().join(name.replace('/', "-")).with_extension("log");
        let mut process = Process::spawn(command, &log);
        let status = eventually(&format!("{name} ends"), seconds(300), || process.exited());
        let output = process.output();
        assert!(status.success() && output.contains(last), "{name}: {status}\n{output}");
    }
}
