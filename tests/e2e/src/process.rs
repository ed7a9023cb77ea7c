//! Processes that end when the test does.

use crate::eventually;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The built `annex`: `ANNEX_BIN`, or beside the tests in the target folder.
pub fn annex() -> PathBuf {
    if let Some(path) = std::env::var_os("ANNEX_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its file");
    let built =
        test.ancestors().nth(2).expect("tests lie in the target folder's deps").join("annex");
    assert!(
        built.exists(),
        "{} is missing: run `cargo build --release --bin annex`",
        built.display()
    );
    built
}

/// Runs `annex` to its end; whether it succeeded, and what it printed on both streams.
#[track_caller]
pub fn run(arguments: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(annex());
    command.args(arguments);
    let mut process = Process::spawn(command, &folder.path().join("output"));
    let what = format!("annex {} ends", arguments[0]);
    let status = eventually(&what, Duration::from_secs(120), || process.exited());
    (status.success(), process.output())
}

/// A child process with its output in a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Kills the child when this process is gone, even if it was killed itself: its standard input closes then.
    watchdog: Child,
    log: PathBuf,
}

impl Process {
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        let errors = output.try_clone().expect("a second handle");
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let watchdog = Command::new("sh")
            .args(["-c", &format!("read _; kill -9 {}", child.id())])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Self { child, watchdog, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).expect("the log can be read")
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// `kill -9`, then waits until it is gone.
    pub fn kill(&mut self) {
        self.disarm();
        // It may have exited by itself.
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }

    /// What `Ctrl-C` and a service manager do. Panics if it takes longer than `limit`.
    pub fn interrupt(&mut self, limit: Duration) -> ExitStatus {
        self.disarm();
        self.signal("INT");
        eventually("a stop after SIGINT", limit, || self.exited())
    }

    /// Sends a signal by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// A process id may be given to somebody else once the child is gone.
    fn disarm(&mut self) {
        // The watchdog may be gone already.
        let _ = self.watchdog.kill();
        self.watchdog.wait().expect("a child can be waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
