//! The client scripts.

use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a withdrawal takes with the windows of a development chain, twice.
const LIMIT: Duration = Duration::from_secs(300);

/// `tests/clients`, with its packages installed.
pub fn scripts_folder() -> PathBuf {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../clients"));
    let packages = folder.join("node_modules");
    assert!(packages.exists(), "packages are missing: run `npm ci --prefix tests/clients`");
    folder
}

/// Runs a script of `tests/clients` with Node and returns the JSON it prints.
#[track_caller]
pub fn script(name: &str, arguments: &[&str]) -> Value {
    let output = tempfile::tempdir().expect("a folder");
    let (out, err) = (output.path().join("out"), output.path().join("err"));
    let mut child = Command::new("node")
        .arg(scripts_folder().join(name))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(&out).expect("a file"))
        .stderr(File::create(&err).expect("a file"))
        .spawn()
        .expect("node starts");
    let mut left = LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            break Some(status);
        }
        let Some(less) = left.checked_sub(Duration::from_millis(20)) else {
            // Gone already, if it cannot be killed.
            let _ = child.kill();
            break None;
        };
        left = less;
        std::thread::sleep(Duration::from_millis(20));
    };
    let read = |path| fs::read_to_string(path).expect("the output can be read");
    assert!(
        status.is_some_and(|status| status.success()),
        "node {name} {arguments:?}: {status:?}\n{}",
        read(&err)
    );
    serde_json::from_str(&read(&out))
        .unwrap_or_else(|error| panic!("{name}: {error}: {}", read(&out)))
}
