//! The core crates as a program for the RV64IM machine (apps/guest).
//!
//! rustup offers no RISC-V std, Debian's `rust-web-src` does: a second rustc, driven by the
//! ordinary cargo, builds std from source for our own target.

use std::path::{Path, PathBuf};

use crate::metadata::Metadata;
use crate::process::{self, capture, cargo, root, version};
use crate::{Error, Result, conclude};

const RUSTC: &str = "/usr/bin/rustc";
/// The program's bytes depend on the compiler, so its version is part of the program.
const RUSTC_VERSION: &str = "rustc 1.96.0 ";
const LIBRARY: &str = "lib/rustlib/src/rust/library/Cargo.lock";
const TARGET: &str = "riscv64im-annex-zkvm-elf";
const EMULATOR: &str = "qemu-riscv64";
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

pub fn run_or_skip() -> Result {
    let missing = missing();
    if missing.is_empty() {
        return run();
    }
    println!("guest build skipped: {} missing ({INSTALL})", missing.join(", "));
    Ok(())
}

pub fn run() -> Result {
    let missing = missing();
    if !missing.is_empty() {
        let tools = missing.into_iter().chain([INSTALL.to_owned()]).collect();
        return Err(Error::Missing { tools });
    }
    let folder = root().join("apps/guest");
    // A folder of its own: another compiler's files, and another lock.
    let target_directory = Metadata::load()?.target_directory.join("guest");
    let target = folder.join(format!("{TARGET}.json"));
    let mut build = cargo(&["build", "--locked", "-p", "annex-guest", "--profile", "guest"]);
    build
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
    compare(&program)
}

/// The program must print what the same code prints on this machine. The emulator is optional.
fn compare(program: &Path) -> Result {
    if version(EMULATOR, &["--version"]).is_none() {
        println!("  not executed: {EMULATOR} is missing (apt-get install qemu-user)");
        return Ok(());
    }
    let here = capture(&mut cargo(&["run", "--release", "--locked", "--bin", "annex-guest"]))?;
    let there = capture(std::process::Command::new(EMULATOR).arg(program))?;
    if here != there {
        let found = format!("prints {:?} here and {:?} on RV64IM", here.trim(), there.trim());
        return conclude("guest", vec![found]);
    }
    println!("  block hash here and on RV64IM: {}", here.trim());
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
