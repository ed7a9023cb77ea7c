//! `test`, `soak` and `bindings`: stages in order, each timed, the first failure ends the run.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metadata::Metadata;
use crate::process::{cargo, command, read, root, run, run_observed, version};
use crate::{Error, Result, deps, guest, programs, tidy};

/// How long the tests of `soak` run.
#[derive(Clone, Copy)]
struct Counts {
    /// Of each property test; proptest's own default is 256.
    cases: u32,
    /// How many times more states, proofs and disputes `tests/conformance`, `tests/sim` and `host/settle` make.
    conformance: u32,
    /// Call sequences of each Solidity invariant.
    invariant_runs: u32,
    /// Of the idle test.
    idle_seconds: u32,
    /// `kill -9` under load.
    crashes: u32,
    /// Of the whole system under load while everything around it fails.
    system_seconds: u32,
    /// Of each fuzz target.
    fuzz_seconds: u32,
}

const SOAK: Counts = Counts {
    cases: 2_560,
    conformance: 10,
    invariant_runs: 500,
    idle_seconds: 300,
    crashes: 50,
    system_seconds: 1_800,
    fuzz_seconds: 60,
};
/// Shows that every part of `soak` works.
const REHEARSAL: Counts = Counts {
    cases: 64,
    conformance: 1,
    invariant_runs: 8,
    idle_seconds: 10,
    crashes: 2,
    system_seconds: 60,
    fuzz_seconds: 5,
};

/// Test counts, read from what the runners print.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// libtest: `test result: ok. 3 passed; 0 failed; 1 ignored; …`
    /// forge: `Ran 2 test suites in …: 9 tests passed, 0 failed, 0 skipped (9 total tests)`
    fn observe(&mut self, line: &str) {
        let summary = line.trim_start().strip_prefix("test result: ").or_else(|| {
            line.starts_with("Ran ").then(|| line.split_once("): ")).flatten().map(|it| it.1)
        });
        let words: Vec<_> = summary
            .unwrap_or_default()
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty() && *word != "tests")
            .collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" | "skipped" => self.ignored += count,
                _ => {}
            }
        }
    }
}

struct Stage {
    name: &'static str,
    run: fn(&mut Tally, Option<Counts>) -> Result,
}

const TEST: &[Stage] = &[
    Stage { name: "npm", run: |_, _| npm() },
    Stage { name: "vectors", run: |_, _| vectors() },
    Stage { name: "tidy", run: |_, _| tidy::run() },
    Stage { name: "deps", run: |_, _| deps::run(false) },
    Stage { name: "fmt", run: |_, _| run(&mut cargo(&["fmt", "--all", "--check"])) },
    Stage { name: "clippy", run: |_, _| clippy() },
    Stage { name: "bindings", run: |_, _| bindings(true) },
    Stage { name: "contracts", run: contracts },
    Stage { name: "scan", run: |_, _| run(&mut npm_run("scan")) },
    Stage { name: "build", run: |_, _| build() },
    Stage { name: "rust", run: rust },
    Stage { name: "guest", run: |_, _| guest::run_or_skip() },
];

const SOAK_STAGES: &[Stage] = &[
    Stage { name: "npm", run: |_, _| npm() },
    Stage { name: "contracts", run: contracts },
    Stage { name: "build", run: |_, _| build() },
    Stage { name: "rust", run: rust },
    Stage { name: "fuzz", run: |_, counts| fuzz(counts.unwrap_or(SOAK)) },
];

pub fn test(from: Option<&str>) -> Result {
    run_stages("test", TEST, from, None)
}

pub fn soak(from: Option<&str>, rehearse: bool) -> Result {
    run_stages("soak", SOAK_STAGES, from, Some(if rehearse { REHEARSAL } else { SOAK }))
}

/// The stages from `from` on.
fn stages_from(stages: &'static [Stage], from: Option<&str>) -> Result<&'static [Stage]> {
    let Some(name) = from else { return Ok(stages) };
    let at = stages.iter().position(|stage| stage.name == name).ok_or_else(|| {
        let known: Vec<_> = stages.iter().map(|stage| stage.name).collect();
        Error::UnknownStage { name: name.into(), known: known.join(", ") }
    })?;
    Ok(&stages[at..])
}

fn run_stages(
    command: &str,
    stages: &'static [Stage],
    from: Option<&str>,
    counts: Option<Counts>,
) -> Result {
    let stages = stages_from(stages, from)?;
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut timings = Vec::new();
    for (at, stage) in stages.iter().enumerate() {
        println!("\n[{}/{}] {}", at + 1, stages.len(), stage.name);
        let begin = Instant::now();
        let result = (stage.run)(&mut tally, counts);
        timings.push((stage.name, begin.elapsed()));
        if let Err(error) = result {
            report(&timings, start.elapsed(), &tally);
            println!(
                "FAILED in `{0}`; to repeat from there: cargo xtask {command} --from {0}",
                stage.name
            );
            return Err(error);
        }
        println!(
            "[{}/{}] {} ok, {:.1} s",
            at + 1,
            stages.len(),
            stage.name,
            begin.elapsed().as_secs_f64()
        );
    }
    report(&timings, start.elapsed(), &tally);
    Ok(())
}

fn report(timings: &[(&str, Duration)], total: Duration, tally: &Tally) {
    println!();
    for (name, time) in timings {
        println!("{name:<10} {:>7.1} s", time.as_secs_f64());
    }
    println!("{:<10} {:>7.1} s", "total", total.as_secs_f64());
    println!("{} passed, {} failed, {} ignored", tally.passed, tally.failed, tally.ignored);
}

/// Installs the npm packages of each folder whose `node_modules` is not what its lock says.
fn npm() -> Result {
    for folder in npm_folders() {
        if installed(&root().join(folder))? {
            println!("  {folder}: up to date");
        } else {
            run(&mut command("npm", &["ci", "--no-audit", "--no-fund", "--prefix", folder]))?;
        }
    }
    Ok(())
}

fn npm_folders() -> impl Iterator<Item = &'static str> {
    let known = ["contracts", "tests/clients", "examples"];
    known.into_iter().filter(|folder| root().join(folder).join("package-lock.json").exists())
}

