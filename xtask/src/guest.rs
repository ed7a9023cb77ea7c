//! The core crates as a program for the RV64IM machine (apps/guest).
//!
//! rustup offers no RISC-V std, Debian's `rust-web-src` does: a second rustc, driven by the
//! ordinary cargo, builds std from source for our own target. The program's ELF is committed, so
//! that a machine without that rustc executes the very same.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::metadata::Metadata;
use crate::process::{self, capture, cargo, root, version};
use crate::{Error, Result, conclude};

const RUSTC: &str = "/usr/bin/rustc";
/// The program's bytes depend on the compiler, so its version is part of the program.
const RUSTC_VERSION: &str = "rustc 1.96.0 ";
const LIBRARY: &str = "lib/rustlib/src/rust/library/Cargo.lock";
const TARGET: &str = "riscv64im-annex-zkvm-elf";
/// The program that nodes embed and L1 commits to, and beside it its hash.
const COMMITTED: &str = "apps/guest/annex-guest.elf";
/// The program of `--faulty`, as zstd of what it differs from the committed one in.
const FAULTY: &str = "apps/guest/annex-guest-faulty.elf.zst";
pub const INSTALL: &str = "apt-get install --no-install-recommends rustc-web rust-web-src lld";

/// What the build lacks on this machine, in words.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    match version(RUSTC, &["--version"]) {
        None => missing.push(format!("{RUSTC} of the package rustc-web")),
        Some(found) if !found.starts_with(RUSTC_VERSION) => {
            missing.push(format!("{}(here: {found})", RUSTC_VERSION));
        }
        Some(_) => {}
    }
    let sysroot = version(RUSTC, &["--print", "sysroot"]);
    if !sysroot.is_some_and(|sysroot| Path::new(&sysroot).join(LIBRARY).exists()) {
        missing.push("the std sources of the package rust-web-src".into());
    }
    if version("ld.lld", &["--version"]).is_none() {
        missing.push("ld.lld of the package lld".into());
    }
    missing
}

/// Without the right compiler the program cannot be built again; then the committed one is looked at, and the tests of
/// `core/claim` execute it in either case.
pub fn run_or_skip() -> Result {
    let missing = missing();
    if missing.is_empty() {
        return run(false);
    }
    let found = version(RUSTC, &["--version"]).unwrap_or_else(|| "none".into());
    println!("  not reproducible here: {found}; missing {} ({INSTALL})", missing.join(", "));
    let committed = root().join(COMMITTED);
    inspect(&committed)?;
    check_hash(&committed)?;
    boot_state(&committed)
}

/// Builds the program and compares it with the committed one, or with `write` commits to the new one.
pub fn run(write: bool) -> Result {
    let program = build(&[])?;
    let committed = root().join(COMMITTED);
    if write {
        let copied = std::fs::copy(&program, &committed);
        copied.map_err(|source| Error::File { path: committed.clone(), source })?;
        let path = hash_file(&committed);
        let line = format!("{}  annex-guest.elf\n", sha256(&committed)?);
        std::fs::write(&path, line).map_err(|source| Error::File { path, source })?;
        write_faulty(&committed)?;
    }
    check_hash(&committed)?;
    let (built, stands) = (sha256(&program)?, sha256(&committed)?);
    if built != stands {
        let found = format!(
            "{COMMITTED} is {stands}, these sources make {built}: `cargo xtask guest --write`"
        );
        return conclude("guest", vec![found]);
    }
    boot_state(&committed)
}

/// Builds a program that fails on demand.
pub fn faulty() -> Result<PathBuf> {
    build(&["--features", "faulty"])
}

/// Commits to the program that fails on demand: tests run it where it cannot be built.
fn write_faulty(committed: &Path) -> Result {
    let mut zstd = Command::new("zstd");
    zstd.args(["--ultra", "-22", "--quiet", "--force", "--patch-from"])
        .arg(committed)
        .arg(faulty()?)
        .arg("-o")
        .arg(root().join(FAULTY));
    process::run(&mut zstd)
}

/// Shows and returns the path of the built program.
fn build(more: &[&str]) -> Result<PathBuf> {
    let missing = missing();
    if !missing.is_empty() {
        let tools = missing.into_iter().chain([INSTALL.to_owned()]).collect();
        return Err(Error::Missing { tools });
    }
    let folder = root().join("apps/guest");
    // Folders of their own: another compiler's files, and another lock.
    let name = if more.is_empty() { "guest" } else { "guest-faulty" };
    let target_directory = Metadata::load()?.target_directory.join(name);
    let target = folder.join(format!("{TARGET}.json"));
    let mut build = cargo(&["build", "--locked", "-p", "annex-guest", "--profile", "guest"]);
    build
        .args(more)
        .args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=compiler-builtins-mem"])
        .arg("-Zjson-target-spec")
        .arg("--target")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&folder).join("\x1f"))
        .env("CARGO_TARGET_DIR", &target_directory)
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    process::run(&mut build)?;
    let program = target_directory.join(TARGET).join("guest/annex-guest");
    inspect(&program)?;
    Ok(program)
}

fn hash_file(program: &Path) -> PathBuf {
    program.with_extension("elf.sha256")
}

/// In the form of coreutils' `sha256sum`.
fn sha256(path: &Path) -> Result<String> {
    let printed = capture(Command::new("sha256sum").arg(path))?;
    Ok(printed.split(' ').next().unwrap_or_default().to_owned())
}

fn check_hash(program: &Path) -> Result {
    let (is, stated) = (sha256(program)?, process::read(&hash_file(program))?);
    if stated.split(' ').next() == Some(&is) {
        println!("  sha256 {is}");
        return Ok(());
    }
    conclude(
        "guest",
        vec![format!("{}: {is}, but the file beside it says {stated}", program.display())],
    )
}

/// Prints the hash of the state in which the machine boots the program: what L1 is deployed with.
fn boot_state(program: &Path) -> Result {
    let args = ["run", "--release", "--locked", "-q", "-p", "annex-claim", "--example", "boot"];
    let printed = capture(cargo(&args).arg("--").arg(program))?;
    println!("  {}", printed.trim());
    Ok(())
}

fn rustflags(folder: &Path) -> Vec<String> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".cargo"));
    let registry = cargo_home.or(home).unwrap_or_default().join("registry/src");
    let sysroot = version(RUSTC, &["--print", "sysroot"]).unwrap_or_default();
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    vec![
        "-Cpasses=lower-atomic".into(),
        format!("-Clink-arg=-T{}", folder.join("link.ld").display()),
        "-Clink-arg=--build-id=none".into(),
        // No path of this machine enters the program: two builds anywhere are equal.
        remap(root(), "/annex"),
        remap(&registry, "/registry"),
        remap(&Path::new(&sysroot).join("lib/rustlib/src/rust"), "/rust"),
    ]
}

/// The machine executes RV64IM: an ELF that claims compressed or floating-point code is refused.
fn inspect(path: &Path) -> Result {
    let elf = std::fs::read(path).map_err(|source| Error::File { path: path.into(), source })?;
    const RISCV: [u8; 2] = 243_u16.to_le_bytes();
    let machine = elf.get(18..20);
    let flags = elf.get(48..52);
    if machine != Some(&RISCV) || flags != Some(&[0; 4]) {
        let found = format!(
            "{}: machine {machine:?}, flags {flags:?}, wanted plain RISC-V",
            path.display()
        );
        return conclude("guest", vec![found]);
    }
    println!("  {}: {} KiB", path.display(), elf.len() / 1024);
    Ok(())
}
