//! Running other programs: the command line is shown, the output streams, a failure names the
//! command.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{Error, Result};

/// The workspace root: where this crate was compiled, one folder up.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").into()
    })
}

/// A command in the workspace root. `program` is found on the PATH.
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// `cargo`, the one that runs us, without what it told us about ourselves: some build scripts
/// watch those variables and would compile their crate again.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), args);
    let ours =
        |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().map(str::to_owned).as_ref().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    command
}

pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.into(), source })
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Runs to the end with our own output streams.
pub fn run(command: &mut Command) -> Result {
    let shown = line(command);
    println!("  $ {shown}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Error::Spawn { command: shown.clone(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Command { command: shown, status }) }
}

/// Like [`run`], and hands every line of standard output to `observe` on its way.
pub fn run_observed(command: &mut Command, mut observe: impl FnMut(&str)) -> Result {
    let shown = line(command);
    println!("  $ {shown}");
    let spawn_error = |source| Error::Spawn { command: shown.clone(), source };
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(spawn_error)?;
    let pipe = child.stdout.take().expect("stdout was piped above");
    for bytes in BufReader::new(pipe).split(b'\n') {
        let bytes = bytes.map_err(spawn_error)?;
        let text = String::from_utf8_lossy(&bytes);
        observe(&text);
        println!("{text}");
        std::io::stdout().flush().map_err(spawn_error)?;
    }
    let status = child.wait().map_err(spawn_error)?;
    if status.success() { Ok(()) } else { Err(Error::Command { command: shown, status }) }
}

/// Runs silently and returns standard output.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = line(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::Spawn { command: shown.clone(), source })?;
    if !output.status.success() {
        return Err(Error::Command { command: shown, status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// First line of what `program args` prints, or nothing if it cannot be run.
pub fn version(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}