/// npm notes what it installed in `node_modules/.package-lock.json`.
fn installed(folder: &Path) -> Result<bool> {
    let parse = |path: &Path| -> Result<Value> {
        serde_json::from_str(&read(path)?)
            .map_err(|source| Error::Output { command: path.display().to_string(), source })
    };
    let wanted = parse(&folder.join("package-lock.json"))?;
    let note = folder.join("node_modules/.package-lock.json");
    if !note.exists() {
        return Ok(false);
    }
    let present = parse(&note)?;
    let packages = wanted["packages"].as_object().into_iter().flatten();
    let mut required = packages.filter(|(path, package)| {
        // The folder itself, and what npm leaves out on other platforms.
        !path.is_empty() && package["optional"] != true && package["devOptional"] != true
    });
    let same = |path: &str, package: &Value| {
        let here = &present["packages"][path];
        here["version"] == package["version"] && here["integrity"] == package["integrity"]
    };
    Ok(required.all(|(path, package)| same(path, package)))
}

fn npm_run(script: &str) -> std::process::Command {
    command("npm", &["run", "--silent", script, "--prefix", "contracts"])
}

/// Check artifacts are apart from built ones, so this compiles dependencies a second time
/// without generating code: a minute and a half on two cores, cold.
fn clippy() -> Result {
    let args =
        ["clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run(&mut cargo(&args))
}

pub fn bindings(check: bool) -> Result {
    let mut args = vec!["contracts/bin/artifacts"];
    args.extend(check.then_some("--check"));
    run(&mut command("node", &args))
}

/// The committed vectors are what their makers write.
fn vectors() -> Result {
    run(&mut command("node", &["spec/vectors/generate.mjs", "--check"]))?;
    run(&mut command("node", &["contracts/bin/vectors", "--check"]))
}

fn contracts(tally: &mut Tally, counts: Option<Counts>) -> Result {
    let mut command = npm_run("test");
    if let Some(counts) = counts {
        command
            .env("FOUNDRY_FUZZ_RUNS", counts.cases.to_string())
            .env("FOUNDRY_INVARIANT_RUNS", counts.invariant_runs.to_string());
    }
    run_observed(&mut command, |line| tally.observe(line))
}

/// Everything is compiled here, once, before a test runs: a slow compiler is no slow test.
fn build() -> Result {
    run(&mut cargo(&["build", "--release", "--locked", "--bin", "annex"]))?;
    run(&mut cargo(&["test", "--release", "--workspace", "--locked", "--no-run"]))
}

/// The test programs beside each other, as most of them wait for a chain, then the examples in the docs.
fn rust(tally: &mut Tally, counts: Option<Counts>) -> Result {
    let mut environment =
        vec![("ANNEX_BIN", Metadata::load()?.target_directory.join("release/annex").into())];
    if let Some(counts) = counts {
        environment.extend([
            ("ANNEX_SOAK", "1".into()),
            ("ANNEX_CASES", counts.conformance.to_string().into()),
            ("ANNEX_IDLE_SECONDS", counts.idle_seconds.to_string().into()),
            ("ANNEX_CRASHES", counts.crashes.to_string().into()),
            ("ANNEX_SOAK_SECONDS", counts.system_seconds.to_string().into()),
            ("PROPTEST_CASES", counts.cases.to_string().into()),
        ]);
    }
    programs::run_all(&environment, |line| tally.observe(line))?;
    let mut docs = cargo(&["test", "--release", "--workspace", "--locked", "--doc"]);
    run_observed(&mut docs, |line| tally.observe(line))
}

/// Each target of `tests/fuzz`, one after another. cargo-fuzz wants a nightly compiler's
/// flags, which `RUSTC_BOOTSTRAP` unlocks.
fn fuzz(counts: Counts) -> Result {
    let targets = root().join("tests/fuzz/fuzz_targets");
    if !targets.exists() {
        println!("  fuzz targets skipped: tests/fuzz does not exist");
        return Ok(());
    }
    if version("cargo-fuzz", &["--version"]).is_none() {
        println!("  fuzz targets skipped: cargo-fuzz is missing (cargo install cargo-fuzz)");
        return Ok(());
    }
    let failed = |source| Error::File { path: targets.clone(), source };
    for entry in std::fs::read_dir(&targets).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let seconds = format!("-max_total_time={}", counts.fuzz_seconds);
        let args = ["fuzz", "run", "--fuzz-dir", "tests/fuzz", "--release", &name, "--", &seconds];
        run(cargo(&args).env("RUSTC_BOOTSTRAP", "1"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn tallies() {
        let mut tally = Tally::default();
        tally.observe("test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out");
        tally.observe("Ran 2 test suites in 13.9ms (1.6ms CPU time): 9 tests passed, 0 failed, 4 skipped (13 total tests)");
        tally.observe("Ran 5 tests for test/Inbox.t.sol:InboxTest");
        tally.observe("we passed 17 times; 5 failed");
        assert_eq!((tally.passed, tally.failed, tally.ignored), (12, 1, 6));
    }
}
