//! The test programs of the workspace, several at a time.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{capture, cargo};
use crate::{Error, Result};

/// Programs at a time. Those that run a chain mostly wait for its blocks; with more of them two
/// cores no longer keep up with its clocks.
const AT_A_TIME: usize = 4;

/// One test program.
struct Program {
    /// `package/target`.
    name: String,
    executable: PathBuf,
    /// Where cargo would run it.
    folder: PathBuf,
}

/// What a program did.
struct Run {
    name: String,
    output: String,
    time: Duration,
    result: Result,
}

/// Runs every test program to its end and shows the output of each in one piece.
/// The first failure is the result, once all have run.
pub fn run_all(environment: &[(&str, OsString)], mut observe: impl FnMut(&str)) -> Result {
    let programs = list()?;
    let count = programs.len();
    let queue = Mutex::new(programs);
    let (sender, runs) = mpsc::channel();
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            let sender = sender.clone();
            let queue = &queue;
            scope.spawn(move || {
                let next = || queue.lock().expect("no holder panics").pop_front();
                while let Some(program) = next() {
                    // The receiver outlives the scope.
                    let _ = sender.send(program.run(environment));
                }
            });
        }
        drop(sender);
        for (at, run) in runs.iter().enumerate() {
            println!("  ({}/{count}) {}, {:.1} s", at + 1, run.name, run.time.as_secs_f64());
            for line in run.output.lines() {
                observe(line);
                println!("{line}");
            }
            failures.extend(run.result.err().map(|error| (run.name, error)));
        }
    });
    for (name, error) in &failures {
        println!("  FAILED: {name}: {error}");
    }
    failures.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

impl Program {
    fn run(self, environment: &[(&str, OsString)]) -> Run {
        let begin = Instant::now();
        let shown = self.executable.display().to_string();
        let mut command = std::process::Command::new(&self.executable);
        command.current_dir(&self.folder).envs(environment.iter().cloned()).stdin(Stdio::null());
        let (output, result) = match command.output() {
            Err(source) => (String::new(), Err(Error::Spawn { command: shown, source })),
            Ok(done) => {
                let mut output = String::from_utf8_lossy(&done.stdout).into_owned();
                output.push_str(&String::from_utf8_lossy(&done.stderr));
                let failed = Error::Command { command: shown, status: done.status };
                (output, done.status.success().then_some(()).ok_or(failed))
            }
        };
        Run { name: self.name, output, time: begin.elapsed(), result }
    }
}

/// All test programs, those that run a chain first: they take longest.
fn list() -> Result<VecDeque<Program>> {
    let built = capture(&mut cargo(&[
        "test",
        "--release",
        "--workspace",
        "--locked",
        "--no-run",
        "--message-format=json",
    ]))?;
    let mut programs: Vec<_> = built.lines().filter_map(program).collect();
    let waits =
        |program: &Program| ["e2e/", "node/"].iter().any(|folder| program.name.starts_with(folder));
    programs.sort_by_key(|program| (!waits(program), program.name.clone()));
    // These wait longest of all.
    let longest =
        |program: &Program| ["/soak", "/withdraw"].iter().any(|name| program.name.contains(name));
    programs.sort_by_key(|program| !longest(program));
    Ok(programs.into())
}

/// The test program that a line of cargo's messages tells of.
fn program(line: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(line).ok()?;
    let executable = message["executable"].as_str()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?;
    let package = folder.file_name()?.to_string_lossy();
    let target = message["target"]["name"].as_str()?;
    Some(Program {
        name: format!("{package}/{target}"),
        executable: executable.into(),
        folder: folder.into(),
    })
}
